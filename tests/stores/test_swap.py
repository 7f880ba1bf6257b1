"""Compare-and-set: of writers that race for a head one wins, and the others left nothing."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import BaseStore, Op, PutOp
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore

from tracetune.errors import ConflictError
from tracetune.stores.backends import open_store
from tracetune.stores.commits import AgentPlans
from tracetune.stores.memory import NO_HEAD, AgentMemory, ProceduralMemory
from tracetune.stores.steps import Swap
from tracetune.stores.swap import carry_out

HOME = ("tracetune", "project", "email")


@contextmanager
def _opened(url: str, folder: Path) -> Iterator[BaseStore]:
    with open_store(url, base=folder) as store:
        yield store


@contextmanager
def _as_langgraph_opens_it(folder: Path) -> Iterator[BaseStore]:
    with SqliteStore.from_conn_string(str(folder / "m.db")) as store:
        store.setup()
        yield store


STORES: dict[str, Callable[[Path], Any]] = {
    "in memory": lambda folder: _opened("memory://", folder),
    "sqlite": lambda folder: _opened("sqlite:///m.db", folder),
    "sqlite as LangGraph opens it": _as_langgraph_opens_it,
}


@pytest.fixture(params=[*STORES, "a store that only reads and writes"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, plain_store: BaseStore
) -> Iterator[BaseStore]:
    if request.param not in STORES:
        yield plain_store
        return
    with STORES[request.param](tmp_path) as store:
        yield store


@pytest.fixture(params=["memory://", "sqlite:///m.db", "plain"])
async def astore(
    request: pytest.FixtureRequest, tmp_path: Path, plain_store: BaseStore
) -> AsyncIterator[BaseStore]:
    if request.param == "plain":
        yield plain_store
        return
    async with open_store(request.param, base=tmp_path) as store:
        yield store


def _agent(store: BaseStore) -> AgentMemory:
    return ProceduralMemory(store, "project").agent("email")


def _chain(agent: AgentMemory) -> list[str]:
    kept = {release.id: release for release in agent.releases()}
    chain = []
    release = agent.head()
    while release is not None:
        chain.append(release.id)
        release = kept[release.parent] if release.parent else None
    return chain


def _race(store: BaseStore, plan: Any, meanwhile: Callable[[], object]) -> Any:
    """Run a plan, with something done just before its first swap."""
    step = next(plan)
    try:
        while True:
            if isinstance(step, Swap) and meanwhile is not None:
                meanwhile()
                meanwhile = None  # type: ignore[assignment]
            step = plan.send(carry_out(store, step))
    except StopIteration as done:
        return done.value


def test_a_head_that_moves_in_the_last_moment_refuses_a_commit_on_its_base(store: BaseStore):
    agent = _agent(store)
    base = agent.commit(prompts={"m": "0"}, promote=True)
    plan = AgentPlans("project", "email").commit(prompts={"m": "1"}, base=base.id, promote=True)
    with pytest.raises(ConflictError) as caught:
        _race(store, plan, lambda: agent.commit(prompts={"m": "2"}, promote=True))
    assert (caught.value.base, caught.value.head) == (base.id, agent.release.id)
    assert agent.prompts == {"m": "2"}
    assert len(agent.releases()) == 2
    assert len(agent.history()) == 4


def test_a_first_head_that_comes_in_the_last_moment_refuses_another_first(store: BaseStore):
    agent = _agent(store)
    plan = AgentPlans("project", "email").commit(prompts={"m": "1"}, base=NO_HEAD, promote=True)
    with pytest.raises(ConflictError, match="built on no release, but") as caught:
        _race(store, plan, lambda: agent.commit(prompts={"m": "2"}, promote=True))
    assert (caught.value.base, caught.value.head) == (None, agent.release.id)
    assert [r.prompts for r in agent.releases()] == [{"m": "2"}]


def test_a_commit_without_base_is_built_again_on_the_new_head(store: BaseStore):
    agent = _agent(store)
    agent.commit(prompts={"m": "0"}, config={"n": 0}, promote=True)
    plan = AgentPlans("project", "email").commit(config={"n": 2}, promote=True)
    release = _race(store, plan, lambda: agent.commit(prompts={"m": "1"}, promote=True))
    assert agent.head() == release
    assert (release.prompts, release.config) == ({"m": "1"}, {"n": 2})
    assert len(_chain(agent)) == 3


def test_a_promotion_loses_against_another_but_not_against_the_same(store: BaseStore):
    agent = _agent(store)
    base = agent.commit(prompts={"m": "0"}, promote=True)
    one, two = (agent.commit(prompts={"m": m}) for m in "12")
    plan = AgentPlans("project", "email").promote(one.id)
    with pytest.raises(ConflictError, match="The promotion for") as caught:
        _race(store, plan, lambda: agent.promote(two.id))
    assert (caught.value.base, caught.value.head) == (base.id, two.id)
    before = len(agent.history())
    plan = AgentPlans("project", "email").promote(one.id)
    assert _race(store, plan, lambda: agent.promote(one.id)) == one
    assert len(agent.history()) == before + 1


def test_a_rollback_loses_against_a_commit(store: BaseStore):
    agent = _agent(store)
    agent.commit(prompts={"m": "0"}, promote=True)
    agent.commit(prompts={"m": "1"}, promote=True)
    plan = AgentPlans("project", "email").rollback()
    with pytest.raises(ConflictError, match="The rollback for"):
        _race(store, plan, lambda: agent.commit(prompts={"m": "2"}, promote=True))
    assert agent.prompts == {"m": "2"}
    assert [e.action for e in agent.history(1)] == ["promoted"]


def test_a_head_that_went_away_and_came_back_is_the_base_still(store: BaseStore):
    agent = _agent(store)
    first = agent.commit(prompts={"m": "0"}, promote=True)

    def there_and_back() -> None:
        agent.commit(prompts={"m": "1"}, promote=True)
        agent.rollback()

    plan = AgentPlans("project", "email").commit(prompts={"m": "2"}, base=first.id, promote=True)
    release = _race(store, plan, there_and_back)
    assert agent.head() == release
    assert release.parent == first.id


def test_a_promotion_and_a_rollback_may_name_their_base(store: BaseStore):
    agent = _agent(store)
    first = agent.commit(prompts={"m": "0"}, promote=True)
    second = agent.commit(prompts={"m": "1"}, promote=True)
    other = agent.commit(prompts={"m": "2"})
    for attempt in (
        lambda: agent.promote(other.id, base=first.id),
        lambda: agent.rollback(base=first.id),
    ):
        with pytest.raises(ConflictError) as caught:
            attempt()
        assert (caught.value.base, caught.value.head) == (first.id, second.id)
    assert agent.promote(other.id, base=second.id) == other
    assert agent.rollback(second.id, base=other.id) == second


def test_threads_that_race_lose_nothing_silently(store: BaseStore):
    won: list[str] = []
    refused: list[ConflictError] = []

    def write(name: int) -> None:
        agent = _agent(store)
        for turn in range(8):
            head = agent.head()
            base = head.id if head else NO_HEAD
            try:
                made = agent.commit(prompts={"m": f"{name} {turn}"}, base=base, promote=True)
                won.append(made.id)
            except ConflictError as error:
                refused.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    agent = _agent(store)
    assert len(won) + len(refused) == 32
    assert sorted(won) == sorted(_chain(agent)) == sorted(r.id for r in agent.releases())
    assert len(agent.history()) == 2 * len(won)
    assert all(error.base != error.head for error in refused)


async def test_tasks_without_a_base_all_get_in(astore: BaseStore):
    agent = _agent(astore)
    made = await asyncio.gather(
        *(agent.acommit(prompts={"m": str(i)}, promote=True) for i in range(12))
    )
    head = await agent.ahead()
    assert head is not None
    parents = {release.parent: release.id for release in made}
    chain = [parents.pop(None)]
    while chain[-1] in parents:
        chain.append(parents.pop(chain[-1]))
    assert len(chain) == 12
    assert chain[-1] == head.id
    entries = [e.release for e in await agent.ahistory() if e.action == "promoted"]
    assert entries == chain[::-1], "the journal must tell them in the order they came"


async def test_of_tasks_on_one_base_one_gets_in(astore: BaseStore):
    agent = _agent(astore)
    base = await agent.acommit(prompts={"m": "0"}, promote=True)
    tasks = [agent.acommit(prompts={"m": str(i)}, base=base.id, promote=True) for i in range(8)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    made = [r for r in results if not isinstance(r, BaseException)]
    assert len(made) == 1
    assert sum(isinstance(r, ConflictError) for r in results) == 7
    assert await agent.ahead() == made[0]
    assert len(await agent.areleases()) == 2


def test_two_handles_on_one_file_race_safely(tmp_path: Path):
    handles = [open_store("sqlite:///m.db", base=tmp_path) for _ in range(2)]
    with handles[0] as one, handles[1] as two:
        agents = [_agent(one), _agent(two)]
        agents[0].commit(prompts={"m": "0"}, promote=True)
        base = agents[1].release.id
        newer = agents[0].commit(prompts={"m": "1"}, promote=True)
        plan = AgentPlans("project", "email").commit(prompts={"m": "2"}, base=base, promote=True)
        with pytest.raises(ConflictError):
            _race(two, plan, lambda: None)
        assert agents[1].head() == newer


async def test_an_async_store_swaps_for_other_threads_and_loops(tmp_path: Path):
    async with open_store("sqlite:///m.db", base=tmp_path) as store:
        agent = _agent(store)
        first = await asyncio.to_thread(agent.commit, prompts={"m": "0"}, promote=True)
        assert await agent.ahead() == first

        def elsewhere() -> Any:
            return asyncio.run(agent.acommit(prompts={"m": "1"}, base=first.id, promote=True))

        second = await asyncio.to_thread(elsewhere)
        assert await agent.ahead() == second


def test_being_overwritten_is_told_to_the_writer_and_in_the_journal(plain_store: Any):
    store = plain_store
    agent = _agent(store)
    base = agent.commit(prompts={"m": "0"}, promote=True)
    theirs = agent.commit(prompts={"m": "1"})
    record = {"version": 1, "release": theirs.id, "entry": "theirs"}

    def write_over(ops: list[Op]) -> None:
        # Another machine, which does not look: over the head, just after ours.
        if any(isinstance(op, PutOp) and op.key == "head" for op in ops):
            store.afterwards = None
            store.put(HOME, "head", record)

    store.afterwards = write_over
    with pytest.raises(ConflictError) as caught:
        agent.commit(prompts={"m": "2"}, base=base.id, promote=True)
    assert (caught.value.base, caught.value.head) == (base.id, theirs.id)
    newest = agent.history(1)[0]
    assert (newest.action, newest.previous) == ("refused", base.id)
    assert theirs.id in newest.why
    assert agent.head() == theirs


@pytest.mark.parametrize("made", [-1, 1], ids=["in the past", "in the future"])
def test_the_claim_of_a_writer_who_died_holds_others_up_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch, plain_store: BaseStore, made: int
):
    monkeypatch.setattr("tracetune.stores.claims._LEASE_S", 0.1)
    store = plain_store
    # Its clock may have been any: what counts is how long it has been seen.
    then = datetime.now(UTC) + made * timedelta(days=400)
    dead = f"{then:%Y%m%d-%H%M%S}-000-3f9c07 head"
    claims = (*HOME, "claims")
    store.put(claims, dead, {"entry": dead})
    agent = _agent(store)
    agent.commit(prompts={"m": "0"}, promote=True)
    assert agent.prompts == {"m": "0"}
    assert store.search(claims) == []


async def test_the_wrapper_of_a_dev_server_is_seen_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # importing it makes a folder
    pytest.importorskip("langgraph_runtime_inmem", reason="needs the extra `server`")
    from langgraph_runtime_inmem.store import BatchedStore

    inner = InMemoryStore()
    agent = _agent(BatchedStore(inner))
    made = await asyncio.gather(
        *(agent.acommit(prompts={"m": str(i)}, promote=True) for i in range(5))
    )
    assert len({release.parent for release in made}) == 5
    assert inner.search((*HOME, "claims")) == []


def test_a_swap_leaves_what_others_keep_in_the_store_alone(store: BaseStore):
    other = ProceduralMemory(store, "project").agent("email2")
    kept = other.commit(prompts={"m": "x"}, promote=True)
    agent = _agent(store)
    for turn in range(3):
        agent.commit(prompts={"m": str(turn)}, promote=True)
    assert other.release == kept
    pairs = itertools.pairwise(reversed(_chain(agent)))
    assert all(older < newer for older, newer in pairs)


def test_a_reader_gets_done_though_the_head_moves_at_every_step(store: BaseStore):
    agent = _agent(store)
    agent.commit(prompts={"m": "0"}, promote=True)
    plan = AgentPlans("project", "email").head()

    def to_the_end() -> None:
        step = next(plan)
        for turn in range(1, 4):
            results = carry_out(store, step)
            agent.commit(prompts={"m": str(turn)}, promote=True)
            step = plan.send(results)

    with pytest.raises(StopIteration) as done:
        to_the_end()
    assert done.value.value.prompts == {"m": "0"}
