"""The runs that patterns are looked for in, and which of them have which features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tracetune.traces.mining.features import Example, Feature, Task, lowest
from tracetune.traces.mining.pattern_counts import PatternCounts
from tracetune.traces.mining.stratified import Ints, summed
from tracetune.traces.mining.terms import TERMS_TRIED, Said, choose_terms, halves, spoken

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
    marks: Ints
    runs: Sequence[Example]
    """Those that are examples."""
    examples: Ints
    """Rows (feature, succeeded, place among `runs`), sorted."""
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
    """Rows (feature, task, call from which on it is a loop, tool calls, runs)."""
    everyones_lengths: Ints
    """Rows (agent, task, tool calls, runs) of all runs that tell how many calls they made."""


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
    attempts = calls[everyone[:, 0]]
    everyone[:, 0] = agent_of[everyone[:, 0]]
    by_length = np.column_stack([everyone[:, :2], attempts, everyone[:, 2:].sum(axis=1)])
    whole = Population(
        agents=agents,
        tasks=counts.tasks,
        features=counts.features,
        marks=counts.marks,
        runs=counts.runs,
        examples=counts.examples,
        cells=counts.cells,
        longs=longs,
        everyone=summed(everyone, 2),
        all_longs=all_longs,
        bounds=bounds,
        loops=counts.loops,
        everyones_lengths=by_length[attempts > -1],
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
    has = spoken(terms, tested_on)
    place, run = np.nonzero(has)
    numbers = {task: n for n, (owner, task) in enumerate(tasks) if owner == agent}
    everyone = np.array(
        [
            (0, numbers.get(one.task or "", -1), not one.success, one.success, one.attempts > bound)
            for one in tested_on
        ],
        dtype=np.int64,
    ).reshape(-1, 5)
    marks = np.array([one.mark % 2**32 for one in tested_on], dtype=np.int64)
    return Population(
        agents=(agent,),
        tasks=tuple(tasks),
        features=tuple(Feature(agent, "term", (), term) for term in terms),
        marks=has @ marks,
        runs=[(one.mark, one.id) for one in tested_on],
        examples=lowest(np.column_stack([place, everyone[run, 3], run])),
        cells=summed(np.column_stack([place, everyone[run, 1:4]]), 2),
        longs=has @ everyone[:, 4],
        everyone=summed(everyone[:, :4], 2),
        all_longs=everyone[:, 4].sum(keepdims=True),
        bounds=(bound,),
        loops=np.zeros((0, 5), dtype=np.int64),
        everyones_lengths=np.zeros((0, 4), dtype=np.int64),
    )


def agent_numbers(runs: Population) -> Ints:
    """The place of each feature's agent."""
    import numpy as np

    numbers = {agent: n for n, agent in enumerate(runs.agents)}
    return np.array([numbers[f.agent] for f in runs.features], dtype=np.int64)


def outcomes(rows: Ints, count: int) -> tuple[Ints, Ints]:
    """Failed and successful runs, summed by the rows' first column."""
    import numpy as np

    failed, succeeded = (
        np.bincount(rows[:, 0], weights=rows[:, side], minlength=count).astype(np.int64)
        for side in (2, 3)
    )
    return failed, succeeded


def _with_long(runs: Population, beyond: Bools) -> Population:
    """With making more than `bounds` tool calls as a feature: several numbers of them together."""
    import numpy as np

    agent_of = agent_numbers(runs)
    added = np.unique(agent_of[beyond]).tolist()
    to = np.full(len(runs.agents), -1, dtype=np.int64)
    to[added] = np.arange(len(added)) + len(runs.features)
    rows = runs.cells[beyond[runs.cells[:, 0]]]
    rows[:, 0] = to[agent_of[rows[:, 0]]]
    marks = np.zeros(len(added), dtype=np.int64)
    np.add.at(marks, to[agent_of[beyond]] - len(runs.features), runs.marks[beyond])
    examples = runs.examples[beyond[runs.examples[:, 0]]]
    examples[:, 0] = to[agent_of[examples[:, 0]]]
    return replace(
        runs,
        features=runs.features
        + tuple(
            Feature(runs.agents[agent], "long", (), str(math.floor(runs.bounds[agent])))
            for agent in added
        ),
        marks=np.concatenate([runs.marks, marks]),
        # Still sorted: the new features come last.
        examples=np.concatenate([runs.examples, lowest(examples)]),
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
    turned = used & common & helpful
    features = tuple(
        feature._replace(kind="tool_unused") if turns else feature
        for feature, turns in zip(runs.features, turned.tolist(), strict=True)
    )
    of_calls = np.array([f.kind == "attempts" for f in runs.features], dtype=bool)
    all_marks = np.zeros(len(runs.agents), dtype=np.int64)
    np.add.at(all_marks, agent_of[of_calls], runs.marks[of_calls])
    own, others = runs.examples, counts.unused
    return replace(
        runs,
        features=features,
        marks=np.where(turned, all_marks[agent_of] - runs.marks, runs.marks),
        examples=lowest(np.concatenate([own[~turned[own[:, 0]]], others[turned[others[:, 0]]]])),
        cells=_turned(runs, agent_of, np.flatnonzero(turned)),
        longs=np.where(turned, runs.all_longs[agent_of] - runs.longs, runs.longs),
    )


def _turned(runs: Population, agent_of: Ints, features: Ints) -> Ints:
    """The cells, but of these features those of the runs that lack them."""
    import numpy as np

    taken = np.array([1, 1, -1, -1], dtype=np.int64)
    starts, ends = (np.searchsorted(runs.cells[:, 0], features + after) for after in (0, 1))
    pieces = np.split(runs.cells, np.column_stack([starts, ends]).ravel())
    for place, n in enumerate(features.tolist()):
        whole = runs.everyone[runs.everyone[:, 0] == agent_of[n]]
        whole[:, 0] = n
        rows = summed(np.concatenate([pieces[2 * place + 1] * taken, whole]), 2)
        pieces[2 * place + 1] = rows[(rows[:, 2:] != 0).any(axis=1)]
    return np.concatenate(pieces)


def _twice_median(values: Ints, counts: Ints) -> float:
    """Twice the median of values that occur so often; infinite when there are none."""
    import numpy as np

    order = np.argsort(values)
    reached = np.cumsum(counts[order])
    if not len(values) or not reached[-1]:
        return math.inf
    middle = np.searchsorted(reached, [(reached[-1] - 1) // 2, reached[-1] // 2], side="right")
    return float(values[order][middle].sum())
