"""Many writers and readers at once: nothing is lost, and nobody sees half a bundle."""

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tracetune.stores.backends import open_store
from tracetune.stores.memory import ProceduralMemory
from tracetune.stores.release import Release

if sys.platform == "win32":
    pytest.skip("the writers are forked", allow_module_level=True)

from trials import race
from workers import PROJECT, Nursery, bundle, memory_of, token_of, write_until_killed

PROCESSES, COMMITS = 4, 150
"""`bench/memory.py` runs 4 x 500 by the same code."""
THREADS, TASKS = 16, 200
RELEASES, READS = 5, 20_000
"""Each reader goes on until it has seen so many releases, or read so often in vain."""
AGE_S = 0.01


def test_of_processes_that_commit_at_once_every_commit_is_kept_or_refused(
    shared_url: str, tmp_path: Path
) -> None:
    found = race(shared_url, tmp_path, processes=PROCESSES, commits=COMMITS)
    assert found.faults == []
    assert found.commits == PROCESSES * COMMITS
    assert found.conflicts > 0, "the writers never met: the trial tried nothing"


@pytest.fixture
def changing(shared_url: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a store in which another process makes one release after another."""
    with open_store(shared_url) as store:
        memory_of(store, "email").commit(**bundle("first-0"), promote=True)
    with Nursery(tmp_path) as nursery:
        notes = tmp_path / "notes.txt"
        writer = nursery.start(write_until_killed, shared_url, "email", notes)
        while not (notes.exists() and notes.stat().st_size) and not nursery.ended(writer):
            time.sleep(0.01)
        yield shared_url
        assert nursery.kill(writer) == -signal.SIGKILL, "the writer had ended by itself"


class Reader:
    """What one reader saw of releases that change; it goes on until it has seen enough."""

    def __init__(self) -> None:
        self.reads = 0
        self.numbers: list[int] = []

    def goes_on(self) -> bool:
        return len(set(self.numbers)) < RELEASES and self.reads < READS

    def see(self, release: Release | None) -> None:
        token = token_of(release) if release else None
        assert token is not None, f"half a bundle: {release}"
        self.reads += 1
        self.numbers.append(int(token.rpartition("-")[2]))

    def check(self) -> None:
        assert self.numbers == sorted(self.numbers), "an older release after a newer one"
        assert len(set(self.numbers)) == RELEASES, "too few releases came by"


@pytest.mark.parametrize("cached", [False, True], ids=["uncached", "cached"])
def test_threads_that_read_while_releases_change_see_whole_bundles(
    changing: str, cached: bool
) -> None:
    with open_store(changing) as store, ThreadPoolExecutor(THREADS) as pool:
        memory = ProceduralMemory(store, PROJECT, max_age_s=AGE_S).agent("email")

        def read() -> Reader:
            reader = Reader()
            while reader.goes_on():
                reader.see(memory.release if cached else memory.head())
                time.sleep(0.0005)  # so that the others get their turn
            return reader

        readers = [future.result() for future in [pool.submit(read) for _ in range(THREADS)]]
    for reader in readers:
        reader.check()


@pytest.mark.parametrize("cached", [False, True], ids=["uncached", "cached"])
async def test_tasks_that_read_while_releases_change_see_whole_bundles(
    changing: str, cached: bool
) -> None:
    async with open_store(changing) as store:
        memory = ProceduralMemory(store, PROJECT, max_age_s=AGE_S).agent("email")

        async def read() -> Reader:
            reader = Reader()
            while reader.goes_on():
                reader.see(await (memory.arelease() if cached else memory.ahead()))
                await asyncio.sleep(0.0005)
            return reader

        readers = await asyncio.gather(*(read() for _ in range(TASKS)))
    for reader in readers:
        reader.check()
