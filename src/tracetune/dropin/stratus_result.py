"""What a cycle did, in the words of Stratus' meta-agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracetune.graph.schemas import AgentResult, Change, CycleReport

__all__ = ["Outcome", "result_of"]

Json = dict[str, Any]

_TYPES = {
    ("prompt", "llm"): "llm_prompt_optimization",
    ("prompt", "rules"): "pattern_based",
    ("config", "llm"): "llm_config_optimization",
    ("config", "rules"): "pattern_based_config",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one cycle ended: with a report, or before a review that nobody answers."""

    agents: Sequence[str]
    """What it was about."""
    report: CycleReport | None
    proposed: Mapping[str, Sequence[Change]]
    """The changes by agent that wait for the review; nothing of them was kept."""

    @classmethod
    def of(cls, agents: Sequence[str], values: Mapping[str, Any]) -> Outcome:
        """Read what the graph returned."""
        if "__interrupt__" not in values:
            return cls(agents, CycleReport.model_validate(values), {})
        shown = values["__interrupt__"][0].value["candidates"]
        changes = {
            agent: [Change.model_validate(change) for change in candidate["changes"]]
            for agent, candidate in shown.items()
        }
        return cls(agents, None, changes)

    @property
    def results(self) -> list[AgentResult]:
        """Per agent; none before a review."""
        return self.report.results if self.report else []

    @property
    def written(self) -> list[str]:
        """The agents whose files hold a new release."""
        return [result.agent for result in self.results if _is_written(result)]


def _is_written(result: AgentResult) -> bool:
    return result.outcome == "released" and not any("not brought" in m for m in result.mirrored)


def result_of(
    outcomes: Sequence[Outcome], versions: Mapping[str, str], notes: Sequence[str]
) -> Json:
    """Return the part of the result that tells what changed, as plain JSON values.

    Args:
        versions: Number of the copy in `versions/`, by agent.
        notes: What is to be told beside what the reports say.
    """
    reports = [outcome.report for outcome in outcomes if outcome.report]
    results = [result for outcome in outcomes for result in outcome.results]
    applied = [
        _entry(result.agent, change, release=result.release, version=versions.get(result.agent))
        for result in results
        if _is_written(result)
        for change in result.changes
    ]
    proposed = [
        _entry(agent, change)
        for outcome in outcomes
        for agent, changes in outcome.proposed.items()
        for change in changes
    ]
    failed = [f"{result.agent}: {told}" for result in results for told in _problems(result)]
    error: Json = {"status": "error", "error": " ".join(failed)} if failed else {}
    return {
        "patterns_identified": sum(len(result.patterns) for result in results),
        "llm_optimizations": len({e["agent_type"] for e in applied if e["source"] == "llm"}),
        "updates_applied": len(applied),
        "applied_updates": applied,
        "proposed_updates": proposed,
        "outcomes": {result.agent: f"{result.outcome}: {result.detail}" for result in results},
        "fallbacks": [dict(fallback) for report in reports for fallback in report.fallbacks],
        "notes": [*notes, *_notes(outcomes)],
        "reports": [report.model_dump(mode="json") for report in reports],
        **error,
    }


def _notes(outcomes: Sequence[Outcome]) -> list[str]:
    told = [
        (", ".join(outcome.agents), note)
        for outcome in outcomes
        for note in (outcome.report.notes if outcome.report else ())
    ]
    # What one cycle says of itself does not hold for another.
    return [f"{agents}: {note}" if len(outcomes) > 1 else note for agents, note in told]


def _problems(result: AgentResult) -> list[str]:
    if result.outcome == "failed":
        return [result.detail]
    return [line for line in result.mirrored if "not brought" in line]


def _entry(agent: str, change: Change, **more: Any) -> Json:
    return {
        "agent_type": agent,
        "type": _TYPES[change.kind, change.origin],
        "source": change.origin,
        "name": change.name,
        "why": change.why,
        **more,
    }
