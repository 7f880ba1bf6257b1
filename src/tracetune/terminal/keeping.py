"""What was backed up, pruned or forgotten, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from tracetune.terminal.style import clean, counted, heading, indented, item, one_line, relative

__all__ = ["render_contents", "render_forgotten", "render_pruned"]

Json = Mapping[str, Any]


def render_contents(done: Json, verb: str) -> RenderableType:
    """Return what a backup holds: `verb` says what was done with its file."""
    counts = ", ".join(
        (
            counted(len(done["agents"]), "agent"),
            counted(done["releases"], "release"),
            counted(done["records"], "record") + " in all",
        )
    )
    return Text(f"{clean(done['project'])}: {counts}, {verb} {clean(relative(done['file']))}")


def render_pruned(done: Sequence[Json], *, dry_run: bool) -> RenderableType:
    """Return what pruning dropped, or would drop, agent by agent."""
    parts: list[RenderableType] = []
    for one in done:
        would = "would be " if dry_run else ""
        told = f"{counted(len(one['dropped']), 'release')} {would}dropped, {one['kept']} kept"
        parts += [heading(one["agent"], told), *(item(name) for name in one["dropped"])]
    return Group(*parts)


def render_forgotten(done: Json) -> RenderableType:
    """Return where a trace was, and what a person has to decide on."""
    return Group(*_forgotten(done))


def _forgotten(done: Json) -> Iterator[RenderableType]:
    trace = one_line(done["trace"])
    if done["releases"] or done["entries"]:
        places = counted(len(done["releases"]), "release")
        places += f" and {counted(done['entries'], 'other record')}" if done["entries"] else ""
        yield Text(f"{trace}: taken out of {places}.")
    else:
        yield Text(f"{trace}: nothing in memory names it.")
    if done["recorded"]:
        yield Text(f"{counted(done['recorded'], 'recorded trace')} of that id deleted.")
    if done["guidelines"]:
        yield Text("These guidelines rest on it; they stay until you change the prompt:")
    for line in done["guidelines"]:
        yield item(line["text"])
        old = "" if line["in_force"] else ", no longer in force"
        yield indented(
            Text(one_line(f"{line['id']}, in {line['agent']}.{line['prompt']}{old}"), "dim"), 4
        )
    for prompt in done["prompts"]:
        yield Text(f"The text of {one_line(prompt)} names it; it stays until you change it.")
    for agent in done["still_in"]:
        yield Text(
            f"{one_line(agent)}: its trace files still hold it; take it out of them, or the next"
            " cycle learns from it again."
        )
