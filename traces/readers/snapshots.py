"""Snapshots of a LangGraph thread, and the runs that they are of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tracetune.traces.readers.base import (
    as_list,
    as_mapping,
    count,
    looks_said,
    moment,
    text,
)

__all__ = ["Run", "Snapshot", "Task", "is_snapshot", "runs_of", "snapshot"]

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Task:
    """What a node was to do next."""

    name: str
    error: str | None
    interrupted: bool
    pushed: int | None
    """Its number among the tasks that `Send` made; None for others."""
    messages: list[Any]
    """What it added to the chat."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a thread after one step."""

    id: str
    parent: str | None
    thread: str
    namespace: str
    source: str | None
    step: int | None
    at: datetime | None
    messages: list[Any]
    next: list[Any]
    """The nodes that were to run; empty once the graph was done."""
    tasks: list[Task]
    metadata: Mapping[str, Any]
    recursion_limit: int | None
    """Of the run, where it is known: a history does not tell."""

    @property
    def run_id(self) -> str | None:
        found = self.metadata.get("run_id")
        return found if isinstance(found, str) else None

    @property
    def stopped(self) -> bool:
        """Whether its run ended here, or waited here until it was resumed."""
        return any(task.error or task.interrupted for task in self.tasks)

    @property
    def edited(self) -> bool:
        """Whether it is no step: someone changed the state, or went back to this one."""
        return self.source in ("update", "fork")


@dataclass(frozen=True, slots=True)
class Run:
    """One run: the snapshots from an input to the last step it led to, oldest first."""

    snapshots: tuple[Snapshot, ...]
    before: list[Any]
    """What had been said when it began."""
    is_cut: bool
    """Whether its beginning is missing."""

    @property
    def first(self) -> Snapshot:
        return self.snapshots[0]

    @property
    def last(self) -> Snapshot:
        return self.snapshots[-1]

    @property
    def waited(self) -> bool:
        """Whether it was resumed: how long it worked is then not known."""
        return any(one.stopped or one.edited for one in self._worked[:-1])

    @property
    def seconds(self) -> float | None:
        last = self._worked[-1]
        if not self.first.at or not last.at or self.first is last:
            return None
        return (last.at - self.first.at).total_seconds()

    @property
    def supersteps(self) -> int | None:
        """How many steps it took, as `recursion_limit` counts them."""
        return _steps(self.snapshots)

    @property
    def supersteps_since_wait(self) -> int | None:
        """How many it took since it was resumed: each time counts anew."""
        waits = [at for at, one in enumerate(self.snapshots[:-1]) if one.stopped or one.edited]
        return _steps(self.snapshots[waits[-1] if waits else 0 :])

    @property
    def _worked(self) -> tuple[Snapshot, ...]:
        """Its snapshots without the edits after its end."""
        ends = [at for at, one in enumerate(self.snapshots, 1) if not one.edited]
        return self.snapshots[: ends[-1] if ends else 1]


def is_snapshot(record: Any) -> bool:
    """Whether it is a `StateSnapshot` or an SDK's `ThreadState`, as JSON."""
    return (
        isinstance(record, Mapping)
        and {"values", "next", "metadata"} <= record.keys()
        and not record.keys().isdisjoint({"checkpoint", "config"})
    )


def snapshot(record: Any) -> Snapshot:
    """Return the snapshot that the record is.

    Raises:
        TypeError, ValueError: It names no thread or no checkpoint, or is of another shape.
    """
    row = as_mapping(record, "the record")
    place = _place(row, "checkpoint", "config")
    metadata = as_mapping(row.get("metadata"), "metadata")
    id = text(place.get("checkpoint_id"), "checkpoint_id")
    thread = text(place.get("thread_id") or metadata.get("thread_id"), "thread_id")
    if not id or not thread:
        raise ValueError("it names no thread_id and checkpoint_id, expected both")
    step = metadata.get("step")
    tasks = as_list(row.get("tasks"), "tasks")
    return Snapshot(
        id=id,
        parent=text(
            _place(row, "parent_checkpoint", "parent_config").get("checkpoint_id"), "parent"
        ),
        thread=thread,
        namespace=text(place.get("checkpoint_ns"), "checkpoint_ns") or "",
        source=text(metadata.get("source"), "metadata.source"),
        step=step if isinstance(step, int) else None,
        at=moment(row.get("created_at"), "created_at"),
        messages=_messages(row.get("values")),
        next=as_list(row.get("next"), "next"),
        tasks=[_task(task, f"tasks[{index}]") for index, task in enumerate(tasks, 1)],
        metadata=metadata,
        recursion_limit=count(row.get("recursion_limit"), "recursion_limit"),
    )


def runs_of(snapshots: Sequence[Snapshot]) -> Iterator[Run]:
    """Yield the runs of one thread, by their beginning; forks are runs of their own."""
    ordered = sorted(
        {one.id: one for one in snapshots}.values(),
        key=lambda one: (one.at or _LONG_AGO, one.step or 0),
    )
    by_id = {one.id: one for one in ordered}
    if not any(one.parent for one in ordered):  # an export that leaves them out
        parents = dict(zip([one.id for one in ordered[1:]], ordered, strict=False))
    else:
        parents = {one.id: by_id[one.parent] for one in ordered if one.parent in by_id}
    inner = {parent.id for parent in parents.values()}
    runs: dict[tuple[str, str], Run] = {}
    for leaf in ordered:
        if leaf.id not in inner:
            for run in _split(_chain(leaf, parents), parents):
                runs.setdefault((run.first.id, run.last.id), run)
    begun = {one.id: at for at, one in enumerate(ordered)}
    yield from sorted(runs.values(), key=lambda run: (begun[run.first.id], begun[run.last.id]))


def _chain(leaf: Snapshot, parents: Mapping[str, Snapshot]) -> list[Snapshot]:
    chain: dict[str, Snapshot] = {}
    one: Snapshot | None = leaf
    while one is not None and one.id not in chain:
        chain[one.id] = one
        one = parents.get(one.id)
    return list(chain.values())[::-1]


def _split(chain: list[Snapshot], parents: Mapping[str, Snapshot]) -> Iterator[Run]:
    starts = [at for at, one in enumerate(chain) if _begins(one, parents.get(one.id))]
    for start, end in zip(starts, [*starts[1:], len(chain)], strict=True):
        first, before = chain[start], parents.get(chain[start].id)
        # The snapshot of an input is taken before the input is put in.
        said = first.messages if first.source == "input" else before.messages if before else []
        cut = before is None and first.source != "input" and first.parent is not None
        yield Run(tuple(chain[start:end]), said, cut)


def _begins(one: Snapshot, before: Snapshot | None) -> bool:
    if before is None or one.source == "input":
        return True
    # With durability="exit" inputs leave no snapshot; but what was done goes on by input alone.
    ended = before.source != "input" and not before.next and not before.tasks
    return one.source == "loop" and ended


def _steps(snapshots: Sequence[Snapshot]) -> int | None:
    first, last = snapshots[0], snapshots[-1]
    if first.step is None or last.step is None or last.step <= first.step:
        return None
    edits = sum(one.edited for one in snapshots[1:])  # someone else's
    return last.step - first.step - (first.source == "input") - edits


def _place(row: Mapping[str, Any], sdk: str, library: str) -> Mapping[str, Any]:
    if row.get(sdk) is not None:
        return as_mapping(row[sdk], sdk)
    config = as_mapping(row.get(library), library)
    return as_mapping(config.get("configurable"), f"{library}.configurable")


def _messages(values: Any) -> list[Any]:
    """Return the chat in a state: its `messages`, else the one list of messages it has."""
    if isinstance(values, list):
        return values
    if not isinstance(values, Mapping):
        return []
    if "messages" in values:
        return as_list(values["messages"], "values.messages")
    chats = [v for v in values.values() if isinstance(v, list) and v and looks_said(v[0])]
    return chats[0] if len(chats) == 1 else []


def _task(task: Any, where: str) -> Task:
    if isinstance(task, list | tuple):  # how Python's own writer puts a PregelTask
        names = ("id", "name", "path", "error", "interrupts", "state", "result")
        task = dict(zip(names, task, strict=False))
    row = as_mapping(task, where)
    path = as_list(row.get("path"), f"{where}.path")
    error = row.get("error")
    result = row.get("result")
    said = result.get("messages") if isinstance(result, Mapping) else None
    return Task(
        name=text(row.get("name"), f"{where}.name") or "unknown",
        error=None if error is None else str(error),
        interrupted=bool(row.get("interrupts")),
        pushed=_number(path),
        messages=said if isinstance(said, list) else [] if said is None else [said],
    )


def _number(path: list[Any]) -> int | None:
    # ("__pregel_push", number, …), as `langgraph.types.PregelTask` has it.
    pushed = len(path) > 1 and path[0] == "__pregel_push" and isinstance(path[1], int)
    return path[1] if pushed else None
