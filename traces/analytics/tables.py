"""Flat tables of traces (runs, calls, labels) that the SQL in `traces/sql` counts over."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tracetune.errors import TraceError
from tracetune.traces.analytics import views
from tracetune.traces.analytics.database import Database
from tracetune.traces.analytics.doubles import told_doubles
from tracetune.traces.analytics.errors_text import error_key
from tracetune.traces.analytics.load import sql_text
from tracetune.traces.analytics.making import PartMaker
from tracetune.traces.analytics.orders import Order, processes_of, read_parts
from tracetune.traces.analytics.partials import (
    COLUMNS,
    MetricsPartial,
    count_runs,
    known_names,
)
from tracetune.traces.analytics.parts import Part
from tracetune.traces.analytics.sample import COMMENTED, KEPT
from tracetune.traces.analytics.shelf import Shelf
from tracetune.traces.analytics.sources import Source, Sources
from tracetune.traces.analytics.spool import Placed, Refusals, placed
from tracetune.traces.analytics.whole import whole_runs
from tracetune.traces.model import Trace
from tracetune.traces.readers.base import BadRecord
from tracetune.traces.redaction import Redactor

__all__ = ["COMMENTED", "KEPT", "STEP_LIMITS", "TraceTables", "error_key", "opened"]

STEP_LIMITS = frozenset({"max_step", "max_steps", "recursion_limit"})
"""Values of the label `ended_by` that say a step limit ended the run."""


class TraceTables:
    """Traces as tables in an in-process DuckDB; a context manager, for one thread at a time.

    The traces are read once, one by one, into Parquet files; but for a bounded sample of whole
    runs they are not kept. `len()` is their number.

    A trace that cannot be counted is set aside, and a warning says how many were: the second of
    an agent with one id (each would count for the other), or one with a value out of range or of
    the wrong type.

    Args:
        strict: Set nothing aside; so are traces that `read_traces` reads so.

    Raises:
        TraceError: They are no traces. With `strict`, a trace cannot be counted.
    """

    def __init__(self, traces: Iterable[Trace], *, strict: bool = False) -> None:
        with Refusals.of(traces, strict=strict) as refusals:
            self._take_in(placed(traces), refusals.add, Redactor.off())

    @classmethod
    def of_traces(
        cls, traces: Iterable[Placed], refuse: Callable[[BadRecord], None], redactor: Redactor
    ) -> TraceTables:
        """The tables of traces that are redacted; `refuse` is told of those not in them."""
        tables = cls.__new__(cls)
        tables._take_in(traces, refuse, redactor)
        return tables

    @classmethod
    def read(
        cls,
        source: Source,
        *,
        format: str = "auto",
        mapping: Any = None,
        strict: bool = False,
        on_bad: Callable[[BadRecord], None] | None = None,
        redactor: Redactor | None = None,
        cache: Path | None = None,
        processes: int | None = None,
    ) -> TraceTables:
        """The traces of a source; the arguments are those of `read_traces`.

        Plain canonical JSON Lines go straight into the tables, all else through `read_traces`;
        what is found is the same. Of two runs of an agent with one id the second is set aside.

        Args:
            redactor: What it counts are the redactions in runs that are kept whole, and in files
                that `read_traces` read.
            cache: A folder. What was read of each file is kept there as Parquet files, and not
                read again until the file changes.
            processes: How many may read files of foreign formats, where these are many and large
                enough; what is found is the same. None: as TRACETUNE_PROCESSES says, else one a
                core, up to 4.

        Raises:
            TraceError: As `read_traces`.
            InputError: `processes` is less than 1.
        """
        count = processes_of(processes)
        tables = cls.__new__(cls)
        tables._begin(redactor or Redactor())
        with tables._all_or_nothing():
            how = {"format": format, "mapping": mapping, "strict": strict}
            sources = Sources(source, how, on_bad, tables._redactor)
            tables._read(sources, cache, count)
        return tables

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return sum(self.agents().values())

    @property
    def digest(self) -> str:
        """16 hex digits that identify the traces' content, as `digest_of_agent`."""
        return _hex(sum(digest for _, digest in self._agents.values()))

    def digest_of_agent(self, agent: str) -> str:
        """16 hex digits that identify the content of an agent's traces, whatever their order.

        It covers the runs as they are written, but for the times of steps, and arguments and errors
        of a user's calls. Another version of DuckDB may give other digits.
        """
        return _hex(self._agents.get(agent, (0, 0))[1])

    def agents(self) -> dict[str, int]:
        """How many traces each agent has, by its name, sorted."""
        return {agent: self._agents[agent][0] for agent in sorted(self._agents)}

    def close(self) -> None:
        """Free the tables; closing twice does nothing."""
        self._db.close()

    def kept(self, agent: str) -> list[Trace]:
        """A bounded sample of the agent's runs, whole, by id: up to `KEPT` of each outcome.

        Which they are depends on the runs alone, not on their order or where they were read:
        those with the lowest marks, as many as 64 MB hold. Secrets are redacted.
        """
        return sorted(self._whole(agent), key=lambda trace: trace.id)

    def commented(self, agent: str) -> list[Trace]:
        """The agent's runs that have feedback, whole, by id: up to `COMMENTED` of each outcome.

        Feedback is rare: most of these may not be `kept`. They stand for no other runs. Bounded
        as `kept`, by 16 MB.
        """
        return sorted(self._whole(agent, commented=True), key=lambda trace: trace.id)

    def traces(self, agent: str, ids: Iterable[str]) -> list[Trace]:
        """The runs with these ids among those `kept`, in the order asked for."""
        wanted = list(dict.fromkeys(ids))
        found = {trace.id: trace for trace in self._whole(agent, wanted)}
        return [found[id] for id in wanted if id in found]

    def clean_lines(self, runs: Collection[tuple[str, str]]) -> list[tuple[str, str, str]] | None:
        """Agent, id and line of JSON of those runs, given by agent and id, that are among those
        `kept`; None where lines may hold secrets."""
        if not self._lasting():
            return None
        agents, ids = [agent for agent, _ in runs], [id for _, id in runs]
        self._db.put("asked", {"agent": ("VARCHAR", agents), "trace_id": ("VARCHAR", ids)})
        return self._db.execute(sql_text("kept_lines")).fetchall()

    def query(self, name: str, /, **params: Any) -> list[dict[str, Any]]:
        """The rows of `traces/sql/<name>.sql`, as dicts by column name."""
        return views.rows_of(self._db, name, params)

    def columns(self, name: str, /, **params: Any) -> dict[str, Any]:
        """The same rows as numpy arrays by column name, masked where unknown."""
        return views.columns_of(self._db, name, params)

    def count(self, by: Sequence[str]) -> MetricsPartial:
        """The counts that metrics are made of, by group; by agent they may be at hand already.

        Raises:
            InputError: As `group`.
        """
        if tuple(by) == ("agent",) and self._lasting() and not self._doubles:
            at_hand = [counted for part in self._parts if (counted := part.counted())]
            return MetricsPartial(("agent",), {}).merge(*at_hand)
        return count_runs(self.query, self.group(by))

    def group(self, by: Sequence[str]) -> tuple[str, ...]:
        """Define the view `grouped`: the runs, with a text `grp` of their values of `by`.

        Returns:
            The names that are grouped by: `by`, or none of the unknown ones if there is no trace.

        Raises:
            InputError: A name in `by` is neither a column to group by nor any trace's label.
        """
        labels = []
        if not set(by) <= set(COLUMNS):
            labels = self._db.execute("SELECT DISTINCT name FROM labels").fetchall()
        names = known_names(by, {name for (name,) in labels}, some=bool(len(self)))
        self._db.group(names)
        return names

    def put(self, table: str, columns: Mapping[str, tuple[str, Sequence[Any]]]) -> None:
        """Replace a small helper table: column name → (SQL type, values), equally long."""
        self._db.put(table, columns)

    def rows(self, agent: str) -> dict[str, Any]:
        """What a reward and a comparison take of every run, as arrays by column name."""
        return self.columns("agent_runs", agent=agent)

    def tools(self, agent: str) -> list[str]:
        """Names of the tools the agent called, the most called first; at most 1,000."""
        return [row["name"] for row in self.query("agent_tools", agent=agent)]

    def has(self, agent: str, id: str) -> bool:
        """Whether one of the agent's runs has this id."""
        [row] = self.query("agent_has", agent=agent, id=id)
        return bool(row["runs"])

    def shelved(self) -> list[Path]:
        """Folders of the parts, where all stay in a cache and no run is in two; else none."""
        wanted = self._lasting() and not self._doubles
        return [part.folder for part in self._parts] if wanted else []

    def _lasting(self) -> bool:
        """Whether all parts are in a cache, where no text holds a secret."""
        return all(part.metrics is not None for part in self._parts)

    @contextlib.contextmanager
    def only(self, folder: Path) -> Iterator[None]:
        """Ask about the traces of one part alone."""
        self._db.use([folder])
        try:
            yield
        finally:
            self._db.use([part.folder for part in self._parts], self._doubles)

    def _take_in(
        self, traces: Iterable[Placed], refuse: Callable[[BadRecord], None], redactor: Redactor
    ) -> None:
        self._begin(redactor)
        with self._all_or_nothing():
            self._use([self._made(traces, refuse)])

    def _begin(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._db = Database()
        self._agents: dict[str, tuple[int, int]] = {}
        self._parts: list[Part] = []
        self._doubles: list[views.Double] = []

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.close()
            import duckdb

            if not isinstance(error, duckdb.Error):
                raise
            reason = str(error).splitlines()[0].replace(str(self._db.folder), "the traces")
            raise TraceError(f"The traces cannot be put into tables: {reason}") from error

    def _made(self, traces: Iterable[Placed], refuse: Callable[[BadRecord], None]) -> Part:
        folder = Path(tempfile.mkdtemp(prefix="part-", dir=self._db.folder))
        with self._db.aside() as db:
            maker = PartMaker(
                db,
                lambda *_: iter(()),
                self._redactor,
                direct=False,
                fatal=lambda _: True,
                lasting=False,
            )
            return maker.of_traces(folder, traces, refuse)

    def _read(self, sources: Sources, cache: Path | None, processes: int) -> None:
        order = None
        if sources.files is None:
            parts = [self._made(placed(sources.records()), sources.set_aside)]
        else:
            folder = Shelf.of(cache, sources.key()).folder if cache else self._db.folder
            order = sources.order(folder, shelved=cache is not None)
            parts = self._parts_of(sources.files, order, processes)
        sources.report(parts)
        self._use(parts)
        if order is not None:
            for bad in told_doubles(self._doubles, parts, order):
                sources.set_aside(bad)
        for part in parts:
            self._redactor.counts.update(part.redacted)

    def _parts_of(self, files: Sequence[Path], order: Order, processes: int) -> list[Part]:
        return read_parts(files, order, self._db.aside, processes)

    def _use(self, parts: list[Part]) -> None:
        self._parts = parts
        folders = [part.folder for part in parts]
        if len(parts) > 1:
            self._doubles = views.doubles_of(self._db, folders)
        self._db.use(folders, self._doubles)
        sums = [part.agents for part in parts]
        for agents in [views.agent_sums(self._db)] if self._doubles else sums:
            for agent, (runs, digest) in agents.items():
                held = self._agents.get(agent, (0, 0))
                self._agents[agent] = held[0] + runs, held[1] + digest

    def _whole(
        self, agent: str, ids: Sequence[str] | None = None, *, commented: bool = False
    ) -> Iterator[Trace]:
        return whole_runs(self._db, self._redactor, agent, ids, commented=commented)


@contextlib.contextmanager
def opened(traces: Iterable[Trace] | TraceTables) -> Iterator[TraceTables]:
    """The traces as tables: those given, left open, or new ones, closed at the end."""
    if isinstance(traces, TraceTables):
        yield traces
        return
    with TraceTables(traces) as tables:
        yield tables


def _hex(total: int) -> str:
    return f"{total % 2**64:016x}"
