"""Procedural memory: one contract, run over every backend and both ways in."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import BaseStore, IndexConfig
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore

from tracetune.errors import ConflictError, InputError, NotFoundError, StoreError
from tracetune.stores.backends import open_store
from tracetune.stores.memory import AgentMemory, ProceduralMemory
from tracetune.stores.release import Guideline

ODD_TEXTS = {
    "windows lines": "a\r\nb\r\n",
    "trailing space": "  a \t \n\n ",
    "braces": "{x} {{y}} %s $name ${z} {% raw %}",
    "unicode": "naïve 你好 🙂 e\u0301 \u2028 \u200b \ufeff",
    "controls": "\x01\x1b[31m\x7f\x85",
    "quotes": "\"'\\n\\u0041 `</x>`",
    "empty": "",
    "a.dotted/name: with 'all'": "x",
}
ODD_CONFIG = {
    "steps": 200,
    "t": 0.1,
    "big": 2**53 + 1,
    "f": 1e16,
    "n": None,
    "z": {"b": [1.0], "a": {}},
}


@dataclass
class Way:
    """One agent's memory, called by name, sync or awaited."""

    agent: AgentMemory
    store: BaseStore
    awaited: bool

    async def do(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self.awaited:
            return await getattr(self.agent, f"a{name}")(*args, **kwargs)
        return getattr(self.agent, name)(*args, **kwargs)

    def other(self, name: str, project: str = "project") -> Way:
        return Way(ProceduralMemory(self.store, project).agent(name), self.store, self.awaited)


@pytest.fixture(
    params=[
        pytest.param(("memory://", "with", False), id="memory"),
        pytest.param(("memory://", "async with", True), id="memory awaited"),
        pytest.param(("sqlite:///m.db", "with", False), id="sqlite"),
        pytest.param(("sqlite:///m.db", "async with", True), id="sqlite awaited"),
        pytest.param(("sqlite:///m.db", "with", True), id="sync sqlite awaited"),
    ]
)
async def way(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Way]:
    url, how, awaited = request.param
    handle = open_store(url, base=tmp_path)
    async with AsyncExitStack() as stack:
        if how == "with":
            store = stack.enter_context(handle)
        else:
            store = await stack.enter_async_context(handle)
        yield Way(ProceduralMemory(store, "project").agent("email"), store, awaited)


async def test_an_agent_without_releases_has_no_head(way: Way):
    assert await way.do("head") is None
    assert await way.do("releases") == []
    assert await way.do("history") == []


async def test_a_commit_is_kept_but_not_in_force(way: Way):
    release = await way.do("commit", prompts={"main": "one"}, config={"n": 1}, why=["a", "b"])
    assert (release.parent, release.why, release.origin) == (None, ("a", "b"), "human")
    assert await way.do("get", release.id) == release
    assert await way.do("head") is None
    assert [(e.action, e.previous, e.why) for e in await way.do("history")] == [
        ("committed", None, "a b")
    ]


async def test_a_promoted_commit_is_in_force(way: Way):
    first = await way.do("commit", prompts={"main": "one"}, promote=True, by="ann")
    second = await way.do("commit", prompts={"main": "two"}, promote=True, by="bob")
    assert await way.do("head") == second
    assert second.parent == first.id
    assert [(e.action, e.release, e.previous, e.by) for e in await way.do("history")] == [
        ("promoted", second.id, first.id, "bob"),
        ("committed", second.id, first.id, "bob"),
        ("promoted", first.id, None, "ann"),
        ("committed", first.id, None, "ann"),
    ]
    assert await way.do("releases") == [second, first]


async def test_everything_about_a_release_is_kept(way: Way):
    given: dict[str, Any] = {
        "guidelines": [Guideline("g", "main", "Book once.", {"traces": ["t"]}, "rules")],
        "evidence": {"patterns": ["p"]},
        "metrics": {"n": 50, "latency_p95": float("nan")},
        "verdict": {"decision": "better"},
        "model": "m:x",
        "calls": 2,
        "tokens": 300,
        "origin": "llm",
    }
    release = await way.do("commit", prompts={"main": "one"}, promote=True, **given)
    head = await way.do("head")
    assert head == release
    assert head.guidelines == tuple(given["guidelines"])
    assert head.metrics == {"n": 50, "latency_p95": None}
    assert {k: getattr(head, k) for k in ("evidence", "verdict", "model", "calls", "tokens")} == {
        k: given[k] for k in ("evidence", "verdict", "model", "calls", "tokens")
    }


async def test_what_a_commit_leaves_out_stays_as_in_the_head(way: Way):
    guideline = Guideline("g", "main", "Book once.")
    first = await way.do(
        "commit", prompts={"a": "1"}, config={"n": 1}, guidelines=[guideline], promote=True
    )
    second = await way.do("commit", config={"m": 2}, promote=True)
    assert (second.prompts, second.config) == ({"a": "1"}, {"m": 2})
    assert second.guidelines == first.guidelines
    third = await way.do("commit", prompts={}, guidelines=[])
    assert (third.prompts, third.config, third.guidelines) == ({}, {"m": 2}, ())


async def test_an_import_is_journalled_as_one(way: Way):
    await way.do("commit", prompts={"main": "one"}, origin="import")
    assert [e.action for e in await way.do("history")] == ["imported"]


async def test_a_commit_on_a_base_that_is_no_longer_head_is_refused(way: Way):
    first = await way.do("commit", prompts={"main": "one"}, promote=True)
    second = await way.do("commit", prompts={"main": "two"}, base=first.id, promote=True)
    history = await way.do("history")
    with pytest.raises(ConflictError) as caught:
        await way.do("commit", prompts={"main": "three"}, base=first.id, promote=True)
    assert (caught.value.base, caught.value.head) == (first.id, second.id)
    assert first.id in str(caught.value)
    assert second.id in str(caught.value)
    assert await way.do("history") == history
    assert await way.do("releases") == [second, first]


async def test_a_base_is_refused_where_there_is_no_head(way: Way):
    with pytest.raises(ConflictError, match="built on x, but no release is in force"):
        await way.do("commit", prompts={"main": "one"}, base="x")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({}, "needs a prompt or a config value", id="nothing at all"),
        pytest.param({"prompts": {"main": 3}}, "email.prompts.main must be text", id="no text"),
        pytest.param({"config": {"n": float("inf")}}, "email.config.n must be", id="infinity"),
    ],
)
async def test_a_bundle_that_cannot_be_kept_is_refused(way: Way, given: Any, message: str):
    with pytest.raises(InputError, match=message):
        await way.do("commit", **given)
    assert await way.do("releases") == []


async def test_rollback_restores_the_earlier_bundle_byte_for_byte(way: Way):
    first = await way.do("commit", prompts=ODD_TEXTS, config=ODD_CONFIG, promote=True)
    await way.do("commit", prompts={"braces": "other"}, config={}, promote=True)
    await way.do("rollback", by="ann", why="It was worse.")
    head = await way.do("head")
    assert head == first
    assert {k: v.encode() for k, v in head.prompts.items()} == {
        k: v.encode() for k, v in ODD_TEXTS.items()
    }
    assert repr(head.config) == repr(ODD_CONFIG)
    assert head.bundle.content_hash == first.content_hash


async def test_rollback_keeps_the_history_and_goes_on_backwards(way: Way):
    ids = [(await way.do("commit", prompts={"m": str(i)}, promote=True)).id for i in range(3)]
    await way.do("rollback")
    await way.do("rollback", by="ann", why="Still worse.")
    entry = (await way.do("history", limit=1))[0]
    assert (entry.action, entry.release, entry.previous) == ("rolled back", ids[0], ids[1])
    assert (entry.by, entry.why) == ("ann", "Still worse.")
    assert [r.id for r in await way.do("releases")] == ids[::-1]
    assert len(await way.do("history")) == 8


async def test_rollback_goes_several_steps_and_back_again(way: Way):
    ids = [(await way.do("commit", prompts={"m": str(i)}, promote=True)).id for i in range(3)]
    assert (await way.do("rollback", ids[0])).id == ids[0]
    assert (await way.do("rollback", ids[2])).id == ids[2]
    assert (await way.do("head")).id == ids[2]


async def test_rollback_needs_somewhere_to_go(way: Way):
    with pytest.raises(NotFoundError, match="no release in force to roll back"):
        await way.do("rollback")
    first = await way.do("commit", prompts={"m": "1"}, promote=True)
    candidate = await way.do("commit", prompts={"m": "2"})
    with pytest.raises(NotFoundError, match="is its first"):
        await way.do("rollback")
    with pytest.raises(InputError, match="in force already"):
        await way.do("rollback", first.id)
    with pytest.raises(InputError, match="never in force: promote it instead"):
        await way.do("rollback", candidate.id)
    assert (await way.do("head")).id == first.id


async def test_promotion_moves_the_head_once(way: Way):
    release = await way.do("commit", prompts={"m": "1"})
    await way.do("promote", release.id, by="ann", why="Reviewed.")
    await way.do("promote", release.id, by="bob", why="Again.")
    assert (await way.do("head")).id == release.id
    assert [(e.action, e.by, e.why) for e in await way.do("history")] == [
        ("promoted", "ann", "Reviewed."),
        ("committed", "", ""),
    ]


async def test_rejection_is_noted_and_moves_nothing(way: Way):
    head = await way.do("commit", prompts={"m": "1"}, promote=True)
    candidate = await way.do("commit", prompts={"m": "2"})
    await way.do("reject", candidate.id, by="ann", why="Too long.")
    entry = (await way.do("history"))[0]
    assert (entry.action, entry.release, entry.why) == ("rejected", candidate.id, "Too long.")
    assert await way.do("head") == head
    with pytest.raises(InputError, match="is in force: roll back instead"):
        await way.do("reject", head.id, by="ann", why="No.")


async def test_a_release_is_found_by_a_part_only_it_has(way: Way):
    one = await way.do("commit", prompts={"m": "1"})
    two = await way.do("commit", prompts={"m": "2"})
    assert await way.do("get", one.id[-6:]) == one
    assert await way.do("get", two.id[:19]) == two
    with pytest.raises(InputError, match=r"names 2 releases .* give more of the id") as caught:
        await way.do("get", one.id[:8])
    assert one.id in str(caught.value)
    assert two.id in str(caught.value)


@pytest.mark.parametrize("ref", ["", "nothing", "\x00", "\udc80", "é"])
async def test_a_release_that_is_not_there_lists_near_ones(way: Way, ref: str):
    with pytest.raises(NotFoundError, match="it has none yet"):
        await way.do("get", ref)
    release = await way.do("commit", prompts={"m": "1"})
    with pytest.raises(NotFoundError, match=f"near ones: {release.id}"):
        await way.do("get", ref)


async def test_history_is_complete_past_the_search_limit(way: Way):
    ids = [(await way.do("commit", prompts={"m": str(i)})).id for i in range(30)]
    assert [e.release for e in await way.do("history")] == ids[::-1]
    assert [e.release for e in await way.do("history", limit=12)] == ids[:17:-1]
    assert [r.id for r in await way.do("releases")] == ids[::-1]
    with pytest.raises(InputError, match="limit must be 0 or more, but got -1"):
        await way.do("history", limit=-1)


async def test_pages_join_without_loss(way: Way, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tracetune.stores.plans._PAGE", 7)
    ids = [(await way.do("commit", prompts={"m": str(i)})).id for i in range(21)]
    assert [r.id for r in await way.do("releases")] == ids[::-1]


async def test_agents_and_projects_do_not_see_each_other(way: Way):
    await way.do("commit", prompts={"m": "1"}, promote=True)
    for other in (way.other("email2"), way.other("e"), way.other("email", project="project 2")):
        assert await other.do("head") is None
        assert await other.do("releases") == []
        assert await other.do("history") == []


async def test_what_is_read_or_given_cannot_change_what_is_kept(way: Way):
    config = {"list": [1]}
    release = await way.do("commit", prompts={"m": "1"}, config=config, promote=True)
    config["list"].append(2)
    release.config["list"].append(3)
    (await way.do("head")).config["list"].append(4)
    assert (await way.do("head")).config == {"list": [1]}


async def test_many_readers_at_once_see_one_whole_bundle(way: Way):
    await way.do("commit", prompts={"a": "0", "b": "0"}, promote=True)

    async def write() -> None:
        for i in range(1, 15):
            await way.do("commit", prompts={"a": str(i), "b": str(i)}, promote=True)

    async def read() -> set[str]:
        seen = []
        for _ in range(15):
            seen.append((await way.do("head")).prompts)
            await asyncio.sleep(0)
        return {p["a"] + "=" + p["b"] for p in seen if p["a"] != p["b"]}

    torn = await asyncio.gather(write(), *(read() for _ in range(8)))
    assert not any(torn[1:])


def test_the_properties_read_what_is_in_force(tmp_path: Path):
    with open_store("sqlite:///m.db", base=tmp_path) as store:
        agent = ProceduralMemory(store, "project").agent("email")
        with pytest.raises(NotFoundError, match="'email' has no release in force in sqlite:///m"):
            _ = agent.prompts
        release = agent.commit(prompts={"main": "one"}, config={"n": 1}, promote=True)
        assert (agent.prompts, agent.config) == ({"main": "one"}, {"n": 1})
        assert agent.release == release


@pytest.mark.parametrize("name", ["", "  ", "a.b", "x" * 101, "a\nb", "a\x00", "\ud800", None, 3])
def test_names_that_cannot_be_namespaces_are_refused(name: Any):
    store = InMemoryStore()
    with pytest.raises(InputError, match=r"The project name .* no dot"):
        ProceduralMemory(store, name)
    with pytest.raises(InputError, match=r"The agent name .* no dot"):
        ProceduralMemory(store, "project").agent(name)


@pytest.mark.parametrize("name", ["e-mail agent", "Über/agent:1", "x" * 100, "head", "*", "a_%[b]"])
async def test_names_may_be_anything_else(way: Way, name: str):
    odd = way.other(name, project=name)
    release = await odd.do("commit", prompts={"m": "1"}, promote=True)
    assert await odd.do("head") == release
    assert await odd.do("releases") == [release]


async def test_a_store_with_an_index_is_never_asked_to_embed():
    def embed(texts: Sequence[str]) -> list[list[float]]:
        pytest.fail(f"asked to embed {texts}")

    store = InMemoryStore(index=IndexConfig(dims=2, embed=embed, fields=["$"]))
    agent = ProceduralMemory(store, "project").agent("email")
    agent.commit(prompts={"m": "1"}, promote=True)
    await agent.acommit(prompts={"m": "2"}, promote=True)
    agent.rollback()
    assert len(agent.history()) == 5


async def _limit_pages(way: Way, more: int) -> None:
    conn = way.store.conn  # type: ignore[attr-defined]
    for pragma in ("wal_checkpoint(TRUNCATE)", "page_count"):
        cursor = conn.execute(f"PRAGMA {pragma}")
        row = cursor.fetchone() if isinstance(way.store, SqliteStore) else None
        if row is None:
            row = await (await cursor).fetchone()
    pages = row[0]
    cursor = conn.execute(f"PRAGMA max_page_count={pages + more if more >= 0 else 2**30}")
    if not isinstance(way.store, SqliteStore):
        await cursor


@pytest.mark.parametrize(
    "way",
    [("sqlite:///m.db", "with", False), ("sqlite:///m.db", "async with", True)],
    indirect=True,
    ids=["sqlite", "sqlite awaited"],
)
async def test_a_full_disk_leaves_the_head_and_nothing_half_written(way: Way):
    await way.do("commit", prompts={"m": "1" * 5000}, promote=True)
    said: set[str] = set()
    kept = 0
    for more in range(12):
        before = await _everything(way)
        await _limit_pages(way, more)
        try:
            await way.do("commit", prompts={"m": str(more) * 30_000}, promote=True)
        except StoreError as error:
            said.add(str(error))
            assert await _everything(way) == before
        else:
            kept += 1
        await _limit_pages(way, -1)
    assert said == {"sqlite:///m.db: commit for agent 'email' failed: database or disk is full."}
    assert kept, "with room for more pages it must have gone through"
    await way.do("commit", prompts={"m": "room again"}, promote=True)
    assert (await way.do("head")).prompts == {"m": "room again"}


async def _everything(way: Way) -> tuple[Any, ...]:
    return await way.do("head"), await way.do("releases"), await way.do("history")


class _StoreThatStops(InMemoryStore):
    """A store that writes one by one, and dies after `left` of them."""

    left = 10**9

    def batch(self, ops: Any) -> list[Any]:
        results: list[Any] = []
        for op in ops:
            if hasattr(op, "value"):
                if self.left == 0:
                    raise OSError("connection lost")
                self.left -= 1
            results += super().batch([op])
        return results


_ACTS: dict[str, Callable[[AgentMemory], object]] = {
    "commit": lambda a: a.commit(prompts={"m": "3"}, promote=True),
    "promote": lambda a: a.promote(a.releases()[0].id),
    "rollback": lambda a: a.rollback(),
}
_WRITES = {"commit": 4, "promote": 2, "rollback": 2}


@pytest.mark.parametrize(("act", "left"), list(itertools.product(_ACTS, range(5))))
def test_a_store_that_dies_at_any_write_leaves_a_whole_release_in_force(act: str, left: int):
    store = _StoreThatStops()
    agent = ProceduralMemory(store, "project").agent("email")
    agent.commit(prompts={"m": "0"}, promote=True)
    head = agent.commit(prompts={"m": "1"}, promote=True)
    agent.commit(prompts={"m": "2"})
    store.left = left
    if left < _WRITES[act]:
        with pytest.raises(StoreError, match=f"{act} for agent 'email' failed: connection lost"):
            _ACTS[act](agent)
        assert agent.head() == head
    else:
        _ACTS[act](agent)
        assert agent.release.id != head.id
        assert agent.history()[0].release == agent.release.id


def test_a_head_without_its_release_is_told(tmp_path: Path):
    with open_store("memory://") as store:
        agent = ProceduralMemory(store, "project").agent("email")
        release = agent.commit(prompts={"m": "1"}, promote=True)
        store.delete(("tracetune", "project", "email", "releases"), release.id)
        with pytest.raises(StoreError, match=f"names release {release.id}, but the store"):
            agent.head()


def test_a_head_of_a_newer_layout_is_refused():
    store = InMemoryStore()
    agent = ProceduralMemory(store, "project").agent("email")
    store.put(("tracetune", "project", "email"), "head", {"version": 9, "release": "x"})
    with pytest.raises(StoreError, match="has layout 9, but this tracetune knows only layout 1"):
        agent.head()


async def test_a_closed_store_is_a_store_error(tmp_path: Path):
    handle = open_store("sqlite:///m.db", base=tmp_path)
    with handle as store:
        closed = ProceduralMemory(store, "project").agent("email")
    with pytest.raises(StoreError, match=r"head for agent 'email' failed: .*closed"):
        closed.head()
    async with handle as store:
        aclosed = ProceduralMemory(store, "project").agent("email")
    with pytest.raises(StoreError, match="head for agent 'email' failed: no active connection"):
        await aclosed.ahead()


async def test_a_sync_call_on_an_async_store_in_its_loop_names_the_way_out(tmp_path: Path):
    async with open_store("sqlite:///m.db", base=tmp_path) as store:
        agent = ProceduralMemory(store, "project").agent("email")
        with pytest.raises(StoreError, match="await the method named a"):
            agent.head()
        assert await asyncio.to_thread(agent.head) is None


async def test_a_file_shared_by_two_stores_is_one_memory(tmp_path: Path):
    handle = open_store("sqlite:///m.db", base=tmp_path)
    with handle as one, open_store("sqlite:///m.db", base=tmp_path) as two:
        writer = ProceduralMemory(one, "project").agent("email")
        reader = ProceduralMemory(two, "project").agent("email")
        for i in range(5):
            writer.commit(prompts={"m": str(i)}, promote=True)
            assert reader.prompts == {"m": str(i)}
