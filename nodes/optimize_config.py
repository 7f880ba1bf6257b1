"""optimize_config: one call of the model per agent, over the values that may be tuned."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, Field

from tracetune.graph.context import PROMPT_TOKENS
from tracetune.graph.state import ConfigDraft, ConfigTask
from tracetune.nodes.calling.calls import Branch, ask
from tracetune.nodes.evidence.shortening import tokens_of
from tracetune.nodes.evidence.showing import fit, show_metrics, show_patterns
from tracetune.nodes.guarding.guards import check_prompt
from tracetune.nodes.guarding.repairing import said
from tracetune.nodes.workplace import Workplace, progress
from tracetune.prompts.loader import fence, render
from tracetune.stores.project import Parameter

FACTOR = 4
LARGEST = 1e300
"""A number beyond it is no amount, and four times of it may be no number."""
TEXT_LONGER = 200
"""Characters that a text may grow by, or by half."""
RESERVED, EVIDENCE_TOKENS = 700, 500
"""Tokens kept for our own words and the schema of the answer, and for the evidence."""
_WEIGHTS = ("success_weight", "latency_weight", "attempts_weight")

__all__ = ["ConfigChange", "ConfigChanges", "check_changes", "optimize_config", "tunable"]


class ConfigChange(BaseModel):
    """One parameter's new value."""

    parameter: str = Field(description="The parameter's name, exactly as shown.")
    value: float | int | bool | str = Field(description="Its new value.")
    why: str = Field(description="One sentence that names the evidence.")


class ConfigChanges(BaseModel):
    """The changes of an agent's config; none when the evidence supports none."""

    changes: list[ConfigChange] = Field(default_factory=list)


async def optimize_config(task: ConfigTask, place: Workplace) -> dict[str, Any]:
    """Ask the model which config values to change; keep what the parameters allow."""
    subject, settings = task["subject"], task["settings"]
    config = subject["config"]
    allowed = tunable(config, subject["parameters"])
    prompt, left_out = _prompt(task, allowed)
    model = await place.model(settings["model"])
    progress("optimize_config", f"{task['agent']}: config, by the model")
    branch = Branch("optimize_config", task["agent"])
    guard = functools.partial(_broken_rule, task)

    def check(answer: ConfigChanges) -> str:
        usable = not answer.changes or check_changes(answer, config, allowed, guard)[0]
        return "" if usable else "none of the proposed values may be used"

    answer, call = await ask(
        model,
        ConfigChanges,
        prompt,
        branch=branch,
        timeout_s=settings["call_timeout_s"],
        check=check,
    )
    proposals, dropped = check_changes(answer, config, allowed, guard)
    dropped += [f"config {name}: not shown to the model for lack of room" for name in left_out]
    draft = ConfigDraft(
        agent=task["agent"],
        origin="llm",
        proposals=proposals,
        dropped=dropped,
    )
    return {"config_drafts": [draft], "calls": [call]}


def _prompt(task: ConfigTask, allowed: Mapping[str, Parameter]) -> tuple[str, list[str]]:
    """What the model is asked, and the parameters that there was no room to show."""
    settings, measures = task["settings"], task["measures"]
    room = int(settings.get("max_prompt_tokens", PROMPT_TOKENS)) - RESERVED
    config, shown = task["subject"]["config"], dict[str, str]()
    for name, parameter in allowed.items():
        text = _show(name, config[name], parameter)
        if tokens_of(text) < room - EVIDENCE_TOKENS:
            shown[name] = text
            room -= tokens_of(text) + 1
    told = [f"what the runs identify: {proposal['why']}" for proposal in measures["proposals"]]
    figures = show_metrics(measures["metrics"]).splitlines()
    lines, _ = fit([*told, *figures, *show_patterns(measures["patterns"]).splitlines()], room)
    prompt = render(
        "optimize_config",
        agent=task["agent"],
        reward=json.dumps({name: settings[name] for name in _WEIGHTS}),
        parameters="\n".join(shown.values()),
        evidence=fence("data", "\n".join(lines)),
    )
    return prompt, [name for name in allowed if name not in shown]


def tunable(config: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Parameter]:
    """The values that may change, by name in the config's order.

    A declared parameter may, unless it is frozen; an undeclared one only if it is a boolean, or a
    number, and that to a quarter or four times of what it is: nobody said what else it may be. One
    so large that it stands for no limit is left alone.
    """
    allowed: dict[str, Parameter] = {}
    for name, value in config.items():
        if name in declared:
            parameter = Parameter.model_validate(declared[name])
        elif isinstance(value, bool):
            parameter = Parameter()
        elif isinstance(value, int | float) and 0 < abs(value) <= LARGEST:
            low, high = sorted((value / FACTOR, value * FACTOR))
            parameter = Parameter(min=low, max=high)
        else:
            continue
        if not parameter.frozen:
            allowed[name] = parameter
    return allowed


def check_changes(
    answer: ConfigChanges,
    config: Mapping[str, Any],
    allowed: Mapping[str, Parameter],
    guard: Callable[[str, str], str],
) -> tuple[list[dict[str, Any]], list[str]]:
    """Split the model's changes into config proposals and the reasons why others are dropped.

    Args:
        guard: Says of a text, which its owner did not give as a choice, what rule it breaks in the
            place of another; empty where none.
    """
    proposals: list[dict[str, Any]] = []
    dropped: list[str] = []
    for change in {change.parameter: change for change in answer.changes}.values():
        if change.parameter not in allowed:
            dropped.append(f"config {change.parameter[:60]!r}: no parameter that may be tuned")
            continue
        before = config[change.parameter]
        after = _as_type(change.value, before)
        reason = allowed[change.parameter].violation(after, before)
        if not reason and isinstance(after, str) and not allowed[change.parameter].choices:
            reason = guard(before if isinstance(before, str) else "", after)
        if reason:
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
                    "why": said(change.why),
                }
            )
    return proposals, dropped


def _broken_rule(task: ConfigTask, before: str, after: str) -> str:
    subject, measures = task["subject"], task["measures"]
    if len(after) > max(len(before) * 3 // 2, len(before) + TEXT_LONGER):
        return f"{len(after)} characters, where {len(before)} were"
    found = check_prompt(
        before,
        after,
        template_format="auto",
        # One word is a name of the config's own.
        tools=subject["tools"] if len(after.split()) > 1 else None,
        other_tools=subject.get("other_tools", ()),
        quotes=[*measures["runs"], *measures["feedback"]],
        freely=True,
    )
    if not found and before.isprintable() and not after.isprintable():
        return "a character that does not print"
    return f"{found[0].text} ({found[0].rule})" if found else ""


def _as_type(value: Any, before: Any) -> Any:
    # JSON has one kind of number: 40.0 for an int parameter means 40.
    whole = isinstance(before, int) and not isinstance(before, bool)
    if whole and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _show(name: str, value: Any, parameter: Parameter) -> str:
    told = parameter.model_dump(exclude_defaults=True)
    return fence("parameter", json.dumps({"value": value} | told, ensure_ascii=False), name=name)
