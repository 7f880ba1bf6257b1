"""compute_metrics: how each agent does, and what its runs say about prompts and config.

All that needs the traces themselves is computed here, so that the branches that follow carry
only figures, and what a model is shown does not grow with the number of traces.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tracetune.graph.context import Settings
from tracetune.graph.state import Ingested, Measures, Subject
from tracetune.nodes.blaming.feedback_match import Embed
from tracetune.nodes.blaming.ranking import Blame, rank_prompts
from tracetune.nodes.configure_by_rules import tune_config
from tracetune.nodes.evidence.choosing import Shown, choose_feedback, choose_runs
from tracetune.nodes.evidence.gathering import Evidence
from tracetune.nodes.subjects import updatable
from tracetune.nodes.workplace import Workplace, progress
from tracetune.nodes.writing.demonstrations import choose_demonstrations
from tracetune.stores.project import Parameter
from tracetune.traces.failures import EXCUSED
from tracetune.traces.mining.habits import Habit, mine_habits
from tracetune.traces.mining.patterns import Pattern
from tracetune.traces.model import Trace
from tracetune.traces.reward import RewardRefs, RewardSpec

__all__ = ["compute_metrics"]

PATTERNS_KEPT = 20

Json = dict[str, Any]


async def compute_metrics(state: Ingested, place: Workplace) -> Json:
    """Measure every agent that has traces."""
    evidence = await place.evidence(state)
    settings = Settings.model_validate(state["settings"])
    budget = (await place.account(state)).budget
    # Half of the time: the model's calls have the rest.
    embed = place.embed(lambda: min(settings.call_timeout_s, budget.left_s() / 2))
    notes: list[str] = []
    measured: dict[str, Measures] = {}
    for agent, subject in state["subjects"].items():
        if evidence[agent].n:
            measured[agent], told = await asyncio.to_thread(
                measure, evidence[agent], subject, settings.reward, embed
            )
            notes += told
            progress("compute_metrics", f"{agent}: {len(measured[agent]['patterns'])} patterns")
    return {"measured": measured, "notes": notes}


def measure(
    found: Evidence, subject: Subject, reward: RewardSpec, embed: Embed | None = None
) -> tuple[Measures, list[str]]:
    """What one agent's runs say of it, its prompts and its config, and notes for the report."""
    [metrics] = found.metrics(reward, RewardRefs(**subject["refs"]) if subject["refs"] else None)
    mined = found.patterns()
    patterns, sample = _kept(mined, subject), found.sample()
    # Of all runs: a sample cannot tell that a lower limit cuts off no run that succeeds.
    runs = found.runs()
    ends = Counter(run.success for run in runs if run.failure_kind not in EXCUSED)
    habits = mine_habits(sample, also=_cited(subject), outcomes=(ends[False], ends[True]))
    prompts = [
        {"name": name, "prompt": subject["prompts"][name]} | subject["prompt_specs"].get(name, {})
        for name in updatable(subject)
    ]
    parameters = {n: Parameter.model_validate(p) for n, p in subject["parameters"].items()}
    commented = found.commented()
    blames, notes = _blames(found.agent, sample, commented, prompts, patterns, embed)
    proposals = tune_config(runs, subject["config"], parameters, reward, metrics.refs)
    shown, clusters = choose_runs(sample, patterns)
    measures = Measures(
        metrics=asdict(metrics),
        judged=ends[False] + ends[True],
        patterns=[asdict(pattern) for pattern in patterns],
        blames=[asdict(blame) for blame in blames],
        proposals=[asdict(proposal) for proposal in proposals],
        habits=[asdict(habit) for habit in habits],
        demonstrations=_demonstrations(sample, subject, habits),
        runs=[run.text for run in shown],
        coverage=_coverage(shown, clusters, sample, ends[False]),
        feedback=choose_feedback(commented),
        why_no_patterns=mined.why_empty,
    )
    return measures, notes


def _coverage(
    shown: Sequence[Shown], clusters: int, sample: Iterable[Trace], failures: int
) -> Json:
    return {
        "failures": failures,
        "sampled": sum(map(_failed, sample)),
        "clusters": clusters,
        "runs": [[run.failures, run.cluster] for run in shown],
    }


def _failed(trace: Trace) -> bool:
    """Whether the agent failed; failures of the user or the infrastructure are none of its own."""
    return trace.success is False and trace.failure_kind not in EXCUSED


def _cited(subject: Subject) -> set[str]:
    """Ids of the patterns and habits that the agent's guidelines rest on."""
    rows = (row for line in subject["guidelines"] for row in line["evidence"].get("patterns", ()))
    return {row["id"] for row in rows}


def _kept(patterns: Sequence[Pattern], subject: Subject) -> list[Pattern]:
    """The strongest, and those that a guideline rests on: they may have turned against it."""
    cited = _cited(subject)
    return [
        *patterns[:PATTERNS_KEPT],
        *(pattern for pattern in patterns[PATTERNS_KEPT:] if pattern.id in cited),
    ]


def _demonstrations(
    sample: Sequence[Trace], subject: Subject, habits: Sequence[Habit]
) -> list[str]:
    if not any(spec.get("demonstrations") for spec in subject["prompt_specs"].values()):
        return []
    return choose_demonstrations(sample, habits, subject["tools"])


def _blames(
    agent: str,
    sample: Sequence[Trace],
    commented: Sequence[Trace],
    prompts: Sequence[Mapping[str, Any]],
    patterns: Sequence[Pattern],
    embed: Embed | None,
) -> tuple[list[Blame], list[str]]:
    rank = functools.partial(rank_prompts, sample, prompts, patterns=patterns, commented=commented)
    try:
        return rank(embed=embed), []
    except Exception as error:
        if embed is None:
            raise
        # What the provider of the embeddings says may hold a key: only its kind is told.
        note = (
            f"{agent}: the embedding function of the store failed "
            f"({type(error).__name__}): feedback was matched by its words alone."
        )
        return rank(), [note]
