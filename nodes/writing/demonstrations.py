"""Examples for a prompt: short records of runs that succeeded, where its owner allows them.

A record is copied from a run by design; it holds what the agent was asked, which calls it made
and what it said last. What tools answered stays out: it is long, and strangers wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tracetune.graph.state import Subject
from tracetune.nodes.blaming.ranking import SIGNIFICANT
from tracetune.nodes.evidence.showing import shorten
from tracetune.nodes.guarding.foreign import is_name
from tracetune.nodes.guarding.guards import check_text
from tracetune.nodes.guidelines import (
    budget_of,
    is_clear,
    outside,
    read_examples,
    with_examples,
)
from tracetune.traces.analytics.sample import mark_of
from tracetune.traces.mining.habits import Habit
from tracetune.traces.model import Message, ToolCall, Trace

__all__ = ["choose_demonstrations", "demonstrate", "demonstration"]

CHOSEN = 10
"""Runs that are chosen to pick from: prompts differ in what fits them."""
MOST_CALLS = 12
"""A run of more calls is no short example."""
WORDS_SHOWN, ARGUMENT_SHOWN, ID_SHOWN = 240, 60, 100
"""Characters of what was asked or said, of one argument, and of an id, which is shown whole."""


def choose_demonstrations(
    traces: Iterable[Trace], habits: Sequence[Habit], tools: Collection[str]
) -> list[str]:
    """Records of at most ten successful runs of as many tasks, best first; the same for the same
    runs, in whatever order.

    Best are those that show most of the habits that go along with success, then those with the
    fewest failed calls, then the shortest. A run with a link, a credential or words to whoever
    rewrites prompts, or with a call of anything but a known tool, is not chosen.
    """
    helpful = [h for h in habits if h.effect > 0 and h.q_value <= SIGNIFICANT]
    ranked = sorted(
        (trace for trace in traces if trace.success), key=lambda trace: _rank(trace, helpful)
    )
    chosen: dict[str, str] = {}
    for trace in ranked:
        task = trace.task or _asked(trace)
        if len(chosen) == CHOSEN:
            break
        names = {call.name for call in trace.agent_calls()}
        if task in chosen or not (names <= {*tools} and all(map(is_name, names))):
            continue
        if (text := demonstration(trace)) and not any(map(check_text, text.splitlines())):
            chosen[task] = text
    return list(chosen.values())


def _rank(trace: Trace, helpful: Sequence[Habit]) -> tuple[int, int, int, int, str]:
    calls = list(trace.agent_calls())
    names = [call.name for call in calls]
    shown = sum(_shows(names, habit) for habit in helpful)
    failed = sum(call.error is not None for call in calls)
    return -shown, failed, len(calls), mark_of(trace.agent, trace.id), trace.id


def _shows(names: Sequence[str], habit: Habit) -> bool:
    places = [names.index(tool) if tool in names else None for tool in habit.subject]
    if habit.kind == "first_tool":
        return places == [0]
    known = [place for place in places if place is not None]
    return len(known) == len(places) and known == sorted(known)


def demonstration(trace: Trace) -> str:
    """The run's id, what was asked, each call and the last words, a line each; or, where that is no
    example, nothing.

    Calls that failed, and a call that repeats the one before, are left out.
    """
    lines: list[str] = []
    for call in trace.agent_calls():
        line = f"call: {call.name}({_arguments(call)})"
        if call.error is None and line not in lines[-1:]:
            lines.append(line)
    asked, said = _asked(trace), _said(trace)
    if not asked or len(trace.id) > ID_SHOWN or len(lines) > MOST_CALLS or not (lines or said):
        return ""
    last = [f"assistant: {said}"] if said else []
    # With its id, a run that is to be forgotten is found in the prompts that show it.
    return "\n".join([f"run: {trace.id}", f"user: {asked}", *lines, *last])


def _asked(trace: Trace) -> str:
    return _line(next((s.text for s in _messages(trace) if s.role == "user"), ""))


def _said(trace: Trace) -> str:
    return _line(next((s.text for s in _messages(trace)[::-1] if s.role == "assistant"), ""))


def _messages(trace: Trace) -> list[Message]:
    return [step for step in trace.steps if isinstance(step, Message) and step.text.strip()]


def _line(text: str) -> str:
    return shorten(" ".join(text.split()), WORDS_SHOWN)


def _arguments(call: ToolCall) -> str:
    shown = (
        f"{name}={shorten(json.dumps(value, ensure_ascii=False, default=str), ARGUMENT_SHOWN)}"
        for name, value in call.arguments.items()
    )
    return ", ".join(shown)


def demonstrate(text: str, prompt: str, subject: Subject, measures: Mapping[str, Any]) -> str:
    """The prompt with as many of the chosen examples as its owner allows and as there is room for.

    Guidelines go first: what they leave of the budget is the room. In a prompt that is filled in,
    an example with a brace would be taken for a variable: it is passed over.
    """
    spec: Mapping[str, Any] = subject["prompt_specs"].get(prompt, {})
    most = int(spec.get("demonstrations", 0))
    size = subject["first_sizes"].get(prompt, len(outside(text)))
    filled_in = spec.get("template_format", "auto") != "none"
    if not is_clear(text):
        return text
    shown: list[str] = []
    for example in measures.get("demonstrations", []) if most else ():
        if len(shown) == most:
            break
        if filled_in and ("{" in example or "}" in example):
            continue
        if len(with_examples(text, [*shown, example])) <= budget_of(size):
            shown.append(example)
    return text if shown == read_examples(text) else with_examples(text, shown)
