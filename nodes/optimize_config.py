"""optimize_config: one call of the model per agent, over the values that may be tuned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from tracetune.graph.state import Branches, ConfigTask, Draft
from tracetune.nodes.models import ask, branch_name, unusable
from tracetune.nodes.showing import show_metrics, show_patterns
from tracetune.nodes.workplace import Workplace, progress
from tracetune.prompts.loader import fence, render
from tracetune.stores.project import Parameter

__all__ = ["ConfigChange", "ConfigChanges", "check_changes", "optimize_config", "tunable"]


class ConfigChange(BaseModel):
    """One parameter's new value."""

    parameter: str = Field(description="The parameter's name, exactly as shown.")
    value: float | int | bool | str = Field(description="Its new value.")
    why: str = Field(description="One sentence that names the evidence.")


class ConfigChanges(BaseModel):
    """The changes of an agent's config; none when the evidence supports none."""

    changes: list[ConfigChange] = Field(default_factory=list)


async def optimize_config(task: ConfigTask, place: Workplace) -> Branches:
    """Ask the model which config values to change; keep what the parameters allow."""
    subject, settings = task["subject"], task["settings"]
    config, measures = subject["config"], task["measures"]
    told = [f"what the runs identify: {proposal['why']}" for proposal in measures["proposals"]]
    allowed = tunable(config, subject["parameters"])
    progress("optimize_config", f"{task['agent']}: config, by the model")
    prompt = render(
        "optimize_config",
        agent=task["agent"],
        reward=json.dumps(subject["reward"]),
        parameters="\n".join(_show(name, config[name], allowed[name]) for name in allowed),
        evidence=fence(
            "data",
            "\n".join(
                [show_metrics(measures["metrics"]), show_patterns(measures["patterns"]), *told]
            ),
        ),
    )
    model = await place.model(settings["model"])
    branch = branch_name("optimize_config", task["agent"])
    answer, call = await ask(
        model, ConfigChanges, prompt, branch=branch, timeout_s=settings["call_timeout_s"]
    )
    proposals, dropped = check_changes(answer, config, allowed)
    if answer.changes and not proposals:
        raise unusable("none of the proposed values may be used")
    draft = Draft(
        agent=task["agent"],
        kind="config",
        name="",
        origin="llm",
        guidelines=[],
        proposals=proposals,
        why=[proposal["why"] for proposal in proposals],
        dropped=dropped,
    )
    return {"drafts": [draft], "fallbacks": [], "calls": [call]}


def tunable(config: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Parameter]:
    """The values that may change, by name in the config's order.

    A declared parameter may, unless it is frozen; an undeclared one only if it is a number or a
    boolean: nobody said what else a text or a list may be.
    """
    allowed: dict[str, Parameter] = {}
    for name, value in config.items():
        if name in declared:
            parameter = Parameter.model_validate(declared[name])
        elif isinstance(value, bool | int | float):
            parameter = Parameter()
        else:
            continue
        if not parameter.frozen:
            allowed[name] = parameter
    return allowed


def check_changes(
    answer: ConfigChanges, config: Mapping[str, Any], allowed: Mapping[str, Parameter]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Split the model's changes into config proposals and the reasons why others are dropped."""
    proposals: list[dict[str, Any]] = []
    dropped: list[str] = []
    for change in answer.changes:
        if change.parameter not in allowed:
            dropped.append(f"config {change.parameter[:60]!r}: no parameter that may be tuned")
            continue
        before = config[change.parameter]
        after = _as_type(change.value, before)
        if reason := allowed[change.parameter].violation(after, before):
            dropped.append(f"config {change.parameter}: {reason}")
        elif after != before:
            proposals.append(
                {
                    "parameter": change.parameter,
                    "before": before,
                    "after": after,
                    "effect": None,
                    "interval": None,
                    "identified": False,
                    "why": " ".join(change.why.split())[:300],
                }
            )
    return proposals, dropped


def _as_type(value: Any, before: Any) -> Any:
    # JSON has one kind of number: 40.0 for an int parameter means 40.
    whole = isinstance(before, int) and not isinstance(before, bool)
    if whole and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _show(name: str, value: Any, parameter: Parameter) -> str:
    told = parameter.model_dump(exclude_defaults=True)
    return fence("parameter", json.dumps({"value": value} | told, ensure_ascii=False), name=name)
