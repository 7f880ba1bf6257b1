"""Where a cycle goes next: every route and every fallback, pure, in one place."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Literal

from langgraph.errors import NodeError
from langgraph.types import Command, Send

from tracetune.errors import NoModelError
from tracetune.graph.state import (
    BranchTask,
    Choice,
    ConfigTask,
    Evidenced,
    Fallback,
    Ingested,
    Judged,
    ModelCall,
    PromptTask,
)
from tracetune.nodes.calling.calls import Branch, CallError
from tracetune.nodes.optimize_config import tunable
from tracetune.nodes.review import survivors
from tracetune.nodes.subjects import learning

__all__ = [
    "after_compute_metrics",
    "after_validate_candidates",
    "classify_failed",
    "config_failed",
    "config_task",
    "each_branch",
    "prompt_task",
    "update_failed",
]

Json = dict[str, Any]


def after_compute_metrics(state: Ingested) -> Literal["classify_prompts", "report"]:
    """Go on when there is an agent with enough traces that hold something new."""
    return "classify_prompts" if learning(state["subjects"]) else "report"


def each_branch(state: Json) -> list[Send] | Literal["assemble_candidates"]:
    """One branch per chosen prompt, and one per agent whose config may be tuned."""
    sends = [Send("generate_update", prompt_task(state, choice)) for choice in state["chosen"]]
    for agent, subject in learning(state["subjects"]).items():
        if tunable(subject["config"], subject["parameters"]):
            sends.append(Send("optimize_config", config_task(state, agent)))
    # Without a branch the run would end here, with no report.
    return sends or "assemble_candidates"


def prompt_task(state: Mapping[str, Any], choice: Choice) -> PromptTask:
    """What the branch of one chosen prompt needs of the state."""
    return {"choice": choice, **_task(state, choice["agent"])}


def config_task(state: Mapping[str, Any], agent: str) -> ConfigTask:
    """What the branch of one agent's config needs of the state."""
    return {"agent": agent, **_task(state, agent)}


def _task(state: Mapping[str, Any], agent: str) -> BranchTask:
    return BranchTask(
        settings=state["settings"],
        cycle=state["cycle"],
        calls=state["calls"],
        subject=state["subjects"][agent],
        measures=state["measured"][agent],
    )


def after_validate_candidates(state: Judged) -> Literal["review", "report"]:
    """Go on when a candidate survives."""
    return "review" if survivors(state["verdicts"]) else "report"


def classify_failed(state: Evidenced, error: NodeError) -> Command[Literal["classify_by_rules"]]:
    """Let the rules choose."""
    return _fall_back(error, Branch("classify_prompts"), "classify_by_rules", {})


def update_failed(task: PromptTask, error: NodeError) -> Command[Literal["update_by_rules"]]:
    """Let the rules write this prompt's update; the other branches keep what they have."""
    choice = task["choice"]
    branch = Branch("generate_update", choice["agent"], choice["prompt"])
    return _fall_back(error, branch, "update_by_rules", {"prompts_left": [choice]})


def config_failed(task: ConfigTask, error: NodeError) -> Command[Literal["configure_by_rules"]]:
    """Let the rules tune this agent's config."""
    branch = Branch("optimize_config", task["agent"])
    return _fall_back(error, branch, "configure_by_rules", {"configs_left": [task["agent"]]})


def _fall_back(error: NodeError, branch: Branch, used: str, left: Json) -> Command[Any]:
    # No Send: a deferred node does not wait for one, and would join the branches too early.
    kind, args = _kept(error.error)
    if kind == NoModelError.__name__:
        # Nothing failed: the cycle said at its beginning that it runs on rules alone.
        return Command(update=left, goto=used)
    told, calls = f"tracetune itself failed ({kind})", list[ModelCall]()
    refused: tuple[str, ...] = ()
    if kind == CallError.__name__ and args:
        failure = CallError(*args)
        told, calls, refused = str(failure), list(failure.calls), failure.refused
    fallback = Fallback(
        branch=str(branch), agent=branch.agent, error=told, attempts=len(calls), used=used
    )
    if refused:
        fallback["refused"] = list(refused)
    return Command(update={"fallbacks": [fallback], "calls": calls, **left}, goto=used)


def _kept(failure: object) -> tuple[str, tuple[Any, ...]]:
    """The name and arguments of an error; where a cycle resumes, all that is left is its repr."""
    if isinstance(failure, BaseException):
        return type(failure).__name__, failure.args
    name, _, args = str(failure).partition("(")
    try:
        return name, ast.literal_eval(f"({args.removesuffix(')').removesuffix(',')},)")
    except (ValueError, SyntaxError):
        return name, ()
