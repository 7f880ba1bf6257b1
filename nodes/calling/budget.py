"""What one cycle may spend on its model: time, calls, tokens and money, shared by its branches."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from tracetune.errors import TraceTuneError
from tracetune.graph.state import ModelCall
from tracetune.nodes.calling.forms import Forms
from tracetune.nodes.calling.prices import cost_usd, price_of
from tracetune.stores.project_file import Price

__all__ = ["ANSWER_TOKENS", "Account", "Budget", "Cost", "Limits", "SpentError", "account_in_use"]

ANSWER_TOKENS = 2_000
"""Tokens set aside for an answer, whose size nobody knows before it is there."""

CHARACTERS_PER_TOKEN = 3.5
"""Of a prompt; text has about four, code and names fewer."""


class SpentError(TraceTuneError):
    """A call would go past what the cycle may spend; its message says past what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The settings that limit a cycle; None means no limit."""

    deadline_s: float = 600.0
    max_calls: int | None = None
    max_tokens: int | None = None
    max_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call takes, or may take."""

    tokens: int
    usd: float


class Budget:
    """What a cycle has left: its limits less what is spent, and less what is set aside.

    Used by one event loop at a time: between its own awaits nothing else of the cycle runs, so
    what is checked and set aside is set aside as a whole.
    """

    def __init__(
        self,
        limits: Limits,
        prices: Mapping[str, Price] | None = None,
        spent: Sequence[ModelCall] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with what `spent` has taken; the deadline counts from now, by `clock` (seconds)."""
        self.limits = limits
        self._prices = prices or {}
        self._clock = clock
        self._ends = clock() + limits.deadline_s
        self._calls = len(spent)
        self._spent = Cost(
            sum((c["tokens_in"] or 0) + (c["tokens_out"] or 0) for c in spent),
            sum(c["usd"] or 0.0 for c in spent),
        )
        self._set_aside: list[Cost] = []
        """For calls that are on their way."""
        self._waiting: list[asyncio.Future[None]] = []

    def left_s(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self._ends - self._clock())

    def price(self, model: str) -> Price | None:
        """The model's price, or None where it is not known."""
        return price_of(model, self._prices)

    async def reserve(self, model: str, characters: int) -> Cost:
        """Set aside one call with a prompt of that many characters, before it is made.

        Where only what is set aside for other calls stands in the way, it waits for them: most take
        less. Whoever reserves must settle, whatever becomes of the call.

        Raises:
            SpentError: It may go past a limit, its price is not known where USD are limited, or the
                deadline is over.
        """
        cost = self._estimate(model, characters)
        while True:
            self._check_deadline()
            self._check_calls()
            if past := self._past(cost, self._spent):
                raise SpentError(f"the budget of the cycle is spent ({past})")
            if not self._past(cost, self._spent, *self._set_aside):
                break
            await self._one_settled()
        self._calls += 1
        self._set_aside.append(cost)
        return cost

    def settle(self, reserved: Cost, call: ModelCall | None) -> None:
        """Put what the call took in the place of what was set aside for it.

        What was set aside counts as taken where the provider said nothing of tokens, or the call
        was broken off (None).
        """
        taken = reserved
        if call is not None and call["tokens_in"] is not None and call["tokens_out"] is not None:
            taken = Cost(call["tokens_in"] + call["tokens_out"], call["usd"] or 0.0)
        self._set_aside.remove(reserved)
        self._spent = _sum(self._spent, taken)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def _one_settled(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            await asyncio.wait((waiting,), timeout=self.left_s())
        finally:
            self._waiting.remove(waiting)

    def _estimate(self, model: str, characters: int) -> Cost:
        tokens_in, price = math.ceil(characters / CHARACTERS_PER_TOKEN), self.price(model)
        if self.limits.max_usd is not None and price is None:
            raise SpentError(f"max_usd is set and no price of {model} is known")
        usd = cost_usd(price, tokens_in, ANSWER_TOKENS) if price else 0.0
        return Cost(tokens_in + ANSWER_TOKENS, usd)

    def _check_deadline(self) -> None:
        if not self.left_s():
            raise SpentError(f"the deadline of the cycle is over ({self.limits.deadline_s:g} s)")

    def _check_calls(self) -> None:
        # A call on its way is a call made, whatever it takes.
        most = self.limits.max_calls
        if most is not None and self._calls >= most:
            raise SpentError(f"the budget of the cycle is spent (max_calls: {most:g})")

    def _past(self, *costs: Cost) -> str:
        """The limit that these costs go past together, or nothing."""
        together = _sum(*costs)
        for name, limit, taken in (
            ("max_tokens", self.limits.max_tokens, together.tokens),
            ("max_usd", self.limits.max_usd, together.usd),
        ):
            if limit is not None and taken > limit:
                return f"{name}: {limit:g}"
        return ""


def _sum(*costs: Cost) -> Cost:
    return Cost(sum(cost.tokens for cost in costs), sum(cost.usd for cost in costs))


@dataclass(slots=True)
class Account:
    """What one visit of one branch may do with its model, and the calls it has made."""

    budget: Budget = field(default_factory=lambda: Budget(Limits()))
    retries: int = 2
    forms: Forms = field(default_factory=Forms)
    calls: list[ModelCall] = field(default_factory=list)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let what is asked within the block go on this account."""
        token = _account.set(self)
        try:
            yield
        finally:
            _account.reset(token)


_account: ContextVar[Account | None] = ContextVar("account", default=None)


def account_in_use() -> Account:
    """The account of the running branch; outside of a cycle, a new one without limits."""
    return _account.get() or Account()
