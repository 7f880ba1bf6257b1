"""How a hand edit and what was learned come together."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest
from langgraph.store.base import Op, Result
from langgraph.store.memory import InMemoryStore

from tracetune.nodes.guidelines import with_section
from tracetune.nodes.subjects import Source, fingerprint, in_force, merge_edit
from tracetune.stores.bundle import Bundle
from tracetune.stores.memory import ProceduralMemory

OLD = Bundle({"main": "Old."}, {"steps": 200, "tries": 3})
LEARNED = Bundle({"main": with_section("Old.", ["Do this."])}, {"steps": 60, "tries": 3})


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        pytest.param(OLD, LEARNED, id="nothing edited: all that was learned stays"),
        pytest.param(
            Bundle({"main": "New."}, dict(OLD.config)),
            Bundle({"main": with_section("New.", ["Do this."])}, {"steps": 60, "tries": 3}),
            id="a text edited: its section is carried over, the config stays",
        ),
        pytest.param(
            Bundle(dict(OLD.prompts), {"steps": 100, "tries": 3}),
            Bundle(dict(LEARNED.prompts), {"steps": 100, "tries": 3}),
            id="a value edited: it is what the person wrote",
        ),
        pytest.param(
            Bundle({"main": with_section("Old.", ["Mine."])}, dict(OLD.config)),
            Bundle({"main": with_section("Old.", ["Mine."])}, {"steps": 60, "tries": 3}),
            id="a section of the person's own goes before what was learned",
        ),
        pytest.param(
            Bundle({"main": "Old.", "new": "Hi."}, {"steps": 200}),
            Bundle({"main": LEARNED.prompts["main"], "new": "Hi."}, {"steps": 60}),
            id="a prompt added and a value taken out",
        ),
    ],
)
def test_an_edit_goes_before_what_was_learned_only_where_it_touched(
    edited: Bundle, expected: Bundle
) -> None:
    assert merge_edit(edited, LEARNED, fingerprint(OLD)) == expected


def test_a_section_that_a_person_took_out_stays_out() -> None:
    seen: dict[str, Any] = fingerprint(LEARNED)
    assert merge_edit(Bundle({"main": "Old."}), LEARNED, seen).prompts == {"main": "Old."}


FIRST = Bundle({"main": "Old.", "tone": "Warm."}, {"steps": 200, "tries": 3, "pause": 1})
SECOND = Bundle(
    {"main": with_section("Old.", ["Do this."]), "tone": "Warm."},
    {"steps": 60, "tries": 3, "pause": 1},
)
THIRD = Bundle(
    {"main": with_section("Old.", ["Do this.", "And that."]), "tone": "Warm."},
    {"steps": 40, "tries": 3, "pause": 1},
)


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        pytest.param(
            Bundle({**SECOND.prompts, "tone": "Kind."}, SECOND.config),
            Bundle({**THIRD.prompts, "tone": "Kind."}, THIRD.config),
            id="the second was written into the files: only what was edited since counts",
        ),
        pytest.param(
            Bundle(SECOND.prompts, {**SECOND.config, "steps": 200, "tries": 5}),
            Bundle(THIRD.prompts, {**THIRD.config, "steps": 200, "tries": 5}),
            id="the second was written into the files, and its limit edited back",
        ),
        pytest.param(
            Bundle(FIRST.prompts, {**FIRST.config, "steps": 60, "tries": 5}),
            Bundle(THIRD.prompts, {**THIRD.config, "steps": 60, "tries": 5}),
            id="the files are as they were, and one learned value was taken over by hand",
        ),
        pytest.param(
            Bundle({**FIRST.prompts, "tone": "Never shown."}, {**FIRST.config, "pause": 9}),
            Bundle({**THIRD.prompts, "tone": "Never shown."}, {**THIRD.config, "pause": 9}),
            id="what was only proposed was taken over by hand",
        ),
    ],
)
async def test_an_edit_is_told_from_what_the_files_were_brought_up_to(
    edited: Bundle, expected: Bundle
) -> None:
    memory = ProceduralMemory(InMemoryStore(), "p").agent("desk")
    await in_force(memory, Source(FIRST, {}, {}, None))
    prompts = {**FIRST.prompts, "tone": "Never shown."}
    await memory.acommit(prompts=prompts, config={**FIRST.config, "pause": 9, "tries": 7})
    for learned in (SECOND, THIRD):
        await memory.acommit(prompts=learned.prompts, config=learned.config, promote=True)
    found = await in_force(memory, Source(edited, {}, {}, None))
    assert found.head.bundle == expected


class Interrupted(InMemoryStore):
    """A store in which somebody else acts between two reads: at the n-th of them."""

    def __init__(self, at: int, act: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        super().__init__()
        self.left = at
        self.act = act

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        self.left -= 1
        if self.left == 0:
            await self.act()
        return await super().abatch(ops)


@pytest.mark.parametrize("at", [1, 2, 3])
async def test_what_another_cycle_imports_meanwhile_is_no_hand_edit(at: int) -> None:
    async def other() -> None:
        await in_force(ProceduralMemory(store, "p").agent("desk"), source)

    store = Interrupted(at, other)
    source = Source(OLD, {}, {}, None)
    memory = ProceduralMemory(store, "p").agent("desk")
    found = await in_force(memory, source)
    assert store.left <= 0
    assert [release.origin for release in await memory.areleases()] == ["import"]
    assert (found.head.bundle, found.note) == (OLD, "")
