"""A file read in pieces gives what it gives when it is read as a whole."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tracetune.traces import pieces
from tracetune.traces.analytics import orders
from tracetune.traces.analytics.cutting import PieceRead, joined, piece_orders, tells_the_same
from tracetune.traces.analytics.spool import line_of
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.read import read_traces
from tracetune.traces.readers.base import BadRecord
from tracetune.traces.redaction import Redactor

TOKEN = "ghp_" + "a1B2" * 9
PLAIN = {"format": "auto", "mapping": None, "strict": False}


@pytest.fixture(autouse=True)
def small_files_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_WINDOW", 4000)
    monkeypatch.setattr(orders, "_PAYS", 1000)


def chat(number: int) -> dict[str, Any]:
    said = [{"role": "user", "content": f"run {number}: use {TOKEN}, é"}]
    return {"id": str(number % 35), "agent": "desk", "messages": said}


def span(trace: int, number: int, **more: Any) -> dict[str, Any]:
    return {
        "trace_id": f"t{trace}",
        "span_id": f"{trace}-{number}",
        "parent_id": f"{trace}-0" if number else None,
        "name": "desk" if number == 0 else "look_up",
        "start_time": 1_790_000_000 + trace * 10 + number,
        "end_time": 1_790_000_001 + trace * 10 + number,
        "attributes": {
            "openinference.span.kind": "TOOL" if number else "AGENT",
            "input.value": json.dumps({"n": number}),
            "tool.name": "look_up",
        },
        **more,
    }


def request(trace: int) -> dict[str, Any]:
    """One export request with all spans of a trace."""
    attributes = [{"key": "gen_ai.tool.name", "value": {"stringValue": "look_up"}}]
    spans = [
        {
            "traceId": f"{trace:032x}",
            "spanId": f"{number:016x}",
            "name": "execute_tool",
            "startTimeUnixNano": str(1_790_000_000_000_000_000 + number),
            "attributes": attributes,
        }
        for number in range(3)
    ]
    return {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}


def run_of(number: int) -> dict[str, Any]:
    """A LangSmith run, three of which are one trace."""
    trace, place = divmod(number, 3)
    return {
        "id": f"r{number}",
        "trace_id": f"r{trace * 3}",
        "parent_run_id": f"r{trace * 3}" if place else None,
        "run_type": "tool" if place else "chain",
        "name": "desk",
        "start_time": f"2026-11-22T05:{trace:02}:{place:02}Z",
        "inputs": {"q": "x" * 80},
    }


CHATS = [*map(chat, range(40))]
SPANS = [span(trace, number) for trace in range(30) for number in range(4)]
NAMELESS = [{"messages": one["messages"], "agent": "desk"} for one in CHATS]
EQUAL = NAMELESS[:7] * 6
BROKEN = ["no JSON", "", '{"odd": 1}', "   ", '{"messages": 5}']


def write(folder: Path, rows: list[Any]) -> Path:
    path = folder / "traces.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def scattered(rows: list[Any], lines: list[str]) -> list[Any]:
    """The rows, with lines among them."""
    step = len(rows) // (len(lines) + 1)
    found: list[Any] = []
    for index, row in enumerate(rows):
        found += [row, *lines[index // step - 1 : index // step]] if index % step == 0 else [row]
    return found


def whole(path: Path, **how: Any) -> tuple[list[bytes], list[BadRecord], dict[str, int]]:
    bad: list[BadRecord] = []
    redactor = Redactor()
    traces = read_traces(path, on_bad=bad.append, redactor=redactor, **how)
    return [line_of(trace) for trace in traces], bad, redactor.counts


def in_pieces(path: Path, folder: Path, count: int, **how: Any) -> list[PieceRead]:
    return [order.answer() for order in piece_orders(path, count, PLAIN | how, Redactor(), folder)]


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(CHATS, id="chats, some with an id that was there before"),
        pytest.param(scattered(CHATS, BROKEN), id="chats and lines that are of no use"),
        pytest.param(SPANS, id="spans, those of a trace together"),
        pytest.param(scattered(SPANS, ["no JSON", "", '{"odd": 1}']), id="spans and broken lines"),
        pytest.param(NAMELESS, id="chats without an id"),
        pytest.param([*map(request, range(30))], id="OTLP, a trace a request"),
        pytest.param([*map(run_of, range(90))], id="runs of LangSmith"),
    ],
)
def test_pieces_give_what_the_whole_gives(tmp_path: Path, rows: list[Any], count: int) -> None:
    path = write(tmp_path, rows)
    bad: list[BadRecord] = []
    redactor = Redactor()

    reads = in_pieces(path, tmp_path, count)
    lines = [one.line for one in joined(reads, bad.append, redactor)]

    assert len(reads) == count
    assert tells_the_same(reads)
    assert (lines, bad, redactor.counts) == whole(path)


def test_a_mapping_says_what_is_silent_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mapping = {"agent": "'desk'", "id": "number", "task": "nothing", "success": "well"}
    rows = [{"number": n} | ({"well": True} if n == 39 else {}) for n in range(40)]
    path = write(tmp_path, [row | {"filler": "x" * 200} for row in rows])

    with caplog.at_level(logging.WARNING):
        expected = whole(path, mapping=mapping)
        told = caplog.messages[:]
        caplog.clear()
        reads = in_pieces(path, tmp_path, 3, mapping=mapping)
        lines = [one.line for one in joined(reads, lambda _: None, Redactor())]

    assert (len(reads), lines) == (3, expected[0])
    assert caplog.messages == told == ["mapping: task gave nothing in any of 40 records"]


def far_apart(rows: list[Any]) -> list[Any]:
    """Spans of one trace at both ends of the file, too far from any cut to be seen."""
    return [span(0, 0), *rows, span(0, 1)]


@pytest.mark.parametrize(
    ("rows", "how"),
    [
        pytest.param(far_apart(SPANS[4:]), {}, id="a trace has parts in two pieces"),
        pytest.param([*CHATS, *SPANS], {}, id="a file of two formats"),
        pytest.param(scattered(CHATS, BROKEN), {"strict": True}, id="strict, and a broken line"),
        pytest.param(EQUAL, {}, id="records without an id have equals in other pieces"),
    ],
)
def test_pieces_that_do_not_fit_are_known(
    tmp_path: Path, rows: list[Any], how: dict[str, Any]
) -> None:
    reads = in_pieces(write(tmp_path, rows), tmp_path, 3, **how)

    assert len(reads) == 3
    assert not tells_the_same(reads)


def test_a_file_that_grows_meanwhile_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path, CHATS)
    orders_before = piece_orders(path, 2, PLAIN, Redactor(), tmp_path)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(CHATS[0]) + "\n")

    assert not tells_the_same([order.answer() for order in orders_before])


def tabled(path: Path, processes: int) -> dict[str, Any]:
    bad: list[BadRecord] = []
    redactor = Redactor()
    with TraceTables.read(
        path, on_bad=bad.append, redactor=redactor, processes=processes
    ) as tables:
        kept = {agent: tables.kept(agent) for agent in tables.agents()}
        return {"digest": tables.digest, "kept": kept, "bad": bad, "redacted": redactor.counts}


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(scattered(CHATS, BROKEN), id="pieces"),
        pytest.param(far_apart(SPANS[4:]), id="pieces that do not fit"),
        pytest.param(EQUAL, id="equal records without an id"),
    ],
)
def test_two_processes_find_in_one_file_what_one_finds(
    tmp_path: Path, rows: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, rows)
    fits: list[bool] = []

    def noted(reads: Sequence[PieceRead]) -> bool:
        fits.append(tells_the_same(reads))
        return fits[-1]

    monkeypatch.setattr(orders, "tells_the_same", noted)

    assert tabled(path, 2) == tabled(path, 1)
    assert fits == [rows[0] == CHATS[0]]
