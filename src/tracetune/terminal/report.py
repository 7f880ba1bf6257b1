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
    from tracetune.graph.schemas import AgentResult, Change, CycleReport, Spent
    from tracetune.graph.state import Fallback

__all__ = ["render_report", "render_review", "verdict_words"]

MOST_PATTERNS = 5
MOST_DROPPED = 5
REFUSED_SHOWN = 160
"""Characters of what broke a rule: it may quote what a model wrote."""

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
    from tracetune.graph.schemas import Change

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
    elif result.why_no_patterns:
        yield Text("")
        yield labelled("patterns", f"none: {result.why_no_patterns}")
    if result.coverage:
        yield Text("")
        yield labelled("shown", f"{result.coverage}, to the model")
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
    size = f": {change.style}, {number(change.characters)} characters changed ({change.share:.0%})"
    how = size if change.style not in ("", "guidelines") else ""
    who = {"llm": "the model", "rules": "rules", "human": "a person"}[change.origin]
    by = (f"  by {who}{how}", "dim")
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
        # Of runs that the candidate lacks altogether, the baseline has to have as many, too.
        runs = "more runs" if verdict.get("n", 1) else "runs on either side"
        said.append(f"About {number(verdict['more_needed'])} {runs} would tell.")
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
        lines.append(_fallback(fallback))
    if report.calls:
        lines.append(_spent(report.spent))
    return [*(item(line, by=0) for line in lines), *([Text("")] if lines else [])]


def _fallback(fallback: Fallback) -> str:
    tries = counted(fallback["attempts"], "try", "tries")
    after = f" after {tries}" if fallback["attempts"] else ""
    what = "".join(
        f", {one_line(broken)[:REFUSED_SHOWN]}" for broken in fallback.get("refused", ())[:1]
    )
    return f"{fallback['branch']}: {fallback['error']}{after}{what}; {fallback['used']} took over"


def _spent(spent: Spent) -> str:
    aside = [
        *([f"{spent.failed_calls} failed"] if spent.failed_calls else []),
        *([counted(spent.retries, "retry", "retries")] if spent.retries else []),
    ]
    calls = counted(spent.calls, "model call") + (f" ({', '.join(aside)})" if aside else "")
    tokens = f"{number(spent.tokens_in)} tokens in, {number(spent.tokens_out)} out"
    if spent.unmetered_calls == spent.calls:
        tokens = "tokens unknown"
    elif spent.unmetered_calls:
        # Some providers report no usage: a sum that lacks calls is a lower bound.
        tokens = f"at least {tokens}"
    return f"{calls}, {tokens}, {_usd(spent)}, {duration(spent.seconds)}"


def _usd(spent: Spent) -> str:
    if spent.usd is None:
        return f"cost unknown (no price of {', '.join(spent.unpriced_models)})"
    if spent.unmetered_calls == spent.calls:
        return "cost unknown"
    least = "at least " if spent.unmetered_calls else ""
    return f"{least}${spent.usd:.4f}"
