"""The reward of a trace: one number, higher is better."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

from tracetune.errors import InputError
from tracetune.traces.model import Trace

__all__ = ["LARGEST_WEIGHT", "RewardRefs", "RewardSpec"]

LARGEST_WEIGHT = 1_000_000
"""Of a weight, either way, and of the cap: rewards can be squared and added up."""


@dataclass(frozen=True, slots=True)
class RewardRefs:
    """What latency and attempts are measured against; by default the medians of the runs."""

    latency_s: float | None = None
    attempts: float | None = None


@dataclass(frozen=True, slots=True)
class RewardSpec:
    """Weights of the reward's terms; each term lies in [0, 1] before its weight.

    Raises:
        InputError: One of them is no finite number or beyond ±`LARGEST_WEIGHT`, or the cap not
            above 0.
    """

    success_weight: float = 1.0
    latency_weight: float = -0.5
    attempts_weight: float = -0.3
    cap: float = 3.0
    """Multiple of the reference at which a slow or long run stops getting worse; above 0."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            usable = isinstance(value, Real) and not isinstance(value, bool)
            number: Any = value if usable else math.nan
            least = 0 if field.name == "cap" else -math.inf
            if not least < number < math.inf:
                above = " above 0" if field.name == "cap" else ""
                told = f"must be a finite number{above}, but is {value!r:.40}."
                raise InputError(f"{field.name} of the reward {told}")
            if abs(number) > LARGEST_WEIGHT:
                told = f"must be within ±{LARGEST_WEIGHT:,}, but is {value!r:.40}."
                raise InputError(f"{field.name} of the reward {told}")

    def reward(self, trace: Trace, refs: RewardRefs) -> float | None:
        """Return the trace's reward, or None when a term with a weight is unknown.

        A term is left out when its reference is unknown: callers that compare traces
        drop the reference of a term that any of them lacks.
        """
        terms: list[tuple[float, float | None]] = []
        if self.success_weight:
            terms.append((self.success_weight, _number(trace.success)))
        if self.latency_weight and refs.latency_s:
            terms.append((self.latency_weight, self._share(trace.latency_s, refs.latency_s)))
        if self.attempts_weight and refs.attempts:
            terms.append((self.attempts_weight, self._share(trace.attempts, refs.attempts)))
        total = 0.0
        for weight, value in terms:
            if value is None:
                return None
            total += weight * value
        return total

    def _share(self, value: float | None, ref: float) -> float | None:
        return None if value is None else min(value / ref, self.cap) / self.cap


def _number(success: bool | None) -> float | None:
    return None if success is None else float(success)
