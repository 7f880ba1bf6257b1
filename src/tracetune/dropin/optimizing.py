"""What callers who keep their prompts themselves want optimized, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tracetune.dropin.trajectories import AGENT
from tracetune.graph.context import Settings
from tracetune.graph.state import Choice, Fallback, Measures, ModelCall, Subject
from tracetune.nodes.blaming.ranking import rank_prompts
from tracetune.nodes.evidence.showing import choose_feedback, shorten, show_trace
from tracetune.nodes.guarding.guarded import violations_in
from tracetune.nodes.guidelines import outside
from tracetune.nodes.subjects import updatable
from tracetune.prompts.loader import fence
from tracetune.traces.metrics import compute_metrics
from tracetune.traces.mining.patterns import mine_patterns
from tracetune.traces.model import Trace

__all__ = ["Outcome", "Task", "outcome_of", "state_for"]

Json = dict[str, Any]

PATTERNS_KEPT = 20
RUNS_SHOWN = 6
RUNS_CHARS = 9_000
"""Of all runs that are shown, together."""
FEEDBACK_CHARS = 300


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be optimized."""

    traces: Sequence[Trace]
    prompts: Mapping[str, str]
    """By a name that is unique."""
    specs: Mapping[str, Json]
    """As a `PromptSpec`'s fields, by the same names; `optimizer` holds langmem's config."""
    choose: bool
    """Whether the model is asked which prompts to update; else all are that may be."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task."""

    prompts: Mapping[str, str]
    """All of them, by name; what was not changed is as it was."""
    changes: Sequence[Json]
    """Each {name, why, origin}."""
    dropped: Sequence[str]
    """What was proposed and not taken, with the reason."""
    notes: Sequence[str]
    fallbacks: Sequence[Fallback]
    calls: Sequence[ModelCall]


def state_for(task: Task, settings: Settings, learner: str) -> Json:
    """The machine's input for a task; its size does not grow with the number of traces."""
    subject = _subject(task, learner)
    why = "It is the only prompt there is."
    names = [] if task.choose else updatable(subject)
    return {
        "request": {},
        "project_name": "",
        "settings": settings.model_dump(),
        "subjects": {AGENT: subject},
        "measured": {AGENT: _measures(task, subject)},
        "notes": [],
        "chosen": [Choice(agent=AGENT, prompt=name, why=why) for name in names],
        "choose": task.choose and bool(updatable(subject)),
        **{field: [] for field in ("prompt_drafts", "config_drafts", "fallbacks", "calls")},
    }


def _subject(task: Task, learner: str) -> Subject:
    tools = {call.name for trace in task.traces for call in trace.agent_calls()}
    return Subject(
        agent=AGENT,
        prompts=dict(task.prompts),
        config={},
        prompt_specs={name: dict(spec) for name, spec in task.specs.items()},
        parameters={},
        guidelines=[],
        first_sizes={name: len(outside(text)) for name, text in task.prompts.items()},
        refs={},
        base=None,
        in_files=False,
        source_hash="",
        tools=sorted(name for name in tools if name.isprintable() and len(name) <= 80),
        traces=len(task.traces),
        set_aside=0,
        digest="",
        learner=learner,
        skip="",
        detail="",
    )


def _measures(task: Task, subject: Subject) -> Measures:
    traces = task.traces
    metrics: Json = {"n": len(traces)}
    patterns = []
    # Without a single known outcome there is nothing to measure a pattern by.
    if any(trace.success is not None for trace in traces):
        [measured] = compute_metrics(traces)
        metrics = asdict(measured)
        patterns = list(mine_patterns(traces))[:PATTERNS_KEPT]
    prompts = [
        {"name": name, "prompt": subject["prompts"][name]} | subject["prompt_specs"].get(name, {})
        for name in updatable(subject)
    ]
    blames = rank_prompts(traces, prompts, patterns=patterns) if task.choose else []
    return Measures(
        metrics=metrics,
        patterns=[asdict(pattern) for pattern in patterns],
        blames=[asdict(blame) for blame in blames],
        proposals=[],
        runs=_runs(traces),
        feedback=choose_feedback(traces),
    )


def _runs(traces: Sequence[Trace]) -> list[str]:
    """A few runs as fenced text, each with the feedback it came with; what failed goes first."""
    told = sorted(
        (trace for trace in traces if trace.steps),
        key=lambda t: (t.success is not False, t.feedback is None, t.success is True),
    )
    chosen = _spread([t for t in told if t.feedback is not None] or told, RUNS_SHOWN)
    taken = {trace.id for trace in chosen}
    chosen += _spread([t for t in told if t.id not in taken], RUNS_SHOWN - len(chosen))
    shown = []
    for trace in chosen:
        text = show_trace(trace, RUNS_CHARS // len(chosen))
        if trace.feedback is not None:
            text += "\n" + fence("feedback", shorten(str(trace.feedback), FEEDBACK_CHARS))
        shown.append(text)
    return shown


def _spread(traces: Sequence[Trace], most: int) -> list[Trace]:
    """At most so many of them, evenly from first to last: later runs may differ from early ones."""
    if len(traces) <= most:
        return list(traces)
    return [traces[i * len(traces) // most] for i in range(most)]


def outcome_of(task: Task, state: Mapping[str, Any]) -> Outcome:
    """Read the machine's last state; a change that breaks a guard after all is left out."""
    subject, measures = state["subjects"][AGENT], state["measured"][AGENT]
    candidate = state["candidates"][AGENT]
    prompts = dict(task.prompts)
    dropped, changes = list(candidate["dropped"]), []
    for change in candidate["changes"]:
        name = change["name"]
        if violations := violations_in(change["after"], name, subject, measures):
            rules = ", ".join(sorted({v.rule for v in violations}))
            dropped.append(f"{name}: a new text that breaks a rule ({rules})")
            continue
        prompts[name] = change["after"]
        changes.append({key: change[key] for key in ("name", "why", "origin")})
    return Outcome(prompts, changes, dropped, state["notes"], state["fallbacks"], state["calls"])
