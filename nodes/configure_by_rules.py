"""configure_by_rules: config values that the recorded runs themselves can judge."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from tracetune.graph.state import ConfigDraft, ConfigTask
from tracetune.nodes.optimize_config import tunable
from tracetune.nodes.workplace import progress
from tracetune.stores.project import Parameter
from tracetune.traces.failures import EXCUSED, failure_kind_of
from tracetune.traces.model import Trace
from tracetune.traces.reward import RewardRefs, RewardSpec

__all__ = ["ConfigProposal", "configure_by_rules", "replay_with_limit", "tune_config"]

FEWEST_SUCCESSES = 10
"""Below this, how long a successful run may get is not known well enough to lower a limit."""
HEADROOM = 1.5
"""A lowered limit leaves room for runs half as long again as the longest that succeeded."""


@dataclass(frozen=True, slots=True)
class ConfigProposal:
    """A new value for one parameter, or the reason why none can be read from the traces."""

    parameter: str
    before: Any
    after: Any
    """Equal to `before` when nothing is proposed."""
    effect: float | None
    """Estimated change of the mean reward; higher is better. None: unknown.

    A term that is unknown for a run that the value would cut off is left out."""
    interval: tuple[float, float] | None
    """95 % interval of the effect."""
    identified: bool
    """Whether the traces identify the effect: the runs would have gone the same way until then."""
    why: str


def tune_config(
    traces: Iterable[Trace],
    config: Mapping[str, Any],
    parameters: Mapping[str, Parameter],
    reward: RewardSpec,
    refs: RewardRefs | None = None,
) -> list[ConfigProposal]:
    """Return one proposal per step limit that may be tuned, in the config's order.

    Only a step limit can be judged from passive traces, and only downwards: a recorded run shows
    what it would have been with fewer steps, never what it would have done with more. Failures
    that are the user's or the infrastructure's do not count.

    Args:
        traces: All runs of the agent; their steps are not needed.
        refs: What the reward is measured against; the medians of the runs where it is left out.
    """
    # Gone through several times, and in memory only where that takes it: there may be millions.
    runs = list(traces) if isinstance(traces, Iterator) else traces
    return [
        _tune_limit(name, config[name], parameter, runs, reward, refs)
        for name, parameter in tunable(config, parameters).items()
        if parameter.step_limit
    ]


def _tune_limit(
    name: str,
    before: Any,
    parameter: Parameter,
    traces: Iterable[Trace],
    reward: RewardSpec,
    refs: RewardRefs | None,
) -> ConfigProposal:
    def stay(why: str) -> ConfigProposal:
        return ConfigProposal(name, before, before, None, None, False, why)

    if isinstance(before, bool) or not isinstance(before, int):
        return stay(f"{name}: a step limit must be a whole number to be tuned, but is {before!r}.")
    ends = Counter((t.turns, t.success) for t in _own(traces) if t.turns)
    won = {turns: runs for (turns, success), runs in ends.items() if success}
    if (successes := sum(won.values())) < FEWEST_SUCCESSES:
        return stay(
            f"{name}: {successes} successful runs with a known length, but lowering a limit takes "
            f"{FEWEST_SUCCESSES}."
        )
    floor = math.ceil(parameter.min) if parameter.min is not None else 1
    needed = math.ceil(max(won) * HEADROOM / 5) * 5
    after = max(needed, floor)
    cut = {end: runs for end, runs in ends.items() if end[0] > after}
    if after >= before:
        if needed < before:
            return stay(f"{name}: it is {before}, and no less than {floor} is allowed.")
        return stay(
            f"{name}: it is {before}, and successful runs of up to {max(won)} steps allow no limit "
            f"lower than {needed}."
        )
    if not cut:
        return stay(f"{name}: no run that failed was longer than a limit of {after} would allow.")
    if unknown := sum(runs for (_, success), runs in cut.items() if success is None):
        return stay(f"{name}: {unknown} runs longer than {after} may have succeeded: nobody knows.")
    if reason := parameter.violation(after, before):
        return stay(f"{name}: {after} would fit the runs, but {reason}.")
    effect, interval = _effect(traces, ends.total(), after, reward, refs or _medians(traces))
    if effect is not None and effect < 0:
        return stay(f"{name}: {after} would fit the runs, but their mean reward would fall.")
    why = (
        f"All {successes} successful runs took at most {max(won)} steps; {sum(cut.values())} runs "
        f"went past "
        f"{after} and every one failed."
    )
    return ConfigProposal(name, before, after, effect, interval, True, why)


def replay_with_limit(trace: Trace, limit: int) -> Trace:
    """The run as it would have been with that step limit: cut off, and failed where it was cut.

    Attempts and latency shrink with the steps: an estimate, exact only for even steps.
    """
    if trace.turns is None or trace.turns <= limit:
        return trace
    share = limit / trace.turns
    return replace(
        trace,
        success=False if trace.success is not None else None,
        turns=limit,
        attempts=None if trace.attempts is None else round(trace.attempts * share),
        latency_s=None if trace.latency_s is None else trace.latency_s * share,
        steps=(),
    )


def _own(traces: Iterable[Trace]) -> Iterator[Trace]:
    """The runs but for failures that are none of the agent's."""
    return (t for t in traces if t.success or failure_kind_of(t) not in EXCUSED)


def _medians(traces: Iterable[Trace]) -> RewardRefs:
    latencies = [t.latency_s for t in _own(traces) if t.latency_s is not None]
    attempts = [t.attempts for t in _own(traces) if t.attempts is not None]
    return RewardRefs(
        median(latencies) if latencies else None, median(attempts) if attempts else None
    )


def _effect(
    traces: Iterable[Trace], runs: int, limit: int, reward: RewardSpec, refs: RewardRefs
) -> tuple[float | None, tuple[float, float] | None]:
    """How the mean reward of so many runs would change; those that are not cut off stay as is."""

    def cut() -> Iterator[Trace]:
        return (t for t in _own(traces) if (t.turns or 0) > limit)

    refs = RewardRefs(
        latency_s=None if any(t.latency_s is None for t in cut()) else refs.latency_s,
        attempts=None if any(t.attempts is None for t in cut()) else refs.attempts,
    )
    terms = [(reward.latency_weight, refs.latency_s), (reward.attempts_weight, refs.attempts)]
    weighty = [ref for weight, ref in terms if weight]
    if weighty and not any(weighty):
        return None, None
    gains = []
    for trace in cut():
        old = reward.reward(trace, refs)
        new = reward.reward(replay_with_limit(trace, limit), refs)
        if old is not None and new is not None:
            gains.append(new - old)
    mean = math.fsum(gains) / runs
    squares = math.fsum((g - mean) ** 2 for g in gains) + (runs - len(gains)) * mean**2
    half = 1.96 * math.sqrt(squares / (runs - 1) / runs)
    return round(mean, 4), (round(mean - half, 4), round(mean + half, 4))


async def configure_by_rules(task: ConfigTask) -> dict[str, Any]:
    """Propose what the traces identify; say what they cannot tell."""
    progress("configure_by_rules", f"{task['agent']}: config, by rules")
    proposals = task["measures"]["proposals"]
    moved = [p for p in proposals if p["after"] != p["before"]]
    draft = ConfigDraft(
        agent=task["agent"],
        origin="rules",
        proposals=moved,
        dropped=[p["why"] for p in proposals if p not in moved],
    )
    return {"config_drafts": [draft]}
