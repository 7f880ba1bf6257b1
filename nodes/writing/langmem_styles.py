"""The styles of langmem: its own optimizers, called through langmem, inside our guards.

What they lack is added around them: they never see a brace, an empty answer is no change, any model
that can answer in JSON will do, an error fails the branch and not the cycle, and calls, tokens and
time count.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from tracetune.graph.state import PromptDraft, PromptTask
from tracetune.nodes.calling.calls import Branch, CallError, tried_again
from tracetune.nodes.evidence.briefing import evidence_beside, instructions_of, most_tokens
from tracetune.nodes.evidence.shortening import tokens_of
from tracetune.nodes.guidelines import outside
from tracetune.nodes.writing.langmem_model import LangmemModel
from tracetune.nodes.writing.marks import Marks
from tracetune.nodes.writing.meter import Meter
from tracetune.nodes.writing.rewriting import Rewrite, TextChange, by_rewriting, settle
from tracetune.prompts.loader import fence

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["KINDS", "Kind", "by_langmem", "optimize"]

Kind = Literal["prompt_memory", "metaprompt", "gradient"]
KINDS: tuple[Kind, ...] = ("prompt_memory", "metaprompt", "gradient")

WORDS = 1_150
"""Tokens that langmem's longest template takes, without what is put into it."""


async def by_langmem(
    model: BaseChatModel, task: PromptTask, branch: Branch, kind: Kind
) -> PromptDraft:
    """The text that langmem's optimizer of that kind makes; asked again by us if it breaks a rule.

    Where langmem cannot use what the model answers, the text is rewritten in our own way; `dropped`
    says so.

    Raises:
        CallError: A call fails, the budget is spent, or the text breaks a rule twice.
    """
    settings = task["settings"]
    most, calls = most_tokens(settings), settings["optimizer_calls"]
    meter = Meter(model, branch, settings["call_timeout_s"], calls, most)
    text = useless = coverage = ""
    try:
        text, coverage = await _asked(kind, task, meter)
    except CallError as error:
        if not meter.useless:
            raise
        useless = str(error)
    if useless:
        return await _in_our_way(model, task, branch, f"{kind}, as langmem failed ({useless})")
    change = TextChange(what=f"Rewritten by langmem's {kind}.", why=task["choice"]["why"])
    answer = Rewrite(text=text, changes=[change]) if text else Rewrite()
    draft = await settle(model, task, branch, answer, kind)
    draft.setdefault("coverage", coverage)
    return draft


async def _in_our_way(
    model: BaseChatModel, task: PromptTask, branch: Branch, what: str
) -> PromptDraft:
    draft = await by_rewriting(model, task, branch)
    note = f"{task['choice']['prompt']}: {what}; it was rewritten in tracetune's own way instead"
    return {**draft, "dropped": [*draft["dropped"], note]}


async def _asked(kind: Kind, task: PromptTask, meter: Meter) -> tuple[str, str]:
    """langmem's text, and how much of what failed it was shown."""
    prompt, most = task["choice"]["prompt"], meter.most_tokens
    body, taken = outside(task["subject"]["prompts"][prompt]), _taken(task)
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
        config=task["subject"]["prompt_specs"].get(prompt, {}).get("optimizer"),
    )
    return text, shown.coverage


def _taken(task: PromptTask) -> int:
    """Tokens of langmem's first question without the evidence."""
    prompt, subject = task["choice"]["prompt"], task["subject"]
    own = subject["prompt_specs"].get(prompt, {}).get("optimizer") or {}
    texts = [outside(subject["prompts"][prompt]), instructions_of(task)]
    texts += [value for value in own.values() if isinstance(value, str)]
    return WORDS + sum(map(tokens_of, texts))


async def optimize(
    kind: Kind,
    text: str,
    trajectories: str,
    meter: Meter,
    *,
    instructions: str = "",
    config: Mapping[str, Any] | None = None,
) -> str:
    """Return langmem's new text, unguarded; empty where it wants no change.

    Args:
        config: langmem's own for this kind, over what follows from the meter's most calls.

    Raises:
        CallError: Anything went wrong in langmem, the provider or the budget.
    """
    own = config or {}
    marks = Marks.none_of([text, trajectories, instructions, *map(str, own.values())])
    optimizer = _optimizer(kind, LangmemModel(meter, marks), meter.most_calls, own)
    prompt = {"name": "prompt", "prompt": marks.hide(text), "when_to_update": ""}
    asked = {
        "trajectories": trajectories,
        "prompt": prompt | {"update_instructions": instructions},
    }
    new = await tried_again(functools.partial(_once, optimizer, asked, meter), meter.account)
    return str(marks.show(new)) if isinstance(new, str) and new.strip() else ""


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


def _optimizer(kind: Kind, model: Any, most_calls: int, config: Mapping[str, Any]) -> Any:
    from langmem import create_prompt_optimizer  # type: ignore[import-untyped]

    if kind == "prompt_memory":
        return create_prompt_optimizer(model, kind=kind)
    # Of the calls that gradient may make, the last one is its edit.
    steps = most_calls - (1 if kind == "gradient" else 0)
    steps = config.get("max_reflection_steps", steps)
    own: Any = {"max_reflection_steps": steps, "min_reflection_steps": min(1, steps - 1), **config}
    return create_prompt_optimizer(model, kind=kind, config=own)
