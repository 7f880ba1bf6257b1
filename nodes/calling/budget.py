"""What one cycle may spend on its model: time, calls, tokens and money, shared by its branches."""

from __future__ import annotations

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
    """What a cycle has left.

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
        self._tokens = sum((c["tokens_in"] or 0) + (c["tokens_out"] or 0) for c in spent)
        self._usd = sum(c["usd"] or 0.0 for c in spent)

    def left_s(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self._ends - self._clock())

    def price(self, model: str) -> Price | None:
        """The model's price, or None where it is not known."""
        return price_of(model, self._prices)

    def reserve(self, model: str, characters: int) -> Cost:
        """Set aside one call with a prompt of that many characters, before it is made.

        Raises:
            SpentError: It may go past a limit, or its price is not known where USD are limited.
        """
        limits, tokens_in = self.limits, math.ceil(characters / CHARACTERS_PER_TOKEN)
        price = self.price(model)
        cost = Cost(
            tokens_in + ANSWER_TOKENS, cost_usd(price, tokens_in, ANSWER_TOKENS) if price else 0.0
        )
        if not self.left_s():
            raise SpentError(f"the deadline of the cycle is over ({limits.deadline_s:g} s)")
        if limits.max_usd is not None and price is None:
            raise SpentError(f"max_usd is set and no price of {model} is known")
        for name, limit, taken in (
            ("max_calls", limits.max_calls, self._calls + 1),
            ("max_tokens", limits.max_tokens, self._tokens + cost.tokens),
            ("max_usd", limits.max_usd, self._usd + cost.usd),
        ):
            if limit is not None and taken > limit:
                raise SpentError(f"the budget of the cycle is spent ({name}: {limit:g})")
        self._add(cost, 1)
        return cost

    def settle(self, reserved: Cost, call: ModelCall) -> None:
        """Put what the call took in the place of what was set aside for it.

        Where the provider said nothing of tokens, what was set aside stays.
        """
        tokens_in, tokens_out = call["tokens_in"], call["tokens_out"]
        if tokens_in is None or tokens_out is None:
            return
        taken = Cost(tokens_in + tokens_out, call["usd"] or 0.0)
        self._add(Cost(taken.tokens - reserved.tokens, taken.usd - reserved.usd), 0)

    def _add(self, cost: Cost, calls: int) -> None:
        self._calls += calls
        self._tokens += cost.tokens
        self._usd += cost.usd


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
