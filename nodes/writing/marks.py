"""What stands for braces in texts that langmem handles: it doubles, halves and requires them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tracetune.nodes.calling.calls import unusable

__all__ = ["Marks"]

_PAIRS = tuple((chr(code), chr(code + 1)) for code in range(0xFDD0, 0xFDDC, 2))
"""Unicode's noncharacters, for use inside of a program only (The Unicode Standard, 23.7)."""


@dataclass(frozen=True, slots=True)
class Marks:
    """A pair of characters for braces; no model is ever shown them."""

    opening: str = _PAIRS[0][0]
    closing: str = _PAIRS[0][1]

    @classmethod
    def none_of(cls, texts: Iterable[str]) -> Marks:
        """A pair that stands in none of the texts.

        Raises:
            CallError: They hold every pair there is.
        """
        held = set().union(*texts)
        for pair in _PAIRS:
            if held.isdisjoint(pair):
                return cls(*pair)
        raise unusable("the prompt holds every sign that could stand for its braces")

    def hide(self, value: Any) -> Any:
        """The value with marks for braces, in a text, or in all texts of a list or mapping.

        Marks that stand there already, as nobody could mean them, are taken out.
        """
        return _each(value, self._hidden)

    def show(self, value: Any) -> Any:
        """The value with braces for marks: what `hide` was given."""
        return _each(value, lambda t: t.replace(self.opening, "{").replace(self.closing, "}"))

    def _hidden(self, text: str) -> str:
        text = text.replace(self.opening, "").replace(self.closing, "")
        return text.replace("{", self.opening).replace("}", self.closing)


def _each(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each(part, change) for part in value]
    if isinstance(value, dict):
        return {key: _each(part, change) for key, part in value.items()}
    return value
