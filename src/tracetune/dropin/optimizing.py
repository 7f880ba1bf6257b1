"""What callers who keep their prompts themselves want optimized, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tracetune.dropin.trajectories import AGENT
from tracetune.graph.context import Settings
from tracetune.graph.state import Choice, Fallback, Measures, ModelCall, Subject
from tracetune.nodes.blaming.ranking import rank_prompts
from tracetune.nodes.evidence.choosing import choose_feedback, choose_runs
from tracetune.nodes.evidence.showing import shorten, show_trace
from tracetune.nodes.guarding.guarded import violations_in
from tracetune.nodes.guarding.repairing import told_of
from tracetune.nodes.subjects import updatable
from tracetune.prompts.loader import fence
from tracetune.traces.analytics.few import few_or_tables
from tracetune.traces.metrics import compute_metrics
from tracetune.traces.mining.patterns import Pattern, mine_patterns
from tracetune.traces.model import Trace

__all__ = ["Outcome", "Task", "outcome_of", "state_for"]

Json = dict[str, Any]

PATTERNS_KEPT = 20
RUNS_SHOWN = 6
"""Runs to which others are added, where those that tell why some failed are fewer."""
RUNS_CHARS = 9_000
"""Of all runs, together, where others are added."""
JUDGED = 4_000
"""Runs of known outcome among which those to be shown are chosen."""
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
    first_sizes: Mapping[str, int]
    """Characters that each prompt had at first, outside its section: its budget follows them."""
    tools: Sequence[str] = ()
    """Names of tools that the agent has, called in the traces or not."""


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
    coverage: str = ""
    """How many of the failures the model was shown, at most; empty where there are none."""


@dataclass(frozen=True, slots=True)
class _Run:
    """A run, or two of one task, as it is shown."""

    id: str
    """The trace's; of two, the failed one's."""
    text: str
    """Fenced."""
    remark: str
    """The feedback that it came with, shortened; empty where there is none."""
    failures: int = 0
    cluster: int | None = None


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
    called = {call.name for trace in task.traces for call in trace.agent_calls()}
    tools = {*task.tools, *(name for name in called if name.isprintable() and len(name) <= 80)}
    return Subject(
        agent=AGENT,
        prompts=dict(task.prompts),
        config={},
        prompt_specs={name: dict(spec) for name, spec in task.specs.items()},
        parameters={},
        guidelines=[],
        first_sizes=dict(task.first_sizes),
        refs={},
        base=None,
        in_files=False,
        source_hash="",
        tools=sorted(tools),
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
    patterns: list[Pattern] = []
    # Without a single known outcome there is nothing to measure a pattern by.
    if any(trace.success is not None for trace in traces):
        with few_or_tables(traces) as held:
            [measured] = compute_metrics(held)
            patterns = list(mine_patterns(held))[:PATTERNS_KEPT]
        metrics = asdict(measured)
    prompts = [
        {"name": name, "prompt": subject["prompts"][name]} | subject["prompt_specs"].get(name, {})
        for name in updatable(subject)
    ]
    blames = rank_prompts(traces, prompts, patterns=patterns) if task.choose else []
    shown, clusters = _judged_runs(traces, patterns)
    shown += _other_runs(traces, shown)
    return Measures(
        metrics=metrics,
        patterns=[asdict(pattern) for pattern in patterns],
        blames=[asdict(blame) for blame in blames],
        proposals=[],
        runs=[_with_remark(run) for run in shown],
        coverage=_coverage(traces, shown, clusters),
        feedback=choose_feedback(traces),
        remarks=[run.remark for run in shown if run.remark],
    )


def _judged_runs(traces: Sequence[Trace], patterns: Sequence[Pattern]) -> tuple[list[_Run], int]:
    """Runs that tell why some failed, chosen as in a cycle, and how many clusters those make.

    None where no run is known to have failed.
    """
    failed = _spread([trace for trace in traces if trace.success is False], JUDGED // 2)
    if not failed:
        return [], 0
    judged = [*failed, *_spread([trace for trace in traces if trace.success], JUDGED // 2)]
    said = {trace.id: _remark(trace) for trace in judged}
    chosen, clusters = choose_runs(judged, patterns)
    runs = [_Run(c.run, c.text, said[c.run], c.failures, c.cluster) for c in chosen]
    return runs, clusters


def _other_runs(traces: Sequence[Trace], shown: Sequence[_Run]) -> list[_Run]:
    """As many runs as are few beside those that are shown, those with feedback first."""
    most = max(0, RUNS_SHOWN - len(shown))
    taken = {run.id for run in shown}
    told = sorted(
        (trace for trace in traces if trace.steps and trace.id not in taken),
        key=lambda t: (t.success is not False, t.success is True),
    )
    chosen = _spread([trace for trace in told if trace.feedback is not None], most)
    taken = {trace.id for trace in chosen}
    chosen += _spread([t for t in told if t.id not in taken], most - len(chosen))
    room = RUNS_CHARS // max(1, len(shown) + len(chosen))
    return [_Run(t.id, show_trace(t, room), _remark(t), int(t.success is False)) for t in chosen]


def _remark(trace: Trace) -> str:
    told = trace.feedback or ""
    if not isinstance(told, str):
        told = ", ".join(f"{name}={value}" for name, value in told.items())
    return shorten(told, FEEDBACK_CHARS)


def _with_remark(run: _Run) -> str:
    return f"{run.text}\n{fence('feedback', run.remark)}" if run.remark else run.text


def _coverage(traces: Sequence[Trace], shown: Sequence[_Run], clusters: int) -> Json:
    failures = sum(trace.success is False for trace in traces)
    return {
        "failures": failures,
        "sampled": min(failures, JUDGED // 2),
        "clusters": clusters,
        "runs": [[run.failures, run.cluster] for run in shown],
    }


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
        told_style = change.get("style", "")
        if violations := violations_in(change["after"], name, subject, measures, told_style):
            dropped += [told_of(name, "a new text", violation) for violation in violations]
            continue
        prompts[name] = change["after"]
        changes.append({key: change[key] for key in ("name", "why", "origin")})
    told = [draft.get("coverage", "") for draft in state["prompt_drafts"]]
    coverage = next(filter(None, [*told, *state.get("shown", {}).values()]), "")
    notes, fallbacks, calls = state["notes"], state["fallbacks"], state["calls"]
    return Outcome(prompts, changes, dropped, notes, fallbacks, calls, coverage)
