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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracetune.errors import InputError, TraceError, TraceTuneError
from tracetune.traces.analytics.cutting import (
    PieceOrder,
    PieceRead,
    joined,
    piece_orders,
    tells_the_same,
)
from tracetune.traces.analytics.load import connect
from tracetune.traces.analytics.making import PartMaker, Reading, looks_canonical
from tracetune.traces.analytics.parts import Part, stamp
from tracetune.traces.analytics.shelf import TOGETHER, Shelf, parts_of
from tracetune.traces.analytics.spool import Lined
from tracetune.traces.model import Trace
from tracetune.traces.read import read_traces
from tracetune.traces.readers.base import BadRecord
from tracetune.traces.redaction import Redactor

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["PROCESSES", "Order", "answered", "processes_of", "read_parts"]

PROCESSES = "TRACETUNE_PROCESSES"
"""The environment's name for how many processes read foreign formats; 1: this one alone."""

Connected = Callable[[], "DuckDBPyConnection"]

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

    @property
    def name(self) -> str:
        """What is read, for people."""
        return ", ".join(map(str, self.files[:3]))

    def fill(self, db: DuckDBPyConnection, reading: Reading | None = None) -> Part:
        """Make the part of the files.

        Args:
            reading: What reads them where they are not read here.

        Raises:
            TraceError: A file that must be of use is of none.
        """
        maker = PartMaker(
            db,
            reading or self.traces_of,
            self.redactor,
            direct=self.direct,
            fatal=self.fatal.__contains__,
            lasting=self.shelved,
        )
        if self.shelved:
            return Shelf(self.folder).make(maker, self.files)
        return maker.of_files(Path(tempfile.mkdtemp(prefix="part-", dir=self.folder)), self.files)

    def traces_of(
        self, path: Path, on_bad: Callable[[BadRecord], None], redactor: Redactor
    ) -> Iterator[Trace]:
        """The traces of one file."""
        return read_traces(path, on_bad=on_bad, redactor=redactor, **self.settings)

    def answer(self) -> Part:
        """Make the part with a database of its own.

        Raises:
            TraceError: The files are of no use, or cannot be put into tables.
            OSError: The disk is full, say.
        """
        import duckdb

        with tempfile.TemporaryDirectory(prefix="tracetune-", ignore_cleanup_errors=True) as spill:
            db = connect(Path(spill))
            try:
                return self.fill(db)
            except duckdb.Error as error:
                reason = str(error).splitlines()[0]
                raise TraceError(f"The traces cannot be put into tables: {reason}") from error
            finally:
                db.close()


def answered(order: Order | PieceOrder) -> Any:
    """What comes of an order, or the error that is to be raised where the order came from."""
    try:
        return order.answer()
    except (OSError, TraceTuneError) as error:
        return error


def read_parts(
    files: Sequence[Path], order: Order, connected: Connected, processes: int
) -> list[Part]:
    """The parts of all files, in the order of their first files; foreign ones by many processes.

    Which process reads a file decides nothing but the time it takes.

    Args:
        connected: Gives a database for the parts that are not at hand; it is closed.

    Raises:
        TraceError: As `Order.fill`.
    """

    def make(groups: Iterable[Sequence[Path]]) -> Iterator[Part]:
        orders = [replace(order, files=tuple(group)) for group in groups]
        if orders:
            with connected() as db:
                yield from _made(orders, db, processes)

    shelf = Shelf(order.folder) if order.shelved else None
    together = TOGETHER
    if processes > 1:
        # Enough groups for all, each of a size that is worth a process.
        size = sum(stamp(path)[1] for path in files)
        together = max(_PAYS, min(together, size // processes + 1))
    return parts_of(files, make, shelf, together)


def _made(orders: Sequence[Order], db: DuckDBPyConnection, processes: int) -> Iterator[Part]:
    """Yield the parts of orders, in their order."""
    foreign = [one for one in orders if _foreign(one)]
    useful = min(processes, sum(map(_size, foreign)) // _PAYS)
    with tempfile.TemporaryDirectory(prefix="tracetune-", ignore_cleanup_errors=True) as room:
        cut = _cut(foreign, useful, Path(room)) if useful > 1 else {}
        tasks = {id(one): cut.get(id(one), [one]) for one in foreign}
        others = min(useful, sum(map(len, tasks.values())))
        if others < 2:
            yield from (one.fill(db) for one in orders)
            return
        with _helpers(others) as ask:
            asked = {of: [ask(task) for task in several] for of, several in tasks.items()}
            for one in orders:
                if id(one) in cut:
                    yield one.fill(db, partial(_joined, one, asked[id(one)]))
                elif id(one) in asked:
                    yield asked[id(one)][0].result()
                else:
                    yield one.fill(db)


def processes_of(asked: int | None) -> int:
    """How many processes to use: as asked, else as the environment says, else one a core, up to 4.

    Raises:
        InputError: It is no whole number of at least 1.
    """
    # Empty is as good as not set, as in a compose file.
    said: int | str | None = asked if asked is not None else os.environ.get(PROCESSES) or None
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


def _size(order: Order) -> int:
    return sum(stamp(path)[1] for path in order.files)


def _cut(orders: Sequence[Order], processes: int, room: Path) -> dict[int, list[PieceOrder]]:
    """Orders for the pieces of files that would keep one process busy while others wait, by id."""
    share = sum(map(_size, orders)) / processes
    found: dict[int, list[PieceOrder]] = {}
    for order in orders:
        count = min(processes, round(_size(order) / share))
        if len(order.files) == 1 and count > 1:
            folder = Path(tempfile.mkdtemp(dir=room))
            with contextlib.suppress(OSError):  # whoever reads the file tells
                path = order.files[0]
                found[id(order)] = piece_orders(path, count, order.settings, order.redactor, folder)
    return {id: pieces for id, pieces in found.items() if pieces}


def _joined(
    order: Order,
    asked: Sequence[Future[PieceRead]],
    path: Path,
    on_bad: Callable[[BadRecord], None],
    redactor: Redactor,
) -> Iterator[Trace | Lined]:
    """The traces of a file that was read in pieces; read here where these do not fit together."""
    try:
        reads = [one.result() for one in asked]
    except (OSError, TraceTuneError):
        reads = []
    if reads and tells_the_same(reads):
        return joined(reads, on_bad, redactor)
    return order.traces_of(path, on_bad, redactor)


def _foreign(order: Order) -> bool:
    """Whether a reader is needed; DuckDB reads plain canonical files with all cores itself."""
    return not (order.direct and all(map(looks_canonical, order.files)))


@contextlib.contextmanager
def _helpers(count: int) -> Iterator[Callable[[Order | PieceOrder], Future[Any]]]:
    """Processes that answer orders, as many at a time; at the end they are gone."""
    # Not multiprocessing: it would run the caller's main script once more in every process.
    command = [
        sys.executable,
        "-c",
        "from tracetune.traces.analytics.orders import _serve; _serve()",
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()

    def send(order: Order | PieceOrder) -> Any:
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


def _answer(helper: subprocess.Popen[bytes], order: Order | PieceOrder) -> Any:
    assert helper.stdin is not None
    assert helper.stdout is not None
    try:
        pickle.dump(order, helper.stdin)
        helper.stdin.flush()
        answer = pickle.load(helper.stdout)
    except (EOFError, OSError, pickle.UnpicklingError) as error:
        raise TraceError(f"The process that read {order.name} ended before it was done.") from error
    if isinstance(answer, Exception):
        raise answer
    return answer


def _serve() -> None:
    """Answer the orders on standard input, one after the other, with what comes of them."""
    out, sys.stdout = sys.stdout.buffer, sys.stderr  # whatever a library prints is no answer
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            pickle.dump(answered(pickle.load(sys.stdin.buffer)), out)
            out.flush()
