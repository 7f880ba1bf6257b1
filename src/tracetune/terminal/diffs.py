"""What differs between two bundles, as text for machines and in colour for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tracetune.terminal.style import clean, config_value, heading, indented

__all__ = ["bundle_diff", "config_line", "prompt_diff", "render_releases_diff", "unified"]

Json = dict[str, Any]
Row = tuple[str, Text]

_STYLES = {"+": "green", "-": "red", " ": "dim", "⋯": "dim"}
_NOT_SET = "not set"


def bundle_diff(before: Json, after: Json) -> Json:
    """Return what differs between two bundles `{prompts, config}`, by name, in order of name.

    Prompts carry `before`, `after` and `diff` (unified); config values `before` and `after`.
    A name that one side lacks has null there.
    """
    prompts = {
        name: {"before": old, "after": new, "diff": unified(old or "", new or "", name)}
        for name, old, new in _differing(before["prompts"], after["prompts"])
    }
    config = {
        name: {"before": old, "after": new}
        for name, old, new in _differing(before["config"], after["config"])
    }
    return {"prompts": prompts, "config": config}


def render_releases_diff(difference: Json) -> RenderableType:
    """Return `bundle_diff`'s result, with its `agent`, `before` and `after`, for people."""
    ends = f"{difference['before']} → {difference['after']}"
    parts: list[RenderableType] = [heading(difference["agent"], ends)]
    if not difference["prompts"] and not difference["config"]:
        parts.append(Text("no difference"))
    for name, change in difference["prompts"].items():
        parts.append(Text(f"prompt {clean(name)}", style="bold"))
        parts.append(indented(prompt_diff(change["before"] or "", change["after"] or "")))
    for name, change in difference["config"].items():
        parts.append(config_line(name, change["before"], change["after"]))
    return Group(*parts)


def unified(before: str, after: str, name: str = "prompt") -> str:
    """Return the unified diff of two texts; empty when they are equal."""
    lines = difflib.unified_diff(
        before.split("\n"), after.split("\n"), f"a/{name}", f"b/{name}", n=3, lineterm=""
    )
    return "\n".join(lines)


def prompt_diff(before: str, after: str) -> RenderableType:
    """Return the changed hunks of a text, one line of context around each.

    Changed lines wrap; lines of context are cut at the edge, as a policy's paragraphs are long.
    """
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(ratio=1, overflow="fold")
    if before.endswith("\n") and after.endswith("\n"):
        before, after = before[:-1], after[:-1]  # else the lacking newline shows as an empty line
    for sign, text in _hunks(before.split("\n"), after.split("\n")):
        grid.add_row(Text(sign, style=_STYLES[sign]), text)
    return grid


def config_line(name: str, before: Any, after: Any) -> Text:
    """Return one parameter's change as `config name  200 → 120`."""
    return Text.assemble(
        (f"config {clean(name)}", "bold"),
        "  ",
        (_value(before), "red"),
        " → ",
        (_value(after), "green"),
    )


def _differing(before: Json, after: Json) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted({*before, *after}):
        if name not in before or name not in after or before[name] != after[name]:
            yield name, before.get(name), after.get(name)


def _hunks(before: list[str], after: list[str]) -> Iterator[Row]:
    before, after = _around_the_change(before, after)
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for position, hunk in enumerate(matcher.get_grouped_opcodes(1)):
        if position:
            yield "⋯", Text("")
        for tag, i1, i2, j1, j2 in hunk:
            if tag == "equal":
                yield from (_context(line) for line in before[i1:i2])
            else:
                yield from _changed(before[i1:i2], after[j1:j2])


def _around_the_change(before: list[str], after: list[str]) -> tuple[list[str], list[str]]:
    """Both without the lines that they begin and end with alike, but for one of context.

    difflib takes quadratic time where lines repeat, as they do in long prompts.
    """
    shorter = min(len(before), len(after))
    start = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    left = shorter - start
    end = next((n for n in range(left) if before[-1 - n] != after[-1 - n]), left)
    first, last = max(0, start - 1), max(0, end - 1)
    return before[first : len(before) - last], after[first : len(after) - last]


def _context(line: str) -> Row:
    return " ", Text(clean(line), style="dim", no_wrap=True, overflow="ellipsis")


def _changed(old: list[str], new: list[str]) -> Iterator[Row]:
    pairs = [_words(a, b) for a, b in zip(old, new, strict=True)] if len(old) == len(new) else []
    if pairs:
        yield from (("-", pair[0]) for pair in pairs)
        yield from (("+", pair[1]) for pair in pairs)
        return
    yield from (("-", Text(clean(line), style="red")) for line in old)
    yield from (("+", Text(clean(line), style="green")) for line in new)


def _words(old: str, new: str) -> tuple[Text, Text]:
    """Return both lines with the words underlined that the other does not have."""
    left, right = clean(old).split(" "), clean(new).split(" ")
    before, after = Text(style="red"), Text(style="green")
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        mark = "" if tag == "equal" else "bold underline"
        for text, words in ((before, left[i1:i2]), (after, right[j1:j2])):
            if words:
                text.append(" " if text.plain else "").append(" ".join(words), style=mark)
    return before, after


def _value(value: Any) -> str:
    return _NOT_SET if value is None else config_value(value)
