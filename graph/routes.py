"""Where a cycle goes next: every route and every fallback, pure, in one place."""

from __future__ import annotations

from typing import Any, Literal

from langgraph.errors import NodeError
from langgraph.types import Command, Send

from tracetune.errors import NoModelError
from tracetune.graph.state import (
    ConfigTask,
    Evidenced,
    Fallback,
    Ingested,
    Judged,
    PromptTask,
)
from tracetune.nodes.models import Branch, CallError
from tracetune.nodes.optimize_config import tunable
from tracetune.nodes.review import survivors
from tracetune.nodes.subjects import learning

__all__ = [
    "after_compute_metrics",
    "after_validate_candidates",
    "classify_failed",
    "config_failed",
    "each_branch",
    "update_failed",
]

Json = dict[str, Any]


def after_compute_metrics(state: Ingested) -> Literal["classify_prompts", "report"]:
    """Go on when there is an agent with enough traces that hold something new."""
    return "classify_prompts" if learning(state["subjects"]) else "report"


def each_branch(state: Json) -> list[Send] | Literal["assemble_candidates"]:
    """One branch per chosen prompt, and one per agent whose config may be tuned."""
    settings = state["settings"]
    sends = [
        Send(
            "generate_update",
            PromptTask(
                choice=choice,
                settings=settings,
                subject=state["subjects"][choice["agent"]],
                measures=state["measured"][choice["agent"]],
            ),
        )
        for choice in state["chosen"]
    ]
    for agent, subject in learning(state["subjects"]).items():
        if tunable(subject["config"], subject["parameters"]):
            measures = state["measured"][agent]
            task = ConfigTask(agent=agent, settings=settings, subject=subject, measures=measures)
            sends.append(Send("optimize_config", task))
    # Without a branch the run would end here, with no report.
    return sends or "assemble_candidates"


def after_validate_candidates(state: Judged) -> Literal["review", "report"]:
    """Go on when a candidate survives."""
    return "review" if survivors(state["verdicts"]) else "report"


def classify_failed(state: Evidenced, error: NodeError) -> Command[Literal["classify_by_rules"]]:
    """Let the rules choose."""
    return _fall_back(error, Branch("classify_prompts"), "classify_by_rules", "classify_by_rules")


def update_failed(task: PromptTask, error: NodeError) -> Command[Literal["update_by_rules"]]:
    """Let the rules write this prompt's update; the other branches keep what they have."""
    choice = task["choice"]
    branch = Branch("generate_update", choice["agent"], choice["prompt"])
    return _fall_back(error, branch, "update_by_rules", Send("update_by_rules", task))


def config_failed(task: ConfigTask, error: NodeError) -> Command[Literal["configure_by_rules"]]:
    """Let the rules tune this agent's config."""
    branch = Branch("optimize_config", task["agent"])
    return _fall_back(error, branch, "configure_by_rules", Send("configure_by_rules", task))


def _fall_back(error: NodeError, branch: Branch, used: str, goto: str | Send) -> Command[Any]:
    failure = error.error
    if isinstance(failure, NoModelError):
        # Nothing failed: the cycle said at its beginning that it runs on rules alone.
        return Command(goto=goto)
    told, attempts = f"tracetune itself failed ({type(failure).__name__})", 1
    if isinstance(failure, CallError):
        told, attempts = str(failure), failure.attempts
    fallback = Fallback(
        branch=str(branch), agent=branch.agent, error=told, attempts=attempts, used=used
    )
    return Command(update={"fallbacks": [fallback]}, goto=goto)
