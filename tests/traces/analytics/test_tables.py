import gzip
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
import synthetic

from tracetune.errors import InputError, TraceError
from tracetune.traces.analytics.few import few_or_tables
from tracetune.traces.analytics.partials import count_runs
from tracetune.traces.analytics.sample import mark_of
from tracetune.traces.analytics.tables import TraceTables, error_key, opened
from tracetune.traces.failures import failure_kind_of
from tracetune.traces.metrics import compute_metrics
from tracetune.traces.mining.patterns import mine_patterns
from tracetune.traces.model import Message, Thought, ToolCall, Trace
from tracetune.traces.read import read_traces
from tracetune.traces.readers.base import BadRecord
from tracetune.traces.redaction import Redactor


def run(id: str, *calls: ToolCall, **values: object) -> Trace:
    return Trace(**{"id": id, "agent": "clerk", "steps": calls, **values})  # type: ignore[arg-type]


def used_calls(tables: TraceTables) -> dict[str, tuple[int, int]]:
    [counts] = tables.count([]).groups.values()
    return {name: (own[0], own[3]) for name, own in counts.tools.items()}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param(
            "Error: Payment method certificate_3221322 not found",
            "Error: Payment method <id> not found",
            id="ids of letters and digits",
        ),
        pytest.param(
            "total price is 570, but paid 285.50",
            "total price is <n>, but paid <n>",
            id="numbers",
        ),
        pytest.param(
            "Unknown column 'T1.name' in \"field list\"",
            "Unknown column <value> in <value>",
            id="quoted values",
        ),
        pytest.param("I don't know what can't be", "I don't know what can't be", id="apostrophes"),
        pytest.param(
            "run 13ac416d-9285-4ad0-8bad-0123456789ab failed", "run <id> failed", id="uuid"
        ),
        pytest.param("no /tmp/a/b.txt here", "no <path> here", id="path"),
        pytest.param(
            "Traceback (most recent call last):\n  File x\nKeyError: 'a'\n",
            "KeyError: <value>",
            id="traceback ends with what went wrong",
        ),
        pytest.param("a\x07\n\tb\x1b", "a b", id="control characters"),
        pytest.param("", "", id="an error without a text"),
    ],
)
def test_an_error_key_keeps_what_errors_share(text: str, key: str) -> None:
    assert error_key(text) == key


def test_an_error_key_is_short_even_for_a_megabyte() -> None:
    assert len(error_key("ab " * 400_000)) <= 120


def test_real_traces_fill_both_tables(shared_data: Path) -> None:
    source = shared_data / "tau2-bench" / "airline-gpt-oss-120b-langchain.json.gz"
    traces = list(read_traces(source))
    with TraceTables(iter(traces)) as tables:
        calls = used_calls(tables)
        (known,) = tables.query("known_runs", agent=None)
    assert len(tables) == 50
    assert (known["runs"], known["successes"]) == (50, 19)
    assert calls["transfer_to_human_agents"] == (463, 28)
    assert sum(n for n, _ in calls.values()) == sum(t.attempts or 0 for t in traces)


def test_calls_of_the_user_are_left_out() -> None:
    with TraceTables([run("1", ToolCall("mine"), ToolCall("theirs", by="user"))]) as tables:
        assert used_calls(tables) == {"mine": (1, 1)}


def test_the_digest_is_of_the_content_in_any_order() -> None:
    traces = [run(str(n), ToolCall("look", {"at": n}), success=n > 2) for n in range(6)]
    shuffled = random.Random(1).sample(traces, k=6)
    changed = [*traces[:-1], replace(traces[-1], success=None)]
    digests = [TraceTables(some).digest for some in (traces, shuffled, changed, traces[:-1], [])]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4
    assert all(len(digest) == 16 for digest in digests)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        pytest.param({"task": "left"}, {"task": "rite"}, id="a task"),
        pytest.param({"feedback": "good"}, {"feedback": "evil"}, id="feedback"),
        pytest.param({"labels": {"a": "x"}}, {"labels": {"a": "y"}}, id="a label"),
        pytest.param(
            {"steps": [Message("user", "left")]}, {"steps": [Message("user", "rite")]}, id="a text"
        ),
        pytest.param(
            {"steps": [Message("system", "be")]}, {"steps": [Message("user", "be")]}, id="a role"
        ),
        pytest.param(
            {"steps": [Thought("1"), Thought("2")]},
            {"steps": [Thought("2"), Thought("1")]},
            id="the order of steps",
        ),
        pytest.param(
            {"steps": [ToolCall("go", {"to": 1})]},
            {"steps": [ToolCall("go", {"to": 2})]},
            id="an argument",
        ),
        pytest.param(
            {"steps": [ToolCall("go", result="yes")]},
            {"steps": [ToolCall("go", result="non")]},
            id="a result",
        ),
        pytest.param(
            {"steps": [ToolCall("go", error="yes")]},
            {"steps": [ToolCall("go", error="non")]},
            id="an error",
        ),
    ],
)
def test_the_digest_tells_of_an_edit_of_equal_length(was: Any, now: Any) -> None:
    digests = {TraceTables([run("1", **values)]).digest for values in (was, now, was)}
    assert len(digests) == 2


def test_the_digest_is_not_of_what_is_left_out_or_in_what_order() -> None:
    bare = {"id": "1", "agent": "clerk", "steps": [{"kind": "tool_call", "name": "go"}]}
    full = dict(reversed(bare.items())) | {"labels": {}, "feedback": {}, "failure_kind": "unknown"}
    full["steps"] = [{"name": "go", "kind": "tool_call", "arguments": {}, "by": "agent"}]
    labels = {"a": "1", "b": "2"}
    rows = [bare, full, {"labels": labels}, {"labels": dict(reversed(labels.items()))}]
    digests = [read([LINE | row if "id" not in row else row])[2] for row in rows]
    assert digests[0] == digests[1]
    assert digests[2] == digests[3]
    assert digests[0] != digests[2]


def test_hostile_text_reaches_the_tables_as_data() -> None:
    names = ["'; DROP TABLE runs; --", "nul\x00", "lone \ud800", "line\nbreak", "{'a': \"b\"}"]
    traces = [run(name, ToolCall(name, {"x": "\ud800"}, error=name)) for name in names]
    with TraceTables(traces) as tables:
        assert len(used_calls(tables)) == len(names)
        assert used_calls(tables)[names[0]] == (1, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_latency_that_is_no_number_is_unknown(value: float) -> None:
    with TraceTables([run("1", latency_s=value)]) as tables:
        [counts] = tables.count([]).groups.values()
    assert counts.latency == {}


def counted(held: Any) -> int:
    with held as runs:
        return sum(runs.agents().values())


OUT_OF_RANGE = [
    pytest.param({"id": "7"}, "Two traces of agent 'clerk' have the id '7'", id="an id twice"),
    pytest.param({"turns": 2**63}, "turns is 9223372036854775808, expected", id="a large count"),
    pytest.param({"latency_s": 1e10}, "9: latency_s is 10000000000.0, expected a number of at most"
        " 1e\\+09", id="nanoseconds taken for seconds"),
    pytest.param({"latency_s": -1e30}, "9: latency_s is -1e\\+30, expected", id="a negative time"),
    pytest.param({"cost_usd": 1e30}, "9: cost_usd is 1e\\+30, expected", id="a large cost"),
    pytest.param({"cost_usd": "dear"}, "9: cost_usd is 'dear', expected", id="a cost in words"),
    pytest.param({"attempts": -1}, "9: attempts is -1, expected", id="less than no calls"),
    pytest.param({"success": 1}, "9: success is 1, expected true or false", id="a number for true"),
    pytest.param({"feedback": 5}, "9: feedback is 5, expected text", id="a number for feedback"),
    pytest.param({"failure_kind": "me"}, "9: failure_kind is 'me', expected", id="another failure"),
]  # fmt: skip


@pytest.mark.parametrize(("odd", "reason"), OUT_OF_RANGE)
@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda traces: compute_metrics(traces)[0].n, id="metrics"),
        pytest.param(lambda traces: counted(TraceTables(traces)), id="tables"),
        pytest.param(lambda traces: counted(few_or_tables(traces)), id="a few"),
    ],
)
def test_traces_in_hand_that_cannot_be_counted_are_set_aside(
    odd: dict[str, Any], reason: str, ask: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bad = run(**{"id": "9", "success": True} | odd)
    traces = [run("7", success=True), bad, run("8", success=False), bad]
    assert ask(traces) == 2
    assert len(caplog.records) == 1
    assert re.match(f"2 records were set aside; the first: records 2: {reason}", caplog.messages[0])
    with pytest.raises(TraceError, match=f"^records:2: {reason}"):
        TraceTables(traces, strict=True)


def test_patterns_of_traces_in_hand_leave_out_what_cannot_be_counted() -> None:
    good = [run(f"{n}", ToolCall("ab"[n % 2]), success=n % 2 > 0) for n in range(20)]
    values: list[dict[str, Any]] = [{"cost_usd": 1e30}, {"attempts": -1}, {"score": True}]
    odd = [run(f"x{n}", ToolCall("c"), success=True, **one) for n, one in enumerate(values)]
    odd += [replace(good[0], steps=()), run("y", ToolCall("c"), success=1)]
    found = mine_patterns([*good, *odd])
    assert found == mine_patterns(good)
    assert found


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        pytest.param([{"id": "1"}], "records:1: .* is no trace", id="records"),
        pytest.param([run("1"), {"id": "2"}], "records:2: .* is no trace", id="the second only"),
        pytest.param("runs.jsonl", "traces is 'runs.jsonl', expected", id="a path as text"),
        pytest.param(Path("runs.jsonl"), "traces is .*, expected those that", id="a path"),
        pytest.param({"id": "1"}, "traces is .*, expected those that read_traces", id="a record"),
        pytest.param(None, "traces is None, expected", id="nothing"),
    ],
)
@pytest.mark.parametrize("ask", [compute_metrics, mine_patterns])
def test_what_is_no_trace_is_refused_in_one_line(odd: Any, reason: str, ask: Any) -> None:
    with pytest.raises(InputError, match=reason) as refused:
        ask(odd)
    assert "\n" not in str(refused.value)


def test_a_strict_reading_is_counted_strictly() -> None:
    twice = [LINE, LINE]
    assert compute_metrics(read_traces(twice))[0].n == 1
    with pytest.raises(TraceError, match=r"^records:2: Two traces of agent"):
        compute_metrics(read_traces(twice, strict=True))


@pytest.mark.parametrize(
    "hold", [pytest.param(TraceTables, id="tables"), pytest.param(few_or_tables, id="a few")]
)
def test_sums_at_the_bounds_are_exact(hold: Any) -> None:
    most = 2**63 - 1
    traces = [run(f"{n}", latency_s=1e9, cost_usd=1e9, tokens_in=most) for n in range(30)]
    with hold(traces) as held:
        [found] = compute_metrics(held)
        [counts] = held.count(["agent"]).groups.values()
    assert (found.n, found.latency_p50, found.cost_mean) == (30, 1e9, 1e9)
    assert counts.sums["tokens_in_sum"] == 30 * most


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(['{"agent": "clerk", "id": "1", "success": true}'] * 2, id="read by DuckDB"),
        pytest.param(['{"agent": "clerk", "id": "1", "turns": "3"}'] * 2, id="read by Python"),
    ],
)
def test_a_second_run_with_an_id_is_told_with_its_line(lines: list[str], tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text("\n\n".join(lines), encoding="utf-8")
    bad: list[BadRecord] = []
    with TraceTables.read(path, on_bad=bad.append) as tables:
        assert len(tables) == 1
    assert [(one.source, one.position) for one in bad] == [(str(path), 3)]


def test_two_agents_may_share_an_id() -> None:
    with TraceTables([run("7", ToolCall("a")), run("7", ToolCall("b"), agent="boss")]) as tables:
        assert used_calls(tables) == {"a": (1, 1), "b": (1, 1)}


def test_a_value_of_the_wrong_type_is_an_error_of_one_line() -> None:
    with pytest.raises(TraceError, match="soon") as caught:
        TraceTables([run("1", success="soon")], strict=True)
    assert "\n" not in str(caught.value)
    assert tempfile.gettempdir() not in str(caught.value)


def test_nothing_stays_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with TraceTables([run("1")]):
        pass
    with pytest.raises(TraceError):
        TraceTables([run("1"), run("1")], strict=True)
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_fails_is_passed_on_and_cleaned_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def broken():
        yield run("1")
        raise TraceError("line 2 is broken")

    with pytest.raises(TraceError, match="line 2 is broken"):
        TraceTables(broken())
    assert list(tmp_path.iterdir()) == []


def test_closed_tables_refuse_questions() -> None:
    with TraceTables([run("1")]) as tables:
        pass
    with pytest.raises(ValueError, match="closed"):
        tables.has("clerk", "1")


def test_tables_that_were_given_stay_open() -> None:
    with TraceTables([run("1", ToolCall("a"))]) as tables:
        with opened(tables) as same:
            assert same is tables
        assert used_calls(tables) == {"a": (1, 1)}


def test_grouping_by_what_no_trace_has_is_refused() -> None:
    with (
        TraceTables([run("1", labels={"site": "x"})]) as tables,
        pytest.raises(InputError, match=r"'agnet'; expected: agent, .*task, site\."),
    ):
        tables.group(["agnet"])


LINE = {
    "id": "1",
    "agent": "clerk",
    "task": "t",
    "success": False,
    "latency_s": 2.5,
    "labels": {"site": "x", "ended_by": "max_steps"},
    "steps": [
        {"kind": "message", "role": "user", "text": "do"},
        {"kind": "thought", "text": "hm"},
        {"kind": "tool_call", "name": "look", "arguments": {"a": 1, "b": [2]}, "result": "é"},
        {"kind": "tool_call", "name": "look", "arguments": {"a": 1, "b": [2]}, "error": "no row 7"},
        {"kind": "tool_call", "name": "theirs", "by": "user"},
    ],
}


def content(tables: TraceTables) -> dict[str, list[Any]]:
    names = ("runs", "calls", "labels")
    rows = {name: tables._db.execute(f"SELECT * FROM {name}").fetchall() for name in names}
    return {name: sorted(found, key=repr) for name, found in rows.items()}


def read(source: Any, **how: Any) -> tuple[Any, ...]:
    """All there is to see of the tables of a source."""
    bad: list[BadRecord] = []
    with TraceTables.read(source, on_bad=bad.append, **how) as tables:
        kept = [trace for agent in tables.agents() for trace in tables.kept(agent)]
        reasons = [(one.source, one.reason) for one in bad]
        return content(tables), kept, tables.digest, tables.agents(), reasons


def through_python(source: Any) -> tuple[Any, ...]:
    """The same, with every trace as an object."""
    seen: set[tuple[str, str]] = set()
    once: list[Trace] = []
    bad: list[BadRecord] = []
    for trace in read_traces(source, on_bad=bad.append):
        if (trace.agent, trace.id) in seen:
            reason = f"Two traces of agent {trace.agent!r} have the id {trace.id!r}; expected 1."
            bad.append(BadRecord(str(source), 0, reason))
        else:
            once.append(trace)
        seen.add((trace.agent, trace.id))
    with TraceTables(once) as tables:
        kept = [trace for agent in tables.agents() for trace in tables.kept(agent)]
        reasons = [(one.source, one.reason) for one in bad]
        return content(tables), kept, tables.digest, tables.agents(), reasons


def changed(**values: Any) -> str:
    return json.dumps(LINE | {"id": "2"} | values)


def step(**values: Any) -> str:
    return changed(steps=[{"kind": "tool_call", "name": "look"} | values])


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(changed(), id="nothing odd"),
        pytest.param("", id="a blank line"),
        pytest.param("   \t", id="a line of blanks"),
        pytest.param(changed(id="1"), id="an id again"),
        pytest.param(changed(id="1", agent="boss"), id="an id again, of another agent"),
        pytest.param(changed(success="true"), id="text for a boolean"),
        pytest.param(changed(success=1), id="a number for a boolean"),
        pytest.param(changed(turns="12"), id="text for a count"),
        pytest.param(changed(turns=1.5), id="half a turn"),
        pytest.param(changed(turns=3.0), id="a whole float for a count"),
        pytest.param(changed(turns=-1), id="a negative count"),
        pytest.param(changed(turns=True), id="a boolean for a count"),
        pytest.param(changed(latency_s="2.5"), id="text for a time"),
        pytest.param(changed(latency_s=-2), id="a negative time"),
        pytest.param(changed(latency_s=1e9, cost_usd=1e9), id="the longest and dearest"),
        pytest.param(changed(latency_s=1e10), id="nanoseconds taken for seconds"),
        pytest.param(changed(cost_usd=1e30), id="a cost that nobody has"),
        pytest.param(step(latency_s=1e10), id="a call as long"),
        pytest.param(changed(latency_s=math.nan), id="NaN"),
        pytest.param(changed(score=math.inf), id="Infinity"),
        pytest.param(changed(score=3), id="a whole score"),
        pytest.param(changed(reward=1), id="an unknown key"),
        pytest.param(changed(id=7), id="a number for an id"),
        pytest.param(changed(id=""), id="an empty id"),
        pytest.param(changed(id=None), id="a null id"),
        pytest.param('{"agent": "clerk", "success": true}', id="no id"),
        pytest.param('{"id": "3"}', id="no agent"),
        pytest.param(changed(task=5), id="a number for a task"),
        pytest.param(changed(task=None, steps=None, labels=None), id="nulls"),
        pytest.param(changed(started_at="2026-01-01T10:00:00z"), id="a small z"),
        pytest.param(changed(started_at="2026-02-30T10:00:00Z"), id="no such day"),
        pytest.param(changed(started_at="2026-01-01 10:00"), id="a naive time"),
        pytest.param(changed(started_at=1767225600), id="seconds since 1970"),
        pytest.param(changed(labels={"n": 5}), id="a number for a label"),
        pytest.param(changed(labels={"n": None}), id="a null label"),
        pytest.param(changed(labels=[]), id="a list for labels"),
        pytest.param(changed(feedback={"helpful": 1.50}), id="feedback by key"),
        pytest.param(changed(feedback=5), id="a number for feedback"),
        pytest.param(changed(failure_kind="weather"), id="an unknown kind of failure"),
        pytest.param(changed(failure_kind=None), id="a null kind of failure"),
        pytest.param(changed(steps=[]), id="no steps"),
        pytest.param(changed(steps=[None]), id="a null step"),
        pytest.param(changed(steps=[{"kind": "dance"}]), id="an unknown kind of step"),
        pytest.param(changed(steps=[{"kind": "thought"}]), id="a thought of nothing"),
        pytest.param(step(arguments='{"a": 1}'), id="arguments as text"),
        pytest.param(step(arguments={"z": {"y": 1.50, "x": "\u00e9"}}), id="nested arguments"),
        pytest.param(step(result={"rows": 3}), id="an object for a result"),
        pytest.param(step(cost=3), id="an unknown key of a step"),
        pytest.param(step(name=""), id="an empty tool name"),
        pytest.param(step(by="dog"), id="an unknown caller"),
        pytest.param(step(error="RateLimitError: slow down"), id="ended by a rate limit"),
        pytest.param(step(error=""), id="an error without text"),
        pytest.param(changed()[:-1] + ",}", id="a trailing comma"),
        pytest.param('{"id": "4", "id": "5", "agent": "clerk"}', id="a key twice"),
        pytest.param("{broken", id="no JSON"),
        pytest.param("[" + changed() + "]", id="a list"),
        pytest.param("null", id="null"),
        pytest.param(changed(task="\ud800"), id="a lone surrogate, escaped"),
        pytest.param(changed(task="sk-" + "ant-api03-" + "aB3" * 31 + "AA"), id="a credential"),
    ],
)
def test_both_ways_into_the_tables_agree(odd: str, tmp_path: Path) -> None:
    last = json.dumps(LINE | {"id": "9", "success": True})
    path = tmp_path / "runs.jsonl"
    path.write_text("\n".join([json.dumps(LINE), odd, last]) + "\n", encoding="utf-8")
    assert read(path) == through_python(path)


def test_a_count_beyond_64_bits_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps(LINE) + "\n" + changed(turns=2**63) + "\n", encoding="utf-8")
    _, _, _, agents, reasons = read(path)
    assert agents == {"clerk": 1}
    assert reasons == [
        (str(path), "turns is 9223372036854775808, expected a whole number below 2^63.")
    ]


@pytest.mark.parametrize("torn", [0, 9], ids=["whole", "torn"])
def test_gzip_files_agree_too(torn: int, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl.gz"
    packed = gzip.compress("\n".join(map(str, [changed(id=str(n)) for n in range(99)])).encode())
    path.write_bytes(packed[: len(packed) - torn])
    assert read(path) == through_python(path)


@pytest.mark.parametrize("ending", ["", "\r\n", "\n\n\n"])
def test_line_ends_do_not_matter(ending: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_bytes((changed() + (ending or "\n") + changed(id="3") + ending).encode())
    assert read(path)[3] == {"clerk": 2}


def test_made_up_traces_agree_too(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    synthetic.write(path, 2000, seed=7)
    assert read(path) == through_python(path)


def test_real_traces_agree_too(shared_data: Path) -> None:
    source = shared_data / "tau2-bench" / "airline-gpt-4.1-base.json.gz"
    assert read(source) == through_python(source)


def month(folder: Path, days: int = 3) -> Path:
    folder.mkdir()
    for day in range(days):
        synthetic.write(folder / f"day-{day}.jsonl", 60, first=60 * day)
    return folder


def touched(path: Path, text: str) -> None:
    """Change a file so that nothing but reading it could tell."""
    before = path.stat()
    path.write_text(text.ljust(before.st_size)[: before.st_size], encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_new_day_is_read_alone_and_equals_reading_all(tmp_path: Path) -> None:
    folder, cache = month(tmp_path / "runs"), tmp_path / "cache"
    read(folder, cache=cache)
    synthetic.write(folder / "day-3.jsonl", 60, first=180)
    anew = read(folder)
    for day in range(3):
        touched(folder / f"day-{day}.jsonl", "not to be read")
    assert read(folder, cache=cache) == anew
    with TraceTables.read(folder, cache=cache) as tables:
        at_hand, counted = tables.count(["agent"]), tables.count(["agent", "site"])
        assert at_hand == count_runs(tables.query, tables.group(["agent"]))
    assert sum(group.sums["n"] for group in counted.groups.values()) == 240


def test_metrics_that_are_at_hand_take_no_database(tmp_path: Path) -> None:
    path, cache = tmp_path / "runs.jsonl", tmp_path / "cache"
    synthetic.write(path, 60)
    read(path, cache=cache)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tracetune.traces.analytics.tables import TraceTables\n"
        "from tracetune.traces.metrics import compute_metrics\n"
        "with TraceTables.read(sys.argv[1], cache=Path(sys.argv[2])) as tables:\n"
        "    print(*(found.n for found in compute_metrics(tables)))\n"
        "    print('duckdb' in sys.modules)\n"
        "    print(len(tables.tools('booking')), 'duckdb' in sys.modules)\n"
    )
    asked = [sys.executable, "-c", code, str(path), str(cache)]
    done = subprocess.run(asked, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["15 15 15 15", "False", "9 True"]


def test_parts_of_files_that_changed_or_went_are_not_used(tmp_path: Path) -> None:
    folder, cache = month(tmp_path / "runs"), tmp_path / "cache"
    read(folder, cache=cache)
    (folder / "day-0.jsonl").unlink()
    synthetic.write(folder / "day-1.jsonl", 10, first=1000)
    assert read(folder, cache=cache) == read(folder)


@pytest.mark.parametrize("file", ["part.json", "runs.parquet", "kept.parquet"])
def test_a_broken_part_is_made_again(file: str, tmp_path: Path) -> None:
    folder, cache = month(tmp_path / "runs", days=1), tmp_path / "cache"
    anew = read(folder, cache=cache)
    for path in cache.rglob(file):
        path.write_bytes(b"")
    assert read(folder, cache=cache) == anew


def test_what_was_set_aside_is_said_again_from_the_cache(tmp_path: Path) -> None:
    path, cache = tmp_path / "runs.jsonl", tmp_path / "cache"
    path.write_text(json.dumps(LINE) + "\n" + changed(turns=-1) + "\n", encoding="utf-8")
    first, second = read(path, cache=cache), read(path, cache=cache)
    assert first == second
    assert len(first[4]) == 1
    with pytest.raises(TraceError, match="turns"):
        TraceTables.read(path, cache=cache, strict=True)


SECRET = "sk-" + "ant-api03-" + "aB3" * 31 + "AA"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(step(arguments={"key": SECRET}), id="an argument"),
        pytest.param(step(arguments={"a": [{"b": f"x {SECRET}"}]}), id="deep in an argument"),
        pytest.param(step(arguments={"password": "hunter2hunter2"}), id="a key that names one"),
        pytest.param(step(arguments={"a": ["--password", "hunter2hunter2", "x"]}), id="an option"),
        pytest.param(step(arguments={"a": [["x-api-key", "hunter2hunter2"]]}), id="a pair"),
        pytest.param(
            step(arguments={"a": {"key": "DB_PASSWORD", "value": "hunter2hunter2"}}),
            id="a variable",
        ),
        pytest.param(
            changed(feedback={"Name": "password", "Value": "hunter2hunter2"}), id="a field"
        ),
        pytest.param(changed(labels={"name": "password", "value": "hunter2hunter2"}), id="labels"),
        pytest.param(step(result=f'{{"token": "{SECRET}"}}'), id="JSON in a result"),
        pytest.param(step(error=f"\n\t{SECRET}"), id="an error"),
        pytest.param(step(agent=SECRET), id="the agent of a step"),
        pytest.param(changed(steps=[{"kind": "thought", "text": SECRET}]), id="a thought"),
        pytest.param(changed(feedback={"said": SECRET}), id="feedback by key"),
        pytest.param(changed(release=SECRET), id="a release"),
        pytest.param(
            step(arguments={"q": "x"}).replace('"q"', f'"q": "{SECRET}", "q"'), id="a key twice"
        ),
        pytest.param(step(result=SECRET).replace("sk-", "\\u0073k-"), id="escaped"),
    ],
)
def test_a_cache_keeps_no_credential(
    line: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    secret = "hunter2hunter2" if "hunter2" in line else SECRET
    path, cache = tmp_path / "runs.jsonl", tmp_path / "cache"
    path.write_text(line + "\n", encoding="utf-8")
    redactor = Redactor()
    with TraceTables.read(path, cache=cache, redactor=redactor) as tables:
        [trace] = tables.kept("clerk")
    assert secret not in repr(trace)
    assert redactor.counts.total() == ("a key twice" not in request.node.name)
    [kept] = cache.rglob("kept.parquet")
    [(line,)] = duckdb.execute("SELECT line FROM read_parquet($1)", [str(kept)]).fetchall()
    assert secret not in line


def test_a_run_that_two_files_hold_counts_once(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    # Large files are parts of their own.
    for name, wins in (("a", True), ("b", False)):
        pad = json.dumps(
            LINE | {"id": name, "steps": [{"kind": "thought", "text": "x" * 5_000_000}]}
        )
        two = pad + "\n" + json.dumps(LINE | {"id": f"{name}2", "steps": []}) + "\n"
        lines = two + changed(success=wins) + "\n" + pad.replace(f'"{name}"', f'"{name}3"') + "\n"
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    tables, _, _, agents, reasons = read(folder)
    assert agents == {"clerk": 7}
    assert next(row for row in tables["runs"] if "2" in row)[4] is True
    bad: list[BadRecord] = []
    TraceTables.read(folder, on_bad=bad.append, cache=tmp_path / "cache").close()
    assert [(one.source, one.position) for one in bad] == [(str(folder / "b.jsonl"), 3)]
    assert reasons == [
        (str(folder / "b.jsonl"), "Two traces of agent 'clerk' have the id '2'; expected 1.")
    ]


def test_a_folder_of_useless_files_is_refused_and_a_useless_file_set_aside(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"colour": "red"}', encoding="utf-8")
    with pytest.raises(TraceError, match=r"a\.json: .*known format"):
        TraceTables.read(tmp_path)
    (tmp_path / "b.jsonl").write_text(changed(), encoding="utf-8")
    _, _, _, agents, [(source, reason)] = read(tmp_path)
    assert agents == {"clerk": 1}
    assert source.endswith("a.json")
    assert "known format" in reason


def test_records_in_memory_are_read_too() -> None:
    assert read([LINE, LINE | {"id": "2"}, LINE])[3] == {"clerk": 2}


def test_digests_are_of_each_agents_content() -> None:
    one = [run("1", ToolCall("a")), run("1", agent="boss", success=True)]
    two = [run("1", ToolCall("a")), run("1", agent="boss", success=False)]
    with TraceTables(one) as first, TraceTables(two) as second:
        assert first.digest_of_agent("clerk") == second.digest_of_agent("clerk")
        assert first.digest_of_agent("boss") != second.digest_of_agent("boss")
        assert first.digest_of_agent("nobody") == "0" * 16


def test_kept_runs_are_found_by_id(shared_data: Path) -> None:
    source = shared_data / "tau2-bench" / "airline-gpt-4.1-base.json.gz"
    with TraceTables.read(source) as tables:
        [agent] = tables.agents()
        kept = tables.kept(agent)
        ids = [kept[3].id, "nobody", kept[0].id]
        assert tables.traces(agent, ids) == [kept[3], kept[0]]


def test_the_mark_of_a_run_is_the_same_in_both_languages() -> None:
    names = ["1", "run é", "nul\x00", "😀"]
    with TraceTables([run(name) for name in names]) as tables:
        marks = dict(tables._db.execute("SELECT trace_id, mark FROM runs").fetchall())
    assert marks == {name: mark_of("clerk", name) for name in names}


def test_an_error_has_one_key_in_both_languages() -> None:
    chance = random.Random(2)
    pieces = ["12", "é9", "ab", "_", "-", " ", "'", '"', "/x", ".", "A1", "\n", "0f" * 4, "\u0663"]
    pieces += ["13ac416d-9285-4ad0-8bad-0123456789ab", "12345678-1234-1234-1234-123456789012"]
    texts = ["".join(chance.choices(pieces, k=chance.randrange(9))) for _ in range(3000)]
    with TraceTables([run("1", *(ToolCall("t", error=text) for text in texts))]) as tables:
        keys = tables._db.execute("SELECT error_key FROM calls ORDER BY seq").fetchall()
    assert [key for (key,) in keys] == list(map(error_key, texts))


@pytest.mark.parametrize(
    ("trace", "kind"),
    [
        pytest.param(
            run("1", ToolCall("ask", error="litellm.RateLimitError: RateLimitError: Mistral")),
            "infrastructure",
            id="its last call met a rate limit",
        ),
        pytest.param(
            run("1", ToolCall("ask", error="RateLimitError"), ToolCall("ask", result="ok")),
            "unknown",
            id="it went on after a rate limit",
        ),
        pytest.param(
            run("1", ToolCall("ask", error="RateLimitError"), success=True),
            "unknown",
            id="it succeeded all the same",
        ),
        pytest.param(
            run("1", ToolCall("ask", error="RateLimitError"), failure_kind="agent"),
            "agent",
            id="the trace says otherwise",
        ),
        pytest.param(
            run("1", ToolCall("ask", error="RateLimitError", by="user")),
            "unknown",
            id="the user's call",
        ),
        pytest.param(
            run("1", ToolCall("kubectl", error="dial tcp 10.0.0.1: connection refused")),
            "unknown",
            id="a tool's own business",
        ),
        pytest.param(
            run("1", labels={"error": "openai.APIConnectionError: Connection refused"}),
            "infrastructure",
            id="the run ended in a connection that failed",
        ),
        pytest.param(
            run(
                "1", success=False, labels={"error": "Error code: 401 - Incorrect API key provided"}
            ),
            "infrastructure",
            id="the run ended in a refused key",
        ),
        pytest.param(
            run("1", labels={"error": "Client error '429 Too Many Requests' for url"}),
            "infrastructure",
            id="the run ended in HTTP's 429",
        ),
        pytest.param(
            run("1", success=False, labels={"error": "KeyError: 'timeout'"}),
            "unknown",
            id="the run ended in a bug",
        ),
        pytest.param(
            run("1", ToolCall("pay", error="Rate limit: 3 payments a day")),
            "unknown",
            id="a rule that is called a limit",
        ),
    ],
)
def test_who_a_failure_belongs_to_is_told_alike_in_both_languages(trace: Trace, kind: str) -> None:
    assert failure_kind_of(trace) == kind
    with TraceTables([trace]) as tables:
        assert tables._db.execute("SELECT failure_kind FROM runs").fetchall() == [(kind,)]
        assert [kept.failure_kind for kept in tables.kept("clerk")] == [kind]
