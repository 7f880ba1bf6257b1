"""A few traces in memory, asked what `TraceTables` are asked, without a database.

Of a hundred runs a database takes longer to plan what it is asked than to find the answer.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from tracetune.traces.analytics.few_counts import count_few
from tracetune.traces.analytics.partials import MetricsPartial
from tracetune.traces.analytics.run import Run
from tracetune.traces.analytics.sample import KEPT_BYTES, bounds, has_feedback
from tracetune.traces.analytics.sources import Sources
from tracetune.traces.analytics.spool import Admission, Placed, Refusals, line_of, placed
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.model import Trace
from tracetune.traces.readers.base import UNUSABLE, BadRecord, reason_of
from tracetune.traces.readers.canonical import trace_of
from tracetune.traces.redaction import Redactor

__all__ = ["FEW", "FEW_BYTES", "FewTraces", "few_or_tables", "read_records"]

FEW = 2000
"""More traces than these go into tables. All of these are kept whole, as the sample of tables is
of as many of each outcome."""

FEW_BYTES = 16 << 20
"""And so do traces of more bytes, as lines of JSON; or one that a sample would not keep."""

_TOOLS = 1000


@dataclass(frozen=True, slots=True)
class _Taken:
    """A trace, and the same as it is read back from its JSON."""

    trace: Trace
    read: Trace
    size: int
    digest: int


class FewTraces:
    """Runs in memory, none of them twice; safe under threads, for nothing in it changes."""

    def __init__(self, taken: Iterable[_Taken]) -> None:
        self._runs: dict[str, list[Run]] = {}
        self._digests: Counter[str] = Counter()
        for one in taken:
            self._runs.setdefault(one.read.agent, []).append(Run.of(one.read))
            self._digests[one.read.agent] += one.digest

    def agents(self) -> dict[str, int]:
        """How many traces each agent has, by its name, sorted."""
        return {agent: len(self._runs[agent]) for agent in sorted(self._runs)}

    def digest_of_agent(self, agent: str) -> str:
        """16 hex digits that identify the content of an agent's traces, whatever their order."""
        return f"{self._digests[agent] % 2**64:016x}"

    def runs(self, agent: str | None = None) -> Sequence[Run]:
        """The runs of one agent or of all."""
        if agent is not None:
            return self._runs.get(agent, [])
        return list(itertools.chain.from_iterable(self._runs.values()))

    def close(self) -> None:
        """Nothing has to be freed."""

    def kept(self, agent: str) -> list[Trace]:
        """The agent's runs, whole, by id."""
        return sorted((run.trace for run in self.runs(agent)), key=lambda trace: trace.id)

    def commented(self, agent: str) -> list[Trace]:
        """The agent's runs that have feedback, by id: those `TraceTables` would keep."""
        told = sorted(
            (run for run in self.runs(agent) if has_feedback(run.trace)),
            key=lambda run: (run.mark, run.trace.id),
        )
        most, _ = bounds(commented=True)
        sides = ([r.trace for r in told if r.trace.success is side] for side in (True, False, None))
        return sorted((t for side in sides for t in side[:most]), key=lambda trace: trace.id)

    def count(self, by: Sequence[str]) -> MetricsPartial:
        """The counts that metrics are made of, by group.

        Raises:
            InputError: A name in `by` is neither a column to group by nor any trace's label.
        """
        return count_few(self.runs(), by)

    def rows(self, agent: str) -> dict[str, Any]:
        """What a reward and a comparison take of every run, as arrays by column name."""
        import numpy as np

        runs = self.runs(agent)
        tasks = sorted({run.trace.task for run in runs if run.trace.task is not None})
        numbers: Mapping[str | None, int] = {task: n for n, task in enumerate(tasks, 1)}
        columns: dict[str, list[Any]] = {
            "task": [numbers.get(run.trace.task) for run in runs],
            "success": [run.trace.success for run in runs],
            "turns": [run.trace.turns for run in runs],
            "latency_s": [run.trace.latency_s for run in runs],
            "attempts": [run.trace.attempts for run in runs],
            "failure_kind": [run.trace.failure_kind for run in runs],
        }
        return {name: np.array(values, dtype=object) for name, values in columns.items()}

    def tools(self, agent: str) -> list[str]:
        """Names of the tools the agent called, the most called first; at most 1,000."""
        calls = Counter(call.name for run in self.runs(agent) for call in run.calls)
        return sorted(calls, key=lambda name: (-calls[name], name))[:_TOOLS]

    def has(self, agent: str, id: str) -> bool:
        """Whether one of the agent's runs has this id."""
        return any(run.trace.id == id for run in self.runs(agent))


def read_records(
    records: Collection[Any],
    *,
    strict: bool,
    on_bad: Callable[[BadRecord], None],
    redactor: Redactor,
) -> FewTraces | TraceTables:
    """The traces of records in memory: as they are where they are few, else in tables.

    The arguments are those of `read_traces`. Of two runs of an agent with one id the second is
    set aside.

    Raises:
        TraceError: As `read_traces`.
    """
    how = {"format": "auto", "mapping": None, "strict": strict}
    sources = Sources(records, how, on_bad, redactor)
    return _held(placed(sources.records()), sources.set_aside, redactor)


@contextlib.contextmanager
def few_or_tables(traces: Iterable[Trace]) -> Iterator[FewTraces | TraceTables]:
    """The traces, as they are where they are few, else in tables, which are closed at the end.

    What cannot be counted is set aside, and logged, as by `TraceTables`.

    Raises:
        TraceError: As `TraceTables`.
    """
    with Refusals.of(traces) as refusals:
        held = _held(placed(traces), refusals.add, Redactor.off())
    with contextlib.closing(held):
        yield held


def _held(
    traces: Iterator[Placed], refuse: Callable[[BadRecord], None], redactor: Redactor
) -> FewTraces | TraceTables:
    taken: list[_Taken] = []
    room = FEW_BYTES
    for one in _taken(traces, refuse, redactor):
        taken.append(one)
        room -= one.size
        if len(taken) > FEW or room < 0 or one.size > KEPT_BYTES // 8:
            begun = (("", 0, one.trace) for one in taken)
            return TraceTables.of_traces(itertools.chain(begun, traces), refuse, redactor)
    return FewTraces(taken)


def _taken(
    traces: Iterable[Placed], refuse: Callable[[BadRecord], None], redactor: Redactor
) -> Iterator[_Taken]:
    """Each trace that can be used, in the form in which tables would give it back."""
    admission = Admission()
    for source, position, trace in traces:
        assert isinstance(trace, Trace)
        if reason := admission.against(trace):
            refuse(BadRecord(source, position, reason))
            continue
        try:
            line = orjson.dumps(trace.to_dict(), option=orjson.OPT_NON_STR_KEYS)
            plain = True
        except (TypeError, orjson.JSONEncodeError):
            line, plain = line_of(trace), False
        try:
            row = orjson.loads(line)
            read = trace_of(row)
        except UNUSABLE as error:
            admission.take_back(trace)
            refuse(BadRecord(source, position, f"{trace.id}: {reason_of(error)}"))
            continue
        # An object that became text only now may hold a secret.
        read = read if plain else redactor.trace(read)
        # Sorted: neither arguments nor labels have an order.
        content = orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
        digest = int.from_bytes(blake2b(content, digest_size=8).digest(), "little")
        yield _Taken(trace, read, len(line), digest)
