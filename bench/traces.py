"""How fast traces are read and counted: `python bench/traces.py` prints tables.

Every figure stands beside what DuckDB itself needs, or SQL written by hand, in the same run. Each
is taken in a process of its own, whose peak memory is told too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import foreign
import synthetic
from rich.console import Console
from rich.table import Table

from tracetune.traces.analytics.partials import count_runs
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.metrics import metrics_of
from tracetune.traces.mining.patterns import mine_patterns
from tracetune.traces.read import read_traces

CONSOLE = Console(width=100)
READ_AIM, METRICS_AIM, PATTERNS_AIM = 2.0, 1.3, 5.0
MEMORY_AIM_MB = 1000
FOREIGN_AIM = {"messages": 15, "otlp": 50}
FOREIGN_FILES, FOREIGN_RUNS = 8, 5000
SMALL = "small.jsonl"
"""Acted on first, so that no import counts."""

SCAN = """
SELECT COUNT(id), COUNT(agent), COUNT(release), COUNT(task), COUNT(success), SUM(latency_s),
  SUM(attempts), SUM(turns), SUM(tokens_in), SUM(tokens_out), SUM(cost_usd), COUNT(labels),
  SUM(LEN(steps))
FROM read_json($path, format = 'newline_delimited', columns = {
  id: 'VARCHAR', agent: 'VARCHAR', release: 'VARCHAR', task: 'VARCHAR', success: 'BOOLEAN',
  latency_s: 'DOUBLE', attempts: 'BIGINT', turns: 'BIGINT', tokens_in: 'BIGINT',
  tokens_out: 'BIGINT', cost_usd: 'DOUBLE', labels: 'MAP(VARCHAR, VARCHAR)',
  steps: 'STRUCT(kind VARCHAR, role VARCHAR, text VARCHAR, name VARCHAR, arguments JSON,
    result VARCHAR, error VARCHAR, latency_s DOUBLE)[]'})
"""
BY_HAND = (
    """
SELECT agent, COUNT(*), COUNT(success), SUM(success::INT), QUANTILE_CONT(latency_s, [0.5, 0.95]),
  AVG(attempts), QUANTILE_CONT(attempts, [0.5, 0.95]), MAX(turns) FILTER (success),
  AVG(tokens_in), AVG(tokens_out), AVG(cost_usd), AVG(at_limit::INT)
FROM runs WHERE counted GROUP BY agent
""",
    """
SELECT c.agent, c.name, COUNT(*), AVG(c.failed::INT), SUM(c.repeated::INT),
  COUNT(*) FILTER (c.first_use), AVG(r.success::INT) FILTER (c.first_use)
FROM calls AS c JOIN runs AS r ON r.agent = c.agent AND r.trace_id = c.trace_id
WHERE r.counted GROUP BY c.agent, c.name
""",
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one act took, in a process of its own."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def scan(path: Path) -> None:
    """DuckDB's own reading of the file."""
    duckdb.connect().execute(SCAN, {"path": str(path)}).fetchall()


def read(path: Path) -> None:
    """Into the tables."""
    TraceTables.read(path, processes=1).close()


def read_on_all_cores(path: Path) -> None:
    """Into the tables, by two processes."""
    TraceTables.read(path, processes=2).close()


def read_one_by_one(path: Path) -> None:
    """As trace objects, one after the other."""
    for _ in read_traces(path):
        pass


def by_hand(path: Path) -> None:
    """The figures of the metrics, by SQL for DuckDB alone."""
    folders = [part.parent for part in cache_of(path).glob("traces-*/part-*/runs.parquet")]
    db = duckdb.connect()
    for name in ("runs", "calls"):
        files = [str(folder / f"{name}.parquet") for folder in folders]
        db.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({files})")
    for query in BY_HAND:
        db.execute(query).fetchall()


def metrics(path: Path) -> None:
    """The metrics by agent, counted anew from tables that were read before."""
    with TraceTables.read(path, cache=cache_of(path)) as tables:
        metrics_of(count_runs(tables.query, tables.group(["agent"])))


def patterns(path: Path) -> None:
    """The patterns of tables that were read before, counted for the first time."""
    for counts in cache_of(path).glob("traces-*/part-*/patterns-*"):
        counts.unlink()
    patterns_again(path)


def patterns_again(path: Path) -> None:
    """The patterns of what was counted before."""
    with TraceTables.read(path, cache=cache_of(path)) as tables:
        mine_patterns(tables)


def cached(path: Path) -> None:
    """Read into a cache, where nothing is at hand yet."""
    shutil.rmtree(cache_of(path), ignore_errors=True)
    TraceTables.read(path, cache=cache_of(path)).close()


ACTS: dict[str, Callable[[Path], None]] = {
    act.__name__: act
    for act in (
        by_hand, cached, metrics, patterns, patterns_again, read, read_on_all_cores,
        read_one_by_one, scan,
    )
}  # fmt: skip


def cache_of(path: Path) -> Path:
    return path.with_suffix(".cache")


def cost(act: str, path: Path) -> Cost:
    """Perform an act in a process of its own; imports and the first use of DuckDB do not count."""
    command = [sys.executable, __file__, "--act", act, str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return Cost(**json.loads(done.stdout))


def perform(act: str, path: Path) -> Cost:
    """Perform an act here."""
    small = path.parent / SMALL
    ACTS[act](small)
    begun, worked = time.perf_counter(), time.process_time()
    ACTS[act](path)
    seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Cost(seconds, cpu_seconds, peak * 1024 / 1e6)


def costs(acts: list[str], path: Path, rounds: int) -> dict[str, Cost]:
    """The median costs of acts, which take turns, so that noise hits all alike."""
    found: dict[str, list[Cost]] = {act: [] for act in acts}
    for _ in range(rounds):
        for act in acts:
            found[act].append(cost(act, path))
    return {
        act: Cost(
            statistics.median(one.seconds for one in several),
            statistics.median(one.cpu_seconds for one in several),
            max(one.peak_mb for one in several),
        )
        for act, several in found.items()
    }


def canonical_rows(folder: Path, count: int) -> list[tuple[str, ...]]:
    """The rows of the table for as many traces."""
    path = folder / f"{count}.jsonl"
    size = synthetic.write(path, count)
    rounds = 5 if count <= 100_000 else 1
    found = costs(["scan", "read"], path, rounds)
    found["into_a_cache"] = cost("cached", path)
    found |= costs(["by_hand", "metrics", "patterns", "patterns_again"], path, rounds)
    path.unlink()
    shown = f"{count:,} ({size / 1e6:,.0f} MB)"
    limits: dict[str, tuple[str, str, float | None]] = {
        "read": ("scan", "DuckDB's scan", READ_AIM),
        "into_a_cache": ("scan", "DuckDB's scan", None),
        "metrics": ("by_hand", "SQL by hand", METRICS_AIM),
        "patterns": ("metrics", "the metrics", PATTERNS_AIM),
        "patterns_again": ("metrics", "the metrics", PATTERNS_AIM),
    }
    return [_row(shown, what, found, limit) for what, limit in limits.items()]


def _row(
    shown: str, what: str, found: dict[str, Cost], limit: tuple[str, str, float | None]
) -> tuple[str, ...]:
    name, limit_shown, aim = limit
    own, other = found[what], found[name]
    times = own.seconds / other.seconds
    met = (aim is None or times <= aim) and own.peak_mb <= MEMORY_AIM_MB
    return (
        shown,
        what.replace("_", " "),
        f"{own.seconds:.2f}",
        f"{other.seconds:.2f}",
        f"{times:.2f}",
        f"{own.peak_mb:,.0f}",
        f"{aim:g} × {limit_shown}" if aim else "",
        "" if aim is None else "yes" if met else "no",
    )


def foreign_rows(folder: Path) -> list[tuple[str, ...]]:
    """The rows of the table of foreign formats, in MB/s."""
    rows: list[tuple[str, ...]] = []
    for kind in foreign.FORMATS:
        path = folder / kind
        size = foreign.write(path, kind, files=FOREIGN_FILES, count=FOREIGN_RUNS) / 1e6
        found = costs(["read_one_by_one", "read", "read_on_all_cores"], path, rounds=3)
        alone = size / found["read_one_by_one"].cpu_seconds
        speeds = [size / found[act].seconds for act in ("read", "read_on_all_cores")]
        rows.append(
            (
                kind,
                f"{size:,.0f}",
                f"{alone:.1f}",
                *(f"{speed:.1f}" for speed in speeds),
                f"{speeds[1] / speeds[0]:.2f}",
                f"{FOREIGN_AIM[kind]} MB/s",
                "yes" if alone >= FOREIGN_AIM[kind] else "no",
            )
        )
    return rows


def show(title: str, columns: str, rows: list[tuple[str, ...]]) -> None:
    table = Table(title=title)
    for column in columns.split("|"):
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    CONSOLE.print(table)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10k,100k", help="how many traces, such as 10k,1M")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one if left out")
    parser.add_argument("--act", nargs=2, metavar=("ACT", "PATH"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def number(text: str) -> int:
    return int(text.lower().replace("k", "000").replace("m", "000000"))


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    if options.act:
        one = perform(options.act[0], Path(options.act[1]))
        print(json.dumps({name: getattr(one, name) for name in Cost.__slots__}))
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        synthetic.write(folder / SMALL, 100)
        cost("cached", folder / SMALL)
        rows = [
            row for size in options.sizes.split(",") for row in canonical_rows(folder, number(size))
        ]
        columns = "traces|what|s|limit s|× limit|peak MB|aim|met"
        show(f"Canonical JSON Lines, {os.cpu_count()} cores", columns, rows)
        columns = (
            "format|MB|reader MB/s a core|tables, 1 process|2 processes|×|aim of the reader|met"
        )
        show("Foreign formats", columns, foreign_rows(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
