"""Procedural memory: one contract, run over every backend and both ways in."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import pickle
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from langgraph.store.base import BaseStore, IndexConfig
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore

from tracetune.errors import ConflictError, InputError, NotFoundError, StoreError
from tracetune.stores.backends import open_store
from tracetune.stores.memory import NO_HEAD, AgentMemory, ProceduralMemory
from tracetune.stores.release import Guideline, Release

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

    async def do(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
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
        pytest.param(("postgres", "with", False), id="postgres"),
        pytest.param(("postgres", "async with", True), id="postgres awaited"),
        pytest.param(("postgres", "with", True), id="sync postgres awaited"),
    ]
)
async def way(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Way]:
    url, how, awaited = request.param
    if url == "postgres":
        url = request.getfixturevalue("fresh_postgres")
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


_MISTAKES = [
    ("commit", {"prompts": "abc"}, "prompts must be a mapping or None, but got 'abc'"),
    ("commit", {"prompts": {"m": "2"}, "why": [None]}, "why must be a list of text, but got"),
    ("commit", {"prompts": {"m": "2"}, "why": ["a", 1]}, "why must be a list of text, but got"),
    (
        "commit",
        {"prompts": {"m": "2"}, "evidence": 5},
        "evidence must be a mapping or a record or None, but",
    ),
    ("commit", {"prompts": {"m": "2"}, "origin": ["a"]}, "origin must be one of llm, rules, human"),
    ("commit", {"prompts": {"m": "2"}, "promote": "no"}, "promote must be True or False, but got"),
    ("get", {"ref": 5}, "ref must be text, but got 5"),
    ("promote", {"ref": None}, "ref must be text, but got None"),
    ("rollback", {"steps": "1"}, "steps must be a whole number or None, but got '1'"),
    ("history", {"limit": "1"}, "limit must be a whole number or None, but got '1'"),
    ("label", {"name": None, "ref": "x"}, "name must be text, but got None"),
    ("labelled", {"name": []}, r"name must be text, but got \[\]"),
]


@pytest.mark.parametrize(("act", "given", "message"), _MISTAKES)
async def test_arguments_of_the_wrong_type_never_reach_the_store(
    way: Way, act: str, given: dict[str, Any], message: str
):
    await way.do("commit", prompts={"m": "0"}, promote=True)
    await way.do("commit", prompts={"m": "1"}, promote=True)
    before = await way.do("history")
    with pytest.raises(InputError, match=message):
        await way.do(act, **given)
    assert await way.do("history") == before


def test_help_and_hints_say_what_a_method_returns():
    for name, returned in {
        "commit": Release,
        "head": Release | None,
        "releases": list[Release],
    }.items():
        for method in (getattr(AgentMemory, name), getattr(AgentMemory, f"a{name}")):
            assert get_type_hints(method)["return"] == returned
            assert "Plan" not in str(inspect.signature(method))
    bound = ProceduralMemory(InMemoryStore(), "p").agent("e", user="ann")
    assert str(inspect.signature(bound.preferences)) == "() -> 'Preferences'"
    assert inspect.iscoroutinefunction(bound.apreferences)
    parameters = inspect.signature(AgentMemory.get).parameters
    assert (list(parameters), parameters["ref"].annotation) == (["self", "ref"], "str")


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
    monkeypatch.setattr("tracetune.stores.reads._PAGE", 7)
    ids = [(await way.do("commit", prompts={"m": str(i)})).id for i in range(21)]
    assert [r.id for r in await way.do("releases")] == ids[::-1]


async def test_agents_and_projects_do_not_see_each_other(way: Way):
    await way.do("commit", prompts={"m": "1"}, promote=True)
    for other in (way.other("email2"), way.other("e"), way.other("email", project="project 2")):
        assert await other.do("head") is None
        assert await other.do("releases") == []
        assert await other.do("history") == []


@pytest.mark.parametrize("part", ["whole id", "end of the id", "label"])
async def test_a_base_is_named_as_any_release_is(way: Way, part: str):
    first = await way.do("commit", prompts={"a": "1", "b": "1"}, promote=True)
    second = await way.do("commit", prompts={"a": "2", "b": "1"}, promote=True)
    names = {}
    for name, release in {"old": first, "now": second}.items():
        await way.do("label", name, release.id)
        ways = {"whole id": release.id, "end of the id": release.id[-6:], "label": name}
        names[name] = ways[part]
    made = await way.do("commit", prompts={"a": "3"}, base=names["now"])
    assert made.parent == second.id
    rebased = await way.do(
        "commit", prompts={"a": "1", "b": "2"}, base=names["old"], on_conflict="rebase"
    )
    assert rebased.prompts == {"a": "2", "b": "2"}
    assert (await way.do("rollback", base=names["now"])) == first
    for act, given in {
        "commit": {"prompts": {"a": "4"}},
        "promote": {"ref": second.id},
        "rollback": {"ref": second.id},
    }.items():
        with pytest.raises(ConflictError, match=f"built on {second.id}, but {first.id}") as caught:
            await way.do(act, base=names["now"], **given)
        assert caught.value.base == second.id
    assert await way.do("promote", second.id, base=names["old"]) == second


async def test_a_base_that_names_several_is_an_error(way: Way):
    first = await way.do("commit", prompts={"a": "1"}, promote=True)
    await way.do("commit", prompts={"a": "2"}, promote=True)
    with pytest.raises(InputError, match="names 2 releases"):
        await way.do("commit", prompts={"a": "3"}, base=first.id[:2])


def test_a_whole_id_as_base_is_not_looked_up():
    class Counted(InMemoryStore):
        asked = 0

        def batch(self, ops: Any) -> list[Any]:
            self.asked += 1
            return super().batch(ops)

    def cost(*, based: bool) -> list[int]:
        costs = []
        for act in (
            lambda base: agent.commit(prompts={"a": "9"}, promote=True, base=base),
            lambda base: agent.promote(first.id, base=base),
            lambda base: agent.rollback(second.id, base=base),
        ):
            head = agent.head()
            before = store.asked
            act(head.id if head and based else None)
            costs.append(store.asked - before)
        return costs

    store = Counted()
    agent = ProceduralMemory(store, "project").agent("email")
    first = agent.commit(prompts={"a": "1"}, promote=True)
    second = agent.commit(prompts={"a": "2"}, promote=True)
    assert cost(based=True) == cost(based=False)


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
_WRITES = {"commit": 2, "promote": 2, "rollback": 2}


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
        other = ProceduralMemory(store, "project").agent("email")
        with pytest.raises(StoreError, match=f"names release {release.id}, but the store"):
            other.head()


def test_a_head_of_a_newer_layout_is_refused():
    store = InMemoryStore()
    agent = ProceduralMemory(store, "project").agent("email")
    store.put(("tracetune", "project", "email"), "head", {"version": 9, "release": "x"})
    with pytest.raises(StoreError, match="has layout 9, but this tracetune knows only layout 2"):
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
        reader = ProceduralMemory(two, "project", max_age_s=0).agent("email")
        for i in range(5):
            writer.commit(prompts={"m": str(i)}, promote=True)
            assert reader.prompts == {"m": str(i)}


async def test_rollback_counts_steps(way: Way):
    ids = [(await way.do("commit", prompts={"m": str(i)}, promote=True)).id for i in range(4)]
    assert (await way.do("rollback", steps=2)).id == ids[1]
    assert (await way.do("rollback", steps=1)).id == ids[0]
    with pytest.raises(NotFoundError, match="is its first: none to roll back to"):
        await way.do("rollback", steps=1)
    await way.do("rollback", ids[3])
    with pytest.raises(NotFoundError, match="it goes back 3 steps only"):
        await way.do("rollback", steps=4)
    for wrong in ({"steps": 0}, {"steps": 1, "ref": ids[0]}):
        with pytest.raises(InputError, match="steps must be 1 or more, and without a release"):
            await way.do("rollback", **wrong)
    assert (await way.do("head")).id == ids[3]


async def test_labels_point_at_releases_and_stay_when_the_head_moves(way: Way):
    first = await way.do("commit", prompts={"m": "1"}, promote=True)
    second = await way.do("commit", prompts={"m": "2"})
    assert await way.do("label", "production", first.id, by="ann", why="Tested.") == first
    await way.do("label", "canary", second.id[-6:])
    await way.do("promote", second.id)
    assert await way.do("labelled", "production") == first
    assert await way.do("labels") == {"canary": second.id, "production": first.id}
    assert await way.do("label", "production", "canary") == second
    assert await way.do("get", "production") == second
    assert await way.do("unlabel", "canary", by="bob") == second
    assert await way.do("labels") == {"production": second.id}
    with pytest.raises(NotFoundError, match="has no label 'canary'; it has production"):
        await way.do("labelled", "canary")
    await way.do("label", "canary", first.id)
    entries = [e for e in await way.do("history") if e.label]
    assert [(e.action, e.label, e.release, e.previous, e.by) for e in entries] == [
        ("labelled", "canary", first.id, None, ""),
        ("unlabelled", "canary", second.id, second.id, "bob"),
        ("labelled", "production", second.id, first.id, ""),
        ("labelled", "canary", second.id, None, ""),
        ("labelled", "production", first.id, None, "ann"),
    ]


async def test_rolling_back_to_a_label(way: Way):
    first = await way.do("commit", prompts={"m": "1"}, promote=True)
    await way.do("label", "good", first.id)
    await way.do("commit", prompts={"m": "2"}, promote=True)
    assert await way.do("rollback", "good") == first


async def test_setting_a_label_again_is_no_news(way: Way):
    release = await way.do("commit", prompts={"m": "1"})
    await way.do("label", "good", release.id)
    history = await way.do("history")
    await way.do("label", "good", release.id)
    assert await way.do("history") == history


@pytest.mark.parametrize("name", ["", "head", "1st", "a b", "a.b", "x" * 51, "é"])
async def test_names_that_cannot_be_labels_are_refused(way: Way, name: str):
    release = await way.do("commit", prompts={"m": "1"})
    with pytest.raises(InputError, match="must be a letter, then letters, digits"):
        await way.do("label", name, release.id)
    assert await way.do("labels") == {}


async def test_history_tells_verdict_and_evidence(way: Way):
    evidence, verdict = {"traces": ["t1"]}, {"decision": "better"}
    release = await way.do(
        "commit", prompts={"m": "1"}, evidence=evidence, verdict=verdict, promote=True
    )
    plain = await way.do("commit", prompts={"m": "2"})
    found = {e.release: (e.verdict, e.evidence) for e in await way.do("history")}
    assert found == {release.id: (verdict, evidence), plain.id: (None, {})}


async def test_a_rebase_brings_the_change_onto_the_head(way: Way):
    base = await way.do("commit", prompts={"a": "1", "b": "1"}, config={"n": 1}, promote=True)
    theirs = await way.do("commit", prompts={"a": "1", "b": "2"}, base=base.id, promote=True)
    mine = await way.do(
        "commit", prompts={"a": "2", "b": "1"}, base=base.id, on_conflict="rebase", promote=True
    )
    assert (mine.prompts, mine.config) == ({"a": "2", "b": "2"}, {"n": 1})
    assert mine.parent == theirs.id
    assert await way.do("head") == mine


async def test_a_rebase_that_clashes_is_refused_with_all_three_texts(way: Way):
    base = await way.do("commit", prompts={"a": "1"}, config={"n": 1}, promote=True)
    theirs = await way.do("commit", prompts={"a": "2"}, config={"n": 2}, promote=True)
    with pytest.raises(ConflictError, match=r"both changed prompts.a, config.n\.") as caught:
        await way.do(
            "commit", prompts={"a": "3"}, config={"n": 3}, base=base.id, on_conflict="rebase"
        )
    told = [(c.part, c.name, c.base, c.mine, c.theirs) for c in caught.value.clashes]
    assert told == [("prompts", "a", "1", "3", "2"), ("config", "n", 1, 3, 2)]
    assert pickle.loads(pickle.dumps(caught.value)).clashes == caught.value.clashes
    assert await way.do("head") == theirs
    assert len(await way.do("releases")) == 2


async def test_two_first_releases_rebase_onto_each_other(way: Way):
    await way.do("commit", prompts={"a": "1"}, base=NO_HEAD, promote=True)
    both = await way.do("commit", prompts={"b": "1"}, base=NO_HEAD, on_conflict="rebase")
    assert both.prompts == {"a": "1", "b": "1"}


async def test_a_base_that_was_never_there_cannot_be_rebased(way: Way):
    await way.do("commit", prompts={"a": "1"}, promote=True)
    with pytest.raises(ConflictError, match="built on x, but"):
        await way.do("commit", prompts={"a": "2"}, base="x", on_conflict="rebase")


def _user(way: Way, user: str) -> Way:
    memory = ProceduralMemory(way.store, "project").agent("email", user=user)
    return Way(memory, way.store, way.awaited)


async def test_a_new_release_reaches_a_user_who_keeps_their_preferences(way: Way):
    ann = _user(way, "ann.lee@example.org")
    await way.do("commit", prompts={"a": "1", "b": "1"}, config={"n": 1, "m": 1}, promote=True)
    await ann.do("prefer", prompts={"a": "mine"}, config={"n": 9})
    second = await way.do("commit", prompts={"a": "2", "b": "2"}, promote=True)
    head = await ann.do("head")
    assert (head.prompts, head.config) == ({"a": "mine", "b": "2"}, {"n": 9, "m": 1})
    assert head.id == second.id
    assert head.content_hash == head.bundle.content_hash != second.content_hash
    assert await way.do("head") == second
    assert (await _user(way, "bob").do("head")) == second


async def test_preferences_change_by_name_and_none_takes_them_away(way: Way):
    ann = _user(way, "ann")
    await way.do("commit", prompts={"a": "1", "b": "1"}, config={"n": 1}, promote=True)
    await ann.do("prefer", prompts={"a": "x"}, config={"n": {"z": 1, "a": [1e16]}})
    got = await ann.do("prefer", prompts={"b": "y", "a": None, "never": None})
    assert (got.prompts, got.ignored) == ({"b": "y"}, ())
    assert repr(got.config) == repr({"n": {"z": 1, "a": [1e16]}})
    assert await ann.do("preferences") == got
    assert (await ann.do("head")).prompts == {"a": "1", "b": "y"}


async def test_preferences_outlive_a_name_that_vanishes(way: Way):
    ann = _user(way, "ann")
    await way.do("commit", prompts={"a": "1", "b": "1"}, config={"n": 1}, promote=True)
    assert (await ann.do("prefer", prompts={"a": "x"}, config={"n": 2})).ignored == ()
    await way.do("commit", prompts={"b": "2"}, config={"other": 1}, promote=True)
    assert (await ann.do("preferences")).ignored == ("prompts.a", "config.n")
    assert (await ann.do("head")).prompts == {"b": "2"}
    await way.do("rollback")
    assert (await ann.do("head")).prompts == {"a": "x", "b": "1"}


async def test_a_user_of_an_agent_without_releases_has_no_head(way: Way):
    ann = _user(way, "ann")
    assert await ann.do("head") is None
    assert (await ann.do("prefer", prompts={"a": "x"})).ignored == ("prompts.a",)
    await way.do("commit", prompts={"a": "1"}, promote=True)
    assert (await ann.do("head")).prompts == {"a": "x"}


async def test_a_label_is_read_with_the_users_preferences(way: Way):
    first = await way.do("commit", prompts={"a": "1"}, promote=True)
    await way.do("label", "production", first.id)
    ann = _user(way, "ann")
    await ann.do("prefer", prompts={"a": "x"})
    assert (await ann.do("labelled", "production")).prompts == {"a": "x"}


@pytest.mark.parametrize(
    ("act", "args"),
    [
        ("commit", {"prompts": {"a": "2"}}),
        ("promote", {"ref": "x"}),
        ("rollback", {}),
        ("reject", {"ref": "x", "by": "", "why": ""}),
        ("label", {"name": "x", "ref": "x"}),
        ("unlabel", {"name": "x"}),
    ],
)
async def test_a_release_is_not_made_or_moved_for_one_user(way: Way, act: str, args: Any):
    ann = _user(way, "ann")
    with pytest.raises(InputError, match=f"{act} is for all users of agent 'email'"):
        await ann.do(act, **args)


async def test_preferences_set_at_once_all_count(way: Way):
    names = [f"p{i}" for i in range(8)]
    await way.do("commit", prompts=dict.fromkeys(names, "1"), promote=True)
    ann = _user(way, "ann")
    await asyncio.gather(*(ann.do("prefer", prompts={name: "x"}) for name in names))
    assert (await ann.do("head")).prompts == dict.fromkeys(names, "x")


@pytest.mark.parametrize(
    "user", ["a@b.c", "..", "a/b:c%2E", "Über uns", "*", "langgraph", "x" * 200, "\n\x00"]
)
async def test_users_may_have_any_name(way: Way, user: str):
    await way.do("commit", prompts={"a": "1"}, promote=True)
    await _user(way, user).do("prefer", prompts={"a": "x"})
    assert (await _user(way, user).do("head")).prompts == {"a": "x"}
    for other in ("a@b%2Ec", "a@b", user[1:] + "!"):
        assert (await _user(way, other).do("head")).prompts == {"a": "1"}


@pytest.mark.parametrize("user", ["", " ", "x" * 201, "\ud800", 3])
def test_users_that_cannot_be_are_refused(user: Any):
    memory = ProceduralMemory(InMemoryStore(), "project")
    with pytest.raises(InputError, match="must be text of 1 to 200 characters"):
        memory.agent("email", user=user)


async def test_a_preference_that_cannot_be_kept_is_refused(way: Way):
    ann = _user(way, "ann")
    with pytest.raises(InputError, match=r"email for user 'ann'.config.n must be"):
        await ann.do("prefer", config={"n": float("nan")})
    assert (await ann.do("preferences")).config == {}


@pytest.fixture
def old_store(tmp_path: Path, repo: Path) -> Path:
    """A folder with the store file that layout 1 was written in."""
    text = (repo / "tests/stores/old_layout/layout-1.sql").read_text(encoding="utf-8")
    with closing(sqlite3.connect(tmp_path / "m.db")) as conn:
        conn.executescript(text)
    return tmp_path


def test_a_store_of_layout_1_is_read_and_written_on(old_store: Path):
    with open_store("sqlite:///m.db", base=old_store) as store:
        agent = ProceduralMemory(store, "shop").agent("desk")
        first = agent.release
        assert first.id == "20261122-000927-153-f367bf"
        assert first.prompts == {"main": "You answer at the desk.\r\nBe naïve. 🙂\n"}
        nested = {"z": [1.0, None], "a": True}
        assert repr(first.config) == repr({"max_steps": 40, "f": 1e16, "nested": nested})
        assert first.content_hash == first.bundle.content_hash
        newest = agent.history()
        assert [(e.action, e.by) for e in newest[:2]] == [
            ("rolled back", "ann"),
            ("rejected", "bob"),
        ]
        assert newest[2].release == newest[1].release
        assert agent.get(newest[0].previous or "").guidelines[0].text == "Book once."
        made = agent.commit(config={"max_steps": 30}, base=first.id, promote=True)
        assert agent.release == made
        told = agent.history()
        assert [(e.action, e.release) for e in told[:2]] == [
            ("promoted", made.id),
            ("committed", made.id),
        ]
        assert told[2:] == newest
        assert agent.rollback(steps=1) == first


def test_an_old_layout_is_brought_up_step_by_step(old_store: Path, monkeypatch: pytest.MonkeyPatch):
    seen: set[str] = set()

    def named(kind: str, row: dict[str, Any]) -> dict[str, Any]:
        seen.add(kind)
        return row | {"by": row["by"].upper()} if kind == "journal entry" else row

    monkeypatch.setattr("tracetune.stores.layout.LAYOUT", 3)
    monkeypatch.setattr("tracetune.stores.layout._MIGRATIONS", {1: named, 2: lambda kind, row: row})
    with open_store("sqlite:///m.db", base=old_store) as store:
        agent = ProceduralMemory(store, "shop").agent("desk")
        assert agent.release.config["max_steps"] == 40
        assert agent.history(1)[0].by == "ANN"
    assert seen == {"head", "journal entry", "release"}
