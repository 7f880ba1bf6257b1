"""What stands for braces where langmem must not see them."""

import pytest

from tracetune.nodes.calling.calls import CallError
from tracetune.nodes.writing.marks import Marks

EVERY = "".join(map(chr, range(0xFDD0, 0xFDDC)))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param('{"a": {"b": {}}} {{x}} }{', id="a text"),
        pytest.param([{"text": "{x}", "n": 1}, "{{y}}", None], id="blocks of a message"),
    ],
)
def test_what_is_hidden_comes_back(value: object) -> None:
    marks = Marks()
    hidden = marks.hide(value)
    assert "{x" not in str(hidden)
    assert marks.show(hidden) == value


def test_a_mark_in_a_text_is_no_brace_afterwards() -> None:
    marks = Marks()
    assert marks.show(marks.hide(f"a{marks.opening}b{marks.closing}{{c}}")) == "ab{c}"


def test_marks_that_a_text_holds_are_not_chosen() -> None:
    chosen = Marks.none_of([EVERY[:2], "b", EVERY[5]])
    assert (chosen.opening, chosen.closing) == (EVERY[2], EVERY[3])
    with pytest.raises(CallError, match="every sign that could stand for its braces"):
        Marks.none_of(["a", EVERY])
