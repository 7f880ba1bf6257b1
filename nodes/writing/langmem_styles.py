"""The styles of langmem: its own optimizers, called through langmem, inside our guards.

What they lack is added around them: braces are hidden from their regular expressions, an empty
answer is no change, an error fails the branch and not the cycle, and calls, tokens and time count.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler

from tracetune.graph.state import ModelCall, PromptDraft, PromptTask
from tracetune.nodes.calling.budget import Account, Cost, SpentError, account_in_use
from tracetune.nodes.calling.calls import Branch, CallError, failure_of, tried_again, unusable
from tracetune.nodes.calling.models import name_of
from tracetune.nodes.calling.prices import cost_usd
from tracetune.nodes.calling.replies import usage_of
from tracetune.nodes.calling.troubles import describe
from tracetune.nodes.evidence.briefing import instructions_of, trajectories
from tracetune.nodes.guidelines import outside
from tracetune.nodes.writing.rewriting import Rewrite, TextChange, settle

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.outputs import LLMResult

__all__ = ["KINDS", "Kind", "Meter", "by_langmem", "hide_braces", "optimize", "show_braces"]

Kind = Literal["prompt_memory", "metaprompt", "gradient"]
KINDS: tuple[Kind, ...] = ("prompt_memory", "metaprompt", "gradient")

_PAIRS = (("⦃", "⦄"), ("⟬", "⟭"), ("⦅", "⦆"), ("⦇", "⦈"))
"""What stands for braces; models copy them faithfully, and prompts hardly ever hold them."""


async def by_langmem(
    model: BaseChatModel, task: PromptTask, branch: Branch, kind: Kind
) -> PromptDraft:
    """The text that langmem's optimizer of that kind makes; asked again by us if it breaks a rule.

    Raises:
        CallError: It fails in any way, or its text breaks a rule twice.
    """
    settings, prompt = task["settings"], task["choice"]["prompt"]
    spec = task["subject"]["prompt_specs"].get(prompt, {})
    meter = Meter(model, branch, settings["call_timeout_s"], settings["optimizer_calls"])
    text = await optimize(
        kind,
        outside(task["subject"]["prompts"][prompt]),
        trajectories(task),
        meter,
        instructions=instructions_of(task),
        template_format=spec.get("template_format", "auto"),
        config=spec.get("optimizer"),
    )
    change = TextChange(what=f"Rewritten by langmem's {kind}.", why=task["choice"]["why"])
    answer = Rewrite(text=text, changes=[change]) if text else Rewrite()
    return await settle(model, task, branch, answer, kind)


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


def hide_braces(text: str, pair: tuple[str, str]) -> str:
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


@dataclass(slots=True)
class _Running:
    """One call on its way."""

    began: float
    reserved: Cost


class Meter(AsyncCallbackHandler):
    """Counts what an optimizer's model is asked, on the account in use, and stops it in time.

    Each call may take `timeout_s` seconds, and after `most_calls` of one try the next is refused.
    """

    raise_error = True

    def __init__(
        self, model: BaseChatModel, branch: Branch, timeout_s: float, most_calls: int
    ) -> None:
        self.model = model
        self.most_calls = most_calls
        self.declined = False
        """Whether the model said that nothing is to be updated."""
        self._branch, self._timeout_s = branch, timeout_s
        self.account: Account = account_in_use()
        self._running: dict[UUID, _Running] = {}
        self._made = 0
        self._tries = 0
        self._refused: CallError | None = None
        self._failed: BaseException | None = None
        self._limit: asyncio.Timeout | None = None

    def timed(self) -> asyncio.Timeout:
        """The block of one try of the optimizer: its time is set anew at every call."""
        self._made, self._failed = 0, None
        self._tries += 1
        self._limit = asyncio.timeout(self._allowed_s())
        return self._limit

    def failure(self, error: Exception) -> CallError:
        """The error of this try: what refused a call, or else what became of the optimizer.

        Only where a call of the model failed may another try help.
        """
        for run in list(self._running):
            self._failed = error
            self._record(run, None, error)
        if self._refused is not None:
            return self._refused
        if self._failed is None:
            return unusable(describe(error, self._timeout_s))
        return failure_of(self._failed, describe(self._failed, self._timeout_s), self.account)

    async def on_chat_model_start(
        self, serialized: Any, messages: list[list[Any]], *, run_id: UUID, **kwargs: Any
    ) -> None:
        size = sum(len(str(m.content)) for batch in messages for m in batch)
        try:
            if self._made == self.most_calls:
                raise SpentError(f"langmem's optimizer wants more than {self.most_calls} calls")
            reserved = self.account.budget.reserve(name_of(self.model), size)
        except SpentError as error:
            self._refused = unusable(str(error))
            raise
        self._made += 1
        self._running[run_id] = _Running(time.perf_counter(), reserved)
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._allowed_s())

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        message = getattr(response.generations[0][0], "message", None)
        self.declined = _declines(message)
        self._record(run_id, message, None)

    async def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._failed = error
        self._record(run_id, None, error)

    def _record(self, run_id: UUID, message: Any, error: BaseException | None) -> None:
        if (running := self._running.pop(run_id, None)) is None:
            return
        tokens_in, tokens_out = usage_of(message)
        budget, usd = self.account.budget, None
        price = budget.price(name_of(self.model))
        if price is not None and tokens_in is not None and tokens_out is not None:
            usd = round(cost_usd(price, tokens_in, tokens_out), 8)
        call = ModelCall(
            branch=str(self._branch),
            agent=self._branch.agent,
            model=name_of(self.model),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            seconds=round(time.perf_counter() - running.began, 3),
            usd=usd,
            attempt=self._tries,
            error=describe(error, self._timeout_s) if error is not None else "",
        )
        self.account.calls.append(call)
        budget.settle(running.reserved, call)

    def _allowed_s(self) -> float:
        return min(self._timeout_s, self.account.budget.left_s())


def _declines(message: Any) -> bool:
    """Whether an answer for prompt_memory says `update_prompt: false`, which langmem overlooks."""
    for call in getattr(message, "tool_calls", None) or []:
        if call["args"].get("update_prompt") is False:
            return True
    try:
        answer = json.loads(message.text)
    except (AttributeError, TypeError, ValueError):
        return False
    return isinstance(answer, dict) and answer.get("update_prompt") is False
