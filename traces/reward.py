"""The reward of a trace: one number, higher is better."""

from __future__ import annotations

from dataclasses import dataclass

from tracetune.traces.model import Trace

__all__ = ["RewardRefs", "RewardSpec"]


@dataclass(frozen=True, slots=True)
class RewardRefs:
    """What latency and attempts are measured against; by default the medians of the runs."""

    latency_s: float | None = None
    attempts: float | None = None


@dataclass(frozen=True, slots=True)
class RewardSpec:
    """Weights of the reward's terms; each term lies in [0, 1] before its weight."""

    success_weight: float = 1.0
    latency_weight: float = -0.5
    attempts_weight: float = -0.3
    cap: float = 3.0
    """Multiple of the reference at which a slow or long run stops getting worse."""

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
