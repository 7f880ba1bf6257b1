"""Orders for parts of source files, which this process, another one or a Spark worker fills."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracetune.errors import InputError, TraceError, TraceTuneError
from tracetune.traces.analytics.load import connect
from tracetune.traces.analytics.making import PartMaker, looks_canonical
from tracetune.traces.analytics.parts import Part, stamp
from tracetune.traces.analytics.shelf import TOGETHER, Shelf, parts_of
from tracetune.traces.model import Trace
from tracetune.traces.read import read_traces
from tracetune.traces.readers.base import BadRecord
from tracetune.traces.redaction import Redactor

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["PROCESSES", "Order", "answered", "processes_of", "read_parts"]

PROCESSES = "TRACETUNE_PROCESSES"
"""The environment's name for how many processes read foreign formats; 1: this one alone."""

_MOST = 4
"""Unless told otherwise: each process may hold some hundred MB."""

_PAYS = 24 << 20
"""Bytes for each process: to start one takes as long as reading some 10 MB."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be read, and how, into which folder; it can be sent to another process."""

    settings: Mapping[str, Any]
    """`format`, `mapping` and `strict` of `read_traces`."""
    redactor: Redactor
    direct: bool
    """Whether canonical files need no reader."""
    folder: Path
    shelved: bool
    """Whether the folder is a shelf, where the parts stay."""
    fatal: frozenset[str] = frozenset()
    """Files that must be of use."""
    files: tuple[Path, ...] = ()

    def fill(self, db: DuckDBPyConnection) -> Part:
        """Make the part of the files.

        Raises:
            TraceError: A file that must be of use is of none.
        """
        maker = PartMaker(
            db,
            self._traces_of,
            self.redactor,
            direct=self.direct,
            fatal=self.fatal.__contains__,
            lasting=self.shelved,
        )
        if self.shelved:
            return Shelf(self.folder).make(maker, self.files)
        return maker.of_files(Path(tempfile.mkdtemp(prefix="part-", dir=self.folder)), self.files)

    def _traces_of(
        self, path: Path, on_bad: Callable[[BadRecord], None], redactor: Redactor
    ) -> Iterator[Trace]:
        return read_traces(path, on_bad=on_bad, redactor=redactor, **self.settings)


def _filled(order: Order) -> Part:
    """The part of an order, made with a database of its own.

    Raises:
        TraceError: The files are of no use, or cannot be put into tables.
        OSError: The disk is full, say.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="tracetune-", ignore_cleanup_errors=True) as spill:
        db = connect(Path(spill))
        try:
            return order.fill(db)
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise TraceError(f"The traces cannot be put into tables: {reason}") from error
        finally:
            db.close()


def answered(order: Order) -> Part | Exception:
    """The part of an order, or the error that is to be raised where the order came from."""
    try:
        return _filled(order)
    except (OSError, TraceTuneError) as error:
        return error


def read_parts(
    files: Sequence[Path], order: Order, db: DuckDBPyConnection, processes: int
) -> list[Part]:
    """The parts of all files, in the order of their first files; foreign ones by many processes.

    Which process reads a file decides nothing but the time it takes.

    Raises:
        TraceError: As `Order.fill`.
    """

    def make(groups: Iterable[Sequence[Path]]) -> Iterator[Part]:
        orders = [replace(order, files=tuple(group)) for group in groups]
        foreign = [one for one in orders if _foreign(one)]
        size = sum(stamp(path)[1] for one in foreign for path in one.files)
        others = min(processes, len(foreign), size // _PAYS)
        if others < 2:
            yield from (one.fill(db) for one in orders)
            return
        with _helpers(others) as ask:
            asked = {id(one): ask(one) for one in foreign}
            for one in orders:
                yield asked[id(one)].result() if id(one) in asked else one.fill(db)

    shelf = Shelf(order.folder) if order.shelved else None
    together = TOGETHER
    if processes > 1:
        # Enough groups for all, each of a size that is worth a process.
        size = sum(stamp(path)[1] for path in files)
        together = max(_PAYS, min(together, size // processes + 1))
    return parts_of(files, make, shelf, together)


def processes_of(asked: int | None) -> int:
    """How many processes to use: as asked, else as the environment says, else one a core, up to 4.

    Raises:
        InputError: It is no whole number of at least 1.
    """
    said: int | str | None = asked if asked is not None else os.environ.get(PROCESSES)
    if said is None:
        return min(_MOST, os.cpu_count() or 1) if sys.executable else 1
    name = "processes" if asked is not None else PROCESSES
    try:
        count = int(said)
    except ValueError:
        count = 0
    if count < 1:
        raise InputError(f"{name} is {said!r}, expected a whole number of at least 1.")
    return count


def _foreign(order: Order) -> bool:
    """Whether a reader is needed; DuckDB reads plain canonical files with all cores itself."""
    return not (order.direct and all(map(looks_canonical, order.files)))


@contextlib.contextmanager
def _helpers(count: int) -> Iterator[Callable[[Order], Future[Part]]]:
    """Processes that fill orders, as many at a time; at the end they are gone."""
    # Not multiprocessing: it would run the caller's main script once more in every process.
    command = [
        sys.executable,
        "-c",
        "from tracetune.traces.analytics.orders import _serve; _serve()",
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()

    def send(order: Order) -> Part:
        helper = idle.get()
        try:
            return _answer(helper, order)
        finally:
            idle.put(helper)

    with contextlib.ExitStack() as stack:
        for _ in range(count):
            helper = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
            stack.callback(_end, helper)
            idle.put(helper)
        pool = ThreadPoolExecutor(count)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        yield lambda order: pool.submit(send, order)


def _end(helper: subprocess.Popen[bytes]) -> None:
    helper.kill()  # an answer that is not there by now is of no use
    with contextlib.suppress(BrokenPipeError), helper:
        pass


def _answer(helper: subprocess.Popen[bytes], order: Order) -> Part:
    assert helper.stdin is not None
    assert helper.stdout is not None
    try:
        pickle.dump(order, helper.stdin)
        helper.stdin.flush()
        answer: Part | Exception = pickle.load(helper.stdout)
    except (EOFError, OSError, pickle.UnpicklingError) as error:
        names = ", ".join(map(str, order.files[:3]))
        raise TraceError(f"The process that read {names} ended before it was done.") from error
    if isinstance(answer, Exception):
        raise answer
    return answer


def _serve() -> None:
    """Fill the orders on standard input, one after the other, and answer with parts or errors."""
    out, sys.stdout = sys.stdout.buffer, sys.stderr  # whatever a library prints is no answer
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            pickle.dump(answered(pickle.load(sys.stdin.buffer)), out)
            out.flush()
