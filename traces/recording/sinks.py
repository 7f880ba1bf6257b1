"""Where recorded traces go: a file of JSON Lines, a LangGraph store, or a function."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import thread as pool
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import orjson

from tracetune.errors import InputError
from tracetune.traces.model import Trace

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore, Item

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
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""NUL as JSON writes it: no Postgres keeps it, and the trace would be lost."""

_PAGE = 500
_LOOK_S = 0.2
"""Seconds between two looks at whether the loop of an async store still runs."""

Found = TypeVar("Found")

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

    def forked(self) -> None:
        """Begin anew in a child process, which has neither threads nor free locks."""
        ...


def sink_of(sink: str | os.PathLike[str] | BaseStore | Callable[[Trace], object]) -> Sink:
    """Return the sink for a path, a store or a function.

    Raises:
        InputError: It is none of these.
    """
    from langgraph.store.base import BaseStore

    if isinstance(sink, str | os.PathLike):
        return FileSink(Path(sink).absolute())  # the process may go to another folder
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
        self._torn: bool | None = None
        """Whether the file's last line has no end; None until it was looked at."""

    def write(self, trace: Trace, failed: Failed) -> None:
        try:
            self._append(_line(trace))
        except (OSError, TypeError, ValueError) as error:
            failed(trace.id, error)

    def flush(self, timeout_s: float | None) -> bool:
        return True

    def forked(self) -> None:
        self._lock = threading.Lock()

    def _append(self, line: bytes) -> None:
        with self._lock:
            if self._torn is None:
                self._torn = _is_torn(self._path)
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
        # That of LangGraph's async stores.
        self._loop: asyncio.AbstractEventLoop | None = getattr(store, "_loop", None)
        self._orphaned = False
        """Whether that loop runs in the process that this one was forked from, and only there."""
        self._begin()

    def write(self, trace: Trace, failed: Failed) -> None:
        def put() -> None:
            try:
                self._put(trace)
            except Exception as error:  # a store may raise anything
                failed(trace.id, error)

        self._do(put)

    def amend(self, agent: str, id: str, change: Callable[[Trace], Trace], failed: Failed) -> None:
        """Change a trace that was put before, soon."""

        def put() -> None:
            try:
                if (item := self._get(agent, id)) is None:
                    raise LookupError("the store has no such trace")
                self._put(change(Trace.from_dict(item.value)))
            except Exception as error:  # a store may raise anything
                failed(id, error)

        self._do(put)

    def flush(self, timeout_s: float | None) -> bool:
        if self._loop is not None and _is_running_here(self._loop):
            return all(one.done() for one in list(self._open))  # none ends while its loop waits
        ends_at = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = max(0.0, ends_at - time.monotonic())
            if not (wait(list(self._open), min(left, _LOOK_S)).not_done):
                return True
            if left == 0 or (self._loop is not None and not self._loop.is_running()):
                return False

    def forked(self) -> None:
        self._orphaned = self._loop is not None
        self._begin()

    def _begin(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tracetune-recorder")
        self._open: set[Future[None]] = set()

    def _put(self, trace: Trace) -> None:
        row = json.loads(_NUL.sub(rb"\1\\ufffd", _line(trace)))
        namespace = traces_namespace(trace.agent)
        if self._loop is None:
            self._store.put(namespace, trace.id, row, index=False)
        else:
            self._in_loop(self._store.aput(namespace, trace.id, row, index=False), self._loop)

    def _get(self, agent: str, id: str) -> Item | None:
        namespace = traces_namespace(agent)
        if self._loop is None:
            return self._store.get(namespace, id)
        return self._in_loop(self._store.aget(namespace, id), self._loop)

    def _in_loop(self, asked: Coroutine[Any, Any, Found], loop: asyncio.AbstractEventLoop) -> Found:
        if self._orphaned:  # and it still says of itself that it is running
            asked.close()
            raise RuntimeError("the store's event loop runs in the parent of this process")
        return _in_loop(asked, loop)

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

    def forked(self) -> None:
        pass


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


def _in_loop(asked: Coroutine[Any, Any, Found], loop: asyncio.AbstractEventLoop) -> Found:
    """Return what the loop of a store gives; a loop that stopped is not waited for at Python's end.

    Raises:
        RuntimeError: The loop is closed, or has stopped and Python ends.
    """
    try:
        future = asyncio.run_coroutine_threadsafe(asked, loop)
    except RuntimeError:
        asked.close()
        raise
    while True:
        try:
            return future.result(_LOOK_S)
        except TimeoutError:
            if future.done():  # it is the store's own
                raise
            # As the executor's own threads know it; `atexit` runs only when they have ended.
            ends = getattr(pool, "_shutdown", False)
            if loop.is_closed() or (ends and not loop.is_running()):
                future.cancel()
                asked.close()
                raise RuntimeError("the store's event loop has stopped") from None


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _is_torn(path: Path) -> bool:
    """Whether the last line of the file was cut off, by a full disk or the end of a process."""
    if not path.is_file():  # a pipe would wait for its other end
        return False
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() != b"\n"
    except OSError:  # it is empty, or may only be written
        return False


def _line(trace: Trace) -> bytes:
    row = trace.to_dict()
    try:
        return orjson.dumps(row, option=_JSON) + b"\n"
    except TypeError:  # half a character, or what JSON does not know
        text = json.dumps(row, ensure_ascii=False, default=str)
        return text.encode("utf-8", "replace") + b"\n"
