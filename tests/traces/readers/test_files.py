"""Values of JSON and JSON Lines files: odd shapes, broken ends, and sizes beyond the bounds."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tracetune.errors import TraceError
from tracetune.traces.model import Thought
from tracetune.traces.read import BadRecord, read_traces
from tracetune.traces.readers import json_values
from tracetune.traces.readers.files import NotJson, json_records

ONE, TWO = {"id": 1}, {"id": 2}
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def values(path: Path) -> list[tuple[int, Any]]:
    """Read a file; what does not parse is None."""
    return [(n, None if isinstance(v, NotJson) else v) for n, v in json_records(path)]


def reason(path: Path) -> str:
    """Why the one value that does not parse is none."""
    (found,) = (v.reason for _, v in json_records(path) if isinstance(v, NotJson))
    return found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that small files reach."""
    monkeypatch.setattr(json_values, "STREAM_FROM", 48)
    monkeypatch.setattr(json_values, "MAX_BYTES", 200)


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "t.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


LONG = [{"id": n, "text": "x" * 20} for n in range(9)]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(json.dumps(LONG), id="on one line"),
        pytest.param(json.dumps(LONG, indent=2), id="indented"),
        pytest.param("\n \n" + json.dumps(LONG), id="behind blank lines"),
        pytest.param("\ufeff" + json.dumps(LONG), id="behind a byte order mark"),
        pytest.param("[\n" + ",\n".join(map(json.dumps, LONG)) + "\n]", id="an item per line"),
        pytest.param("\n".join(map(json.dumps, LONG)), id="json lines"),
    ],
)
def test_a_long_list_is_read_item_by_item(tmp_path: Path, content: str):
    assert [value for _, value in values(write(tmp_path, content))] == LONG


@pytest.mark.usefixtures("small")
def test_a_long_list_does_not_need_its_end_to_begin(tmp_path: Path):
    records = json_records(write(tmp_path, json.dumps(LONG)[:-50]))

    assert next(records) == (1, LONG[0])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("indent", [None, 1], ids=["on one line", "indented"])
def test_a_long_list_of_messages_is_one_value(tmp_path: Path, indent: int | None):
    assert values(write(tmp_path, json.dumps(CHAT, indent=indent))) == [(1, CHAT)]


@pytest.mark.parametrize("bound", [2**20, 48], ids=["short", "long"])
@pytest.mark.parametrize("indent", [None, 1], ids=["on one line", "indented"])
def test_what_a_broken_list_holds_before_it_breaks_off_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: int, indent: int | None
):
    monkeypatch.setattr(json_values, "STREAM_FROM", bound)
    items = LONG * 40
    path = write(tmp_path, json.dumps(items, indent=indent)[:-30])

    found = list(json_records(path))

    assert [value for _, value in found[:-1]] == items[:-1]
    position, broken = found[-1]
    assert position == len(items)
    assert broken.reason.startswith("not JSON")
    assert broken.reason.endswith("the rest of the list is not read")


@pytest.mark.usefixtures("small")
def test_a_line_that_is_too_long_is_set_aside_and_the_next_ones_are_read(tmp_path: Path):
    big = json.dumps({"id": "x" * 300})
    path = write(tmp_path, "\n".join([json.dumps(ONE), big, json.dumps(TWO)]))

    assert values(path) == [(1, ONE), (2, None), (3, TWO)]
    assert "the line is longer than" in reason(path)
    assert values(write(tmp_path, f"{big}\n{json.dumps(ONE)}")) == [(1, None), (2, ONE)]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("indent", [None, 1], ids=["on one line", "indented"])
def test_one_object_that_is_too_long_is_refused(tmp_path: Path, indent: int | None):
    path = write(tmp_path, json.dumps({f"key{n}": n for n in range(40)}, indent=indent))

    with pytest.raises(TraceError, match=r"t\.json: is neither JSON nor JSON Lines: .*longer|more"):
        values(path)


@pytest.mark.usefixtures("small")
def test_one_object_within_the_bound_is_read_whole(tmp_path: Path):
    record = {f"key{n}": n for n in range(10)}

    assert values(write(tmp_path, json.dumps(record, indent=1))) == [(1, record)]


@pytest.mark.usefixtures("small")
def test_json_lines_after_a_broken_first_line_are_read_one_by_one(tmp_path: Path):
    path = write(tmp_path, "{broken\n" + "\n\n".join(map(json.dumps, LONG)))

    assert values(path) == [(1, None), *((2 * n + 2, item) for n, item in enumerate(LONG))]


@pytest.mark.parametrize(
    ("kept", "read", "position"),
    [
        pytest.param(-1, [ONE] * 3000, 3001, id="its checksum"),
        pytest.param(-15, [ONE] * 3000, 3000, id="its last lines"),
    ],
)
def test_a_torn_gzip_file_gives_what_it_can(
    tmp_path: Path, kept: int, read: list[Any], position: int
):
    packed = gzip.compress(b"\n".join(json.dumps(ONE).encode() for _ in read))
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(packed[:kept])

    found = list(json_records(path))

    assert [value for _, value in found[:-1]] == read[: len(found) - 1]
    assert found[-1][0] == len(found) <= position
    assert found[-1][1].reason.startswith("the file cannot be read as gzip from here on: ")


def test_a_gzip_file_with_nothing_to_be_had_is_refused(tmp_path: Path):
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": 1}\n')[:9])

    with pytest.raises(TraceError, match=r"t\.jsonl\.gz: cannot be read as gzip"):
        values(path)


def test_a_list_in_a_torn_gzip_file_gives_its_first_items(tmp_path: Path):
    items = [{"id": n} for n in range(5000)]
    path = tmp_path / "t.json.gz"
    path.write_bytes(gzip.compress(json.dumps(items).encode())[:-2000])

    found = list(json_records(path))

    assert 100 < len(found) < 5000
    assert [value for _, value in found[:-1]] == items[: len(found) - 1]
    assert "gzip" in found[-1][1].reason


def test_nan_and_infinity_are_read_as_python_writes_them(tmp_path: Path):
    path = write(tmp_path, '{"id": "1", "agent": "a", "score": NaN, "latency_s": Infinity}')

    (trace,) = read_traces(path)

    assert (trace.score, trace.latency_s) == (None, None)


def test_half_characters_are_replaced_and_the_line_is_read(tmp_path: Path):
    whole, half = "\\ud83d\\ude00", "\\ud83d"
    path = write(tmp_path, f'{{"id": "{whole} {half} \\\\ud83d", "score": NaN}}\n{{"id": 2}}')

    (_, first), second = values(path)

    assert first["id"] == "\N{GRINNING FACE} \N{REPLACEMENT CHARACTER} \\ud83d"
    assert second == (2, TWO)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_refused_by_its_name(tmp_path: Path, encoding: str):
    path = write(tmp_path, '\ufeff{"id": 1}\n'.encode(encoding))

    with pytest.raises(TraceError, match="it is UTF-16, expected UTF-8"):
        values(path)


@pytest.mark.parametrize("field", ["tokens_in", "latency_s", "score"])
def test_a_number_beyond_all_floats_sets_its_record_aside(field: str):
    bad: list[BadRecord] = []

    assert not list(read_traces([{"id": "1", "agent": "a", field: 10**400}], on_bad=bad.append))
    assert bad[0].reason.startswith(f"{field} is 1000000")


ODD = [float("nan"), float("inf"), -float("inf")]
TEXTS = [": NaN, -Infinity", '"NaN"', "\\", '\\"', ",", "é \\, NaN", "x" * 300]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("indent", [None, 1], ids=["in one line", "over many lines"])
@pytest.mark.parametrize("odd", ODD, ids=str)
def test_in_a_long_list_nan_is_null_and_text_that_says_so_stays(
    tmp_path: Path, odd: float, indent: int | None
):
    texts = [[text, odd, {text: odd}] for text in TEXTS]
    plain = [[text, None, {text: None}] for text in TEXTS]
    path = write(tmp_path, json.dumps([*LONG, *texts, *LONG], indent=indent))

    assert [value for _, value in json_records(path)] == [*LONG, *plain, *LONG]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_nan_is_found_however_a_file_is_read(size: int):
    said = json.dumps([{"a": TEXTS, "b": ODD}] * 3, ensure_ascii=False)
    file = json_values._Finite(io.BytesIO(said.encode()))

    found = b"".join(iter(lambda: file.read(size), b""))

    assert json.loads(found) == [{"a": TEXTS, "b": [None] * 3}] * 3


def test_deep_nesting_is_set_aside_and_the_next_line_is_read(tmp_path: Path):
    deep = '{"id": "d", "agent": "a", "feedback": ' + '{"a":' * 3000 + "1" + "}" * 3001
    nearly = '{"agent": "a", "feedback": ' + '{"a":' * 990 + "1" + "}" * 991
    path = write(tmp_path, f'{deep}\n{nearly}\n{{"id": "1", "agent": "a"}}')
    bad: list[BadRecord] = []

    traces = list(read_traces(path, on_bad=bad.append))

    assert traces[-1].id == "1"
    assert bad[0].position == 1
    assert len(traces) + len(bad) == 3


def test_a_record_of_100_mb_is_read_beside_small_ones(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    small = b'{"id": "1", "agent": "a"}\n'
    with path.open("wb") as file:
        file.write(small + b'{"id": "big", "agent": "a", "steps": [{"kind": "thought", "text": "')
        for _ in range(100):
            file.write(b"a thought " * 100_000)
        file.write(b'"}]}\n' + small)

    first, big, last = read_traces(path)

    assert (first.id, big.id, last.id) == ("1", "big", "1")
    assert isinstance(thought := big.steps[0], Thought)
    assert len(thought.text) == 10**8
