"""The report of a cycle, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from tracetune.terminal.diffs import config_line, prompt_diff
from tracetune.terminal.figures import metrics_block, pattern_table
from tracetune.terminal.style import (
    UNKNOWN,
    clean,
    counted,
    duration,
    heading,
    indented,
    item,
    labelled,
    number,
    one_line,
    relative,
)

if TYPE_CHECKING:
    from tracetune.graph.state import AgentResult, Change, CycleReport, ModelCall

__all__ = ["render_report", "render_review", "verdict_words"]

MOST_PATTERNS = 5
MOST_DROPPED = 5

_GOOD = {"released": "green", "refused": "red", "rejected": "red", "failed": "red"}


def render_report(report: CycleReport) -> RenderableType:
    """Return the whole report: per agent what was found and done, then the notes and the cost."""
    parts: list[RenderableType] = []
    if line := _model_line(report):
        parts += [Text(one_line(line), style="dim"), Text("")]
    for result in report.results:
        parts += [*_result(result), Text("")]
    parts += _notes(report)
    return Group(*parts[:-1])


def render_review(shown: Mapping[str, Any]) -> RenderableType:
    """Return what a person is asked to approve: per agent the changes and the verdict."""
    from tracetune.graph.state import Change

    parts: list[RenderableType] = []
    for agent, candidate in shown["candidates"].items():
        parts.append(heading(agent, "for review", style="cyan"))
        for change in candidate["changes"]:
            parts += [*_change(Change.model_validate(change)), Text("")]
        if candidate.get("verdict"):
            parts += [labelled("verdict", verdict_words(candidate["verdict"])), Text("")]
    return Group(*parts)


def _result(result: AgentResult) -> Iterator[RenderableType]:
    yield heading(result.agent, result.outcome, style=_GOOD.get(result.outcome, "dim"))
    yield indented(Text(one_line(result.detail)))
    if result.set_aside:
        yield labelled("set aside", f"{counted(result.set_aside, 'record')} that could not be read")
    if result.metrics:
        yield Text("")
        yield metrics_block(result.metrics)
    if result.patterns:
        yield Text("")
        yield indented(pattern_table(result.patterns[:MOST_PATTERNS]))
    yield from _changes(result)
    yield from _ending(result)


def _changes(result: AgentResult) -> Iterator[RenderableType]:
    for change in result.changes:
        yield Text("")
        yield from _change(change)
    if result.dropped:
        yield Text("")
        yield indented(Text("dropped", style="bold"))
        for reason in result.dropped[:MOST_DROPPED]:
            yield item(reason, style="dim")
        if (rest := len(result.dropped) - MOST_DROPPED) > 0:
            yield item(f"and {rest} more (--json shows all)", style="dim")


def _change(change: Change) -> Iterator[RenderableType]:
    by = (f"  by {'the model' if change.origin == 'llm' else 'rules'}", "dim")
    if change.kind == "prompt":
        head = Text.assemble((f"prompt {clean(change.name)}", "bold"))
        yield indented(head.append(*by))
    else:
        yield indented(config_line(change.name, change.before, change.after).append(*by))
    for why in change.why:
        yield item(why)
    if change.kind == "prompt":
        yield indented(prompt_diff(change.before or "", change.after or ""), 2)


def _ending(result: AgentResult) -> Iterator[RenderableType]:
    rows: list[tuple[str, str]] = []
    if result.verdict:
        rows.append(("verdict", verdict_words(result.verdict)))
    if result.release:
        base = f" (built on {result.base})" if result.base else ""
        rows.append(("release", f"{result.release}{base}"))
    for folder, names in _places(result.files):
        rows += [("yaml", folder), ("", names)]
    if rows:
        yield Text("")
    for label, text in rows:
        yield labelled(label, text)


def _places(files: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each folder with the names of the files in it: whole paths are too long for a line."""
    folders: dict[str, list[str]] = {}
    for path in map(Path, files):
        folders.setdefault(relative(path.parent), []).append(path.name)
    for folder, names in folders.items():
        yield f"{folder}/", ", ".join(names)


def verdict_words(verdict: Mapping[str, Any]) -> str:
    """Return a verdict in words: the decision with its numbers, what is missing, what it breaks."""
    said = [str(verdict.get("why") or verdict["decision"])]
    if verdict.get("more_needed"):
        said.append(f"About {number(verdict['more_needed'])} more runs would tell.")
    return " ".join([*said, *map(str, verdict.get("violations") or ())])


def _model_line(report: CycleReport) -> str:
    names = sorted({call["model"] for call in report.calls})
    return f"Model: {', '.join(names)}" if names else next(filter(_on_rules, report.notes), "")


def _on_rules(note: str) -> bool:
    return note.endswith("on rules alone.")


def _notes(report: CycleReport) -> list[RenderableType]:
    first = _model_line(report)
    lines = [note for note in report.notes if note != first]
    for fallback in report.fallbacks:
        if fallback["error"] in first:
            continue  # said above, for the whole cycle
        tries = counted(fallback["attempts"], "try", "tries")
        failed = f"{fallback['branch']}: {fallback['error']} after {tries}"
        lines.append(f"{failed}; {fallback['used']} took over")
    if report.calls:
        lines.append(_cost(report.calls))
    return [*(item(line, by=0) for line in lines), *([Text("")] if lines else [])]


def _cost(calls: list[ModelCall]) -> str:
    ins = [call["tokens_in"] for call in calls]
    outs = [call["tokens_out"] for call in calls]
    seconds = duration(sum(call["seconds"] for call in calls))
    return (
        f"{counted(len(calls), 'model call')}, {_sum(ins)} tokens in, {_sum(outs)} out, {seconds}"
    )


def _sum(tokens: list[int | None]) -> str:
    known = [count for count in tokens if count is not None]
    if not known:
        return UNKNOWN
    # Some providers report no usage: a sum that lacks calls is a lower bound.
    return ("" if len(known) == len(tokens) else "at least ") + number(sum(known))
