"""compute_metrics: how each agent does, and what its runs say about prompts and config.

All that needs the traces themselves is computed here, so that the branches that follow carry
only figures, and what a model is shown does not grow with the number of traces.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from tracetune.graph.context import Settings
from tracetune.graph.state import Ingested, Measured, Measures, Subject
from tracetune.nodes.classify_by_rules import rank_prompts
from tracetune.nodes.configure_by_rules import tune_config
from tracetune.nodes.evidence import Evidence
from tracetune.nodes.showing import choose_feedback, choose_runs
from tracetune.nodes.subjects import updatable
from tracetune.nodes.workplace import Workplace, progress
from tracetune.stores.project import Parameter
from tracetune.traces.metrics import compute_metrics as metrics_of
from tracetune.traces.patterns import mine_patterns
from tracetune.traces.reward import RewardRefs, RewardSpec
from tracetune.traces.tables import TraceTables

__all__ = ["compute_metrics"]

PATTERNS_KEPT = 20


async def compute_metrics(state: Ingested, place: Workplace) -> Measured:
    """Measure every agent that has traces."""
    digests = {agent: subject["digest"] for agent, subject in state["subjects"].items()}
    evidence = await place.evidence(state["request"], digests)
    reward = Settings.model_validate(state["settings"]).reward
    measured: dict[str, Measures] = {}
    for agent, subject in state["subjects"].items():
        if evidence[agent].traces:
            measured[agent] = await asyncio.to_thread(measure, evidence[agent], subject, reward)
            progress("compute_metrics", f"{agent}: {len(measured[agent]['patterns'])} patterns")
    return {"measured": measured}


def measure(found: Evidence, subject: Subject, reward: RewardSpec) -> Measures:
    """What one agent's runs say of it, its prompts and its config."""
    refs = {found.agent: RewardRefs(**subject["refs"])} if subject["refs"] else None
    with TraceTables(found.traces) as tables:
        [metrics] = metrics_of(tables, reward=reward, refs=refs)
        patterns = mine_patterns(tables)[:PATTERNS_KEPT]
    prompts = [
        {"name": name, "prompt": subject["prompts"][name]} | subject["prompt_specs"].get(name, {})
        for name in updatable(subject)
    ]
    parameters = {n: Parameter.model_validate(p) for n, p in subject["parameters"].items()}
    blames = rank_prompts(found.traces, prompts, patterns=patterns)
    proposals = tune_config(found.traces, subject["config"], parameters, reward, metrics.refs)
    return Measures(
        metrics=asdict(metrics),
        patterns=[asdict(pattern) for pattern in patterns],
        blames=[asdict(blame) for blame in blames],
        proposals=[asdict(proposal) for proposal in proposals],
        runs=choose_runs(found.traces, patterns),
        feedback=choose_feedback(found.traces),
    )
