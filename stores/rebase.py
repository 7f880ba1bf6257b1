"""Bringing a change that was built on an older bundle onto the one in force now."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from tracetune.stores.bundle import Bundle
from tracetune.stores.release import Guideline

__all__ = ["ABSENT", "Clash", "Rebased", "rebase", "rebase_guidelines"]


class _Absent(enum.Enum):
    """What a side holds under a name it has not got; a config value may be None."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent.ABSENT
"""In a clash: this side has no prompt or value of that name."""


@dataclass(frozen=True, slots=True)
class Clash:
    """One prompt or config value that both sides changed, each in its own way."""

    part: Literal["prompts", "config"]
    name: str
    base: Any
    """As it was; like the others text, a JSON value, or ABSENT."""
    mine: Any
    theirs: Any


@dataclass(frozen=True, slots=True)
class Rebased:
    """What both sides' changes give together."""

    bundle: Bundle
    """Where they clash, it holds theirs."""
    clashes: tuple[Clash, ...]
    """Prompts first, each part in the order of its names; empty when all merged."""


def rebase(base: Bundle, mine: Bundle, theirs: Bundle) -> Rebased:
    """Return both sides' changes to `base` together, and where they clash.

    A prompt or config value that only one side changed, added or removed is taken from it. One
    that both changed to the same is no clash. Names stand in the order of theirs, new ones last.
    """
    prompts, clashes = _merged("prompts", base.prompts, mine.prompts, theirs.prompts)
    config, more = _merged("config", base.config, mine.config, theirs.config)
    return Rebased(Bundle(prompts, config), (*clashes, *more))


def rebase_guidelines(
    base: Bundle, mine: Bundle, guidelines: Iterable[Guideline], theirs: Iterable[Guideline]
) -> tuple[Guideline, ...]:
    """Return each prompt's guidelines from the side that its text was taken from."""
    own = {n for n, text in mine.prompts.items() if base.prompts.get(n, ABSENT) != text}
    own |= base.prompts.keys() - mine.prompts.keys()
    kept = [line for line in theirs if line.prompt not in own]
    return (*kept, *(line for line in guidelines if line.prompt in own))


def _merged(
    part: Literal["prompts", "config"],
    base: Mapping[str, Any],
    mine: Mapping[str, Any],
    theirs: Mapping[str, Any],
) -> tuple[dict[str, Any], list[Clash]]:
    merged: dict[str, Any] = {}
    clashes: list[Clash] = []
    for name in dict.fromkeys([*theirs, *mine, *base]):
        was, ours, other = (side.get(name, ABSENT) for side in (base, mine, theirs))
        if _same(ours, other) or _same(was, ours):
            taken = other
        elif _same(was, other):
            taken = ours
        else:
            clashes.append(Clash(part, name, was, ours, other))
            taken = other
        if taken is not ABSENT:
            merged[name] = taken
    return merged, sorted(clashes, key=lambda clash: clash.name)


def _same(one: Any, other: Any) -> bool:
    if ABSENT in (one, other) or isinstance(one, str):
        return one is other or bool(one == other)
    # As JSON: in Python 1, 1.0 and True are equal, but an agent may tell them apart.
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
