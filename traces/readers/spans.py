"""From the spans of one trace to traces: whose run it was, its steps, tokens and outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from tracetune.traces.failures import failure_kind_of
from tracetune.traces.model import Message, Step, Trace
from tracetune.traces.readers.base import UNUSABLE, Context, json_text, reason_of
from tracetune.traces.readers.said import parsed, plain_text, said_in
from tracetune.traces.readers.scores import Score, outcome_of
from tracetune.traces.readers.span import Span
from tracetune.traces.readers.span_steps import began, seconds, steps_of
from tracetune.traces.readers.span_tree import Tree

__all__ = ["Run", "made", "traces_of", "usable"]

_TASKS = ("tracetune_task", "task", "task_id", "reference_example_id", "test.id")
_THREADS = ("thread_id", "session_id", "conversation_id", "session.id", "gen_ai.conversation.id")
_ENVIRONMENTS = ("environment", "deployment.environment.name", "deployment.environment")
_LIMITS = {
    "GraphRecursionError": "recursion_limit",
    "Recursion limit of ": "recursion_limit",
    "AgentMaxStepsError": "max_steps",
    "MaxTurnsExceeded": "max_steps",
    "Agent stopped due to iteration limit": "max_steps",
    "Agent stopped due to max iterations": "max_steps",
}
"""Words of the errors by which frameworks say that their step limit ended the run."""


class Run(msgspec.Struct, frozen=True):
    """What a format says of the whole trace, beside its spans."""

    agent: str | None = None
    service: str | None = None
    """Whose run it was where no span names an agent."""
    info: Mapping[str, Any] = {}
    scores: Mapping[str, Score] = {}
    labels: Mapping[str, str] = {}


def made(rows: Iterable[Any], span_of: Callable[[Any], Span]) -> list[Span | Exception]:
    """Return the spans of rows; where one cannot be used, why.

    Spans are made as soon as they are read: while a file's traces are gathered they need a
    tenth of the rows' memory.
    """
    spans: list[Span | Exception] = []
    for row in rows:
        try:
            spans.append(span_of(row))
        except UNUSABLE as error:
            spans.append(error.with_traceback(None))  # it would keep the row in memory
    return spans


def usable(spans: Iterable[Span | Exception], context: Context) -> list[Span]:
    """Return the spans; what could not be made one is set aside, by its reason.

    Raises:
        ValueError: There are none but such; the line is what is wrong with the last.
    """
    given = list(spans)
    good = [span for span in given if type(span) is Span]
    if len(good) == len(given):
        return good
    bad = [f"a span: {reason_of(span)}" for span in given if isinstance(span, Exception)]
    last = bad.pop() if bad and not good else None
    for reason in bad:
        context.set_aside(reason)
    if last is not None:
        raise ValueError(last)
    return good


def traces_of(key: str, spans: list[Span], run: Run, context: Context) -> Iterator[Trace]:
    """Yield the trace of the whole run, then one of each sub-agent's part in it.

    The first has every step, a sub-agent's steps marked with its name. A sub-agent's trace is
    named `<trace>/<span>`, has its own steps alone, and the label `part_of`. Calls that a tool
    makes within itself are no steps; their tokens and cost count.

    Raises:
        ValueError: There is no span.
    """
    if not spans:
        raise ValueError("it holds no usable span")
    tree = Tree.of(spans, run.agent, run.service, context.set_aside)
    labels = _labels(tree, run)
    steps = steps_of([(span, tree.actor(span)) for span in tree.leaves])
    yield _blamed(_whole(key, tree, run, labels, steps))
    for agent in tree.sub_agents:
        if part := _part(key, agent, tree, steps, labels):
            yield _blamed(part)


def _blamed(trace: Trace) -> Trace:
    kind = failure_kind_of(trace)
    return trace if kind == trace.failure_kind else replace(trace, failure_kind=kind)


def _whole(
    key: str, tree: Tree, run: Run, labels: Mapping[str, str], steps: list[tuple[Span, Step]]
) -> Trace:
    root, info = tree.root, _info(tree, run)
    scores = {**tree.scores(tree.own), **run.scores}
    ended = root.end is not None if tree.rooted else None
    if root.ended_by:
        labels = {**labels, "ended_by": root.ended_by}
    return Trace(
        id=key,
        agent=tree.agent,
        release=_first(info, ("tracetune_release", "tracetune.release")),
        task=_first(info, _TASKS),
        started_at=began(tree.first),
        latency_s=seconds(root) if tree.rooted else None,
        steps=_with_ends(root, [step for _, step in steps]),
        turns=_turns(tree.spans),
        **_usage(tree.counted, root),
        **_outcome(scores, root.error if tree.rooted else None, ended, labels),
    )


def _turns(spans: list[Span]) -> int | None:
    """Return how many steps a graph took: on a thread it goes on counting from run to run."""
    turns = [span.turn for span in spans if span.turn is not None]
    return max(turns) - min(turns) + 1 if turns else None


def _part(
    key: str,
    agent: Span,
    tree: Tree,
    steps: list[tuple[Span, Step]],
    labels: Mapping[str, str],
) -> Trace | None:
    """Return a sub-agent's part of a run; None when it did nothing of its own."""
    within = tree.within(agent)
    name = agent.agent or agent.name
    own = [
        step if step.agent != name else replace(step, agent=None)
        for span, step in steps
        if tree.owner_id(span) in within
    ]
    if not own:
        return None
    counted = [span for span in tree.counted if tree.owner_id(span) in within]
    shared = {k: v for k, v in labels.items() if k != "model"} | _models(counted)
    return Trace(
        id=f"{key}/{agent.id}",
        agent=name,
        release=_first(
            [agent.info or {}, tree.root.info or {}], ("tracetune_release", "tracetune.release")
        ),
        started_at=began(agent),
        latency_s=seconds(agent),
        steps=_with_ends(agent, own),
        **_usage(counted, agent),
        **_outcome(
            agent.scores or {}, agent.error, agent.end is not None, {**shared, "part_of": key}
        ),
    )


def _with_ends(span: Span, steps: list[Step]) -> tuple[Step, ...]:
    """Return the steps, with the run's input and output where no model call shows them."""
    if span.kind in ("llm", "tool"):
        return tuple(steps)
    roles = {step.role for step in steps if type(step) is Message}
    asked = None if "user" in roles else _spoken(span.heard, "user")
    answered = None if "assistant" in roles else _spoken(span.replied, "assistant")
    first = [Message("user", asked)] if asked else []
    last = [Message("assistant", answered)] if answered else []
    return (*first, *steps, *last)


def _spoken(value: Any, role: Any) -> str | None:
    """Return the last thing that `role` said in a run's input or output."""
    if value is None:
        return None
    value = parsed(value)
    if isinstance(value, Mapping) and value.get("messages"):
        said = [one.text for one in said_in(value, role) if one.role == role and one.text]
        return said[-1] if said else None
    return plain_text(value) if value not in (None, "", {}, []) else None


def _usage(counted: list[Span], top: Span) -> dict[str, Any]:
    """Return tokens and cost: sums over the model calls, else what the top says of itself."""
    if not counted:
        return {"tokens_in": top.tokens_in, "tokens_out": top.tokens_out, "cost_usd": top.cost_usd}
    fields = ("tokens_in", "tokens_out", "cost_usd")
    return {name: _sum(counted, name, getattr(top, name)) for name in fields}


def _sum(counted: list[Span], name: str, otherwise: float | None) -> float | None:
    total: float = 0
    told = False
    for span in counted:
        value = getattr(span, name)
        if value is not None:
            told = True
            total += value
        elif span.error is None:
            return otherwise  # a part of the sum is missing; a call that failed used nothing
    return total if told else otherwise


def _outcome(
    scores: Mapping[str, Score], error: str | None, ended: bool | None, labels: Mapping[str, str]
) -> dict[str, Any]:
    """Return what is known of the outcome: scores first, else an error; no error is no success."""
    success, score, feedback = outcome_of(scores) if scores else (None, None, None)
    labels = dict(labels)
    if error is not None:
        labels.setdefault("ended_by", _limit_of(error) or "error")
        labels["error"] = error if len(error) <= 300 else f"{error[:299]}…"
    elif ended:
        labels.setdefault("ended_by", "finished")
    if success is None and error is not None:
        success = False
    return {
        "success": success,
        "score": score,
        "feedback": feedback,
        "labels": labels,
    }


def _limit_of(error: str) -> str | None:
    return next((ending for words, ending in _LIMITS.items() if words in error), None)


def _labels(tree: Tree, run: Run) -> dict[str, str]:
    info = _info(tree, run)
    labels = {**run.labels, **_models(tree.counted)}
    if thread := _first(info, _THREADS):
        labels.setdefault("thread", thread)
    if environment := _first(info, _ENVIRONMENTS):
        labels.setdefault("environment", environment)
    tags = parsed(next((one["tags"] for one in info if one.get("tags")), None))
    if isinstance(tags, list):
        labels.setdefault("tags", ",".join(sorted(map(str, tags))))
    if not tree.rooted:
        labels["incomplete"] = "root missing"
    return labels


def _info(tree: Tree, run: Run) -> list[Mapping[str, Any]]:
    """Return what is said of the run, the root's words before those of other spans."""
    root = tree.root
    told = [span.info for span in tree.spans if span.info and span is not root]
    return [info for info in (run.info, root.info, *told) if info]


def _models(counted: list[Span]) -> dict[str, str]:
    names = sorted({span.model for span in counted if span.model})
    return {"model": ",".join(names)} if names else {}


def _first(info: list[Mapping[str, Any]], names: tuple[str, ...]) -> str | None:
    for one in info:
        for name in names:
            if name in one:
                value = one[name]
                nan = isinstance(value, float) and math.isnan(value)
                if value is not None and value != "" and not nan:
                    return json_text(value)
    return None
