"""configure_by_rules: config values that the recorded runs themselves can judge."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tracetune.graph.state import ConfigDraft, ConfigTask
from tracetune.nodes.evidence.gathering import RunRows
from tracetune.nodes.optimize_config import tunable
from tracetune.nodes.workplace import progress
from tracetune.stores.project import Parameter
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
    """Estimated change of the mean reward; higher is better. None: unknown."""
    interval: tuple[float, float] | None
    """95 % interval of the effect."""
    identified: bool
    """Whether the traces identify the effect: the runs would have gone the same way until then."""
    why: str


def tune_config(
    traces: Collection[Trace] | RunRows,
    config: Mapping[str, Any],
    parameters: Mapping[str, Parameter],
    reward: RewardSpec,
    refs: RewardRefs | None = None,
) -> list[ConfigProposal]:
    """Return one proposal per step limit that may be tuned, in the config's order.

    Only a step limit can be judged from passive traces, and only downwards: a recorded run shows
    what it would have been with fewer steps, never what it would have done with more.

    Args:
        traces: All runs, which are gone through several times; their steps are not needed.
    """
    return [
        _tune_limit(name, config[name], parameter, traces, reward, refs)
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
    ends = Counter((t.turns, t.success) for t in traces if t.turns)
    won = {turns: runs for (turns, success), runs in ends.items() if success}
    if (successes := sum(won.values())) < FEWEST_SUCCESSES:
        return stay(
            f"{name}: {successes} successful runs with a known length, but lowering a limit takes "
            f"{FEWEST_SUCCESSES}."
        )
    floor = int(parameter.min) if parameter.min is not None else 1
    after = max(math.ceil(max(won) * HEADROOM / 5) * 5, floor)
    cut = {end: runs for end, runs in ends.items() if end[0] > after}
    if after >= before or not cut:
        return stay(f"{name}: no run that failed was longer than a limit of {after} would allow.")
    if unknown := sum(runs for (_, success), runs in cut.items() if success is None):
        return stay(f"{name}: {unknown} runs longer than {after} may have succeeded: nobody knows.")
    if reason := parameter.violation(after, before):
        return stay(f"{name}: {after} would fit the runs, but {reason}.")
    effect, interval = _effect(traces, after, reward, refs or RewardRefs())
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


def _effect(
    traces: Iterable[Trace], limit: int, reward: RewardSpec, refs: RewardRefs
) -> tuple[float | None, tuple[float, float] | None]:
    gains = []
    for trace in traces:
        if not trace.turns:
            continue
        old = reward.reward(trace, refs)
        new = reward.reward(replay_with_limit(trace, limit), refs)
        if old is not None and new is not None:
            gains.append(new - old)
    if len(gains) < 2:
        return None, None
    mean = math.fsum(gains) / len(gains)
    spread = math.sqrt(math.fsum((g - mean) ** 2 for g in gains) / (len(gains) - 1))
    half = 1.96 * spread / math.sqrt(len(gains))
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
