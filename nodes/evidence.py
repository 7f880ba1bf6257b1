"""The traces of one cycle, per agent, read once and kept at hand for the nodes that follow.

The state carries only a digest of them: a cycle that resumes in another process reads them again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tracetune.errors import InputError, TraceError
from tracetune.graph.state import CycleInput
from tracetune.stores.project import AgentSpec, Project
from tracetune.traces.model import Trace
from tracetune.traces.read import BadRecord, read_traces

__all__ = ["Evidence", "EvidenceShelf", "gather"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The traces of one agent, in the order they were read."""

    agent: str
    traces: tuple[Trace, ...]
    set_aside: tuple[BadRecord, ...] = ()
    """Records of its sources that could not be read; shared by agents that share sources."""
    others: frozenset[str] = field(default_factory=frozenset)
    """Names of other agents that the same sources hold."""


def gather(request: CycleInput, project: Project | None) -> dict[str, Evidence]:
    """Return the evidence of every agent the request is about, in the project's order.

    Raises:
        InputError: Nothing to work on, an agent that does not exist, or no traces.
    """
    if request.inline:
        return _gather_inline(request)
    if project is None:
        raise InputError("There is no project file here: carry the agents as `inline`.")
    specs = [project.agent(name) for name in request.agents] or list(project.agents.values())
    if request.traces:
        everything = _read(request.traces)
        return {spec.name: _of_agent(spec, everything) for spec in specs}
    read: dict[tuple[str, ...], tuple[list[Trace], list[BadRecord]]] = {}
    for spec in specs:
        if not spec.traces:
            raise InputError(
                f"agents.{spec.name}.traces names no source, and none were sent along."
            )
        if spec.traces not in read:
            read[spec.traces] = _read(spec.traces)
    return {spec.name: _of_agent(spec, read[spec.traces]) for spec in specs}


def _read(source: Sequence[str] | Iterable[object]) -> tuple[list[Trace], list[BadRecord]]:
    bad: list[BadRecord] = []
    traces: list[Trace] = []
    seen: set[tuple[str, str]] = set()
    for trace in read_traces(source, on_bad=bad.append):
        if (trace.agent, trace.id) in seen:
            bad.append(BadRecord("", 0, f"a second trace with the id {trace.id!r}"))
            continue
        seen.add((trace.agent, trace.id))
        traces.append(trace)
    return traces, bad


def _of_agent(spec: AgentSpec, everything: tuple[list[Trace], list[BadRecord]]) -> Evidence:
    traces, bad = everything
    wanted = spec.trace_agent or spec.name
    return Evidence(
        agent=spec.name,
        traces=_own(spec.name, (trace for trace in traces if trace.agent == wanted)),
        set_aside=tuple(bad),
        others=frozenset(trace.agent for trace in traces) - {wanted},
    )


def _gather_inline(request: CycleInput) -> dict[str, Evidence]:
    if not request.traces:
        raise TraceError("traces must hold the runs of the inline agents, but is empty.")
    traces, bad = _read(request.traces)
    names = list(request.inline)
    if len(names) == 1 and len({trace.agent for trace in traces}) == 1:
        # One agent, and runs of one agent: they are its own, whatever they call it.
        return {names[0]: Evidence(names[0], _own(names[0], traces), tuple(bad))}
    return {
        name: Evidence(
            name,
            _own(name, (trace for trace in traces if trace.agent == name)),
            tuple(bad),
            frozenset(trace.agent for trace in traces) - {name},
        )
        for name in names
    }


def _own(agent: str, traces: Iterable[Trace]) -> tuple[Trace, ...]:
    return tuple(t if t.agent == agent else replace(t, agent=agent) for t in traces)


class EvidenceShelf:
    """The evidence of the latest cycles, by its digests; bounded, safe under threads."""

    def __init__(self, size: int = 4) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[tuple[str, str], ...], Mapping[str, Evidence]]
        self._kept = OrderedDict()
        self._lock = threading.Lock()

    def put(self, digests: Mapping[str, str], evidence: Mapping[str, Evidence]) -> None:
        """Keep the evidence; the oldest goes when the shelf is full."""
        key = tuple(digests.items())
        with self._lock:
            self._kept[key] = evidence
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def get(self, digests: Mapping[str, str]) -> Mapping[str, Evidence] | None:
        """The evidence with these digests, by agent, if it still is here."""
        with self._lock:
            return self._kept.get(tuple(digests.items()))
