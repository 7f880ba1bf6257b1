"""Memory when its process, its disk or its server fails at any moment."""

import contextlib
import sys
from pathlib import Path
from typing import Any

import pytest

from tracetune.errors import StoreError
from tracetune.stores.backends import open_store
from tracetune.stores.memory import AgentMemory

if sys.platform == "win32":
    pytest.skip("what is killed is forked", allow_module_level=True)

from trials import faults_of, kill_commits, kill_cycles
from workers import bundle, memory_of

KILLS = 25
"""Of each kind and store; `bench/memory.py` kills 200 times by the same code."""


def test_a_commit_killed_at_any_moment_leaves_the_old_bundle_or_the_new_one(
    shared_url: str, tmp_path: Path
) -> None:
    urls = [shared_url]
    if shared_url.startswith("sqlite"):
        urls += [shared_url.replace("memory.db", f"memory-{i}.db") for i in range(KILLS // 10)]
    found = kill_commits(urls, tmp_path, kills=KILLS)
    assert found.faults == []
    assert found.kills == KILLS


def test_a_cycle_killed_at_any_moment_makes_its_release_once(
    shared_url: str, tmp_path: Path
) -> None:
    found = kill_cycles(shared_url, tmp_path, kills=KILLS)
    assert found.faults == []
    assert found.kills >= KILLS


def commit_until_it_fails(memory: AgentMemory, kept: list[str]) -> None:
    for number in range(1000):
        kept.append(memory.commit(**bundle(str(number)), promote=True).id)


def test_a_disk_that_fills_up_leaves_the_old_bundle_or_the_new_one(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk}/memory.db"
    with open_store(url) as store:
        memory = memory_of(store, "email")
        kept: list[str] = []
        with pytest.raises(StoreError) as caught:
            commit_until_it_fails(memory, kept)
        assert str(caught.value).startswith(f"{url}: commit for agent 'email' failed: ")
        assert "\n" not in str(caught.value)
        assert kept, "not even one commit fitted"
        head = memory.head()
        assert head is not None
        assert head.id == kept[-1]
        assert faults_of(memory) == []
    with open_store(url) as store:
        memory = memory_of(store, "email")
        assert [release.id for release in memory.releases()] == kept[::-1]


def test_a_disk_that_has_room_again_takes_the_next_commit(small_disk: Path) -> None:
    with open_store(f"sqlite:///{small_disk}/memory.db") as store:
        memory = memory_of(store, "email")
        kept = [memory.commit(**bundle("0"), promote=True).id]
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        with pytest.raises(StoreError):
            commit_until_it_fails(memory, kept)
        filler.unlink()
        again = memory.commit(**bundle("again"), base=kept[-1], promote=True)
        assert memory.head() == again
        assert faults_of(memory) == []


def with_password(server: Any) -> str:
    return str(server.get_uri()).replace("postgres:@", "postgres:hunter22@")


def test_a_lost_server_is_one_line_and_memory_is_whole_when_it_is_back(own_postgres: Any) -> None:
    url = with_password(own_postgres)
    with open_store(url) as store:
        memory = memory_of(store, "email")
        head = memory.commit(**bundle("0"), promote=True)
        own_postgres.stop()
        for act in (memory.head, lambda: memory.commit(**bundle("1"), promote=True)):
            with pytest.raises(StoreError) as caught:
                act()
            assert "\n" not in str(caught.value)
            assert "hunter22" not in str(caught.value)
    with pytest.raises(StoreError, match="opening failed") as caught, open_store(url):
        pass
    assert "\n" not in str(caught.value)
    assert "hunter22" not in str(caught.value)
    own_postgres.start()
    with open_store(url) as store:
        memory = memory_of(store, "email")
        assert memory.head() == head
        memory.commit(**bundle("2"), base=head.id, promote=True)
        assert faults_of(memory) == []


async def test_a_store_that_stays_open_works_again_when_its_server_is_back(
    own_postgres: Any,
) -> None:
    url = with_password(own_postgres)
    with open_store(url) as store:
        async with open_store(url) as astore:
            memory, amemory = memory_of(store, "email"), memory_of(astore, "email")
            first = memory.commit(**bundle("0"), promote=True)
            assert await amemory.ahead() == first
            own_postgres.stop()
            with pytest.raises(StoreError):
                memory.head()
            with pytest.raises(StoreError) as caught:
                await amemory.ahead()
            assert "hunter22" not in str(caught.value)
            own_postgres.start()
            assert memory.head() == first
            second = await amemory.acommit(**bundle("1"), base=first.id, promote=True)
            assert memory.head() == second
