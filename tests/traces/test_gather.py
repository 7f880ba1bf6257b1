"""Gathering the parts of traces, in bounded memory."""

from collections.abc import Iterator
from typing import Any

import pytest

from tracetune.traces.gather import Gatherer, TooLateError
from tracetune.traces.model import Trace
from tracetune.traces.readers.base import Context, Reader


def read(record: Any, context: Context) -> Iterator[Trace]:
    yield Trace(id=record[0]["trace"], agent="a")


PARTS = Reader("parts", lambda record: True, read, lambda record: iter([(record["trace"], record)]))
OTHER = Reader("other", PARTS.matches, read, PARTS.parts)
SIZE = len('{"trace":"x","n":10}')


def part(trace: str, number: int) -> dict[str, Any]:
    return {"trace": trace, "n": 10 + number}


def fill(gatherer: Gatherer, order: str) -> list[list[int]]:
    """Add a part per letter; return the numbers of the parts given out on the way."""
    given = []
    for number, trace in enumerate(order):
        gatherer.add(PARTS, trace, part(trace, number), number)
        while gatherer.is_full:
            given.append([row["n"] - 10 for row in gatherer.take().record])
    return given


def rest(gatherer: Gatherer) -> list[list[int]]:
    return [[row["n"] - 10 for row in one.record] for one in gatherer.rest()]


def test_all_parts_of_a_trace_come_together_in_their_order():
    gatherer = Gatherer()

    assert fill(gatherer, "abcabc") == []
    assert rest(gatherer) == [[0, 3], [1, 4], [2, 5]]
    assert rest(gatherer) == []


def test_what_got_no_part_for_longest_makes_room():
    gatherer = Gatherer(max_bytes=3 * SIZE)

    assert fill(gatherer, "abacde") == [[1], [0, 2]]
    assert rest(gatherer) == [[3], [4], [5]]


def test_a_trace_larger_than_the_bound_is_not_held_either():
    gatherer = Gatherer(max_bytes=2 * SIZE)

    assert fill(gatherer, "aaa") == [[0, 1, 2]]


def test_a_part_of_a_trace_that_was_given_out_is_refused_by_name():
    gatherer = Gatherer(max_bytes=SIZE)
    fill(gatherer, "ab")

    with pytest.raises(TooLateError, match=r"a part of trace 'a' lies more than .* sort the file"):
        fill(gatherer, "a")
    assert fill(gatherer, "c") == [[1]]


def test_the_same_key_in_two_formats_is_two_traces():
    gatherer = Gatherer()
    for reader in (PARTS, OTHER):
        gatherer.add(reader, "a", part("a", 0), 1)

    assert [one.reader for one in gatherer.rest()] == [PARTS, OTHER]
