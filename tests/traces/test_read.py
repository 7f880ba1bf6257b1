"""Sources, file shapes and what is set aside, with hand-made files."""

import gzip
import io
import itertools
import json
import logging
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tracetune.errors import TraceError
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.model import Message, Trace
from tracetune.traces.read import FORMATS, BadRecord, read_traces
from tracetune.traces.redaction import Redactor

ONE = {"id": "1", "agent": "a", "success": True}
TWO = {"id": "2", "agent": "a", "success": False}
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def ids(*args, **kwargs) -> list[str]:
    return [trace.id for trace in read_traces(*args, **kwargs)]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param({"data": [ONE, TWO], "meta": {"page": 1, "totalItems": 2}}, id="Langfuse's"),
        pytest.param({"runs": [ONE, TWO], "cursors": {"next": None}}, id="LangSmith's"),
        pytest.param({"traces": [ONE, TWO], "next_page_token": ""}, id="MLflow's"),
        pytest.param({"object": "list", "data": [ONE, TWO], "has_more": False}, id="OpenAI's"),
    ],
)
def test_a_page_of_an_api_is_read_item_by_item(tmp_path: Path, page: dict[str, Any]):
    path = tmp_path / "page.json"
    path.write_text(json.dumps(page, indent=2))
    bad: list[BadRecord] = []
    assert ids(path) == ids([page]) == ["1", "2"]
    [items] = (value for value in page.values() if value == [ONE, TWO])
    items[1] = {"id": "3", "agent": "a", "turns": -1}
    assert ids([page], on_bad=bad.append) == ["1"]
    assert [(one.source, one.position) for one in bad] == [("records", 2)]


def test_a_mapping_sees_the_page_itself():
    mapping = {"records": "data", "id": "name", "agent": "'a'"}
    assert ids([{"data": [{"name": "x"}], "meta": {}}], mapping=mapping) == ["x"]


@pytest.mark.parametrize(
    "record",
    [
        pytest.param({"data": [1, 2], "meta": {}}, id="no records in it"),
        pytest.param({"data": [ONE], "name": "mine"}, id="more than a page has"),
        pytest.param({"data": [ONE], "runs": [TWO]}, id="two lists"),
        pytest.param({"data": [], "meta": {}}, id="nothing in it"),
    ],
)
def test_what_only_looks_like_a_page_is_set_aside(record: dict[str, Any]):
    bad: list[BadRecord] = []
    assert ids([record, ONE], on_bad=bad.append) == ["1"]
    assert [one.position for one in bad] == [1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("t.jsonl", lines(ONE, TWO), id="json lines"),
        pytest.param(
            "t.jsonl", b"\n\n" + lines(ONE) + b"\n" + lines(TWO), id="blank lines between"
        ),
        pytest.param("t.json", json.dumps([ONE, TWO]).encode(), id="a list on one line"),
        pytest.param("t.json", json.dumps([ONE, TWO], indent=2).encode(), id="a list, indented"),
        pytest.param("t.json", lines(ONE, TWO), id="json lines named .json"),
        pytest.param("t.jsonl", json.dumps([ONE, TWO]).encode(), id="a list named .jsonl"),
        pytest.param("t.jsonl", b"\xef\xbb\xbf" + lines(ONE, TWO), id="a byte order mark first"),
        pytest.param("t.jsonl.gz", gzip.compress(lines(ONE, TWO)), id="gzip"),
        pytest.param("t.jsonl", gzip.compress(lines(ONE, TWO)), id="gzip that is not named so"),
        pytest.param("traces", lines(ONE, TWO), id="no suffix at all"),
    ],
)
def test_a_file_is_read_by_its_content(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)

    assert ids(tmp_path / name) == ["1", "2"]


def test_a_folder_is_read_deeply_and_in_sorted_order(tmp_path: Path):
    for name, record in {"b.jsonl": ONE, "a/z.json": TWO, ".hidden/x.json": ONE}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(lines(record))
    (tmp_path / "README.md").write_text("no traces here")

    assert ids(tmp_path) == ["2", "1"]


def test_globs_and_lists_of_paths(tmp_path: Path):
    for name, record in {"b.jsonl": ONE, "a.jsonl": TWO}.items():
        (tmp_path / name).write_bytes(lines(record))

    assert ids(f"{tmp_path}/*.jsonl") == ["2", "1"]
    assert ids([tmp_path / "b.jsonl", str(tmp_path / "a.jsonl")]) == ["1", "2"]


def in_tables(source: Any) -> set[str]:
    with TraceTables.read(source) as tables:
        return {trace.id for trace in tables.kept("a")}


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(iter, id="an iterator"),
        pytest.param(lambda paths: paths[0].parent.glob("?.jsonl"), id="what a glob gives"),
        pytest.param(lambda paths: dict(enumerate(paths)).values(), id="a view"),
        pytest.param(set, id="a set"),
    ],
)
@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda source: {trace.id for trace in read_traces(source)}, id="one by one"),
        pytest.param(in_tables, id="into tables"),
    ],
)
def test_an_iterable_of_paths_is_of_paths(tmp_path: Path, source: Any, read: Any):
    paths = [tmp_path / "b.jsonl", tmp_path / "a.jsonl"]
    for path, record in zip(paths, (ONE, TWO), strict=True):
        path.write_bytes(lines(record))

    assert read(source(paths)) == {"1", "2"}


NOTE = json.dumps({"id": "1", "note": "password=" + "hunter2X9" + "secretQ"})


def opened(folder: Path) -> Any:
    (folder / "t.jsonl").write_text(f"{NOTE}\n{NOTE}\n")
    return (folder / "t.jsonl").open()


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(lambda folder: (line for line in [NOTE, NOTE]), id="a generator"),
        pytest.param(lambda folder: io.StringIO(f"{NOTE}\n{NOTE}\n"), id="text in memory"),
        pytest.param(opened, id="an open file"),
        pytest.param(lambda folder: iter([folder, NOTE]), id="behind a path"),
    ],
)
@pytest.mark.parametrize("read", [read_traces, TraceTables.read], ids=["one by one", "tables"])
def test_text_that_an_iterator_gives_is_no_path(tmp_path: Path, source: Any, read: Any):
    bad: list[BadRecord] = []
    given = source(tmp_path)

    traces = read(given, on_bad=bad.append)

    assert [*(traces if read is read_traces else traces.kept("a"))] == []
    assert [one.position for one in bad] == [1, 2]
    assert "str is in no known format" in bad[1].reason
    assert "hunter2" not in str(bad)
    getattr(given if read is read_traces else traces, "close", bool)()


def test_a_stream_without_end_is_read_as_it_comes():
    traces = read_traces(itertools.chain([NOTE], itertools.repeat(ONE)), on_bad=lambda _: None)

    assert next(traces).id == "1"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        pytest.param([NOTE], "The path is JSON or lines of text", id="one of a list"),
        pytest.param(NOTE, "The path is JSON or lines of text", id="alone"),
        pytest.param(f"[{NOTE}]", "The path is JSON or lines of text", id="with a pattern"),
        pytest.param(f"x\n{NOTE}", "The path is JSON or lines of text", id="several lines"),
        pytest.param(NOTE * 99, "The path is JSON or lines of text", id="a long one"),
        pytest.param("x" * 5000, "…: File name too long, expected", id="a long word"),
    ],
)
@pytest.mark.parametrize("read", [read_traces, TraceTables.read], ids=["one by one", "tables"])
def test_a_record_that_is_taken_for_a_path_is_not_shown(source: Any, told: str, read: Any):
    with pytest.raises(TraceError, match=told) as caught:
        read(source)

    assert "hunter2" not in str(caught.value)


def test_an_iterator_is_asked_for_nothing_before_its_traces_are():
    records = iter([ONE, TWO])

    traces = read_traces(records)

    assert next(records) == ONE
    assert [trace.id for trace in traces] == ["2"]


def test_data_in_memory_may_mix_formats():
    trace = Trace(id="3", agent="b")
    bad: list[BadRecord] = []

    traces = list(read_traces(iter([ONE, {"messages": CHAT, "id": "2"}, trace]), on_bad=bad.append))

    assert [t.id for t in traces] == ["1", "2", "3"]
    assert bad == []
    assert ids(ONE) == ["1"]


def test_a_json_list_of_messages_is_one_run(tmp_path: Path):
    (tmp_path / "chat.json").write_text(json.dumps(CHAT, indent=1))

    (trace,) = read_traces(tmp_path / "chat.json")

    assert trace.steps == (Message("user", "hi"), Message("assistant", "hello"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(b'{"id": ', "not JSON", id="invalid JSON"),
        pytest.param(b"7", "no known format", id="a number"),
        pytest.param(b'["x"]', "the record is ['x'], expected an object", id="a list of text"),
        pytest.param(b'{"agent": "a"}', "the key 'id' is missing", id="a missing key"),
        pytest.param(b'{"id": {}, "agent": "a"}', "id is {}, expected text", id="a wrong type"),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["as first line", "as second line"])
def test_a_bad_line_is_set_aside_and_named(tmp_path: Path, line: bytes, reason: str, first: bool):
    path = tmp_path / "t.jsonl"
    path.write_bytes(line + b"\n" + lines(ONE) if first else lines(ONE) + line)
    bad: list[BadRecord] = []

    assert [t.id for t in read_traces(path, on_bad=bad.append)] == ["1"]
    assert [(b.source, b.position) for b in bad] == [(str(path), 1 if first else 2)]
    assert reason in bad[0].reason


SECRET = "gh" + "p_" + "aB3dE5fG7h" * 3 + "aB3dE5"


@pytest.mark.parametrize(
    "record",
    [
        pytest.param({**ONE, "success": SECRET}, id="no true or false"),
        pytest.param({**ONE, "started_at": f"at {SECRET}"}, id="no time"),
        pytest.param({**ONE, "tokens_in": SECRET}, id="no number"),
        pytest.param({**ONE, "feedback": [SECRET]}, id="no text or object"),
        pytest.param({**ONE, "failure_kind": SECRET}, id="none of the choices"),
        pytest.param({**ONE, "labels": {SECRET: {}}}, id="the name of a label"),
        pytest.param({**ONE, SECRET: 1}, id="no field"),
        pytest.param({SECRET: 1}, id="no known format"),
        pytest.param({"messages": [{"role": SECRET, "content": ""}]}, id="no role"),
        pytest.param({"messages": [{"role": "user", "content": {SECRET: 1}}]}, id="no content"),
        pytest.param(
            {"task_id": 1, "reward": 0, "traj": [{"role": SECRET}]}, id="no role of a benchmark's"
        ),
    ],
)
def test_why_a_record_was_set_aside_tells_no_secret(record: dict):
    bad: list[BadRecord] = []

    assert ids([record], on_bad=bad.append) == []
    assert len(bad) == 1
    assert SECRET[:12] not in bad[0].reason
    with pytest.raises(TraceError) as caught:
        ids([record], strict=True)
    assert SECRET[:12] not in str(caught.value)


def test_why_a_record_was_set_aside_tells_no_address_where_those_go():
    bad: list[BadRecord] = []

    record = {**ONE, "started_at": "for bob@example.com"}
    ids([record], on_bad=bad.append, redactor=Redactor(emails=True))

    assert "bob@" not in bad[0].reason


def test_without_a_callback_a_bad_record_is_logged(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, logger="tracetune"):
        assert ids([ONE, {"nothing": "here"}]) == ["1"]

    assert "records:2 was set aside: ['nothing'] is in no known format" in caplog.text


def test_json_lines_are_read_one_by_one(tmp_path: Path):
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(gzip.compress(lines(*[ONE] * 5000))[:-20])  # its end is torn off

    bad: list[BadRecord] = []
    traces = read_traces(path, on_bad=bad.append)

    assert next(traces).id == "1"
    assert bad == []
    rest = list(traces)
    assert 4000 < len(rest) < 5000
    assert bad[0].position == len(rest) + 2
    assert "cannot be read as gzip from here on" in bad[0].reason


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("t.json.gz", lines(ONE), "cannot be read as gzip", id="not gzip, named so"),
        pytest.param("t.json", b"agent: airline", "neither JSON nor JSON Lines", id="yaml"),
        pytest.param("t.csv", b"id,agent\n1,a\n", "neither JSON nor JSON Lines", id="csv"),
        pytest.param("t.json", b'{"a": 1}', "is in no known format", id="an unknown object"),
        pytest.param("t.json", b"\x00\x01\xfe", "neither JSON nor JSON Lines", id="binary"),
    ],
)
def test_a_useless_file_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(TraceError, match=message) as refused:
        list(read_traces(tmp_path / name))

    assert str(refused.value).startswith(str(tmp_path / name))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("missing", ["nowhere.jsonl", "no*where.jsonl"], ids=["a path", "a glob"])
def test_what_is_not_there_is_refused_at_once(tmp_path: Path, missing: str):
    with pytest.raises(TraceError, match=r"no\*?where\.jsonl"):
        read_traces(tmp_path / missing)


def test_an_unknown_format_name_is_refused_and_the_known_ones_listed():
    with pytest.raises(TraceError, match="format is 'csv', expected one of auto, canonical, "):
        read_traces([], format="csv")
    assert FORMATS[0] == "auto"
    assert {"langsmith", "messages", "otlp", "stratus", "tau2", "tau_bench"} < set(FORMATS)
    assert list(FORMATS[1:]) == sorted(FORMATS[1:])


def test_a_named_format_refuses_files_of_another(tmp_path: Path):
    (tmp_path / "t.json").write_bytes(lines(ONE))

    with pytest.raises(TraceError, match="no known format, expected tau2"):
        list(read_traces(tmp_path / "t.json", format="tau2"))


def test_a_stray_file_in_a_folder_is_set_aside(tmp_path: Path):
    (tmp_path / "package.json").write_text('{"version": 1}')
    (tmp_path / "t.jsonl").write_bytes(lines(ONE))
    bad: list[BadRecord] = []

    assert ids(tmp_path, on_bad=bad.append) == ["1"]
    assert [Path(b.source).name for b in bad] == ["package.json"]


def test_a_folder_of_no_use_is_refused(tmp_path: Path):
    with pytest.raises(TraceError, match=r"holds no \.json"):
        list(read_traces(tmp_path))
    (tmp_path / "package.json").write_text('{"version": 1}')
    with pytest.raises(TraceError, match="no known format"):
        list(read_traces(tmp_path))


def test_an_empty_file_holds_no_traces(tmp_path: Path):
    (tmp_path / "t.jsonl").touch()

    assert ids(tmp_path / "t.jsonl") == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(
            lines(ONE, {"id": "2", "agent": 3.5}), "t.jsonl:2: agent is 3.5", id="a value"
        ),
        pytest.param(lines(ONE) + b"{\n", "t.jsonl:2: not JSON", id="a line"),
        pytest.param(
            lines({"simulations": [{"id": {}}]}), "t.jsonl:1: simulations[1]: id is {}", id="a part"
        ),
        pytest.param(gzip.compress(lines(ONE))[:-1], "t.jsonl:2: the file cannot", id="torn gzip"),
    ],
)
def test_strict_stops_at_the_first_bad_record_and_names_it(
    tmp_path: Path, content: bytes, told: str
):
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    bad: list[BadRecord] = []

    with pytest.raises(TraceError) as stopped:
        list(read_traces(path, strict=True, on_bad=bad.append))

    assert told in str(stopped.value)
    assert str(stopped.value).startswith(str(path))
    assert bad == []


def test_strict_refuses_a_stray_file_in_a_folder(tmp_path: Path):
    (tmp_path / "a.json").write_text('{"version": 1}')
    (tmp_path / "t.jsonl").write_bytes(lines(ONE))

    with pytest.raises(TraceError, match=r"a\.json:1: is in no known format"):
        list(read_traces(tmp_path, strict=True))
    assert ids([ONE, TWO], strict=True) == ["1", "2"]


def test_credentials_are_taken_out_once_unless_the_redactor_is_off():
    key = "AKIA" + "IOSFODNN7" + "EXAMPLQ"
    run = {**ONE, "steps": [{"kind": "message", "role": "user", "text": f"my key is {key}"}]}
    counting = Redactor()

    (by_default,), (counted,), (as_is,) = (
        list(read_traces([run], redactor=redactor)) for redactor in (None, counting, Redactor.off())
    )

    assert key not in str(by_default)
    assert by_default == counted
    assert counting.counts.total() == 1
    assert key in str(as_is)


def spans(trace: str, *numbers: int) -> list[dict[str, object]]:
    """OTLP spans of one agent's run: the first is the run, the others calls of a tool."""
    return [
        {
            "traceId": trace,
            "spanId": f"{number:016x}",
            "parentSpanId": "" if number == 0 else f"{0:016x}",
            "name": "run" if number == 0 else f"execute_tool t{number}",
            "startTimeUnixNano": str(1_700_000_000_000_000_000 + number),
            "endTimeUnixNano": str(1_700_000_009_000_000_000),
            "attributes": [
                {"key": key, "value": {"stringValue": value}}
                for key, value in (
                    [("gen_ai.operation.name", "invoke_agent"), ("gen_ai.agent.name", "desk")]
                    if number == 0
                    else [
                        ("gen_ai.operation.name", "execute_tool"),
                        ("gen_ai.tool.name", f"t{number}"),
                    ]
                )
            ],
        }
        for number in numbers
    ]


def export(*found: dict[str, object]) -> dict[str, object]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(found)}]}]}


def test_parts_of_a_trace_are_gathered_across_a_file(tmp_path: Path):
    a, b = "a" * 32, "b" * 32
    path = tmp_path / "spans.jsonl"
    path.write_bytes(
        lines(
            export(*spans(a, 1), *spans(b, 0, 1)),
            export(*spans(a, 2)),
            export(*spans(b, 2), *spans(a, 0)),
        )
    )

    traces = {trace.id: trace for trace in read_traces(path)}

    assert sorted(traces) == [a, b]
    for trace in traces.values():
        assert [call.name for call in trace.agent_calls()] == ["t1", "t2"]


def test_parquet_rows_are_records(tmp_path: Path):
    path = tmp_path / "runs.parquet"
    with duckdb.connect() as db:
        db.execute(
            "COPY (SELECT 'r' || i AS id, 'a' AS agent, i = 1 AS success FROM range(3) t(i)) "
            f"TO '{path}' (FORMAT parquet)"
        )

    assert [(t.id, t.success) for t in read_traces(tmp_path)] == [
        ("r0", False),
        ("r1", True),
        ("r2", False),
    ]


def test_a_file_that_is_no_parquet_whatever_its_name_is_refused(tmp_path: Path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and then nothing")

    with pytest.raises(TraceError, match=r"t\.parquet: cannot be read as Parquet"):
        list(read_traces(tmp_path / "t.parquet"))


@pytest.mark.parametrize("odd", [[], {}, None, 1, 1.5, True], ids=repr)
@pytest.mark.parametrize("named", ["type", "role", "run_type", "info", "data", "spans", "id"])
def test_a_record_of_any_shape_is_read_or_set_aside(named: str, odd: Any):
    known = {"id": "1", "trace_id": "t", "stage": "s", "value": 1, "name": "n", "messages": []}
    bad: list[BadRecord] = []

    traces = list(read_traces([known | {named: odd}, [{named: odd}]], on_bad=bad.append))

    assert len(traces) + len(bad) == 2


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param({"latency_s": 1e10}, "latency_s is 10000000000.0, expected a number of at most"
            " 1e+09", id="nanoseconds taken for seconds"),
        pytest.param({"latency_s": -1.0}, "latency_s is -1.0, expected a finite number of at least"
            " 0", id="a time before its start"),
        pytest.param({"cost_usd": 1e30}, "cost_usd is 1e+30, expected a number of at most 1e+09",
            id="a cost that nobody has"),
        pytest.param({"tokens_in": -1}, "tokens_in is -1, expected a whole number of at least 0",
            id="less than no tokens"),
        pytest.param({"tokens_out": 1.5}, "tokens_out is 1.5, expected a whole number of at least"
            " 0", id="half a token"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda row: row, id="canonical"),
        pytest.param(lambda row: Trace(**row), id="a trace in hand"),
        pytest.param(
            lambda row: row | {"messages": [{"role": "user", "content": "x"}]}, id="messages"
        ),
    ],
)
def test_a_number_out_of_range_is_set_aside(value: dict[str, float], reason: str, form: Any):
    rows = [{"id": "1", "agent": "a"}, {"id": "2", "agent": "a"} | value, {"id": "3", "agent": "a"}]
    bad: list[BadRecord] = []

    traces = list(read_traces(map(form, rows), on_bad=bad.append))

    assert [trace.id for trace in traces] == ["1", "3"]
    assert bad == [BadRecord("records", 2, reason)]
    with pytest.raises(TraceError, match=r"^records:2: "):
        list(read_traces(map(form, rows), strict=True))


def test_the_traces_know_where_the_last_one_stands(tmp_path: Path):
    for name in ("a", "b"):
        lines = [f'{{"agent": "desk", "id": "{name}{n}"}}' for n in range(2)]
        (tmp_path / f"{name}.jsonl").write_text("\n\n".join(lines), encoding="utf-8")
    traces = read_traces(tmp_path)

    places = [(trace.id, *traces.place) for trace in traces]

    a, b = str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")
    assert places == [("a0", a, 1), ("a1", a, 3), ("b0", b, 1), ("b1", b, 3)]
