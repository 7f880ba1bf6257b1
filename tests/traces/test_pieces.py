"""Where a file is cut: at ends of lines, and between traces."""

import json
from pathlib import Path
from typing import Any

import pytest

from tracetune.errors import TraceError
from tracetune.traces import pieces
from tracetune.traces.pieces import pieces_of
from tracetune.traces.read import read_traces


@pytest.fixture(autouse=True)
def small_files_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_WINDOW", 4000)


def chat(number: int) -> dict[str, Any]:
    said = [{"role": "user", "content": f"é, {number}" * 9}]
    return {"id": str(number), "agent": "desk", "messages": said}


def span(trace: int, number: int) -> dict[str, Any]:
    at = 1_790_000_000 + trace * 10 + number
    return {
        "trace_id": f"t{trace}",
        "span_id": f"{trace}-{number}",
        "start_time": at,
        "end_time": at + 1,
        "attributes": {"tool.name": "look_up", "input.value": "x" * 99},
    }


CHATS = [*map(chat, range(40))]


def interleaved() -> list[dict[str, Any]]:
    """Spans as they come from several runs at a time."""
    places = sorted(
        (trace + number * 2, trace, number) for trace in range(30) for number in range(4)
    )
    return [span(trace, number) for _, trace, number in places]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="nothing"),
        pytest.param(json.dumps(CHATS), id="a list in one line"),
        pytest.param(json.dumps(CHATS, indent=1), id="a list over many lines"),
        pytest.param(json.dumps(CHATS[0]) + "\n\n", id="one line"),
        pytest.param("no JSON\n" + "\n".join(map(json.dumps, CHATS)), id="a broken first line"),
        pytest.param("\n".join(map(json.dumps, [{"x": 1}, *CHATS])), id="an unknown first line"),
        pytest.param("\n".join(map(json.dumps, interleaved())), id="spans of mixed traces"),
        pytest.param("\n".join(["", *(json.dumps(chat(n)) + "x" * 9000 for n in (1, 2, 3))]),
            id="lines longer than is looked at"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_left_whole(tmp_path: Path, content: str) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text(content, encoding="utf-8")

    assert pieces_of(path, 3) == []


def test_pieces_are_whole_lines_and_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text("\ufeff" + "\n".join(map(json.dumps, CHATS)) + "\n", encoding="utf-8")

    found = pieces_of(path, 4)

    content = path.read_bytes()
    assert b"".join(content[one.start : one.end] for one in found) == content
    assert len(found) == 4
    assert all(content[one.end - 1 : one.end] == b"\n" for one in found)
    assert len(list(read_traces(path))) == 40


@pytest.mark.parametrize("count", [2, 3, 5])
def test_spans_of_one_trace_stay_together(tmp_path: Path, count: int) -> None:
    path = tmp_path / "traces.jsonl"
    rows = [span(trace, number) for trace in range(60) for number in range(4)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    found = pieces_of(path, count)

    content = path.read_bytes()
    lines = [content[one.start : one.end].splitlines() for one in found]
    traces = [{json.loads(line)["trace_id"] for line in several} for several in lines]
    assert len(found) == count
    assert sum(map(len, traces)) == len(set.union(*traces)) == 60


def test_a_format_that_is_not_known_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text("\n".join(map(json.dumps, CHATS)), encoding="utf-8")

    with pytest.raises(TraceError, match="format is 'x', expected one of"):
        pieces_of(path, 2, format="x")
