"""Counting, timing and bounding what an optimizer of langmem asks its model."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler

from tracetune.graph.context import PROMPT_TOKENS
from tracetune.graph.state import ModelCall
from tracetune.nodes.calling.budget import Account, Cost, SpentError, account_in_use
from tracetune.nodes.calling.calls import Branch, CallError, failure_of, unusable
from tracetune.nodes.calling.models import name_of
from tracetune.nodes.calling.prices import cost_usd
from tracetune.nodes.calling.replies import usage_of
from tracetune.nodes.calling.troubles import describe
from tracetune.nodes.evidence.shortening import shorten_to, tokens_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.outputs import LLMResult

__all__ = ["Meter"]

_LAST = "recommend"
_REFLECTIONS = ("think", "critique", _LAST)
"""Tools of langmem whose calls go into what it asks next; the new text is never cut."""


@dataclass(slots=True)
class _Running:
    """One call on its way."""

    began: float
    reserved: Cost


class Meter(AsyncCallbackHandler):
    """Counts what an optimizer's model is asked, on the account in use, and stops it in time.

    Each call may take `timeout_s` seconds and be sent `most_tokens`, and after `most_calls` of one
    try the next is refused. What the model reflects is cut to an equal
    share of `reflections` before langmem sends it along with the next question.
    """

    raise_error = True

    def __init__(
        self,
        model: BaseChatModel,
        branch: Branch,
        timeout_s: float,
        most_calls: int,
        most_tokens: int = PROMPT_TOKENS,
    ) -> None:
        self.model = model
        self.most_calls = most_calls
        self.most_tokens = most_tokens
        self.reflections = most_tokens // 4
        """Tokens set aside for what the model reflects, in all calls of one try."""
        self.made = 0
        """Calls of this try, but for those that were made in vain."""
        self.useless = False
        """Whether langmem itself failed, at what the model answered, and no call of the model."""
        self._branch, self._timeout_s = branch, timeout_s
        self.account: Account = account_in_use()
        self._running: dict[UUID, _Running] = {}
        self._tries = 0
        self._refused: CallError | None = None
        self._failed: BaseException | None = None
        self._limit: asyncio.Timeout | None = None

    def timed(self) -> asyncio.Timeout:
        """The block of one try of the optimizer: its time is set anew at every call."""
        self.made, self._failed, self.useless = 0, None, False
        self._tries += 1
        self._limit = asyncio.timeout(self._allowed_s())
        return self._limit

    def failure(self, error: BaseException) -> CallError:
        """The error of this try: what refused a call, or else what became of the optimizer.

        Only where a call of the model failed may another try help.
        """
        for run in list(self._running):
            self._failed = error
            self._record(run, None, error)
        if self._refused is not None:
            return self._refused
        if self._failed is None:
            self.useless = True
            return unusable(describe(error, self._timeout_s))
        return failure_of(self._failed, describe(self._failed, self._timeout_s), self.account)

    def in_vain(self, made: int) -> None:
        """Count calls as `made` before the last one, that was asked in a form that is no use."""
        self.made, self._failed = made, None

    def unread(self, told: str) -> None:
        """Say of the last call that its answer could not be used, and why."""
        if self.account.calls and not self.account.calls[-1]["error"]:
            self.account.calls[-1]["error"] = told

    def shorten(self, message: Any) -> None:
        """Cut what a message reflects: langmem gets it, and sends it along from now on."""
        _cut(message, self.reflections, max(1, self.most_calls - 1))

    async def on_chat_model_start(
        self, serialized: Any, messages: list[list[Any]], *, run_id: UUID, **kwargs: Any
    ) -> None:
        sent = [_sent(message) for batch in messages for message in batch]
        tokens = sum(map(tokens_of, sent))
        try:
            if self.made == self.most_calls:
                raise SpentError(f"langmem's optimizer wants more than {self.most_calls} calls")
            if tokens > self.most_tokens:
                told = f"{tokens:,} tokens, but at most {self.most_tokens:,} are allowed"
                raise SpentError(f"langmem's optimizer wants to send {told}")
            if self._limit is not None:
                self._limit.reschedule(None)  # waiting for the budget is no call
            size = sum(map(len, sent))
            reserved = await self.account.budget.reserve(name_of(self.model), size)
        except SpentError as error:
            self._refused = unusable(str(error))
            raise
        self.made += 1
        self._running[run_id] = _Running(time.perf_counter(), reserved)
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._allowed_s())

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        message = getattr(response.generations[0][0], "message", None)
        self.shorten(message)
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


def _sent(message: Any) -> str:
    """What of a message is sent: its content, and the arguments of its calls."""
    calls = getattr(message, "tool_calls", None) or []
    return "".join([str(message.content), *(json.dumps(c["args"], default=str) for c in calls)])


def _cut(message: Any, room: int, answers: int) -> None:
    """Shorten what a message of the model reflects, its content and its calls, to fit the room.

    One of many answers gets its part of the room; the recommendation, which is sent on without
    what was reflected before it, gets all of it.
    """
    calls = getattr(message, "tool_calls", None) or []
    if not calls or any(call["name"] not in _REFLECTIONS for call in calls):
        return
    last = all(call["name"] == _LAST for call in calls)
    share = room // (2 * len(calls) * (1 if last else answers))
    if isinstance(message.content, str):
        message.content = shorten_to(message.content, share)
    blocks = message.content if isinstance(message.content, list) else []
    parts = [part for part in blocks if isinstance(part, dict)]
    inputs = [part["input"] for part in parts if isinstance(part.get("input"), dict)]
    for texts in [*(call["args"] for call in calls), *inputs, *parts]:
        for name, value in texts.items():
            if isinstance(value, str):
                texts[name] = shorten_to(value, share)
