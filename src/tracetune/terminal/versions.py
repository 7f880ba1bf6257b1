"""Releases and the journal, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tracetune.terminal.figures import metrics_block
from tracetune.terminal.report import verdict_words
from tracetune.terminal.style import (
    clean,
    config_value,
    counted,
    heading,
    indented,
    item,
    labelled,
    number,
    one_line,
)

if TYPE_CHECKING:
    from tracetune.stores.release import Guideline, JournalEntry, Release
    from tracetune.terminal.lookups import Journal

__all__ = ["render_histories", "render_release"]


def render_histories(journals: Sequence[Journal]) -> RenderableType:
    """Return the journals, newest first; the release in force is marked."""
    return Group(*(_history(journal) for journal in journals))


def _history(journal: Journal) -> RenderableType:
    title = heading(journal.agent)
    if not journal.entries:
        return Group(title, indented(Text("nothing yet: tracetune run makes the first release")))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    head = journal.head
    for entry, actions in _merged(journal.entries):
        grid.add_row(Text(_when(entry.at), style="dim"), _entry(entry, actions, head))
        # Only the newest line of the head marks it: it may have been in force before.
        head = None if entry.release == head else head
    return Group(title, indented(grid))


def _merged(entries: Sequence[JournalEntry]) -> Iterator[tuple[JournalEntry, str]]:
    """Each entry with its action; a commit and the promotion that followed at once are one."""
    left = list(entries)
    while left:
        entry = left.pop(0)
        older = left[0] if left else None
        both = older is not None and (older.release, older.why) == (entry.release, entry.why)
        if both and older is not None and entry.action == "promoted":
            left.pop(0)
            yield entry, f"{older.action} and promoted"
        else:
            yield entry, entry.action


def _entry(entry: JournalEntry, actions: str, head: str | None) -> Text:
    text = Text.assemble((entry.release, "bold"))
    if entry.release == head:
        text.append(" ← head", "bold green")
    left = f" from {entry.previous}" if entry.action == "rolled back" and entry.previous else ""
    named = f" {one_line(entry.label)}" if entry.label else ""
    text.append(f"\n{actions}{named}{left}" + (f" by {one_line(entry.by)}" if entry.by else ""))
    return text.append(f"\n{one_line(entry.why)}", "dim") if entry.why else text


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def render_release(release: Release, head: str | None) -> RenderableType:
    """Return one release whole: where it came from, prompts, config, guidelines, verdict."""
    mark = " ← head" if release.id == head else ""
    title = heading(release.agent, f"{release.id}{mark}", style="green" if mark else "")
    parts: list[RenderableType] = [title, *_origin(release)]
    if release.metrics:
        parts += [Text(""), metrics_block(release.metrics)]
    for name, text in release.prompts.items():
        parts += [Text(""), indented(Text(f"prompt {clean(name)}", style="bold"))]
        parts.append(indented(Text(clean(text)), 4))
    if release.config:
        parts += [Text(""), indented(Text("config", style="bold"))]
        for name, value in release.config.items():
            parts.append(indented(Text(f"{clean(name)}: {config_value(value)}"), 4))
    if release.guidelines:
        parts += [Text(""), indented(Text("guidelines", style="bold"))]
        parts += [indented(_guideline(guideline), 4) for guideline in release.guidelines]
    return Group(*parts)


def _origin(release: Release) -> Iterator[RenderableType]:
    by = {"llm": "a model", "rules": "rules", "human": "a person", "import": "the YAML files"}
    model = f", {release.model}" if release.model else ""
    yield labelled("made", f"{_when(release.created_at)} UTC by {by[release.origin]}{model}")
    yield labelled("parent", release.parent or "none: the first release")
    yield labelled("content", release.content_hash)
    if release.calls:
        cost = f"{number(release.calls)} model calls, {number(release.tokens)} tokens"
        yield labelled("cost", cost)
    if release.verdict:
        yield labelled("verdict", verdict_words(release.verdict))
    for why in release.why:
        yield item(why)


def _guideline(guideline: Guideline) -> RenderableType:
    lines: list[RenderableType] = [item(guideline.text, by=0)]
    made = f"{guideline.id}, in {guideline.prompt}, by {guideline.origin}"
    lines.append(indented(Text(one_line(made), style="dim")))
    for name, value in guideline.evidence.items():
        lines += [
            indented(Text(f"{one_line(name)}: {_support(part)}", style="dim"))
            for part in (value if isinstance(value, list | tuple) and _nested(value) else [value])
        ]
    return Group(*lines)


def _nested(values: Sequence[object]) -> bool:
    return any(isinstance(value, Mapping) for value in values)


def _support(value: object) -> str:
    """One piece of evidence on a line: a pattern's sentence and how many runs it rests on."""
    if isinstance(value, Mapping) and "text" in value:
        support = f" ({counted(value['support'], 'run')})" if "support" in value else ""
        traces = f": {_support(value['traces'])}" if value.get("traces") else ""
        return f"{one_line(value['text'])}{support}{traces}"
    if isinstance(value, list | tuple):
        shown = ", ".join(one_line(part) for part in value[:5])
        return f"{shown} and {len(value) - 5} more" if len(value) > 5 else shown
    return one_line(value)
