"""Asking the model: in the form it understands, again where that may help, within the budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential_jitter,
)

from tracetune.errors import ReplyError, TraceTuneError
from tracetune.graph.state import ModelCall
from tracetune.nodes.calling.budget import Account, SpentError, account_in_use
from tracetune.nodes.calling.forms import FORMS, SAID_BY_PROMPT, asked_in
from tracetune.nodes.calling.models import name_of
from tracetune.nodes.calling.prices import cost_usd
from tracetune.nodes.calling.replies import read_reply, usage_of, with_schema
from tracetune.nodes.calling.troubles import (
    another_form_may_do,
    billed,
    describe,
    may_go_otherwise,
    unread,
    wait_s,
)

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["Branch", "CallError", "ask", "failure_of", "tried_again", "unusable"]

Answer = TypeVar("Answer", bound=BaseModel)
Result = TypeVar("Result")

_BACKOFF = wait_exponential_jitter(initial=0.5, max=30, jitter=0.5)


class CallError(TraceTuneError):
    """Asking the model gave nothing usable.

    The message says what failed and quotes neither the provider nor the model: their words may
    hold a key or a prompt.
    """

    def __init__(
        self,
        message: str,
        calls: tuple[ModelCall, ...] = (),
        again: bool = False,
        wait_s: float | None = None,
        refused: tuple[str, ...] = (),
    ) -> None:
        # All in args, so it survives pickling.
        super().__init__(message, calls, again, wait_s, refused)
        self.calls = calls
        """Every call the branch made, also those that were answered."""
        self.again = again
        """Whether another try may help."""
        self.wait_s = wait_s
        """Seconds to wait before it; None where the server asked for no certain time."""
        self.refused = refused
        """What broke a rule in the answers, where that is why."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Branch:
    """One part of the cycle that calls the model."""

    node: str
    agent: str = ""
    """Empty for a branch that works for all agents."""
    prompt: str = ""

    def __str__(self) -> str:
        return f"{self.node} {self.agent}/{self.prompt}".rstrip("/ ")


async def ask(
    model: BaseChatModel,
    schema: type[Answer],
    prompt: str,
    *,
    branch: Branch,
    timeout_s: float,
    check: Callable[[Answer], str] | None = None,
) -> tuple[Answer, ModelCall]:
    """Return the model's answer in the schema, and what the call that gave it cost.

    Every call goes on the account in use; a failed one is tried again, after the time the server
    asks for or else after a growing one, as often as the account allows and before its deadline.

    Args:
        timeout_s: Seconds that one call may take.
        check: Says what is wrong with an answer that fits the schema; empty when nothing is.

    Raises:
        CallError: No try gave an answer, or the budget allows no further one.
    """
    account = account_in_use()
    asking = _Asking(model, schema, prompt, branch, timeout_s, check, account)
    return await tried_again(asking.once, account)


async def tried_again(once: Callable[[], Coroutine[Any, Any, Result]], account: Account) -> Result:
    """Await `once`, and again where its error says that this may help, as the account allows.

    Raises:
        CallError: No try came to its end; it holds every call of the account.
    """
    tries = AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, CallError) and error.again),
        stop=stop_after_attempt(1 + account.retries) | stop_before_delay(account.budget.left_s()),
        wait=_as_asked,
        reraise=True,
    )
    try:
        return await tries(once)
    except CallError as error:
        failed = CallError(str(error), tuple(account.calls))
    # Outside of the handler: no chain leads to the provider's error, and to what that quotes.
    raise failed


def unusable(what: str, refused: tuple[str, ...] = ()) -> CallError:
    """The error for an answer that fits its form and still cannot be used; `what` says why."""
    return CallError(what, tuple(account_in_use().calls), refused=refused)


def failure_of(error: BaseException, told: str, account: Account) -> CallError:
    """The error of one try, whose call failed with `error`: whether, and when, to try again."""
    asked = wait_s(error)
    if isinstance(error, ReplyError | ValueError):
        asked = 0.0  # the server is well: it answered, if not as it was asked to
    left = account.budget.left_s()
    if asked is not None and asked >= left > 0:
        told += f", to be asked again in {asked:g} s, after the deadline"
    return CallError(told, tuple(account.calls), again=may_go_otherwise(error), wait_s=asked)


def _as_asked(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait_s if isinstance(error, CallError) else None
    return _BACKOFF(state) if asked is None else asked


@dataclass(slots=True)
class _Asking(Generic[Answer]):
    """One question, with what was learned from trying it."""

    model: BaseChatModel
    schema: type[Answer]
    prompt: str
    branch: Branch
    timeout_s: float
    check: Callable[[Answer], str] | None
    account: Account
    calls_before: int = 0
    refused: tuple[str, ...] = ()
    """Forms that the provider or its client does not know."""
    unanswered: tuple[str, ...] = ()
    """Forms in which the model said something else."""

    def __post_init__(self) -> None:
        self.calls_before = len(self.account.calls)

    async def once(self) -> tuple[Answer, ModelCall]:
        """Ask in the first form that is not known to fail; in the next ones where it is refused."""
        while True:
            form = self._form()
            asked = asked_in(self.model, self.schema, form)
            if asked is None:
                self.refused += (form,)
                continue
            answer, call, error = await self._call(asked, form)
            if answer is not None:
                # Remembered now: had no form worked, the form was not what was wrong.
                forms = self.account.forms
                forms.learn(name_of(self.model), form, self.refused, self.unanswered)
                return answer, call
            assert error is not None
            if form != "text" and another_form_may_do(error):
                self.refused += (form,)
                continue
            if form != "text" and unread(error):
                self.unanswered += (form,)
            raise failure_of(error, call["error"], self.account)

    async def _call(
        self, asked: Any, form: str
    ) -> tuple[Answer | None, ModelCall, Exception | None]:
        text = with_schema(self.prompt, self.schema) if form in SAID_BY_PROMPT else self.prompt
        budget = self.account.budget
        try:
            reserved = await budget.reserve(name_of(self.model), len(text))
        except SpentError as error:
            raise CallError(str(error)) from None
        call: ModelCall | None = None
        try:
            started, allowed_s = time.perf_counter(), self._allowed_s()
            reply, answer, failed = await self._answer(asked, text, allowed_s)
            call = self._record(reply, failed, allowed_s)
            call["seconds"] = round(time.perf_counter() - started, 3)
            return answer, call, failed
        finally:
            # Also where the cycle is cancelled: others may wait for what was set aside.
            budget.settle(reserved, call)

    async def _answer(
        self, asked: Any, text: str, allowed_s: float
    ) -> tuple[Any, Answer | None, Exception | None]:
        """What the model says, the answer that is in it, and what is wrong with it."""
        reply = None
        try:
            async with asyncio.timeout(allowed_s):
                reply = await asked.ainvoke(text)
            answer = read_reply(reply, self.schema)
            if self.check is not None and (wrong := self.check(answer)):
                return reply, None, ReplyError(wrong)
        except Exception as error:
            return reply, None, error
        return reply, answer, None

    def _record(self, reply: Any, failed: Exception | None, allowed_s: float) -> ModelCall:
        tokens_in, tokens_out = usage_of(reply)
        if failed is not None and reply is None and not billed(failed):
            tokens_in = tokens_out = 0
        name = name_of(self.model)
        price = self.account.budget.price(name)
        usd = None
        if price is not None and tokens_in is not None and tokens_out is not None:
            usd = round(cost_usd(price, tokens_in, tokens_out), 8)
        call = ModelCall(
            branch=str(self.branch),
            agent=self.branch.agent,
            model=name,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            seconds=0.0,
            usd=usd,
            attempt=1 + len(self.account.calls) - self.calls_before,
            error=describe(failed, allowed_s) if failed is not None else "",
        )
        self.account.calls.append(call)
        return call

    def _form(self) -> str:
        unfit = self.account.forms.unfit(name_of(self.model))
        tried = {*self.refused, *self.unanswered, *unfit}
        return next((form for form in FORMS if form not in tried), "text")

    def _allowed_s(self) -> float:
        return min(self.timeout_s, self.account.budget.left_s())
