"""Arguments are checked against annotations before anything is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from tracetune.errors import InputError
from tracetune.stores.arguments import Record, check_argument, checked
from tracetune.traces.compare import compare_runs


class _Lines:
    """As arrays do, it shows itself in several lines."""

    def __repr__(self) -> str:
        return "a\nb"


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        pytest.param("x", str, id="text"),
        pytest.param(None, str | None, id="none where it may be"),
        pytest.param(3, int, id="a whole number"),
        pytest.param(True, bool, id="a boolean"),
        pytest.param({1: object()}, Mapping[str, str], id="a mapping, whatever is in it"),
        pytest.param(("a", "b"), Sequence[str], id="a tuple of text"),
        pytest.param("one sentence", Sequence[str], id="a text, as a list of them"),
        pytest.param("b", Literal["a", "b"], id="one of the choices"),
        pytest.param(Path("x"), str | Path, id="a path"),
        pytest.param(object(), Any, id="anything"),
        pytest.param({"a": 1}.keys(), Iterable[str], id="keys, as a list of text"),
        pytest.param(iter([1]), Iterable[str], id="an iterator, which is not used up"),
        pytest.param(compare_runs([], []), Mapping[str, Any] | Record, id="a record"),
    ],
)
def test_what_fits_passes(value: object, hint: Any) -> None:
    check_argument("it", value, hint)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        pytest.param(5, str, "text, but got 5", id="a number for text"),
        pytest.param(b"x", str | None, "text or None, but got b'x'", id="bytes for text"),
        pytest.param("1", int, "a whole number, but got '1'", id="text for a number"),
        pytest.param(1.0, int, "a whole number, but got 1.0", id="a float for a whole number"),
        pytest.param(True, int, "a whole number, but got True", id="a boolean for a number"),
        pytest.param("no", bool, "True or False, but got 'no'", id="text for a boolean"),
        pytest.param([1], Mapping[str, Any], "a mapping, but got [1]", id="a list for a mapping"),
        pytest.param(["a", None], Sequence[str], "a list of text, but got ['a', None]", id="item"),
        pytest.param(5, Sequence[str], "a list of text, but got 5", id="no list"),
        pytest.param({1}, Iterable[str], "a list of text, but got {1}", id="a set of numbers"),
        pytest.param(
            5, Mapping[str, Any] | Record, "a mapping or a record, but got 5", id="no record"
        ),
        pytest.param(["a"], Literal["a", "b"], "one of a, b, but got ['a']", id="no choice"),
        pytest.param(
            [_Lines()] * 30, int, "a whole number, but got [a b" + ", a b" * 11 + ",", id="long"
        ),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(value: object, hint: Any, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        check_argument("it", value, hint)
    assert str(caught.value) == f"it must be {expected}."


def test_a_call_is_checked_before_it_is_made() -> None:
    called: list[object] = []

    @checked
    def add(one: int, *, other: int | None = None, rest: Any = 0) -> int:
        called.append((one, other, rest))
        return one + (other or 0)

    assert (add(1), add(1, other=2, rest="x")) == (1, 3)
    with pytest.raises(InputError, match="one must be a whole number, but got '1'"):
        add("1")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="other must be a whole number or None, but got '2'"):
        add(one=1, other="2")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'othr'"):
        add(1, othr=2)  # type: ignore[call-arg]
    assert len(called) == 2
