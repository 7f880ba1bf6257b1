"""Pruning drops what nothing needs, and nothing else."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tracetune.errors import InputError, NotFoundError
from tracetune.stores.archive import dump
from tracetune.stores.backends import open_store
from tracetune.stores.commits import AgentPlans
from tracetune.stores.memory import AgentMemory, ProceduralMemory
from tracetune.stores.prune import _AT_ONCE, _prune, aprune, prune
from tracetune.stores.records import run
from tracetune.stores.steps import WritePlan
from tracetune.stores.swap import carry_out


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[ProceduralMemory]:
    with open_store("sqlite:///memory.db", base=tmp_path) as store:
        yield ProceduralMemory(store, "shop")


@pytest.fixture
def desk(memory: ProceduralMemory) -> AgentMemory:
    return memory.agent("desk")


def commits(desk: AgentMemory, count: int, *, promote: bool = True) -> list[str]:
    """Ids of new releases, oldest first."""
    start = len(desk.releases())
    made = range(start, start + count)
    return [desk.commit(prompts={"main": f"{n}"}, promote=promote).id for n in made]


def left(desk: AgentMemory) -> set[str]:
    return {release.id for release in desk.releases()}


def test_what_lies_further_back_than_keep_is_dropped_and_journalled(
    memory: ProceduralMemory, desk: AgentMemory
) -> None:
    ids = commits(desk, 10)
    done = prune(memory, "desk", keep=3, by="ana")
    assert done.dropped == tuple(ids[:6])
    assert left(desk) == set(ids[6:])
    assert done.kept == 4
    notes = [e for e in desk.history() if e.action == "pruned"]
    assert [(e.release, e.by) for e in reversed(notes)] == [(i, "ana") for i in ids[:6]]
    assert {e.release for e in desk.history() if e.action == "committed"} == set(ids)
    assert desk.rollback().id == ids[8]
    assert desk.rollback(ids[6]).id == ids[6]


def test_a_dry_run_says_the_same_and_changes_nothing(
    memory: ProceduralMemory, desk: AgentMemory
) -> None:
    commits(desk, 10)
    before = dump(memory)
    told = prune(memory, "desk", keep=3, dry_run=True)
    assert dump(memory) == before
    assert prune(memory, "desk", keep=3) == told
    assert prune(memory, "desk", keep=3).dropped == ()


def test_the_head_and_its_parents_stay_however_old(
    memory: ProceduralMemory, desk: AgentMemory
) -> None:
    old = commits(desk, 6)
    commits(desk, 20, promote=False)
    prune(memory, "desk", keep=2)
    assert set(old[3:]) <= left(desk)
    assert left(desk).isdisjoint(old[:3])
    assert desk.release.id == old[-1]


def test_what_was_in_force_lately_stays(memory: ProceduralMemory, desk: AgentMemory) -> None:
    ids = commits(desk, 12)
    desk.promote(ids[2])
    desk.promote(ids[-1])
    prune(memory, "desk", keep=2)
    assert left(desk) == {ids[2], *ids[-3:]}
    assert desk.rollback(ids[2]).id == ids[2]


def test_what_any_other_record_names_stays(memory: ProceduralMemory, desk: AgentMemory) -> None:
    ids = commits(desk, 8)
    home = ("tracetune", "shop", "desk")
    memory.store.put((*home, "labels"), "canary", {"release": ids[0]})
    memory.store.put((*home, "users", "bob"), "layer", {"over": [{"base": ids[1]}]})
    prune(memory, "desk", keep=1)
    assert left(desk) == {ids[0], ids[1], *ids[-2:]}


def test_what_the_next_cycle_looks_up_stays(memory: ProceduralMemory, desk: AgentMemory) -> None:
    kept = [
        desk.commit(prompts={"main": "file"}, origin="import", evidence={"source": {}}).id,
        desk.commit(prompts={"main": "learned"}, origin="rules", evidence={"digest": "d"}).id,
        desk.commit(prompts={"main": "exported"}).id,
    ]
    ids = commits(desk, 8)
    exported = desk.get(kept[2]).content_hash
    prune(memory, "desk", keep=1, declared=[exported])
    assert left(desk) == {*kept, *ids[-2:]}


def test_an_agent_that_is_called_as_a_part_of_memory_keeps_its_head(
    memory: ProceduralMemory,
) -> None:
    odd = memory.agent("releases")
    ids = commits(odd, 5)
    prune(memory, "releases", keep=1)
    assert odd.release.id == ids[-1]
    assert left(odd) == set(ids[-2:])


def test_another_agents_releases_are_left_alone(
    memory: ProceduralMemory, desk: AgentMemory
) -> None:
    commits(desk, 5)
    till = memory.agent("till")
    ids = commits(till, 5)
    prune(memory, "desk", keep=1)
    assert left(till) == set(ids)


def test_an_agent_without_releases_has_none_to_drop(memory: ProceduralMemory) -> None:
    assert prune(memory, "desk", keep=1).dropped == ()
    assert len(dump(memory)) == 2


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        pytest.param(0, "keep must be 1 or more, but got 0", id="nothing"),
        pytest.param("1", "keep must be a whole number, but got '1'", id="text"),
        pytest.param(1.5, "keep must be a whole number, but got 1.5", id="a half"),
    ],
)
def test_to_keep_nothing_is_refused(memory: ProceduralMemory, keep: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prune(memory, "desk", keep=keep)


def test_odd_records_that_were_let_in_once_are_no_hindrance(
    memory: ProceduralMemory, desk: AgentMemory
) -> None:
    ids = commits(desk, 4)
    place = ("tracetune", "shop", "desk", "releases")
    for name, odd in zip(ids, ({"why": [None]}, {"origin": ["a"]}, {"evidence": 5}), strict=False):
        item = memory.store.get(place, name)
        assert item is not None
        memory.store.put(place, name, item.value | odd, index=False)
    assert len(desk.history()) == 8
    assert desk.rollback(ids[1]).id == ids[1]
    assert prune(memory, "desk", keep=1).dropped == (ids[2],)
    assert len(desk.history()) == 10


async def test_the_async_twin_does_the_same(tmp_path: Path) -> None:
    async with open_store("sqlite:///memory.db", base=tmp_path) as store:
        memory = ProceduralMemory(store, "shop")
        desk = memory.agent("desk")
        for n in range(5):
            await desk.acommit(prompts={"main": f"{n}"}, promote=True)
        assert len((await aprune(memory, "desk", keep=1)).dropped) == 3
        assert len(await desk.areleases()) == 2


ACTS: dict[str, Callable[[AgentPlans, str], WritePlan[Any]]] = {
    "promote": lambda plans, name: plans.promote(name),
    "roll back": lambda plans, name: plans.rollback(name),
    "label": lambda plans, name: plans.label("canary", name),
}


def named(desk: AgentMemory) -> set[str]:
    head = desk.head()
    return {*desk.labels().values(), *([head.id] if head else [])}


@pytest.fixture(params=["memory", "sqlite", "postgres", "a store that only reads and writes"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ProceduralMemory]:
    if request.param == "a store that only reads and writes":
        yield ProceduralMemory(request.getfixturevalue("plain_store"), "shop")
        return
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/shop.db"}
    url = urls.get(request.param) or request.getfixturevalue("fresh_postgres")
    with open_store(url) as store:
        yield ProceduralMemory(store, "shop")


def steps_until_done(memory: ProceduralMemory, plan: WritePlan[Any]) -> Iterator[None]:
    """Do a plan's steps one by one, as another process would: each in its own moment."""
    results: Any = None
    with suppress(StopIteration, NotFoundError):
        while True:
            step = plan.send(results)
            results = carry_out(memory.store, step)
            yield


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("before", range(7), ids="pruned before its step {}".format)
def test_nothing_is_pruned_under_who_names_it(
    shop: ProceduralMemory, act: str, before: int
) -> None:
    desk = shop.agent("desk")
    ids = commits(desk, 5)
    steps = steps_until_done(shop, ACTS[act](AgentPlans("shop", "desk"), ids[0]))
    for _ in itertools.islice(steps, before):
        pass
    done = prune(shop, "desk", keep=1)
    assert named(desk) <= left(desk), "pruning left a name without its release"
    for _ in steps:
        assert named(desk) <= left(desk), "so did who named it"
    assert (ids[0] in left(desk)) == (ids[0] not in done.dropped)
    assert {e.release for e in desk.history() if e.action == "pruned"} == set(done.dropped)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("before", range(6), ids="named before its step {}".format)
def test_pruning_notices_who_names_a_release_meanwhile(
    shop: ProceduralMemory, act: str, before: int
) -> None:
    desk = shop.agent("desk")
    ids = commits(desk, 5)
    steps = steps_until_done(shop, _prune(shop, "desk", 1, False, (), "ana"))
    for _ in itertools.islice(steps, before):
        pass
    with suppress(NotFoundError):
        run(shop.store, ACTS[act](AgentPlans("shop", "desk"), ids[0]), act)
    for _ in steps:
        assert named(desk) <= left(desk), "pruning left a name without its release"
    assert named(desk) <= left(desk)
    told = {e.release for e in desk.history() if e.action == "committed"}
    assert told == set(ids), "the journal forgot a commit"


def test_a_first_promotion_is_not_pruned_under(shop: ProceduralMemory) -> None:
    desk = shop.agent("desk")
    ids = commits(desk, 4, promote=False)
    promotion = AgentPlans("shop", "desk").promote(ids[0])
    steps = steps_until_done(shop, promotion)
    for _ in itertools.islice(steps, 2):
        pass
    assert prune(shop, "desk", keep=1).dropped == tuple(ids[:3])
    assert list(steps), "it had not begun to write"
    assert desk.head() is None
    assert desk.promote(ids[3]) == desk.head()
    assert desk.commit(prompts={"main": "on it"}, base=ids[3], promote=True).parent == ids[3]


def test_more_are_dropped_than_one_write_takes(
    memory: ProceduralMemory, desk: AgentMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracetune.stores.prune._AT_ONCE", 3)
    ids = commits(desk, 10)
    done = prune(memory, "desk", keep=1)
    assert done.dropped == tuple(ids[:8])
    assert left(desk) == set(ids[8:])


def test_as_many_are_dropped_in_one_write_as_it_may_take(shop: ProceduralMemory) -> None:
    desk = shop.agent("desk")
    ids = commits(desk, _AT_ONCE + 10, promote=False)
    assert prune(shop, "desk", keep=1).dropped == tuple(ids[:-1])
    assert len(desk.history()) == len(ids) + len(ids) - 1


def test_labels_and_promotions_work_after_pruning(
    memory: ProceduralMemory, desk: AgentMemory
) -> None:
    ids = commits(desk, 6)
    desk.label("canary", ids[1])
    prune(memory, "desk", keep=1)
    assert desk.labelled("canary").id == ids[1]
    base = desk.release.id
    assert desk.commit(config={"n": 1}, base=base, promote=True).parent == base
    assert desk.promote("canary").id == ids[1]
    assert desk.rollback(base).id == base
