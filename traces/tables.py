"""Two flat tables of traces, runs and calls, that the SQL in `traces/sql` counts over."""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import json
import math
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tracetune.errors import InputError, TraceError
from tracetune.traces.model import Trace

__all__ = ["STEP_LIMITS", "TraceTables", "digest_of", "error_key", "opened"]

STEP_LIMITS = frozenset({"max_step", "max_steps", "recursion_limit"})
"""Values of the label `ended_by` that say a step limit ended the run."""

KEPT = 2000
"""How many runs of each agent and outcome are kept whole."""

_GROUPS = ("agent", "ended_by", "failure_kind", "release", "success", "task")
_TABLES = {
    "runs": {
        "trace_id": "VARCHAR",
        "agent": "VARCHAR",
        "release": "VARCHAR",
        "task": "VARCHAR",
        "success": "BOOLEAN",
        "score": "DOUBLE",
        "latency_s": "DOUBLE",
        "attempts": "BIGINT",
        "turns": "BIGINT",
        "tokens_in": "BIGINT",
        "tokens_out": "BIGINT",
        "cost_usd": "DOUBLE",
        "failure_kind": "VARCHAR",
        "ended_by": "VARCHAR",
        "at_limit": "BOOLEAN",  # unknown when nothing says what ended the run
        "counted": "BOOLEAN",  # false for infrastructure failures: they say nothing of the agent
        "mark": "BIGINT",  # 40 random bits: sums of them tell sets of runs apart
    },
    "calls": {
        "trace_id": "VARCHAR",
        "agent": "VARCHAR",
        "seq": "BIGINT",
        "name": "VARCHAR",
        "args_key": "VARCHAR",
        "error_key": "VARCHAR",
        "failed": "BOOLEAN",
        "latency_s": "DOUBLE",
        "prev_name": "VARCHAR",
        "is_last": "BOOLEAN",
    },
    "labels": {"trace_id": "VARCHAR", "agent": "VARCHAR", "name": "VARCHAR", "value": "VARCHAR"},
}


class TraceTables:
    """Traces as tables in an in-process DuckDB; a context manager, for one thread at a time.

    The traces are read once, one by one, and not kept. `len()` is their number.

    Raises:
        TraceError: Two traces of an agent share an id (each would count for the other),
            or a value has the wrong type.
    """

    def __init__(self, traces: Iterable[Trace]) -> None:
        import duckdb  # not at the top: it would slow the start of every command

        self._len = 0
        self._digest = 0
        self._kept: dict[tuple[str, bool | None], list[tuple[int, int, Trace]]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="tracetune-", ignore_cleanup_errors=True)
        self._db = duckdb.connect(
            ":memory:",
            config={
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "temp_directory": str(Path(self._folder.name, "spill")),
                "threads": 2,
            },
        )
        try:
            self._write(traces)
            self._load()
            self._refuse_doubles()
        except duckdb.Error as error:
            self.close()
            reason = str(error).splitlines()[0].replace(self._folder.name, "the traces")
            raise TraceError(f"The traces cannot be put into tables: {reason}") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> TraceTables:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._len

    @property
    def digest(self) -> str:
        """16 hex digits that identify the traces' content, whatever their order."""
        return f"{self._digest:016x}"

    def close(self) -> None:
        """Free the tables; closing twice does nothing."""
        self._db.close()
        self._folder.cleanup()

    def kept(self, agent: str) -> list[Trace]:
        """A bounded sample of the agent's runs, whole: up to `KEPT` of each outcome, by id.

        Which they are depends on the runs alone, not on their order.
        """
        heaps = (self._kept.get((agent, outcome), []) for outcome in (True, False, None))
        return sorted((trace for heap in heaps for _, _, trace in heap), key=lambda t: t.id)

    def query(self, name: str, /, **params: Any) -> list[dict[str, Any]]:
        """The rows of `traces/sql/<name>.sql`, as dicts by column name."""
        cursor = self._db.execute(_sql(name), params)
        columns = [column[0] for column in cursor.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]

    def group(self, by: Sequence[str]) -> None:
        """Define `grouped`: the runs, and as `grp` a JSON list of their values of `by`.

        Raises:
            InputError: A name in `by` is neither a column to group by nor any trace's label.
        """
        labels = {row[0] for row in self._db.execute("SELECT DISTINCT name FROM labels").fetchall()}
        if unknown := [name for name in by if name not in _GROUPS and name not in labels]:
            if self._len:
                expected = ", ".join([*_GROUPS, *sorted(labels - set(_GROUPS))])
                raise InputError(f"Cannot group traces by {unknown[0]!r}; expected: {expected}.")
            by = [name for name in by if name not in unknown]
        values = ", ".join(f"r.{name}" if name in _GROUPS else _label(name) for name in by)
        self._db.execute(
            "CREATE OR REPLACE TEMP VIEW grouped AS "
            f"SELECT r.*, CAST(json_array({values}) AS VARCHAR) AS grp FROM runs AS r"
        )

    def put(self, table: str, columns: Mapping[str, tuple[str, Sequence[Any]]]) -> None:
        """Replace a small helper table: column name → (SQL type, values), equally long."""
        spec = ", ".join(f"{name} {kind}" for name, (kind, _) in columns.items())
        self._db.execute(f"CREATE OR REPLACE TEMP TABLE {table} ({spec})")
        params = {name: list(values) for name, (_, values) in columns.items()}
        if any(params.values()):
            rows = ", ".join(f"unnest(${name})" for name in columns)
            self._db.execute(f"INSERT INTO {table} SELECT {rows}", params)

    def _write(self, traces: Iterable[Trace]) -> None:
        # A lone surrogate is no valid UTF-8, and would make the whole file unreadable.
        with contextlib.ExitStack() as stack:
            out = {
                name: stack.enter_context(self._path(name).open("w", errors="replace", **_UTF8))
                for name in _TABLES
            }
            for trace in traces:
                digest = _digest(trace)
                self._digest = (self._digest + digest) % 2**64
                self._len += 1
                self._keep(trace, digest)
                _put(out["runs"], [_run(trace, mark=digest >> 24)])
                _put(out["calls"], _calls(trace))
                _put(out["labels"], _labels(trace))

    def _keep(self, trace: Trace, digest: int) -> None:
        heap = self._kept.setdefault((trace.agent, trace.success), [])
        change = heapq.heappush if len(heap) < KEPT else heapq.heappushpop
        change(heap, (-digest, self._len, trace))

    def _load(self) -> None:
        for name, columns in _TABLES.items():
            self._db.execute(
                f"CREATE TABLE {name} AS SELECT * FROM read_json("
                f"$path, format = 'newline_delimited', columns = {columns})",
                {"path": str(self._path(name))},
            )
            self._path(name).unlink()
        for view in ("norms", "features"):
            self._db.execute(f"CREATE VIEW {view} AS {_sql(view)}")

    def _refuse_doubles(self) -> None:
        twice = "SELECT trace_id, agent FROM runs GROUP BY trace_id, agent HAVING COUNT(*) > 1"
        if row := self._db.execute(f"{twice} ORDER BY trace_id, agent LIMIT 1").fetchone():
            raise TraceError(f"Two traces of agent {row[1]!r} have the id {row[0]!r}; expected 1.")

    def _path(self, name: str) -> Path:
        return Path(self._folder.name, f"{name}.jsonl")


@contextlib.contextmanager
def opened(traces: Iterable[Trace] | TraceTables) -> Iterator[TraceTables]:
    """The traces as tables: those given, left open, or new ones, closed at the end."""
    if isinstance(traces, TraceTables):
        yield traces
        return
    with TraceTables(traces) as tables:
        yield tables


_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_PLACEHOLDERS = [
    (re.compile(_UUID), "<id>"),
    (re.compile(r"(?<!\w)(?:'[^'\n]{1,200}'|\"[^\"\n]{1,200}\"|`[^`\n]{1,200}`)(?!\w)"), "<value>"),
    (re.compile(r"(?:https?://|(?<![\w.])/)[^\s,;:)\]}>]+"), "<path>"),
    # Letters and digits mixed, such as EHGLP3, user_id_9957 or 0x7f3a.
    (re.compile(r"\b(?=\w*[A-Za-z])(?=\w*\d)\w+(?:-\w+)*\b"), "<id>"),
    (re.compile(r"\d+(?:[.,:\-/]\d+)*"), "<n>"),
]


def error_key(text: str) -> str:
    """The error without what differs from run to run; one line, at most 120 characters.

    UUIDs and other ids, quoted values, paths and numbers become placeholders. Of a Python
    traceback only the last line, which names the error, is read.
    """
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    if lines[0].lstrip().startswith("Traceback ("):
        lines = lines[-1:]
    # Cut first, so that a megabyte of output does not go through every expression.
    line = " ".join("".join(c if c.isprintable() else " " for c in " ".join(lines)[:1000]).split())
    for pattern, placeholder in _PLACEHOLDERS:
        line = pattern.sub(placeholder, line)
    return line[:120].rstrip()


_UTF8: dict[str, Any] = {"encoding": "utf-8", "newline": "\n"}


def _sql(name: str) -> str:
    return files("tracetune.traces.sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


def _label(name: str) -> str:
    quoted = name.replace("'", "''")
    return (
        "(SELECT MAX(l.value) FROM labels AS l WHERE l.agent = r.agent"
        f" AND l.trace_id = r.trace_id AND l.name = '{quoted}')"
    )


def _put(file: IO[str], rows: Iterable[Mapping[str, Any]]) -> None:
    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()


def digest_of(traces: Iterable[Trace]) -> str:
    """16 hex digits that stand for the traces' content, whatever their order."""
    return f"{sum(_digest(trace) for trace in traces) % 2**64:016x}"


def _digest(trace: Trace) -> int:
    content = hashlib.blake2b(_canonical(trace.to_dict()), digest_size=8)
    return int.from_bytes(content.digest(), "big")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _run(trace: Trace, *, mark: int) -> dict[str, Any]:
    ended_by = trace.labels.get("ended_by")
    return {
        "trace_id": trace.id,
        "agent": trace.agent,
        "release": trace.release,
        "task": trace.task,
        "success": trace.success,
        "score": _finite(trace.score),
        "latency_s": _finite(trace.latency_s),
        "attempts": trace.attempts,
        "turns": trace.turns,
        "tokens_in": trace.tokens_in,
        "tokens_out": trace.tokens_out,
        "cost_usd": _finite(trace.cost_usd),
        "failure_kind": trace.failure_kind,
        "ended_by": ended_by,
        "at_limit": None if ended_by is None else ended_by in STEP_LIMITS,
        "counted": trace.failure_kind != "infrastructure",
        "mark": mark,
    }


def _calls(trace: Trace) -> Iterator[dict[str, Any]]:
    calls = list(trace.agent_calls())
    for seq, call in enumerate(calls):
        arguments = _canonical(dict(call.arguments))
        yield {
            "trace_id": trace.id,
            "agent": trace.agent,
            "seq": seq,
            "name": call.name,
            "args_key": hashlib.blake2b(arguments, digest_size=8).hexdigest(),
            "error_key": None if call.error is None else error_key(call.error),
            "failed": call.error is not None,
            "latency_s": _finite(call.latency_s),
            "prev_name": calls[seq - 1].name if seq else None,
            "is_last": seq == len(calls) - 1,
        }


def _labels(trace: Trace) -> Iterator[dict[str, Any]]:
    for name, value in trace.labels.items():
        yield {"trace_id": trace.id, "agent": trace.agent, "name": name, "value": value}
