"""What agents may do or leave in runs that are alike: the order of two tools, the use of one.

Runs that use a tool are asked other things than runs that do not, so that patterns over all runs
cannot tell what to do. A habit is compared only where runs could have had it: an order among runs
that call the second tool at all, a tool among runs of the same task.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tracetune.traces.analytics.sample import mark_of
from tracetune.traces.failures import EXCUSED
from tracetune.traces.model import Trace
from tracetune.traces.stats import Interval, benjamini_hochberg, newcombe

__all__ = ["LEAST", "Habit", "HabitKind", "mine_habits"]

HabitKind = Literal["tool_order", "first_tool", "tool_used"]

LEAST = 5
"""Runs that must have a habit, and that must lack it, for it to be tested."""
TOOLS = 40
"""Tools that are looked at, those of the most runs: what is tested grows with their square."""
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Habit:
    """Something an agent may do, and how runs in which it could went with it and without."""

    id: str
    """The same for the same agent, kind and tools, whatever the traces."""
    agent: str
    kind: HabitKind
    subject: tuple[str, ...]
    """The tools, in their order."""
    text: str
    """Completes "the agent …"."""
    support: int
    """Runs with it."""
    others: int
    """Runs without it that it is compared with."""
    success_with: float
    success_without: float
    effect: float
    """`success_with` - `success_without`, over the compared runs whatever their tasks."""
    interval: Interval
    """Of the effect, 95 %, by Newcombe's method."""
    p_value: float
    """Two-sided, by `stratified_p_values`: for an order, runs are compared within each task that
    has both outcomes, and all other tasks, each as one run, with runs that have none; else within
    such tasks only."""
    q_value: float
    """`p_value` corrected for the number of habits tested (Benjamini-Hochberg)."""
    tasks: int
    """Tasks with both outcomes in which some runs have it and others lack it."""
    failing_ids: tuple[str, ...]
    """Up to five failed runs without it, sorted."""
    succeeding_ids: tuple[str, ...]
    """Up to five successful runs with it, sorted."""


@dataclass(frozen=True, slots=True)
class _Run:
    id: str
    task: str | None
    success: bool
    places: Mapping[str, int]
    """Where each tool was called first, among the tools."""


_Key = tuple[HabitKind, tuple[str, ...]]
_Counts = Counter[tuple[str | None, bool]]
"""Runs by task and outcome."""
_Strata = list[tuple[int, int, int, int]]
"""Rows (successes with, runs with, successes, runs)."""


@dataclass(frozen=True, slots=True)
class _Test:
    key: _Key
    strata: _Strata
    tasks: int

    def totals(self) -> tuple[int, int, int, int]:
        won, used, successes, runs = (sum(column) for column in zip(*self.strata, strict=True))
        return won, used, successes, runs

    def agrees(self) -> bool:
        """Whether the difference over all compared runs has the sign of that within strata."""
        won, used, successes, runs = self.totals()
        crude = won * (runs - used) - (successes - won) * used
        within = sum(w - u * s / n for w, u, s, n in self.strata)
        return crude * within > 0


def mine_habits(
    traces: Iterable[Trace],
    *,
    most: int = 10,
    also: Collection[str] = (),
    outcomes: tuple[int, int] | None = None,
) -> list[Habit]:
    """The strongest habits of one agent's runs: by q-value, then effect size.

    Only runs whose outcome is known and is no failure of the infrastructure or the user count.
    Habits whose effect turns round once runs are compared within their tasks are left out, though
    tested.

    Args:
        most: How many to return.
        also: Ids of habits to return too, if they were tested, however weak they are.
        outcomes: How many runs failed and succeeded, where the traces are a sample of them taken
            of each outcome apart: so many of one are passed over that the rates are those of all.
    """
    kept = [t for t in traces if t.success is not None and t.failure_kind not in EXCUSED]
    if not kept:
        return []
    if outcomes is not None:
        kept = _even(kept, outcomes)
    agent, runs = kept[0].agent, _runs(kept)
    tests = list(_tests(runs))
    p_values = _p_values(tests)
    q_values = benjamini_hochberg(p_values)
    rows = [row for row in zip(tests, p_values, q_values, strict=True) if row[0].agrees()]
    rows.sort(key=lambda row: (row[2], row[1], row[0].key))
    wanted = rows[:most] + [row for row in rows[most:] if _id(agent, row[0].key) in also]
    return [_habit(agent, test, p, q, runs) for test, p, q in wanted]


def _even(traces: Sequence[Trace], outcomes: tuple[int, int]) -> list[Trace]:
    """As many of each outcome as the outcome has of all runs, those with the lowest marks."""
    sides = [[t for t in traces if t.success is side] for side in (False, True)]
    shares = [len(own) / whole for own, whole in zip(sides, outcomes, strict=True) if whole]
    share = min([1.0, *shares])
    return [
        trace
        for own, whole in zip(sides, outcomes, strict=True)
        for trace in sorted(own, key=lambda t: mark_of(t.agent, t.id))[: round(share * whole)]
    ]


def _runs(traces: Sequence[Trace]) -> list[_Run]:
    called = [list(dict.fromkeys(call.name for call in t.agent_calls())) for t in traces]
    common = Counter(name for names in called for name in names)
    ranked = sorted(common, key=lambda name: (-common[name], name))[:TOOLS]
    tools = frozenset(ranked)
    return [
        _Run(
            id=trace.id,
            task=trace.task,
            success=trace.success is True,
            places={name: place for place, name in enumerate(names) if name in tools},
        )
        for trace, names in zip(traces, called, strict=True)
    ]


def _tests(runs: Sequence[_Run]) -> Iterator[_Test]:
    """Every habit that enough runs have and enough lack, in no order."""
    everyone: _Counts = Counter((run.task, run.success) for run in runs)
    calling: dict[str, _Counts] = defaultdict(Counter)
    having: dict[_Key, _Counts] = defaultdict(Counter)
    for run in runs:
        cell = (run.task, run.success)
        names = sorted(run.places, key=run.places.__getitem__)
        for place, name in enumerate(names):
            calling[name][cell] += 1
            having["tool_used", (name,)][cell] += 1
            for earlier in names[:place]:
                having["tool_order", (earlier, name)][cell] += 1
        if names and run.places[names[0]] == 0:
            having["first_tool", (names[0],)][cell] += 1
    for key, counts in having.items():
        of_order = key[0] == "tool_order"
        whole = calling[key[1][1]] if of_order else everyone
        strata, tasks = _strata(counts, whole, rest=of_order)
        used, all_runs = sum(row[1] for row in strata), sum(row[3] for row in strata)
        if used >= LEAST and all_runs - used >= LEAST:
            yield _Test(key, strata, tasks)


def _strata(having: _Counts, whole: _Counts, *, rest: bool) -> tuple[_Strata, int]:
    """One row per task with both outcomes, in which some runs have it and others lack it; then,
    where it may be compared with them, one of all other tasks, each as one run, and other runs."""
    rows: dict[str | None, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for start, counts in ((0, having), (2, whole)):
        for (task, won), count in counts.items():
            rows[task][start] += count * won
            rows[task][start + 1] += count
    others = rows.pop(None, [0, 0, 0, 0])
    found: _Strata = []
    for hits, used, successes, runs in rows.values():
        if 0 < successes < runs:
            found.append((hits, used, successes, runs))
            continue
        # Always the same outcome: its runs are no independent witnesses (see pattern_splits.py).
        has, ended = int(2 * used >= runs), int(successes > 0)
        others = [n + m for n, m in zip(others, (has * ended, has, ended, 1), strict=True)]
    found = [row for row in found if 0 < row[1] < row[3] or rest]
    tasks = sum(0 < row[1] < row[3] for row in found)
    if rest and others[3]:
        found.append((others[0], others[1], others[2], others[3]))
    return found, tasks


def _p_values(tests: Sequence[_Test]) -> list[float]:
    if not tests:
        return []
    import numpy as np

    from tracetune.traces.mining.stratified import stratified_p_values

    rows = [(place, row) for place, test in enumerate(tests) for row in test.strata]
    cells = np.array([[p, n, row[0], row[1]] for n, (p, row) in enumerate(rows)], dtype=np.int64)
    totals = np.array([row[2:] for _, row in rows], dtype=np.int64)
    return stratified_p_values(cells, totals, len(tests))


def _habit(agent: str, test: _Test, p_value: float, q_value: float, runs: Sequence[_Run]) -> Habit:
    won, used, successes, everyone = test.totals()
    others, lost = everyone - used, successes - won
    failing, succeeding = _examples(agent, test.key, runs)
    return Habit(
        id=_id(agent, test.key),
        agent=agent,
        kind=test.key[0],
        subject=test.key[1],
        text=_text(test.key),
        support=used,
        others=others,
        success_with=won / used,
        success_without=lost / others,
        effect=won / used - lost / others,
        interval=newcombe(won, used, lost, others),
        p_value=p_value,
        q_value=q_value,
        tasks=test.tasks,
        failing_ids=failing,
        succeeding_ids=succeeding,
    )


def _examples(
    agent: str, key: _Key, runs: Sequence[_Run]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    could = [run for run in runs if key[0] != "tool_order" or key[1][1] in run.places]
    sides = [
        [run.id for run in could if run.success is side and _has(run, key) is side]
        for side in (False, True)
    ]
    failing, succeeding = (
        tuple(sorted(sorted(ids, key=lambda id: mark_of(agent, id))[:EXAMPLES])) for ids in sides
    )
    return failing, succeeding


def _has(run: _Run, key: _Key) -> bool:
    kind, tools = key
    if kind == "first_tool":
        return run.places.get(tools[0]) == 0
    if kind == "tool_used":
        return tools[0] in run.places
    return tools[0] in run.places and run.places[tools[0]] < run.places[tools[1]]


def _id(agent: str, key: _Key) -> str:
    content = json.dumps([agent, "habit", key[0], *key[1]])
    return hashlib.blake2b(content.encode(), digest_size=6).hexdigest()


_TEXTS: dict[HabitKind, str] = {
    "tool_order": "calls `{0}` before `{1}`",
    "first_tool": "starts with `{0}`",
    "tool_used": "calls `{0}`",
}


def _text(key: _Key) -> str:
    # One short printable line: whoever made the trace chose the tools' names.
    named = ["".join(c if c.isprintable() else "?" for c in tool[:80]) for tool in key[1]]
    return _TEXTS[key[0]].format(*named)
