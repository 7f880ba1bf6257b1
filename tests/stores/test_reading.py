"""What agents read on every call: kept in the process, whole, and there when the store is not."""

import asyncio
import json
import logging
import pickle
import sqlite3
import threading
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore

from tracetune.errors import InputError, NotFoundError, StoreError
from tracetune.stores.backends import open_store
from tracetune.stores.memory import ProceduralMemory
from tracetune.stores.release import Release


def written(memory: ProceduralMemory, text: str) -> None:
    memory.agent("email").commit(prompts={"main": text}, config={"tone": text}, promote=True)


def test_an_agent_asked_for_twice_is_one_object_with_one_cache() -> None:
    memory = ProceduralMemory(InMemoryStore(), "p")
    assert memory.agent("email") is memory.agent("email")
    assert memory.agent("email") is not memory.agent("email", user="ana@example.org")


def test_own_writes_are_seen_at_once() -> None:
    memory = ProceduralMemory(InMemoryStore(), "p", max_age_s=3600)
    email = memory.agent("email")
    written(memory, "one")
    assert email.prompts["main"] == "one"
    written(memory, "two")
    assert email.prompts["main"] == "two"
    email.rollback()
    assert (email.prompts["main"], email.config["tone"]) == ("one", "one")


@pytest.mark.parametrize("asking", ["kept", "read each time"])
@pytest.mark.parametrize("user", [None, "ann"])
async def test_what_one_reader_changes_no_other_sees(asking: str, user: str | None) -> None:
    memory = ProceduralMemory(InMemoryStore(), "p", max_age_s=3600 if asking == "kept" else 0)
    email = memory.agent("email")
    reader = memory.agent("email", user) if user else email

    def whole() -> None:
        for release in (reader.release, reader.head(), email.get(email.release.id)):
            assert release is not None
            assert (release.prompts, release.config) == ({"main": "one"}, {"tools": ["a"]})
            assert release.evidence == {"traces": ["t"]}
        assert (reader.prompts, reader.config) == ({"main": "one"}, {"tools": ["a"]})

    def spoil(release: Release) -> None:
        cast(dict[str, str], release.prompts)["main"] = "mine"
        release.config["tools"].append("b")
        release.evidence["traces"].append("b")

    given = {"tools": ["a"]}
    first = email.commit(
        prompts={"main": "one"}, config=given, evidence={"traces": ["t"]}, promote=True
    )
    given["tools"].append("b")
    spoil(first)
    whole()
    spoil(reader.release)
    spoil(await reader.arelease())
    cast(dict[str, str], reader.prompts).clear()
    reader.config["tools"].append("b")
    whole()
    email.commit(config={}, promote=True)
    spoil(email.promote(first.id))
    whole()
    email.commit(config={}, promote=True)
    spoil(await email.arollback())
    whole()


def test_what_is_read_is_plain_and_yours() -> None:
    email = ProceduralMemory(InMemoryStore(), "p").agent("email")
    config = {"tools": [{"name": "book"}], "t": 0.5}
    email.commit(prompts={"main": "one"}, config=config, promote=True)
    read = email.config
    assert (
        json.loads(json.dumps(read)) == pickle.loads(pickle.dumps(read)) == dict(**read) == config
    )
    assert yaml.safe_load(yaml.safe_dump(read)) == config
    assert json.dumps(email.prompts) == '{"main": "one"}'


async def test_own_writes_are_seen_at_once_inside_a_loop() -> None:
    email = ProceduralMemory(InMemoryStore(), "p", max_age_s=3600).agent("email")
    for text in ("one", "two"):
        await email.acommit(prompts={"main": text}, promote=True)
        assert email.prompts["main"] == text
        assert (await email.arelease()).prompts["main"] == text


def test_a_young_release_is_served_without_asking_the_store() -> None:
    store = InMemoryStore()
    reader = ProceduralMemory(store, "p", max_age_s=3600)
    written(ProceduralMemory(store, "p"), "one")
    assert reader.agent("email").prompts["main"] == "one"
    written(ProceduralMemory(store, "p"), "two")
    assert reader.agent("email").prompts["main"] == "one"
    assert ProceduralMemory(store, "p", max_age_s=0).agent("email").prompts["main"] == "two"


def test_a_store_that_is_gone_leaves_the_last_known_release(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_store("sqlite:///m.db", base=tmp_path) as store:
        assert isinstance(store, SqliteStore)
        memory = ProceduralMemory(store, "p", max_age_s=1e-9)
        written(memory, "one")
        assert memory.agent("email").prompts["main"] == "one"
        with store.lock:
            store.conn.close()
        with caplog.at_level(logging.WARNING), pytest.raises(StoreError):
            memory.agent("email").history()
        with caplog.at_level(logging.WARNING):
            assert memory.agent("email").prompts["main"] == "one"
            assert memory.agent("email").config["tone"] == "one"
        # Nothing was ever known of another agent: that is told.
        with pytest.raises((StoreError, sqlite3.Error)):
            _ = memory.agent("other").prompts


def test_an_agent_without_a_release_is_said_to_have_none() -> None:
    with pytest.raises(NotFoundError, match="'email' has no release in force"):
        _ = ProceduralMemory(InMemoryStore(), "p").agent("email").prompts


@pytest.mark.parametrize("age", [-1, float("nan"), "5", None])
def test_an_age_that_is_none_is_refused(age: Any) -> None:
    with pytest.raises(InputError, match="max_age_s"):
        ProceduralMemory(InMemoryStore(), "p", max_age_s=age).agent("email")


@pytest.mark.parametrize("store", [None, open_store("memory://")], ids=["none", "not entered"])
def test_a_store_that_is_none_is_refused(store: Any) -> None:
    with pytest.raises(InputError, match="store must be BaseStore, but got"):
        ProceduralMemory(store, "p")


async def test_threads_and_tasks_read_whole_bundles_while_releases_change(tmp_path: Path) -> None:
    """16 threads and 200 tasks; the prompts and the config of a release agree with each other."""
    async with open_store("sqlite:///m.db", base=tmp_path) as store:
        memory = ProceduralMemory(store, "p", max_age_s=1e-6)
        email = memory.agent("email")
        await email.acommit(prompts={"main": "0"}, config={"tone": "0"}, promote=True)
        await email.arelease()
        torn: list[str] = []
        stop = threading.Event()

        def check() -> None:
            release = email.release
            if release.prompts["main"] != release.config["tone"]:
                torn.append(release.id)

        def read() -> None:
            while not stop.is_set():
                check()

        async def aread() -> None:
            while not stop.is_set():
                release = await email.arelease()
                if release.prompts["main"] != release.config["tone"]:
                    torn.append(release.id)
                await asyncio.sleep(0)

        threads = [threading.Thread(target=read) for _ in range(16)]
        for thread in threads:
            thread.start()
        tasks = [asyncio.create_task(aread()) for _ in range(200)]
        for n in range(1, 21):
            text = str(n)
            await email.acommit(prompts={"main": text}, config={"tone": text}, promote=True)
        stop.set()
        await asyncio.gather(*tasks)
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        assert torn == []
        assert (await email.arelease()).prompts["main"] == "20"
