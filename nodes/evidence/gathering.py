"""The traces of one cycle as tables, kept open for the nodes that follow.

The state carries only digests of them: a cycle that resumes in another process reads them again.
"""

from __future__ import annotations

import contextlib
import re
import threading
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tracetune.errors import InputError, TraceError
from tracetune.graph.schemas import CycleInput
from tracetune.stores.project import AgentSpec, Project
from tracetune.traces.analytics.few import FewTraces, read_records
from tracetune.traces.analytics.partials import MetricsPartial
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.metrics import Metrics, medians_of, metrics_of
from tracetune.traces.mining.patterns import Pattern, Patterns, mine_patterns
from tracetune.traces.model import Trace
from tracetune.traces.read import BadRecord
from tracetune.traces.redaction import Redactor
from tracetune.traces.reward import RewardRefs, RewardSpec

__all__ = ["CACHE", "Evidence", "RunRows", "SharedTables", "gather"]

CACHE = ".tracetune/traces"
"""Where a project keeps what was read of its files; it may be removed at any time."""

TOOLS_KEPT = 100
_TOOL_NAME = re.compile(r"[\w.:-]{1,80}")
_BLOCK = 10_000


class SharedTables:
    """Tables that several holders use, one at a time; closed once nobody holds them any more."""

    def __init__(
        self,
        tables: TraceTables | FewTraces,
        set_aside: Sequence[BadRecord] = (),
        redacted: Mapping[str, int] | None = None,
    ) -> None:
        self._held: list[TraceTables | FewTraces] = [tables]
        self._lock = threading.Lock()
        self.set_aside = tuple(set_aside)
        """Records that could not be read."""
        self.redacted = Counter(redacted or {})
        """Kind of secret → how many were taken out."""
        self.agents = tables.agents()
        """How many runs each agent has, by what the traces call it."""
        if not isinstance(tables, FewTraces):
            weakref.finalize(self, _close, self._held)
            # The later one goes first: at the interpreter's end it does not, and the other does.
            weakref.finalize(self, _close_aside, self._held).atexit = False

    @contextlib.contextmanager
    def in_use(self) -> Iterator[TraceTables | FewTraces]:
        """The tables, which no other thread uses within the block."""
        with self._lock:
            yield self._held[0]


def _close(held: list[TraceTables | FewTraces]) -> None:
    # Taken out, too: a database that outlives the interpreter's end complains of leaks.
    while held:
        held.pop().close()


def _close_aside(held: list[TraceTables | FewTraces]) -> None:
    # Removing files blocks, and whoever lets go of the tables may be an event loop. No daemon, as
    # the thread of a loop may be: the interpreter would end amid DuckDB's work, and abort.
    while held:
        close = held.pop().close
        threading.Thread(target=close, name="tracetune-close", daemon=False).start()


class RunRows:
    """All runs of an agent without their steps, as often as they are asked for.

    They hold what a reward and a comparison take, in a few bytes each; tasks go by numbers.
    """

    def __init__(self, agent: str, columns: Mapping[str, Any]) -> None:
        self._agent = agent
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns["success"])

    def __iter__(self) -> Iterator[Trace]:
        for start in range(0, len(self), _BLOCK):
            block = {n: c[start : start + _BLOCK].tolist() for n, c in self._columns.items()}
            for values in zip(*block.values(), strict=True):
                row = dict(zip(block, values, strict=True))
                task = row.pop("task")
                yield Trace("", self._agent, task=None if task is None else str(task), **row)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The runs of one agent."""

    agent: str
    tables: SharedTables
    """Its sources, read; agents that share sources share them."""
    name: str
    """What the traces call it."""
    digest: str
    """Stands for the content of its runs."""
    others: frozenset[str] = field(default_factory=frozenset)
    """Names of other agents that the same sources hold."""

    @classmethod
    def of(cls, agent: str, tables: SharedTables, name: str = "") -> Evidence:
        """The evidence of an agent; the traces may call it by another name."""
        with tables.in_use() as read:
            digest = read.digest_of_agent(name or agent)
        others = frozenset(tables.agents) - {name or agent}
        return cls(agent, tables, name or agent, digest, others)

    @property
    def n(self) -> int:
        """How many runs there are."""
        return self.tables.agents.get(self.name, 0)

    @property
    def set_aside(self) -> tuple[BadRecord, ...]:
        """Records of its sources that could not be read; shared by agents that share sources."""
        return self.tables.set_aside

    def metrics(
        self,
        reward: RewardSpec,
        refs: RewardRefs | None = None,
        by: Sequence[str] = (),
    ) -> list[Metrics]:
        """One `Metrics` per group of its runs, sorted; one for all where `by` names nothing.

        Args:
            refs: What rewards are measured against; the medians of all its runs where left out.

        Raises:
            InputError: `by` names something no trace has.
        """
        names = [name for name in by if name != "agent"]
        with self.tables.in_use() as tables:
            counted = tables.count(["agent", *names])
        own = {group: n for group, n in counted.groups.items() if group[0] == self.name}
        # Against its own medians a group that is slow all through would look like any other.
        refs = refs or medians_of(own.values())
        found = metrics_of(MetricsPartial(counted.by, own), reward, {self.name: refs})
        return [replace(one, group=self._group(one, names if by else None)) for one in found]

    def patterns(self) -> Patterns:
        """All patterns of its runs, strongest evidence first."""
        with self.tables.in_use() as tables:
            found = mine_patterns(tables, agent=self.name)
        patterns = Patterns((self._own_pattern(p) for p in found), why_empty=found.why_empty)
        patterns.tried = found.tried
        return patterns

    def sample(self) -> list[Trace]:
        """A bounded sample of whole runs, by id: all of them where there are few."""
        with self.tables.in_use() as tables:
            kept = tables.kept(self.name)
        return self._own_traces(kept)

    def commented(self) -> list[Trace]:
        """Whole runs with feedback, by id: bounded, and most may not be in the sample."""
        with self.tables.in_use() as tables:
            kept = tables.commented(self.name)
        return self._own_traces(kept)

    def runs(self) -> RunRows:
        """All runs, without their steps."""
        with self.tables.in_use() as tables:
            return RunRows(self.agent, tables.rows(self.name))

    def tools(self) -> list[str]:
        """Names of the tools it called, sorted: the most called ones; no name that is not plain.

        Whoever made a trace chose its names: one that holds a sentence is no tool to write about.
        """
        with self.tables.in_use() as tables:
            names = tables.tools(self.name)
        plain = [name for name in names if _TOOL_NAME.fullmatch(name)]
        return sorted(plain[:TOOLS_KEPT])

    def has(self, id: str) -> bool:
        """Whether one of its runs has this id."""
        with self.tables.in_use() as tables:
            return tables.has(self.name, id)

    def _group(self, one: Metrics, names: Sequence[str] | None) -> dict[str, Any]:
        if names is None:
            return {"agent": self.agent}
        return {name: one.group.get(name) for name in names}

    def _own_traces(self, traces: Iterable[Trace]) -> list[Trace]:
        return [t if t.agent == self.agent else replace(t, agent=self.agent) for t in traces]

    def _own_pattern(self, pattern: Pattern) -> Pattern:
        return pattern if pattern.agent == self.agent else replace(pattern, agent=self.agent)


def gather(
    request: CycleInput, project: Project | None, *, keep: bool = True
) -> dict[str, Evidence]:
    """Return the evidence of every agent the request is about, in the project's order.

    Args:
        keep: Make a cache of what the project's files hold, where there is none yet.

    Raises:
        InputError: Nothing to work on, an agent that does not exist, or no traces.
    """
    if request.inline:
        return _gather_inline(request)
    if project is None:
        raise InputError("There is no project file here: carry the agents as `inline`.")
    specs = [project.agent(name) for name in request.agents] or list(project.agents.values())
    if not request.agents and not request.traces:
        # One that lives on requests which carry their traces holds up no other.
        specs = [spec for spec in specs if spec.traces] or specs
    if request.traces:
        sent = _read_sent(request)
        return {spec.name: Evidence.of(spec.name, sent, spec.trace_agent) for spec in specs}
    read: dict[tuple[object, ...], SharedTables] = {}
    for spec in specs:
        if not spec.traces:
            raise InputError(
                f"agents.{spec.name}.traces names no source, and none were sent along."
            )
        if (spec.traces, spec.mapping) not in read:
            read[spec.traces, spec.mapping] = _read_files(
                spec, project.root / CACHE, request.strict, keep=keep
            )
    return {
        spec.name: Evidence.of(spec.name, read[spec.traces, spec.mapping], spec.trace_agent)
        for spec in specs
    }


def _gather_inline(request: CycleInput) -> dict[str, Evidence]:
    if not request.traces:
        raise TraceError("traces must hold the runs of the inline agents, but is empty.")
    tables = _read_sent(request)
    names = list(request.inline)
    if len(names) == 1 and len(tables.agents) == 1:
        # One agent, and runs of one agent: they are its own, whatever they call it.
        return {names[0]: Evidence.of(names[0], tables, next(iter(tables.agents)))}
    return {name: Evidence.of(name, tables) for name in names}


def _read_sent(request: CycleInput) -> SharedTables:
    """The traces that the request carries."""
    bad: list[BadRecord] = []
    redactor = Redactor()
    tables = read_records(
        request.traces, strict=request.strict, on_bad=bad.append, redactor=redactor
    )
    return SharedTables(tables, bad, redactor.counts)


def _read_files(spec: AgentSpec, cache: Path, strict: bool, *, keep: bool) -> SharedTables:
    """The sources of an agent, with what is known of them from before."""
    try:
        if keep:
            cache.mkdir(parents=True, exist_ok=True)
        if cache.is_dir():
            sources = list(spec.traces)
            return _read(sources, mapping=spec.mapping, strict=strict, cache=cache)
    except OSError:
        pass  # The folder may be for reading only, or its disk full: a cache is no need.
    try:
        return _read(list(spec.traces), mapping=spec.mapping, strict=strict)
    except OSError as error:
        raise TraceError(f"The traces of {spec.name} cannot be read: {error}") from error


def _read(
    source: Iterable[object],
    *,
    mapping: Path | None = None,
    strict: bool,
    cache: Path | None = None,
) -> SharedTables:
    bad: list[BadRecord] = []
    redactor = Redactor()
    tables = TraceTables.read(
        source,
        mapping=mapping,
        strict=strict,
        on_bad=bad.append,
        redactor=redactor,
        cache=cache,
    )
    return SharedTables(tables, bad, redactor.counts)
