"""Runs of LangGraph threads, read live from a checkpointer or from a server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tracetune.errors import TraceError
from tracetune.traces.model import Trace
from tracetune.traces.read import read_traces
from tracetune.traces.readers.base import UNUSABLE, Context, reason_of
from tracetune.traces.readers.files import NotJson
from tracetune.traces.readers.langgraph import LANGGRAPH

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
    from langgraph.pregel import Pregel
    from langgraph.types import StateSnapshot
    from langgraph_sdk.client import LangGraphClient, SyncLangGraphClient

__all__ = ["aserver_traces", "athread_traces", "server_traces", "thread_traces"]

_PAGE = 100
"""Snapshots, threads or runs that a server is asked for at a time."""

_NOT_FOUND = 404
# The channels that tell what is to run next; the last one stays when it is empty.
_TRIGGERS = ("branch:to:", "__start__")
_SENT = "__pregel_tasks"


def thread_traces(
    source: Pregel[Any, Any, Any, Any] | BaseCheckpointSaver[Any],
    threads: Iterable[str] | None = None,
    *,
    agent: str | None = None,
    recursion_limit: int | None = None,
    **reading: Any,
) -> Iterator[Trace]:
    """Yield the runs of threads, thread by thread, oldest first.

    Args:
        source: A graph compiled with a checkpointer, or the checkpointer. A graph tells more:
            which node failed.
        threads: Ids; None for every thread there is.
        agent: Whose runs they are; without it, what the history tells.
        recursion_limit: Under which the runs were made; without it, the graph's own. A run that
            took so many steps and was not done is known to have ended by it.
        **reading: What `read_traces` takes as well.

    Raises:
        TraceError: The source keeps no threads, or does not have one of them.
    """
    live, saver = _opened(source)
    limit = recursion_limit or _limit_of(live)
    lacking = None if threads is None else "history"
    if threads is None:
        with _told(None):
            threads = sorted({_thread_of(one) for one in saver.list(None)})
    for id in threads:
        config: Any = {"configurable": {"thread_id": id}}
        with _told(id):
            if _is_graph(live):
                found = [_of_graph(one, live.name) for one in live.get_state_history(config)]
            else:
                found = [_of_saver(one) for one in live.list(config) if _is_root(one)]
        yield from _read(id, found, agent, limit, reading, lacking)


async def athread_traces(
    source: Pregel[Any, Any, Any, Any] | BaseCheckpointSaver[Any],
    threads: Iterable[str] | None = None,
    *,
    agent: str | None = None,
    recursion_limit: int | None = None,
    **reading: Any,
) -> AsyncIterator[Trace]:
    """Yield what `thread_traces` does, from an asynchronous checkpointer."""
    live, saver = _opened(source)
    limit = recursion_limit or _limit_of(live)
    lacking = None if threads is None else "history"
    if threads is None:
        with _told(None):  # one by one: all the checkpoints there are may not fit into memory
            threads = sorted({_thread_of(one) async for one in saver.alist(None)})
    for id in threads:
        config: Any = {"configurable": {"thread_id": id}}
        with _told(id):
            if _is_graph(live):
                history = live.aget_state_history(config)
                found = [_of_graph(one, live.name) async for one in history]
            else:
                found = [_of_saver(one) async for one in live.alist(config) if _is_root(one)]
        for trace in _read(id, found, agent, limit, reading, lacking):
            yield trace


def server_traces(
    client: SyncLangGraphClient,
    threads: Iterable[str] | None = None,
    *,
    agent: str | None = None,
    **reading: Any,
) -> Iterator[Trace]:
    """Yield the runs of a server's threads; runs that have not ended are left out.

    Args:
        client: As `langgraph_sdk.get_sync_client` makes it.
        threads: Ids; None for every thread there is.
        agent: Whose runs they are; without it, what the history tells.
        **reading: What `read_traces` takes as well.

    Raises:
        TraceError: The server cannot be reached or refuses, or does not have one of the threads
            that were named, or no run of it has ended.
    """
    lacking = None if threads is None else "run that has ended"
    if threads is None:
        threads = []
        with _told(None):
            while page := client.threads.search(limit=_PAGE, offset=len(threads)):
                threads += [str(one["thread_id"]) for one in page]
    for id in dict.fromkeys(threads):  # one that began meanwhile moved the others on
        runs: list[Any] = []
        found: list[Any] = []
        with _told(id, may_be_gone=lacking is None):
            while some := client.runs.list(id, limit=_PAGE, offset=len(runs)):
                runs += some
            while more := client.threads.get_history(id, limit=_PAGE, before=_oldest(found)):
                found += more
        yield from _read(id, _with_runs(found, runs), agent, None, reading, lacking)


async def aserver_traces(
    client: LangGraphClient,
    threads: Iterable[str] | None = None,
    *,
    agent: str | None = None,
    **reading: Any,
) -> AsyncIterator[Trace]:
    """Yield what `server_traces` does, with the client that `langgraph_sdk.get_client` makes."""
    lacking = None if threads is None else "run that has ended"
    if threads is None:
        threads = []
        with _told(None):
            while page := await client.threads.search(limit=_PAGE, offset=len(threads)):
                threads += [str(one["thread_id"]) for one in page]
    for id in dict.fromkeys(threads):  # one that began meanwhile moved the others on
        runs: list[Any] = []
        found: list[Any] = []
        with _told(id, may_be_gone=lacking is None):
            while some := await client.runs.list(id, limit=_PAGE, offset=len(runs)):
                runs += some
            while more := await client.threads.get_history(id, limit=_PAGE, before=_oldest(found)):
                found += more
        for trace in _read(id, _with_runs(found, runs), agent, None, reading, lacking):
            yield trace


def _read(
    id: str,
    found: list[dict[str, Any]],
    agent: str | None,
    limit: int | None,
    reading: Mapping[str, Any],
    lacking: str | None,
) -> Iterator[Trace]:
    """The runs of one thread. Without any, `lacking` says what it has none of; None: no matter."""
    if not found:
        if lacking is None:
            return iter(())
        raise TraceError(f"thread {id!r} has no {lacking}, expected the id of a thread that ran")
    if agent is not None:
        mark = {"tracetune_agent": agent}
        found = [one | {"metadata": {**(one["metadata"] or {}), **mark}} for one in found]
    if limit is not None:
        found = [{"recursion_limit": limit} | one for one in found]
    # Not as records, which are gathered in bounded memory: here the whole thread is at hand.
    reasons: list[str] = []
    traces: list[Trace] = []
    try:
        traces += LANGGRAPH.read(found, Context(None, reasons.append))
    except UNUSABLE as error:
        reasons.append(f"thread {id}: {reason_of(error)}")
    return read_traces([*traces, *map(NotJson, reasons)], **reading)


@contextlib.contextmanager
def _told(thread: str | None, *, may_be_gone: bool = False) -> Iterator[None]:
    """Make one line of what goes wrong on the way to a thread."""
    where = "the threads" if thread is None else f"thread {thread!r}"
    try:
        yield
    except Exception as error:  # each checkpointer, and each client, raises its own kinds
        if may_be_gone and getattr(error, "status_code", None) == _NOT_FOUND:
            return
        line = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise TraceError(f"{where} cannot be read: {line}") from error


def _is_graph(source: Any) -> bool:
    return hasattr(source, "get_state_history")


def _opened(source: Any) -> tuple[Any, Any]:
    """Return the source, and the checkpointer it is or has."""
    saver = source.checkpointer if _is_graph(source) else source
    if not hasattr(saver, "alist"):
        raise TraceError(f"source is {source!r:.60}, expected a checkpointer, or a graph with one")
    return source, saver


def _limit_of(source: Any) -> int | None:
    config = getattr(source, "config", None)
    limit = config.get("recursion_limit") if isinstance(config, Mapping) else None
    return limit if isinstance(limit, int) else None


def _thread_of(one: CheckpointTuple) -> str:
    return str(_place(one)["thread_id"])


def _is_root(one: CheckpointTuple) -> bool:
    return not _place(one).get("checkpoint_ns")


def _place(one: CheckpointTuple) -> Mapping[str, Any]:
    return one.config.get("configurable", {})


def _of_graph(one: StateSnapshot, name: str | None) -> dict[str, Any]:
    # A graph without a name is called LangGraph. On a server the name is in the metadata.
    named = {} if name in (None, "LangGraph") else {"graph_id": name}
    tasks = [task._asdict() for task in one.tasks]
    return one._asdict() | {"tasks": tasks, "metadata": {**named, **(one.metadata or {})}}


def _of_saver(one: CheckpointTuple) -> dict[str, Any]:
    values = one.checkpoint["channel_values"]
    tasks: dict[str, dict[str, Any]] = {}
    for id, channel, value in one.pending_writes or ():
        task = tasks.setdefault(id, {})
        if channel == "__error__":
            task["error"] = value
        elif channel == "__interrupt__":
            task["interrupts"] = value
        elif channel == "messages":
            task["result"] = {"messages": value}
    return {
        "values": values,
        "next": [n for n in values if n.startswith(_TRIGGERS) or (n == _SENT and values[n])],
        "tasks": list(tasks.values()),
        "config": one.config,
        "parent_config": one.parent_config,
        "metadata": one.metadata,
        "created_at": one.checkpoint["ts"],
    }


def _oldest(found: list[Any]) -> Any:
    """Return the last snapshot's place, as the SDK has it and as `langgraph dev` takes it."""
    if not found:
        return None
    place = found[-1]["checkpoint"]
    return {**place, "configurable": place}


def _with_runs(found: list[Any], runs: list[Any]) -> list[dict[str, Any]]:
    """Return the snapshots of runs that have ended, with what the server knows of each."""
    by_id = {run["run_id"]: run for run in runs}
    kept: list[dict[str, Any]] = []
    for one in found:
        run = by_id.get((one.get("metadata") or {}).get("run_id"), {})
        if run.get("status") in ("pending", "running"):
            continue
        config = (run.get("kwargs") or {}).get("config") or {}
        kept.append({**one, "recursion_limit": config.get("recursion_limit")})
    return kept
