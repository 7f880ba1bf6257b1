"""Runs cut short around what tells: what two runs of a task do differently, where one goes wrong.

Steps are compared by what they do: a call by its tool, arguments and error, a message by who says
it and a thought by who thinks it, for no two runs word these alike. Runs are aligned by
`difflib.SequenceMatcher` (Ratcliff and Metzener, Dr. Dobb's Journal, July 1988).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tracetune.nodes.evidence.shortening import fenced_tokens, shorten_to, step_line
from tracetune.traces.analytics.errors_text import error_key
from tracetune.traces.model import Message, Step, Thought, ToolCall, Trace

__all__ = ["likeness", "show_pair", "show_steps"]

STEPS = 200
"""Of a longer run, the first and the last hundred are compared."""
BYTES = 3
"""Of what is sent, to a token: so many of the characters that plain English is written in."""
_GAP = 14
"""Tokens that a mark of left out steps takes, at most."""
_FIRST, _TELLING, _NEAR, _OTHER, _THOUGHT, _NEVER = range(6)
"""How much a step tells: the lower, the sooner it is shown."""

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """One step that may be shown."""

    sign: str
    """`-` the failed run alone has it, `+` the other alone, a blank otherwise."""
    text: str
    rank: int
    equal: bool = False
    """Whether both runs have it."""
    acts: bool = False
    """Whether it calls a tool."""


def _key_of(step: Step) -> Key:
    """What is compared of a step."""
    if isinstance(step, ToolCall):
        arguments = json.dumps(dict(step.arguments), sort_keys=True, default=str)
        error = "" if step.error is None else f"error {error_key(step.error)}"
        return ("call", step.by, step.agent or "", step.name, arguments, error)
    if isinstance(step, Message):
        return ("message", step.role, step.agent or "")
    return ("thought", step.agent or "")


def likeness(one: Trace, other: Trace) -> float:
    """How alike the steps of two runs are, in [0, 1]."""
    return _matcher(_steps(one), _steps(other)).ratio()


def show_steps(trace: Trace, most: int) -> str:
    """A run's steps in at most about `most` characters: fewer where these take more to send.

    Shown first are what was asked, the errors and the end, then what stands beside these, then
    the rest from the beginning on. Equal steps in a row become one.
    """
    return _filled(_ranked(trace.steps, ""), most)


def show_pair(failed: Trace, succeeded: Trace, most: int) -> str:
    """The steps of two runs of a task as a diff of at most about `most` characters.

    They are fewer where these take more to send: signs of XML, letters beyond ASCII. Lines with
    `-` are of the failed run, those with `+` of the other, and all others of both.
    """
    before, after = _steps(failed), _steps(succeeded)
    rows: list[_Row] = []
    for tag, i1, i2, j1, j2 in _matcher(before, after).get_opcodes():
        if tag == "equal":
            rows += [_Row(" ", step_line(step), _NEVER, True) for step in before[i1:i2]]
        else:
            rows += _differing(before[i1:i2], "-") + _differing(after[j1:j2], "+")
    return _filled(_beside_differences(rows), most)


def _steps(trace: Trace) -> Sequence[Step]:
    steps = trace.steps
    return steps if len(steps) <= STEPS else [*steps[: STEPS // 2], *steps[-STEPS // 2 :]]


def _matcher(one: Sequence[Step], other: Sequence[Step]) -> difflib.SequenceMatcher[Key]:
    keys = [_key_of(step) for step in one], [_key_of(step) for step in other]
    return difflib.SequenceMatcher(None, *keys, autojunk=False)


def _differing(steps: Sequence[Step], sign: str) -> list[_Row]:
    """Rows of a difference: its first act tells most, and so do errors."""
    rows = _ranked(steps, sign)
    first = next((place for place, row in enumerate(rows) if row.acts), 0)
    return [
        replace(row, rank=_TELLING if place == first or row.rank == _TELLING else _OTHER)
        for place, row in enumerate(rows)
    ]


def _beside_differences(rows: Sequence[_Row]) -> list[_Row]:
    """The rows: of equal ones, what was asked and what stands beside a difference is shown."""
    ranked = []
    for place, row in enumerate(rows):
        if place == 0 and row.equal:
            row = replace(row, rank=_FIRST)
        elif row.equal and not all(r.equal for r in rows[max(0, place - 1) : place + 2]):
            row = replace(row, rank=_NEAR)
        ranked.append(row)
    return ranked


def _ranked(steps: Sequence[Step], sign: str) -> list[_Row]:
    """A row for each step; equal calls in a row are one, which says how many they are."""
    groups: list[list[Step]] = []
    for step in steps:
        same = groups and isinstance(step, ToolCall) and _key_of(groups[-1][0]) == _key_of(step)
        if same:
            groups[-1].append(step)
        else:
            groups.append([step])
    rows = []
    for place, group in enumerate(groups):
        text = step_line(group[0])
        if len(group) > 1:
            text += f" … and {len(group) - 1} times more, the same call"
        rank, acts = _rank(group, place, len(groups)), isinstance(group[0], ToolCall)
        rows.append(_Row(sign or " ", text, rank, acts=acts))
    return [
        replace(row, rank=_NEAR) if row.rank > _NEAR and _by_telling(rows, place) else row
        for place, row in enumerate(rows)
    ]


def _rank(group: Sequence[Step], place: int, groups: int) -> int:
    step = group[0]
    if isinstance(step, Message) and step.role == "user" and place <= 1:
        return _FIRST
    failed = isinstance(step, ToolCall) and step.error is not None
    if failed or len(group) > 2 or place == groups - 1:
        return _TELLING
    return _THOUGHT if isinstance(step, Thought) else _OTHER


def _by_telling(rows: Sequence[_Row], place: int) -> bool:
    return any(row.rank == _TELLING for row in rows[max(0, place - 1) : place + 2])


def _filled(rows: Sequence[_Row], most: int) -> str:
    """As many rows as there is room for, with marks for the rest; what tells most goes first."""
    each = max(120, most // 6)
    texts = [f"{row.sign} {shorten_to(row.text, -(-each // BYTES), fenced=True)}" for row in rows]
    shown: set[int] = set()
    left = most // BYTES
    places = [place for place, row in enumerate(rows) if row.rank != _NEVER]
    for place in sorted(places, key=lambda n: (rows[n].rank, n)):
        size = fenced_tokens(f"{texts[place]}\n")
        if size + _GAP <= left or not shown:
            shown.add(place)
            left -= size
    lines: list[str] = []
    hidden: list[_Row] = []
    for place, row in enumerate(rows):
        if place not in shown:
            hidden.append(row)
            continue
        lines += [*_mark(hidden), texts[place]]
        hidden = []
    return "\n".join([*lines, *_mark(hidden)])


def _mark(hidden: Sequence[_Row]) -> list[str]:
    if not hidden:
        return []
    equal = "equal " if all(row.equal for row in hidden) else ""
    return [f"  … {len(hidden)} {equal}step{'s' if len(hidden) > 1 else ''} …"]
