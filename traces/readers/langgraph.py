"""Thread histories of LangGraph: the snapshots that `get_state_history` gives, as JSON.

Each input to a thread begins a run. Runs are told apart by the snapshots' parents, so histories
with forks and replays are read as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracetune.traces.failures import judged
from tracetune.traces.model import Trace
from tracetune.traces.readers.base import UNUSABLE, Context, Reader, as_list, reason_of, text
from tracetune.traces.readers.chat import Chat, open_calls, read_chat
from tracetune.traces.readers.joining import Timing
from tracetune.traces.readers.snapshots import Run, Snapshot, Task, is_snapshot, runs_of, snapshot

__all__ = ["LANGGRAPH"]


def parts(record: Any) -> Iterator[tuple[str, Any]]:
    """Yield the snapshot, by its thread."""
    one = snapshot(record)
    yield f"{one.thread}|{one.namespace}", record


def read(record: Any, context: Context) -> Iterator[Trace]:
    """Yield one trace per run of the thread, oldest first; cut runs are set aside."""
    found = [snapshot(one) for one in as_list(record, "the thread's snapshots")]
    taken: set[str] = set()
    for run in runs_of(found):
        if run.is_cut:
            context.set_aside(
                f"thread {run.first.thread}: the run before checkpoint {run.first.id} begins "
                "earlier than the history, expected all snapshots"
            )
            continue
        names = (run.first.run_id or run.first.id, run.last.run_id, run.last.id)
        id = next(name for name in names if name and (name not in taken or name == run.last.id))
        taken.add(id)
        try:
            yield _trace(run, f"{run.first.thread}/{id}", context)
        except UNUSABLE as error:
            context.set_aside(f"thread {run.first.thread}, run {id}: {reason_of(error)}")


def _trace(run: Run, id: str, context: Context) -> Trace:
    chat = _chat(run)
    for unread in chat.unread():
        context.set_aside(f"thread {run.first.thread}, run {id}: {unread}")
    metadata = run.last.metadata
    failed = [task for task in run.last.tasks if task.error]
    error = failed[0].error if failed else None
    ended_by = _ended_by(run, chat, error)
    labels = {
        "ended_by": ended_by,
        "error": error,
        "failed_at": failed[0].name if failed else None,
        "thread": run.first.thread,
    }
    trace = Trace(
        id=id,
        agent=chat.agent or text(metadata.get("graph_id"), "metadata.graph_id") or "agent",
        release=text(metadata.get("tracetune_release"), "tracetune_release") or chat.release,
        task=text(metadata.get("tracetune_task", metadata.get("task")), "metadata.task"),
        started_at=run.first.at,
        latency_s=None if error or run.waited else run.seconds,
        steps=chat.steps,
        turns=run.supersteps if chat.calls is None else chat.calls,
        tokens_in=chat.tokens_in,
        tokens_out=chat.tokens_out,
        labels={name: value for name, value in labels.items() if value is not None},
    )
    return judged(trace)


def _ended_by(run: Run, chat: Chat, error: str | None) -> str | None:
    if error:
        return "recursion_limit" if error.startswith("GraphRecursionError") else "error"
    if not run.last.next:
        return chat.ended_by
    if any(task.interrupted for task in run.last.tasks):
        return "interrupt"
    limit, steps = run.last.recursion_limit, run.supersteps_since_wait
    at_limit = limit is not None and steps is not None and steps >= limit
    return "recursion_limit" if at_limit else "unfinished"


def _chat(run: Run) -> Chat:
    messages, timings = _said(run)
    messages += _results(run.last.tasks, messages)
    named = text(run.last.metadata.get("lc_agent_name"), "metadata.lc_agent_name")
    agent = text(run.last.metadata.get("tracetune_agent"), "metadata.tracetune_agent")
    return read_chat(messages, agent=agent, named=named, timings=timings)


def _said(run: Run) -> tuple[list[Any], dict[int, Timing]]:
    """Return what was said in the run, also what was trimmed since, and when each tool ran."""
    before = {key for key, _ in _keyed(run.before)}
    kept: dict[Any, Any] = {}
    timings: dict[int, Timing] = {}
    for last, one in zip([None, *run.snapshots], run.snapshots, strict=False):
        for key, message in _keyed(one.messages):
            if key in before:
                continue
            if key not in kept and last and last.at and one.at and not _waited_at(last):
                timings[len(kept)] = Timing(last.at, (one.at - last.at).total_seconds())
            kept[key] = message
    return list(kept.values()), timings


def _waited_at(one: Snapshot) -> bool:
    return one.stopped or one.source == "update"


def _keyed(messages: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each message with what tells it from the others: its id, else what it says."""
    counts: dict[str, int] = {}
    for message in messages:
        if isinstance(message, Mapping):
            id = (message.get("data") or message.get("kwargs") or message).get("id")
        else:
            id = getattr(message, "id", None)
        if isinstance(id, str):
            yield id, message
            continue
        said = repr(message)
        counts[said] = counts.get(said, 0) + 1
        yield (said, counts[said]), message


def _results(tasks: Sequence[Task], messages: list[Any]) -> list[Any]:
    """Return what the tools of a step answered that one of them ended by raising."""
    results = [message for task in tasks for message in task.messages]
    waited = open_calls(messages)
    left = open_calls([*messages, *results])
    raised = [task for task in tasks if task.error]
    # Each call may be a task of its own, by number; else only all that are left can be told.
    by_number = sum(task.pushed is not None for task in tasks) == len(waited)
    numbers = [task.pushed if by_number else None for task in raised]
    if None in numbers:
        waited, numbers = left, [*range(len(left))] if len(left) == len(raised) else []
    for number, task in zip(numbers, raised, strict=False):
        if number is None or number >= len(waited):
            continue
        failed = {"role": "tool", "tool_call_id": waited[number], "status": "error"}
        results.append(failed | {"content": task.error})
    return results


LANGGRAPH = Reader("langgraph", is_snapshot, read, parts)
