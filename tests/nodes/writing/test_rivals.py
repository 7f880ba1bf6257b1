"""Guidelines that cannot both be followed, and that none takes turns with another for ever."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings
from tracetune.nodes.guidelines import guideline, read_section
from tracetune.nodes.writing.retiring import MOST_GUIDELINES, settle
from tracetune.nodes.writing.rivals import are_rivals
from tracetune.stores.backends import open_store
from tracetune.stores.memory import ProceduralMemory
from tracetune.traces.model import Message, ToolCall, Trace

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("Call `a` before `b`.", "Call `b` before `a`.", id="in the other order"),
        pytest.param("Call get_a after get_b.", "call get_b after get_a", id="without backticks"),
        pytest.param("Start with `a`.", "Always begin with `b`!", id="another start"),
        pytest.param("Call `a` again.", "Do not call `a` again.", id="one forbids"),
        pytest.param("Retry at most 3 times.", "Retry at most 5 times.", id="another number"),
        pytest.param("Wait 1.5 s, then retry.", "Wait 20 s, then retry.", id="with a point"),
    ],
)
def test_what_cannot_both_be_followed(one: str, other: str) -> None:
    assert are_rivals(one, other)
    assert are_rivals(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("Call `a` before `b`.", "Call `a` before `b`", id="the same"),
        pytest.param("Call `a` before `b`.", "Call `b` before `c`.", id="another pair"),
        pytest.param("Use `a` and `b`.", "Use `b` and `a`.", id="no order"),
        pytest.param("Start with `a`.", "Use `b`.", id="a start and a use"),
        pytest.param("Do not call `a` again.", "Do not call `b` again.", id="two bans"),
        pytest.param("Use `a`.", "Do not call `a` again.", id="a ban of something else"),
        pytest.param("If it weighs 23 kg, ask.", "If it weighs 32 kg, ask.", id="a condition"),
        pytest.param("Charge 50 for 1 bag.", "Charge 90 for 2 bags.", id="two numbers"),
        pytest.param("Call `get_v1`.", "Call `get_v2`.", id="numbers in names"),
        pytest.param("Be brief.", "Be kind.", id="other words"),
    ],
)
def test_what_may_stand_side_by_side(one: str, other: str) -> None:
    assert not are_rivals(one, other)
    assert not are_rivals(other, one)


def line(text: str, q: float | None = None, origin: str = "llm") -> Json:
    rows = [] if q is None else [{"id": f"{text}{q}", "q_value": q, "support": 9}]
    return guideline("main", text, origin, {"patterns": rows})


@pytest.mark.parametrize(
    ("old", "new", "stays"),
    [
        pytest.param(None, None, "old", id="neither rests on anything"),
        pytest.param(None, 0.09, "new", id="the new one rests on something"),
        pytest.param(0.05, 0.04, "old", id="hardly surer"),
        pytest.param(0.05, 0.004, "new", id="much surer"),
        pytest.param(0.0, 0.0, "old", id="both as sure as can be"),
    ],
)
def test_of_two_rivals_the_much_surer_one_stays(
    old: float | None, new: float | None, stays: str
) -> None:
    held, fresh = line("Call `a` before `b`.", old), line("Call `b` before `a`.", new)
    settled = settle([held], [held, fresh], [], lambda sentences: True)
    assert settled.guidelines == [held if stays == "old" else fresh]
    told = [*settled.why, *settled.dropped]
    assert len(told) == 1
    assert "the opposite" in told[0]


def test_a_person_s_guideline_wins_over_its_rival() -> None:
    mine, theirs = line("Retry 3 times.", origin="human"), line("Retry 5 times.", 1e-9)
    for current in ([mine], [theirs]):
        settled = settle(current, [theirs, mine], [], lambda sentences: True)
        assert settled.guidelines == [mine]


TEXTS = (
    *(f"Retry at most {n} times." for n in range(1, 9)),
    *(f"Call `{a}` before `{b}`." for a in "xyz" for b in "xyz" if a != b),
    *(f"{ban}all `{a}` again." for a in "xyz" for ban in ("C", "Do not c")),
    *(f"Start with `{a}`." for a in "xyz"),
    *(f"If it costs {n} EUR, ask." for n in range(40)),
)


@pytest.mark.parametrize("seed", range(5))
def test_random_proposals_come_to_rest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    held: list[Json] = []
    came: dict[str, int] = {}
    for _ in range(120):
        fresh = [
            line(str(rng.choice(TEXTS)), float(10.0 ** -rng.integers(1, 5)))
            for _ in range(rng.integers(1, 5))
        ]
        settled = settle(held, [*held, *fresh], [], lambda sentences: len(sentences) <= 12)
        for new in settled.guidelines:
            came[new["text"]] = came.get(new["text"], 0) + (
                new["id"] not in {g["id"] for g in held}
            )
        held = settled.guidelines
        assert len(held) <= min(12, MOST_GUIDELINES)
        assert not any(are_rivals(a["text"], b["text"]) for a in held for b in held)
        again = settle(held, held, [], lambda sentences: len(sentences) <= 12)
        assert (again.guidelines, again.why, again.dropped) == (held, [], [])
    # Four steps of ten lie between the weakest evidence and the strongest.
    assert max(came.values()) <= 4


def runs(seed: int, cycle: int) -> list[Json]:
    """Eighty runs of one and the same world: looking helps, looping harms, all else is chance."""
    rng = np.random.default_rng([seed, cycle])
    made = []
    for n in range(80):
        names = [str(name) for name in rng.permutation(["look", "book", "pay", "find", "list"])]
        calls = [ToolCall(name, {"n": n}, result="ok") for name in names]
        looks = names.index("look") < names.index("book")
        loops = rng.random() < 0.3
        won = rng.random() < 0.5 + 0.4 * looks - 0.3 * loops
        steps = (Message("user", "Do it."), *calls, *calls[-1:] * (4 * loops))
        trace = Trace(f"{cycle}-{n}", "desk", task=f"t{n % 7}", success=bool(won), steps=steps)
        made.append(trace.to_dict())
    return made


@pytest.mark.parametrize("seed", range(3))
async def test_ten_cycles_on_fresh_runs_of_one_world_do_not_flap(seed: int) -> None:
    seen: list[list[str]] = []
    async with open_store("memory://") as store:
        graph = build_graph(store=store, settings=Settings(model="rules"))
        agent = ProceduralMemory(store, "world").agent("desk")
        inline = {"desk": {"prompts": {"main": "You book flights."}}}
        for cycle in range(10):
            request = {"project": "world", "inline": inline, "traces": runs(seed, cycle)}
            await graph.ainvoke(request)
            head = await agent.ahead()
            seen.append([] if head is None else read_section(head.prompts["main"]))
    held = seen[-1]
    assert "Call `look` before `book`." in held
    assert not any(are_rivals(a, b) for a in held for b in held)
    assert len(held) <= 8
    for text in {text for texts in seen for text in texts}:
        stands = [text in texts for texts in seen]
        assert sum(a is not b for a, b in pairwise(stands)) <= 2
