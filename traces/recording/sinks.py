"""Where recorded traces go: a file of JSON Lines, a LangGraph store, or a function."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from tracetune.errors import InputError
from tracetune.traces.model import Trace

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore

__all__ = [
    "FileSink",
    "FunctionSink",
    "Sink",
    "StoreSink",
    "sink_of",
    "stored_traces",
    "traces_namespace",
]

_JSON = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_NAMESPACE = "tracetune_traces"
_PAGE = 500

Failed = Callable[[str, Exception], None]
"""Told the id of a trace that could not be kept, and why."""


class Sink(Protocol):
    """Takes finished traces, from any thread."""

    def write(self, trace: Trace, failed: Failed) -> None:
        """Keep the trace, now or soon; `failed` is told when that is not possible."""
        ...

    def flush(self, timeout_s: float | None) -> bool:
        """Wait until all is kept; False when the time was not enough."""
        ...


def sink_of(sink: str | os.PathLike[str] | BaseStore | Callable[[Trace], object]) -> Sink:
    """Return the sink for a path, a store or a function.

    Raises:
        InputError: It is none of these.
    """
    from langgraph.store.base import BaseStore

    if isinstance(sink, str | os.PathLike):
        return FileSink(Path(sink))
    if isinstance(sink, BaseStore):
        return StoreSink(sink)
    if callable(sink):
        return FunctionSink(sink)
    raise InputError(f"sink is {sink!r:.60}, expected a path, a LangGraph store or a function")


class FileSink:
    """Appends each trace as one line. Several threads and processes may share the file.

    Each line is one write in append mode, which a local file system does not mix with others.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._torn = False

    def write(self, trace: Trace, failed: Failed) -> None:
        try:
            self._append(_line(trace))
        except (OSError, TypeError, ValueError) as error:
            failed(trace.id, error)

    def flush(self, timeout_s: float | None) -> bool:
        return True

    def _append(self, line: bytes) -> None:
        with self._lock:
            try:
                file = self._open()
            except FileNotFoundError:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                file = self._open()
            try:
                # Half a line that a full disk left must not take the next one with it.
                whole = b"\n" + line if self._torn else line
                written = os.write(file, whole)
            finally:
                os.close(file)
            self._torn = 0 < written < len(whole)
            if written < len(whole):
                raise OSError(f"{written} of {len(whole)} bytes were written")

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)


class StoreSink:
    """Puts each trace into a LangGraph store, in a thread of its own.

    A thread, because a store's sync methods block an event loop, and because those of an async
    store may be called from any thread but its loop's.
    """

    def __init__(self, store: BaseStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tracetune-recorder")
        self._open: set[Future[None]] = set()

    def write(self, trace: Trace, failed: Failed) -> None:
        def put() -> None:
            try:
                row = json.loads(_line(trace))
                self._store.put(traces_namespace(trace.agent), trace.id, row, index=False)
            except Exception as error:  # a store may raise anything
                failed(trace.id, error)

        self._do(put)

    def amend(self, agent: str, id: str, change: Callable[[Trace], Trace], failed: Failed) -> None:
        """Change a trace that was put before, soon."""

        def put() -> None:
            namespace = traces_namespace(agent)
            try:
                if (item := self._store.get(namespace, id)) is None:
                    raise LookupError("the store has no such trace")
                row = change(Trace.from_dict(item.value)).to_dict()
                self._store.put(namespace, id, row, index=False)
            except Exception as error:  # a store may raise anything
                failed(id, error)

        self._do(put)

    def flush(self, timeout_s: float | None) -> bool:
        return not wait(list(self._open), timeout_s).not_done

    def _do(self, put: Callable[[], None]) -> None:
        try:
            future = self._thread.submit(put)
        except RuntimeError:  # Python is shutting down and starts no threads
            put()
        else:
            self._open.add(future)
            future.add_done_callback(self._open.discard)


class FunctionSink:
    """Calls a function with each trace."""

    def __init__(self, function: Callable[[Trace], object]) -> None:
        self._function = function

    def write(self, trace: Trace, failed: Failed) -> None:
        try:
            self._function(trace)
        except Exception as error:  # the user's function may raise anything
            failed(trace.id, error)

    def flush(self, timeout_s: float | None) -> bool:
        return True


def stored_traces(store: BaseStore, agent: str) -> Iterator[dict[str, Any]]:
    """Yield what a recorder put into the store for the agent, for `read_traces`; in no order.

    A store that is async only is asked from another thread than its loop's.
    """
    offset = 0
    while True:
        found = store.search(traces_namespace(agent), limit=_PAGE, offset=offset)
        yield from (dict(item.value) for item in found)
        if len(found) < _PAGE:
            return
        offset += len(found)


def traces_namespace(agent: str) -> tuple[str, str]:
    """Where a store holds the agent's recorded traces, each under its id."""
    return _NAMESPACE, agent.replace(".", "·") or "·"  # a namespace's label holds no dot


def _line(trace: Trace) -> bytes:
    row = trace.to_dict()
    try:
        return orjson.dumps(row, option=_JSON) + b"\n"
    except TypeError:  # half a character, or what JSON does not know
        text = json.dumps(row, ensure_ascii=False, default=str)
        return text.encode("utf-8", "replace") + b"\n"
