"""Make a part of source files: DuckDB reads the plain ones itself, Python all others."""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from tracetune.errors import TraceError
from tracetune.traces.analytics.load import LINE, STAGED, flatten, fold, shown_texts, sql_text
from tracetune.traces.analytics.partials import count_runs
from tracetune.traces.analytics.parts import Part, Stamp, stamp
from tracetune.traces.analytics.sample import COMMENTED, KEPT, Sample, has_feedback
from tracetune.traces.analytics.spool import Lined, Placed, Spool, line_of, placed
from tracetune.traces.analytics.views import (
    agent_sums,
    connect_views,
    group_runs,
    rows_of,
    write_kept,
)
from tracetune.traces.model import Trace
from tracetune.traces.readers.base import BadRecord
from tracetune.traces.readers.canonical import trace_of
from tracetune.traces.redaction import Redactor

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from tracetune.traces.analytics.picking import CheckedFiles, Lowest

__all__ = ["PartMaker", "Reading", "looks_canonical"]

Reading = Callable[[Path, Callable[[BadRecord], None], Redactor], Iterator[Trace | Lined]]
"""Yields a file's traces, redacted, and reports what it sets aside."""

# Where the outcomes of Stratus' traces stand: its reader looks beside each file.
_BESIDE = ("learning_results.json", "learning_results.json.gz")


@dataclass(frozen=True, slots=True)
class PartMaker:
    """Makes parts with one database."""

    db: DuckDBPyConnection
    reading: Reading
    redactor: Redactor
    direct: bool
    """Whether files may go past `reading` when they are plainly canonical."""
    fatal: Callable[[str], bool]
    """Whether a file of no use stops everything; else it is set aside."""
    lasting: bool
    """Whether the parts are for keeps: then the runs in them are redacted, and counted."""

    def of_traces(
        self, folder: Path, traces: Iterable[Placed], refuse: Callable[[BadRecord], None]
    ) -> Part:
        """Make a part of traces in hand; `refuse` is told of those that cannot be in it."""
        work = _Work(folder)
        work.spool.add(traces, refuse)
        self._stage(work, [])
        return self._finish(work, Part(folder), None, self.redactor)

    def of_files(self, folder: Path, files: Sequence[Path]) -> Part:
        """Make a part of files, which are read in their order.

        Raises:
            TraceError: A file is of no use, and `fatal` says that this stops everything.
        """
        from tracetune.traces.analytics.direct import OddLineError

        stamps = tuple(map(stamp, files))  # before reading: what changes meanwhile is read again
        direct = [path for path in files if self.direct and looks_canonical(path)]
        while True:
            work = _Work(folder)
            redactor = _uncounted(self.redactor)
            part = Part(folder, stamps, redacted=redactor.counts)
            for path in files:
                if path not in direct:
                    part = self._read(path, work, part, redactor)
            odd, checked = self._stage(work, direct)
            if not odd:
                part = replace(part, beside=_beside(files, direct))
                try:
                    return self._finish(work, part, checked, redactor)
                except OddLineError:
                    odd = set(direct)
            # From the start, so that of two runs with one id the first is kept.
            direct = [path for path in direct if path not in odd]

    def _read(self, path: Path, work: _Work, part: Part, redactor: Redactor) -> Part:
        bad: list[BadRecord] = []
        useless = part.useless
        try:
            traces = self.reading(path, bad.append, redactor)
            work.spool.add(placed(traces, str(path)), bad.append)
        except TraceError as error:
            if self.fatal(str(path)):
                raise
            useless += (str(path),)
            bad.append(BadRecord(str(path), 1, str(error).removeprefix(f"{path}: ")))
        return replace(part, set_aside=(*part.set_aside, *bad), useless=useless)

    def _stage(self, work: _Work, direct: list[Path]) -> tuple[set[Path], CheckedFiles | None]:
        """Read all lines into the staged file.

        Returns:
            The files that Python must read instead, and where the lines of the others stand.
        """
        if not direct:
            self._flatten(work, [])
            shown_texts(self.db, work.staged)
            return set(), None
        checked = self._scan(work, direct)
        if checked is None:
            return set(direct), None
        if checked.odd is not None:
            return {checked.odd}, None
        if not self._sound(work, len(checked) + len(work.spool)):
            return set(direct), None
        return set(), checked

    def _scan(self, work: _Work, direct: list[Path]) -> CheckedFiles | None:
        """Check the files while DuckDB reads them; None where it cannot."""
        import duckdb

        from tracetune.traces.analytics.picking import CheckedFiles

        with ThreadPoolExecutor(1) as pool:
            scan = pool.submit(self._flatten, work, direct)
            checked = CheckedFiles(direct)
            if checked.odd is not None:
                self.db.interrupt()
            failure = scan.exception()
        if failure is None or checked.odd is not None:
            return checked
        if not isinstance(failure, duckdb.Error):
            raise failure
        if checked.longest < LINE:
            return None
        with contextlib.suppress(duckdb.Error):
            # Now it is known how long the lines are, which may have been the reason.
            self._flatten(work, direct, checked.longest)
            return checked
        return None

    def _flatten(self, work: _Work, direct: list[Path], longest: int = 0) -> None:
        paths = [*direct, work.spool.path]
        flatten(self.db, paths, work.staged, longest=max(longest, work.spool.longest))

    def _sound(self, work: _Work, count: int) -> bool:
        """Whether every line is a run, no two are the same one, and no text needs redaction."""
        staged = {"staged": str(work.staged)}
        once = rows_of(self.db, "doubles", staged)
        rows = self.db.execute("SELECT COUNT(*) FROM read_parquet($staged)", staged).fetchone()
        if once or rows != (count,):
            return False
        texts = "\n".join(shown_texts(self.db, work.staged))
        return _uncounted(self.redactor).text(texts) == texts

    def _clean(self, sample: Sample, redactor: Redactor) -> Sample:
        from tracetune.traces.analytics.direct import decoded, encoded

        clean = Sample()
        for run in sample.runs():
            row = decoded(run.line)
            if redactor.shows_none(row):
                line, said = encoded(row), bool(row.feedback)
                clean.add(line, run.id, run.agent, run.success, commented=said, mark=run.mark)
                continue
            trace = redactor.trace(trace_of(orjson.loads(run.line)))
            clean.add(
                line_of(trace),
                trace.id,
                trace.agent,
                trace.success,
                commented=has_feedback(trace),
            )
        return clean

    def _finish(
        self, work: _Work, part: Part, checked: CheckedFiles | None, redactor: Redactor
    ) -> Part:
        with ThreadPoolExecutor(1) as pool, self.db.cursor() as other:
            folding = pool.submit(fold, self.db, work.staged, part.folder, lasting=self.lasting)
            if checked is not None:
                sample = checked.sample(_lowest(other, work.staged))
                work.sample.merge(self._clean(sample, redactor) if self.lasting else sample)
            write_kept(other, work.sample, part.table("kept"), lasting=self.lasting)
            folding.result()
        work.staged.unlink()
        work.spool.path.unlink()
        connect_views(self.db, [part.folder])
        metrics = None
        if self.lasting:
            by = ("agent",)
            group_runs(self.db, by)
            metrics = count_runs(lambda name: rows_of(self.db, name), by)
        return replace(part, agents=agent_sums(self.db), metrics=metrics)


class _Work:
    """What is at hand while a part is made."""

    def __init__(self, folder: Path) -> None:
        self.staged = folder / STAGED
        self.sample = Sample()
        path = folder / "spool.jsonl"
        path.write_bytes(b"")
        self.spool = Spool(path, self.sample)


def _lowest(db: DuckDBPyConnection, staged: Path) -> list[Lowest]:
    values = {"staged": str(staged), "kept": KEPT, "kept_commented": COMMENTED}
    return db.execute(sql_text("lowest_marks"), values).fetchall()


def looks_canonical(path: Path) -> bool:
    """Whether it is worth a try: the first line is canonical."""
    from tracetune.traces.analytics.direct import OddLineError, checked_lines

    try:
        return next(checked_lines(path), None) is not None
    except OddLineError:
        return False


def _beside(files: Sequence[Path], direct: Sequence[Path]) -> tuple[Stamp, ...]:
    folders = dict.fromkeys(path.parent for path in files if path not in direct)
    return tuple(stamp(folder / name) for folder in folders for name in _BESIDE)


def _uncounted(redactor: Redactor) -> Redactor:
    """The same redactor, which counts for itself."""
    alike = copy.copy(redactor)
    alike.counts = Counter()
    return alike
