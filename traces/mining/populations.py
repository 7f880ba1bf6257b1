"""The runs that patterns are looked for in, and which of them have which features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tracetune.traces.mining.features import Examples, Feature, Task, lowest
from tracetune.traces.mining.pattern_counts import PatternCounts
from tracetune.traces.mining.stratified import Ints, summed
from tracetune.traces.mining.terms import TERMS_TRIED, Said, choose_terms, halves, terms_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
else:
    Bools = Any

__all__ = ["Population", "agent_numbers", "outcomes", "population", "term_population"]


@dataclass(frozen=True, slots=True)
class Population:
    """Runs of some agents, and which of them have which features."""

    agents: tuple[str, ...]
    tasks: tuple[Task, ...]
    features: tuple[Feature, ...]
    marks: tuple[int, ...]
    examples: tuple[Examples, ...]
    cells: Ints
    """Rows (feature, task, failed runs, successful runs), sorted; task -1: any other."""
    longs: Ints
    """Long runs of each feature."""
    everyone: Ints
    """Rows (agent, task, failed runs, successful runs) of all runs."""
    all_longs: Ints
    """Long runs of each agent."""
    bounds: tuple[float, ...]
    """Of each agent: twice the median number of tool calls."""
    loops: Ints
    """Rows (feature, call from which on it is a loop, tool calls, runs)."""
    everyones_lengths: Ints
    """Rows (agent, tool calls, runs) of all runs that tell how many calls they made."""


def population(counts: PatternCounts) -> Population:
    """All runs that were counted, with the features that follow from others."""
    import numpy as np

    agents = tuple(sorted({f.agent for f in counts.features}))
    calls = np.array(
        [int(f.detail or -1) if f.kind == "attempts" else -2 for f in counts.features],
        dtype=np.int64,
    )
    numbers = {agent: n for n, agent in enumerate(agents)}
    agent_of = np.array([numbers[f.agent] for f in counts.features], dtype=np.int64)
    runs = np.where(calls > -2, sum(outcomes(counts.cells, len(calls))), 0)
    measured = [np.flatnonzero((agent_of == n) & (calls > -1)) for n in range(len(agents))]
    bounds = tuple(_twice_median(calls[own], runs[own]) for own in measured)
    limit = np.array([*bounds, math.inf])[agent_of]
    lengths = counts.lengths[counts.lengths[:, 1] > limit[counts.lengths[:, 0]]]
    longs, all_longs = np.zeros_like(calls), np.zeros(len(agents), dtype=np.int64)
    np.add.at(longs, lengths[:, 0], lengths[:, 2])
    np.add.at(all_longs, agent_of, np.where(calls > limit, runs, 0))
    everyone = counts.cells[calls[counts.cells[:, 0]] > -2]
    everyone[:, 0] = agent_of[everyone[:, 0]]
    whole = Population(
        agents=agents,
        tasks=counts.tasks,
        features=counts.features,
        marks=counts.marks,
        examples=counts.examples,
        cells=counts.cells,
        longs=longs,
        everyone=summed(everyone, 2),
        all_longs=all_longs,
        bounds=bounds,
        loops=counts.loops,
        everyones_lengths=np.stack([agent_of, calls, runs], axis=1)[calls > -1],
    )
    return _with_long(_with_unused(whole, counts), calls > limit)


def term_population(
    said: Sequence[Said], agent: str, tasks: Sequence[Task], bound: float, *, least: int
) -> Population:
    """Half of the runs in a sample, and which have the terms that the other half suggests."""
    import numpy as np

    chosen_on, tested_on = halves(said)
    # Each test makes the others weaker: a few runs are to be asked few questions.
    most = min(TERMS_TRIED, len(tested_on) // 4)
    terms = choose_terms(chosen_on, most=most, least=least)
    owned = [terms_of(one.text) for one in tested_on]
    numbers = {task: n for n, (owner, task) in enumerate(tasks) if owner == agent}
    marks, examples, rows, longs = [], [], [], []
    for place, term in enumerate(terms):
        using = [one for one, words in zip(tested_on, owned, strict=True) if term in words]
        rows += [_run_row(place, one, numbers) for one in using]
        marks.append(sum(one.mark % 2**32 for one in using))
        examples.append(_examples_of(using))
        longs.append(sum(one.attempts > bound for one in using))
    everyone = [_run_row(0, one, numbers) for one in tested_on]
    return Population(
        agents=(agent,),
        tasks=tuple(tasks),
        features=tuple(Feature(agent, "term", (), term) for term in terms),
        marks=tuple(marks),
        examples=tuple(examples),
        cells=summed(np.array(rows, dtype=np.int64).reshape(-1, 4), 2),
        longs=np.array(longs, dtype=np.int64),
        everyone=summed(np.array(everyone, dtype=np.int64).reshape(-1, 4), 2),
        all_longs=np.array([sum(one.attempts > bound for one in tested_on)], dtype=np.int64),
        bounds=(bound,),
        loops=np.zeros((0, 4), dtype=np.int64),
        everyones_lengths=np.zeros((0, 3), dtype=np.int64),
    )


def agent_numbers(runs: Population) -> Ints:
    """The place of each feature's agent."""
    import numpy as np

    numbers = {agent: n for n, agent in enumerate(runs.agents)}
    return np.array([numbers[f.agent] for f in runs.features], dtype=np.int64)


def outcomes(rows: Ints, count: int) -> tuple[Ints, Ints]:
    """Failed and successful runs, summed by the rows' first column."""
    import numpy as np

    sums = np.zeros((count, 2), dtype=np.int64)
    np.add.at(sums, rows[:, 0], rows[:, 2:])
    return sums[:, 0], sums[:, 1]


def _with_long(runs: Population, beyond: Bools) -> Population:
    """With making more than `bounds` tool calls as a feature: several numbers of them together."""
    import numpy as np

    agent_of = agent_numbers(runs)
    added = np.unique(agent_of[beyond]).tolist()
    to = np.full(len(runs.agents), -1, dtype=np.int64)
    to[added] = np.arange(len(added)) + len(runs.features)
    rows = runs.cells[beyond[runs.cells[:, 0]]]
    rows[:, 0] = to[agent_of[rows[:, 0]]]
    owned = [np.flatnonzero(beyond & (agent_of == agent)).tolist() for agent in added]
    details = [str(math.floor(runs.bounds[agent])) for agent in added]
    return replace(
        runs,
        features=runs.features
        + tuple(
            Feature(runs.agents[agent], "long", (), detail)
            for agent, detail in zip(added, details, strict=True)
        ),
        marks=runs.marks + tuple(sum(runs.marks[n] for n in own) for own in owned),
        examples=runs.examples + tuple(lowest(runs.examples[n] for n in own) for own in owned),
        # Still sorted: the new features come last.
        cells=np.concatenate([runs.cells, summed(rows, 2)]),
        longs=np.concatenate([runs.longs, runs.all_longs[added]]),
    )


def _with_unused(runs: Population, counts: PatternCounts) -> Population:
    """With not using a tool in the place of using it, where that is what stands out.

    Both are one test. Using a tool stands out, but where more than half of the runs do so and
    succeed more often than the others: not using it is what goes along with failure.
    """
    import numpy as np

    agent_of = agent_numbers(runs)
    failed, succeeded = outcomes(runs.cells, len(runs.features))
    all_failed, all_succeeded = (
        part[agent_of] for part in outcomes(runs.everyone, len(runs.agents))
    )
    common = 2 * (failed + succeeded) > all_failed + all_succeeded
    helpful = succeeded * all_failed > failed * all_succeeded
    used = np.array([f.kind == "tool_used" for f in runs.features], dtype=bool)
    turned = np.flatnonzero(used & common & helpful)
    features, marks = list(runs.features), list(runs.marks)
    examples, longs = list(runs.examples), runs.longs.copy()
    everything = _everything(runs, agent_of)
    rows, taken = [runs.cells], np.array([1, 1, -2, -2], dtype=np.int64)
    edges = np.searchsorted(runs.cells[:, 0], np.arange(len(features) + 1)).tolist()
    for n in turned.tolist():
        features[n] = replace(features[n], kind="tool_unused")
        marks[n] = everything[agent_of[n]] - marks[n]
        examples[n] = counts.unused.get(runs.features[n], ((), ()))
        longs[n] = runs.all_longs[agent_of[n]] - longs[n]
        own = runs.cells[edges[n] : edges[n + 1]] * taken
        whole = runs.everyone[runs.everyone[:, 0] == agent_of[n]]
        whole[:, 0] = n
        # Once taken twice, what is there already becomes what is missing.
        rows += [own, whole]
    cells = summed(np.concatenate(rows), 2)
    return replace(
        runs,
        features=tuple(features),
        marks=tuple(marks),
        examples=tuple(examples),
        cells=cells[(cells[:, 2:] > 0).any(axis=1)],
        longs=longs,
    )


def _everything(runs: Population, agent_of: Ints) -> list[int]:
    """The sum of all runs' marks, of each agent."""
    totals = [0] * len(runs.agents)
    for agent, feature, mark in zip(agent_of.tolist(), runs.features, runs.marks, strict=True):
        if feature.kind == "attempts":
            totals[agent] += mark
    return totals


def _twice_median(values: Ints, counts: Ints) -> float:
    """Twice the median of values that occur so often; infinite when there are none."""
    import numpy as np

    order = np.argsort(values)
    reached = np.cumsum(counts[order])
    if not len(values) or not reached[-1]:
        return math.inf
    middle = np.searchsorted(reached, [(reached[-1] - 1) // 2, reached[-1] // 2], side="right")
    return float(values[order][middle].sum())


def _run_row(place: int, one: Said, tasks: Mapping[str, int]) -> list[int]:
    return [place, tasks.get(one.task or "", -1), 1 - one.success, int(one.success)]


def _examples_of(said: Sequence[Said]) -> Examples:
    failing, succeeding = (
        tuple((one.mark, one.id) for one in said if one.success is outcome)
        for outcome in (False, True)
    )
    return lowest([(failing, succeeding)])
