"""The styles of langmem: its own optimizers, called through langmem, inside our guards.

What they lack is added around them: braces are hidden from their regular expressions, an empty
answer is no change, an error fails the branch and not the cycle, and calls, tokens and time count.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from tracetune.graph.state import PromptDraft, PromptTask
from tracetune.nodes.calling.calls import Branch, tried_again, unusable
from tracetune.nodes.evidence.briefing import evidence_beside, instructions_of, most_tokens
from tracetune.nodes.evidence.shortening import tokens_of
from tracetune.nodes.guidelines import outside
from tracetune.nodes.writing.meter import Meter
from tracetune.nodes.writing.rewriting import Rewrite, TextChange, settle
from tracetune.prompts.loader import fence

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["KINDS", "Kind", "by_langmem", "hide_braces", "optimize", "show_braces"]

Kind = Literal["prompt_memory", "metaprompt", "gradient"]
KINDS: tuple[Kind, ...] = ("prompt_memory", "metaprompt", "gradient")

_PAIRS = (("⦃", "⦄"), ("⟬", "⟭"), ("⦅", "⦆"), ("⦇", "⦈"))
"""What stands for braces; models copy them faithfully, and prompts hardly ever hold them."""
WORDS = 1_150
"""Tokens that langmem's longest template takes, without what is put into it."""


async def by_langmem(
    model: BaseChatModel, task: PromptTask, branch: Branch, kind: Kind
) -> PromptDraft:
    """The text that langmem's optimizer of that kind makes; asked again by us if it breaks a rule.

    Raises:
        CallError: It fails in any way, or its text breaks a rule twice.
    """
    settings, prompt = task["settings"], task["choice"]["prompt"]
    spec = task["subject"]["prompt_specs"].get(prompt, {})
    body = outside(task["subject"]["prompts"][prompt])
    most, calls = most_tokens(settings), settings["optimizer_calls"]
    meter = Meter(model, branch, settings["call_timeout_s"], calls, most)
    taken = _taken(task, body)
    if kind != "prompt_memory":
        # A long text leaves little: then half of that is for the runs.
        meter.reflections = max(0, min(meter.reflections, (most - taken) // 2))
        taken += meter.reflections
    shown = evidence_beside(task, taken)
    text = await optimize(
        kind,
        body,
        "\n".join([fence("evidence", shown.evidence), shown.runs]),
        meter,
        instructions=instructions_of(task),
        template_format=spec.get("template_format", "auto"),
        config=spec.get("optimizer"),
    )
    change = TextChange(what=f"Rewritten by langmem's {kind}.", why=task["choice"]["why"])
    answer = Rewrite(text=text, changes=[change]) if text else Rewrite()
    draft = await settle(model, task, branch, answer, kind)
    draft.setdefault("coverage", shown.coverage)
    return draft


def _taken(task: PromptTask, body: str) -> int:
    """Tokens of langmem's first question without the evidence."""
    own = task["subject"]["prompt_specs"].get(task["choice"]["prompt"], {}).get("optimizer") or {}
    texts = [hide_braces(body), instructions_of(task)]
    texts += [value for value in own.values() if isinstance(value, str)]
    return WORDS + sum(map(tokens_of, texts))


async def optimize(
    kind: Kind,
    text: str,
    trajectories: str,
    meter: Meter,
    *,
    instructions: str = "",
    template_format: str = "auto",
    config: Mapping[str, Any] | None = None,
) -> str:
    """Return langmem's new text, unguarded; empty where it wants no change.

    Args:
        config: langmem's own for this kind, over what follows from the meter's most calls.

    Raises:
        CallError: Anything went wrong in langmem, the provider or the budget.
    """
    pair = _pair_for(text)
    optimizer = _optimizer(kind, meter, config or {})
    prompt = {"name": "prompt", "prompt": hide_braces(text, pair), "when_to_update": ""}
    asked = {
        "trajectories": trajectories,
        "prompt": prompt | {"update_instructions": instructions},
    }
    new = await tried_again(functools.partial(_once, optimizer, asked, meter), meter.account)
    if meter.declined or not isinstance(new, str) or not new.strip():
        return ""
    return show_braces(new, pair, doubled=template_format == "f-string" or "{{" in text)


async def _once(optimizer: Any, asked: Mapping[str, Any], meter: Meter) -> Any:
    failed = None
    try:
        async with meter.timed():
            return await optimizer.ainvoke(asked)
    except asyncio.CancelledError as error:
        meter.failure(error)  # its calls count as taken
        raise
    except Exception as error:
        failed = meter.failure(error)
    # Outside of the handler: no chain leads to the provider's error, and to what that quotes.
    raise failed


def _optimizer(kind: Kind, meter: Meter, config: Mapping[str, Any]) -> Any:
    from langmem import create_prompt_optimizer  # type: ignore[import-untyped]

    model = meter.model.model_copy(update={"callbacks": [*_handlers(meter.model.callbacks), meter]})
    if kind == "prompt_memory":
        return create_prompt_optimizer(model, kind=kind)
    # Of the calls that gradient may make, the last one is its edit.
    steps = meter.most_calls - (1 if kind == "gradient" else 0)
    steps = config.get("max_reflection_steps", steps)
    own: Any = {"max_reflection_steps": steps, "min_reflection_steps": min(1, steps - 1), **config}
    return create_prompt_optimizer(model, kind=kind, config=own)


def _handlers(callbacks: Any) -> list[Any]:
    return list(getattr(callbacks, "handlers", callbacks) or [])


def _pair_for(text: str) -> tuple[str, str]:
    for pair in _PAIRS:
        if not any(mark in text for mark in pair):
            return pair
    raise unusable("the prompt holds every sign that could stand for its braces")


def hide_braces(text: str, pair: tuple[str, str] = _PAIRS[0]) -> str:
    """The text with the pair's signs for its braces: langmem's patterns take those apart."""
    return text.replace("{", pair[0]).replace("}", pair[1])


def show_braces(text: str, pair: tuple[str, str], *, doubled: bool) -> str:
    """The text with its braces again.

    Braces that langmem added are doubled, as in an f-string; `doubled` says whether they are to
    stay so.
    """
    if not doubled:
        text = re.sub(r"\{\{", "{", re.sub(r"\}\}", "}", text))
    return text.replace(pair[0], "{").replace(pair[1], "}")
