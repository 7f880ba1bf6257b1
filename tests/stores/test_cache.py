"""The cache of a head: fresh enough, whole, never back in time, and there when the store is not."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tracetune.errors import InputError, StoreError
from tracetune.stores.backends import open_store
from tracetune.stores.cache import HeadCache
from tracetune.stores.memory import ProceduralMemory

MAX, WAIT = 5.0, 50.0
LONG = 30.0
"""Patience that only a broken cache would use up."""


class Shelf:
    """What is loaded from: counts its loads, and can be shut, broken and set to a new value."""

    def __init__(self) -> None:
        self.now = 0.0
        self.value = 1
        self.loads = 0
        self.broken = ""
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)

    def clock(self) -> float:
        return self.now

    def load(self) -> int:
        self.loads += 1
        value, broken = self.value, self.broken
        self.entered.release()
        self.open.wait()
        if broken:
            raise StoreError(broken)
        return value

    async def aload(self) -> int:
        return await asyncio.to_thread(self.load)

    def cache(self, *, awaited: bool = True, patience_s: float = LONG) -> HeadCache[int]:
        aload = self.aload if awaited else None
        return HeadCache(
            self.load, aload, what="the shelf", patience_s=patience_s, clock=self.clock
        )


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def join_threads() -> None:
    """Wait until every renewal in a thread has landed."""
    for thread in threading.enumerate():
        if thread.name.startswith("tracetune: "):
            thread.join()


async def join_all() -> None:
    """Wait until every renewal has landed, in a thread or as a task."""
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)
    await asyncio.to_thread(join_threads)


Read = Callable[[HeadCache[int]], Awaitable[int | None]]


async def in_thread(cache: HeadCache[int]) -> int | None:
    return await asyncio.to_thread(cache.get)


async def in_loop(cache: HeadCache[int]) -> int | None:
    return cache.get()


async def awaited(cache: HeadCache[int]) -> int | None:
    return await cache.aget()


EVERY_WAY = pytest.mark.parametrize(
    ("read", "aload"),
    [
        pytest.param(in_thread, True, id="get in a thread"),
        pytest.param(in_loop, True, id="get inside an event loop"),
        pytest.param(awaited, True, id="aget with an async loader"),
        pytest.param(awaited, False, id="aget with a sync loader"),
    ],
)
WAITING_WAYS = pytest.mark.parametrize(
    ("read", "aload"),
    [
        pytest.param(in_thread, True, id="get in a thread"),
        pytest.param(awaited, True, id="aget with an async loader"),
        pytest.param(awaited, False, id="aget with a sync loader"),
    ],
)


@EVERY_WAY
async def test_a_young_value_is_not_loaded_again(shelf: Shelf, read: Read, aload: bool) -> None:
    cache = shelf.cache(awaited=aload)
    assert await read(cache) == 1
    shelf.value, shelf.now = 2, MAX - 0.1
    assert [await read(cache) for _ in range(20)] == [1] * 20
    assert shelf.loads == 1


@EVERY_WAY
async def test_an_aged_value_is_served_while_one_load_renews_it(
    shelf: Shelf, read: Read, aload: bool
) -> None:
    cache = shelf.cache(awaited=aload)
    await read(cache)
    shelf.value, shelf.now = 2, MAX
    shelf.open.clear()
    assert [await read(cache) for _ in range(20)] == [1] * 20
    shelf.open.set()
    await join_all()
    assert await read(cache) == 2
    assert shelf.loads == 2


@WAITING_WAYS
async def test_past_the_hard_limit_a_reader_waits_for_the_store(
    shelf: Shelf, read: Read, aload: bool
) -> None:
    cache = shelf.cache(awaited=aload)
    await read(cache)
    shelf.value, shelf.now = 2, WAIT
    assert await asyncio.gather(*(read(cache) for _ in range(4))) == [2] * 4
    assert shelf.loads == 2


async def test_get_inside_a_loop_never_waits_for_a_shut_store(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    cache = shelf.cache()
    cache.get()
    shelf.value, shelf.now = 2, WAIT * 9
    shelf.open.clear()
    assert [cache.get() for _ in range(5)] == [1] * 5
    assert not caplog.records, "it would have waited its patience out, and said so"
    shelf.now += LONG
    assert [cache.get() for _ in range(5)] == [1] * 5
    assert len(caplog.records) == 1
    shelf.open.set()
    await join_all()
    shelf.now += MAX
    cache.get()
    await join_all()
    assert cache.get() == 2


@EVERY_WAY
async def test_the_first_load_that_fails_raises_and_the_next_read_tries_again(
    shelf: Shelf, read: Read, aload: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cache = shelf.cache(awaited=aload)
    shelf.broken = "gone"
    for _ in range(2):
        with pytest.raises(StoreError, match="gone"):
            await read(cache)
    shelf.broken = ""
    assert await read(cache) == 1
    assert not caplog.records


@EVERY_WAY
async def test_an_outage_is_served_through_and_logged_once_at_each_end(
    shelf: Shelf, read: Read, aload: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cache = shelf.cache(awaited=aload)
    await read(cache)
    shelf.broken, shelf.value = "disk on fire\nat sector 9", 2
    for _ in range(30):
        shelf.now += WAIT
        for _ in range(3):
            assert await read(cache) == 1
        await join_all()
    assert shelf.loads <= 31, "a failing store is asked once per age, not per read"
    assert [r.getMessage() for r in caplog.records] == [
        "The shelf cannot be read; the last known, 50 s old, is served: disk on fire"
    ]
    shelf.broken = ""
    for _ in range(2):
        shelf.now += WAIT
        await read(cache)
        await join_all()
    assert await read(cache) == 2
    assert [r.getMessage() for r in caplog.records][1:] == [
        "The shelf is read from the store again."
    ]
    shelf.broken = "again"
    shelf.now += WAIT
    await read(cache)
    await join_all()
    assert len(caplog.records) == 3, "a second outage is news"


@WAITING_WAYS
async def test_a_store_that_hangs_holds_readers_up_once_and_few_threads(
    shelf: Shelf, read: Read, aload: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cache = shelf.cache(awaited=aload, patience_s=0.01)
    await read(cache)
    shelf.value = 2
    shelf.open.clear()
    for _ in range(20):
        shelf.now += WAIT
        assert await read(cache) == 1
    assert shelf.loads == 1 + 3, "three tries may hang, no more"
    assert len(caplog.records) == 1
    assert "has not answered" in caplog.text
    shelf.open.set()
    await join_all()
    shelf.now += WAIT
    await read(cache)
    await join_all()
    assert await read(cache) == 2


@pytest.mark.parametrize("broken", ["", "gone"], ids=["that lands", "that fails"])
def test_many_first_readers_share_a_load(shelf: Shelf, broken: str) -> None:
    cache = shelf.cache()
    shelf.broken = broken
    shelf.open.clear()
    with ThreadPoolExecutor(16) as pool:
        reads = [pool.submit(cache.get) for _ in range(16)]
        shelf.entered.acquire()
        shelf.open.set()
        errors = {str(read.exception() or "") for read in reads}
    assert errors == {broken}
    if not broken:
        assert shelf.loads == 1


def test_many_readers_of_an_aged_value_start_one_load(shelf: Shelf) -> None:
    cache = shelf.cache()
    cache.get()
    shelf.value, shelf.now = 2, MAX
    shelf.open.clear()
    start = threading.Barrier(16)

    def read(_: int) -> int | None:
        start.wait()
        return cache.get()

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(read, range(16))) == [1] * 16
    shelf.open.set()
    join_threads()
    assert (cache.get(), shelf.loads) == (2, 2)


@WAITING_WAYS
async def test_after_invalidate_the_next_reader_sees_the_write(
    shelf: Shelf, read: Read, aload: bool
) -> None:
    cache = shelf.cache(awaited=aload)
    await read(cache)
    shelf.value = 2
    cache.invalidate()
    assert await read(cache) == 2


@EVERY_WAY
async def test_what_was_put_is_served_at_once(shelf: Shelf, read: Read, aload: bool) -> None:
    cache = shelf.cache(awaited=aload)
    await read(cache)
    since = cache.stamp
    shelf.value = 2
    cache.put(2, since=since)
    assert await read(cache) == 2
    assert shelf.loads == 1


def test_what_was_put_is_checked_when_something_else_was_kept_meanwhile(shelf: Shelf) -> None:
    cache = shelf.cache()
    since = cache.stamp
    cache.get()
    shelf.value = 3
    cache.put(2, since=since)
    assert cache.get() == 3


@pytest.mark.parametrize("how", ["put", "invalidate"])
def test_a_load_that_began_before_a_write_never_undoes_it(shelf: Shelf, how: str) -> None:
    cache = shelf.cache()
    cache.get()
    shelf.now = MAX
    shelf.open.clear()
    assert cache.get() == 1
    shelf.entered.acquire()
    shelf.entered.acquire()
    shelf.value = 2
    if how == "put":
        cache.put(2, since=cache.stamp)
    else:
        cache.invalidate()
    shelf.open.set()
    assert cache.get() == 2
    join_threads()
    assert cache.get() == 2


async def test_a_waiting_reader_leaves_the_event_loop_free(shelf: Shelf) -> None:
    cache = shelf.cache(awaited=False)
    shelf.open.clear()
    first = asyncio.create_task(cache.aget())
    await asyncio.to_thread(shelf.entered.acquire)
    shelf.open.set()
    assert await first == 1


@pytest.mark.parametrize("aload", [True, False])
async def test_a_cancelled_reader_takes_no_other_along(shelf: Shelf, aload: bool) -> None:
    cache = shelf.cache(awaited=aload)
    shelf.open.clear()
    first, second = (asyncio.create_task(cache.aget()) for _ in range(2))
    await asyncio.to_thread(shelf.entered.acquire)
    first.cancel()
    shelf.open.set()
    assert await second == 1
    assert shelf.loads == 1
    with pytest.raises(asyncio.CancelledError):
        await first


@pytest.mark.parametrize("cancelled", [True, False], ids=["loop cancelled it", "loop just stopped"])
def test_a_renewal_that_its_event_loop_abandoned_is_made_again(
    shelf: Shelf, cancelled: bool
) -> None:
    never: list[asyncio.Event] = []

    async def aload() -> int:
        never.append(asyncio.Event())
        await never[-1].wait()
        return 9

    cache = HeadCache(shelf.load, aload, patience_s=LONG, clock=shelf.clock)
    cache.get()
    shelf.value, shelf.now = 2, MAX

    async def read_and_leave() -> int | None:
        value = await cache.aget()
        await asyncio.sleep(0)
        return value

    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(read_and_leave()) == 1
    assert len(never) == 1
    left = asyncio.all_tasks(loop)
    assert len(left) == 1
    if cancelled:
        left.pop().cancel()
        loop.run_until_complete(asyncio.sleep(0))
    shelf.now = WAIT
    assert cache.get() == 2
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert cache.get() == 2


async def test_get_inside_a_loop_does_not_wait_for_a_first_load_on_that_loop(shelf: Shelf) -> None:
    landed = asyncio.Event()

    async def aload() -> int:
        await landed.wait()
        return 0

    cache = HeadCache(shelf.load, aload, clock=shelf.clock)
    first = asyncio.create_task(cache.aget())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert cache.get() == 1
    landed.set()
    assert await first == 1, "the older load must not win"


async def test_get_inside_a_loop_does_not_wait_for_a_first_load_in_a_thread() -> None:
    needs_this_loop, entered = threading.Event(), threading.Event()
    values = iter([1, 2])

    def load() -> int:
        value = next(values)
        if value == 1:
            entered.set()
            needs_this_loop.wait(LONG)
        return value

    cache = HeadCache(load)
    first = asyncio.create_task(cache.aget())
    await asyncio.to_thread(entered.wait)
    assert cache.get() == 2
    needs_this_loop.set()
    assert await first == 2, "the older load must not win"


@EVERY_WAY
async def test_max_age_0_loads_each_time_and_raises(shelf: Shelf, read: Read, aload: bool) -> None:
    cache = HeadCache(shelf.load, shelf.aload if aload else None, max_age_s=0)
    assert await read(cache) == 1
    shelf.value = 2
    cache.put(7, since=cache.stamp)
    assert await read(cache) == 2
    shelf.broken = "gone"
    with pytest.raises(StoreError, match="gone"):
        await read(cache)


def test_nothing_in_force_is_a_value_too() -> None:
    loads: list[None] = []
    cache: HeadCache[int] = HeadCache(lambda: loads.append(None), max_age_s=math.inf)
    assert [cache.get(), cache.get()] == [None, None]
    assert len(loads) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"max_age_s": -1.0}, "max_age_s must be 0 s", id="negative age"),
        pytest.param({"max_age_s": math.nan}, "max_age_s must be 0 s", id="no number"),
        pytest.param({"wait_age_s": 4.0}, "wait_age_s must be 5 s", id="waits before it is aged"),
        pytest.param({"patience_s": -0.1}, "patience_s must be 0 s", id="negative patience"),
    ],
)
def test_senseless_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        HeadCache(lambda: 1, **settings)  # type: ignore[arg-type]


def test_a_cache_that_nobody_holds_is_freed(shelf: Shelf) -> None:
    cache = shelf.cache()
    cache.get()
    gone = weakref.ref(cache)
    del cache
    gc.collect()
    assert gone() is None


class Ledger:
    """A store whose value is a pair that must agree; each write makes a new, higher one."""

    def __init__(self) -> None:
        self.pair = (0, "0")
        self.cache = HeadCache(self.load, self.aload, clock=self.clock, patience_s=LONG)

    def clock(self) -> float:
        return float(self.pair[0])

    def load(self) -> tuple[int, str]:
        pair = self.pair
        if pair[0] % 7 == 3:
            raise StoreError("gone")
        return pair

    async def aload(self) -> tuple[int, str]:
        pair = self.pair
        await asyncio.sleep(0)
        return pair

    def write(self, number: int) -> None:
        since = self.cache.stamp
        self.pair = pair = (number, str(number))
        if number % 11 == 0:
            self.cache.put(pair, since=since)
        elif number % 13 == 0:
            self.cache.invalidate()


class Reader:
    """Checks each value against the one it saw before."""

    def __init__(self) -> None:
        self.last = 0
        self.changes = 0

    def see(self, pair: tuple[int, str] | None) -> None:
        assert pair is not None
        number, text = pair
        assert str(number) == text, "half a value"
        assert number >= self.last, "back in time"
        self.changes += number > self.last
        self.last = number


def test_threads_and_tasks_see_whole_values_that_never_go_back() -> None:
    ledger = Ledger()
    ledger.cache.get()
    done = threading.Event()

    def write() -> None:
        try:
            for number in range(1, 401):
                ledger.write(number)
                if number % 10 == 0:
                    done.wait(0.001)
        finally:
            done.set()

    def read(_: int) -> int:
        reader = Reader()
        while not done.is_set():
            reader.see(ledger.cache.get())
        return reader.changes

    async def task() -> int:
        reader = Reader()
        while not done.is_set():
            reader.see(await ledger.cache.aget())
            reader.see(ledger.cache.get())
            await asyncio.sleep(0)
        return reader.changes

    async def tasks() -> int:
        return sum(await asyncio.gather(*(task() for _ in range(200))))

    with ThreadPoolExecutor(18) as pool:
        in_threads = [pool.submit(read, i) for i in range(16)]
        in_tasks = pool.submit(asyncio.run, tasks())
        pool.submit(write).result()
        changes = sum(f.result() for f in in_threads) + in_tasks.result()
    join_threads()
    assert changes > 0, "no reader saw a value change"


@pytest.mark.parametrize("url", ["memory://", "sqlite:///head.db"])
def test_a_real_store_is_read_through_it_and_may_go_away(
    url: str, tmp_path: Path, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.ExitStack() as opened:
        store = opened.enter_context(open_store(url, base=tmp_path))
        desk = ProceduralMemory(store, "shop").agent("desk")
        cache = HeadCache(desk.head, desk.ahead, clock=shelf.clock)
        assert cache.get() is None
        since = cache.stamp
        first = desk.commit(prompts={"main": "a"}, promote=True)
        cache.put(first, since=since)
        assert cache.get() is first
        second = desk.commit(prompts={"main": "b"}, promote=True)
        shelf.now = WAIT
        assert cache.get() == second
    shelf.now *= 2
    assert cache.get() == second
    assert len(caplog.records) == (0 if url == "memory://" else 1)


@pytest.mark.parametrize("url", ["memory://", "sqlite:///head.db"])
async def test_a_real_async_store_is_renewed_behind_a_plain_get(
    url: str, tmp_path: Path, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_store(url, base=tmp_path) as store:
        desk = ProceduralMemory(store, "shop").agent("desk")
        first = await desk.acommit(prompts={"main": "a"}, promote=True)
        cache = HeadCache(desk.head, desk.ahead, clock=shelf.clock)
        assert await cache.aget() == first
        second = await desk.acommit(prompts={"main": "b"}, promote=True)
        shelf.now = WAIT
        assert cache.get() in (first, second)
        await asyncio.to_thread(join_threads)
        assert cache.get() == second
    assert not caplog.records


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
    )


def test_a_program_ends_in_silence_with_renewals_under_way(tmp_path: Path) -> None:
    script = """
        import time
        from tracetune.stores.cache import HeadCache

        now = [0.0]

        def slow():
            if now[0] == 1:
                time.sleep(3600)
            if now[0] == 2:
                time.sleep(0.05)
                raise OSError("the store was closed")
            return 1

        caches = [HeadCache(slow, max_age_s=1, clock=lambda: now[0]) for _ in range(3)]
        for cache in caches:
            cache.get()
        for now[0] in (1, 2):
            print([cache.get() for cache in caches[now[0] :]])
    """
    done = run(script, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[1, 1]\n[1]\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_reads_on_with_the_value_and_a_lock_of_its_own(tmp_path: Path) -> None:
    script = """
        import os, signal, threading, warnings
        from tracetune.stores.cache import HeadCache

        # From Python 3.12 on it warns of what is tried here: to fork beside threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        now, shut = [0.0], threading.Event()
        parent = os.getpid()

        def load():
            if now[0] and os.getpid() == parent:
                shut.wait()
            return os.getpid()

        cache = HeadCache(load, max_age_s=1, wait_age_s=5, clock=lambda: now[0])
        assert cache.get() == parent
        now[0] = 2
        assert cache.get() == parent, "served, while a renewal hangs"
        busy = HeadCache(lambda: 1)
        busy.get()

        def hammer():
            while not shut.is_set():
                busy.invalidate()

        threading.Thread(target=hammer, daemon=True).start()
        for _ in range(40):
            child = os.fork()
            if not child:
                signal.alarm(20)
                now[0] = 1.5
                ok = cache.get() in (parent, os.getpid())  # aged: renewed behind it
                now[0] = 7
                ok = ok and cache.get() == os.getpid() and busy.get() == 1
                os._exit(0 if ok else 3)
            status = os.waitpid(child, 0)[1]
            assert status == 0, status
        shut.set()
        print("all read")
    """
    done = run(script, tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("all read\n", "", 0)
