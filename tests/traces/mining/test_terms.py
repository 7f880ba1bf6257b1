import json
import random
from itertools import pairwise
from typing import Any

import pytest

from tracetune.traces.mining.own_texts import own_texts, own_texts_in, words_of
from tracetune.traces.mining.terms import Said, choose_terms, halves, join_said, said_in, spoken
from tracetune.traces.model import Message, Thought, ToolCall, Trace
from tracetune.traces.readers.canonical import trace_of


def said(mark: int, text: str = "", *, success: bool = True, **values: object) -> Said:
    row = {"id": f"r{mark}", "size": 10, "counted": True, "task": None, "attempts": 1} | values
    return Said(mark=mark, success=success, text=text, **row)  # type: ignore[arg-type]


def test_only_the_agents_own_words_count() -> None:
    steps = (
        Message("system", "be kind"),
        Message("user", "hello there"),
        Thought("I can't find Order #W123, 7 left."),
        ToolCall("look", {"at": "secret"}, result="nothing", error="broken"),
        Message("assistant", "Sorry; ÜBER-sorry!"),
    )
    [found] = said_in([Trace("t", "a", success=True, steps=steps)], {"t": 7})
    assert found.text == "can't find order left\nsorry über sorry"
    assert (found.mark, found.id, found.attempts) == (7, "t", 1)
    words = ("can't", "find", "order", "left", "sorry", "über")
    pairs = ("can't find", "find order", "order left", "sorry über", "über sorry")
    assert spoken([*words, *pairs], [found]).all()
    assert not spoken(["left sorry", "can't order", "rder", "find o", "t find"], [found]).any()


@pytest.mark.parametrize(
    "call",
    [
        pytest.param({"arguments": {"a": ["it's", 1.50, None, {"ü": True}]}}, id="with arguments"),
        pytest.param({"arguments": {}, "result": None, "error": "¡no!"}, id="with an error"),
        pytest.param({"result": "found"}, id="without arguments"),
        pytest.param({"arguments": None, "result": "found"}, id="odd arguments"),
        pytest.param({"arguments": '{"a": 1}'}, id="arguments as text"),
    ],
)
def test_a_line_tells_what_its_trace_does(call: dict[str, Any]) -> None:
    steps = [
        {"kind": "message", "role": "user", "text": "hello"},
        {"kind": "thought", "text": "I am asked"},
        {"kind": "tool_call", "name": "look"} | call,
        {"kind": "message", "role": "assistant", "text": "well…", "agent": "a"},
    ]
    row = {"id": "t", "agent": "a", "success": True, "labels": {"x": "y"}, "steps": steps}
    size, texts = own_texts_in(json.dumps(row))
    assert (size, texts) == own_texts(trace_of(row).steps)
    assert texts == ["I am asked", "well…"]
    assert own_texts_in('{"id":"t","agent":"a"}') == (0, [])


def test_words_are_the_same_beside_ascii_and_other_text() -> None:
    text = f"It's A {'x' * 65} b2c don''t they'reallysorry snake_case 12 o'clock'"
    plain = "it's " + " ".join(["x" * 30, "x" * 30, "x" * 5])
    assert words_of([text]) == words_of([f"{text} É"])
    assert words_of([text]).startswith(plain)


def test_of_long_runs_the_first_and_the_last_words_are_kept() -> None:
    steps = [Thought(f"alpha {'middle ' * 500}"), Thought("more " * 900), Thought("the omega")]
    [found] = said_in([Trace("t", "a", success=False, steps=tuple(steps))], {"t": 1})
    assert len(found.text) <= 8001
    assert found.text.startswith("alpha middle")
    assert found.text.endswith("the omega")
    assert set(found.text.split()) == {"alpha", "middle", "more", "the", "omega"}


def test_unknown_outcomes_say_nothing_and_infrastructure_failures_no_words() -> None:
    steps = (Thought("no answer"),)
    traces = [
        Trace("u", "a", success=None, steps=steps),
        Trace("i", "a", success=False, steps=steps, task="x", failure_kind="infrastructure"),
    ]
    [found] = said_in(traces, {"u": 1, "i": 2})
    assert (found.id, found.text, found.task, found.counted) == ("i", "", None, False)
    assert halves([found]) == ([], [])


def test_a_sample_of_parts_is_the_sample_of_the_whole() -> None:
    chance = random.Random(5)
    whole = [
        said(n, success=chance.random() < 0.7, size=chance.choice([10, 9_000_000]))
        for n in chance.sample(range(10**6), 3000)
    ]
    parts = [join_said(whole[n::7]) for n in range(7)]
    chance.shuffle(parts)
    joined: tuple[Said, ...] = ()
    for part in parts:
        joined = join_said([*joined, *part])
    assert joined == join_said(whole)
    assert 4 <= len(joined) < 1000


def test_a_sample_is_bounded_for_each_outcome() -> None:
    joined = join_said(said(n, success=n % 4 > 0) for n in range(4000))
    assert sum(one.success for one in joined) == sum(not one.success for one in joined) == 500


def test_a_task_that_always_ends_the_same_way_stays_in_one_half() -> None:
    chance = random.Random(2)
    runs = [said(chance.getrandbits(40), task=str(n % 9), success=n % 9 > 4) for n in range(180)]
    chosen_on, tested_on = halves(runs)
    assert chosen_on
    assert tested_on
    assert not {one.task for one in chosen_on} & {one.task for one in tested_on}


@pytest.mark.parametrize(
    "tasks",
    [
        pytest.param([None] * 20, id="no task"),
        pytest.param(["x"] * 20, id="a task with both outcomes"),
        pytest.param([str(n) for n in range(20)], id="a task each"),
    ],
)
def test_other_runs_are_parted_by_their_marks(tasks: list[str | None]) -> None:
    runs = [said(n, task=task, success=n % 3 > 0) for n, task in enumerate(tasks)]
    chosen_on, tested_on = halves(runs)
    assert [one.mark for one in chosen_on] == list(range(0, 20, 2))
    assert [one.mark for one in tested_on] == list(range(1, 20, 2))


def test_terms_that_tell_outcomes_apart_are_chosen_and_their_like_left_out() -> None:
    runs = [said(n, f"the plan works word{n % 5}", success=True) for n in range(20)]
    runs += [said(n + 20, "the plan went deeply wrong", success=False) for n in range(20)]
    assert choose_terms(runs, most=9, least=3) == ["plan works", "deeply wrong"]
    assert choose_terms(runs, most=1, least=3) == ["plan works"]
    assert choose_terms(runs, most=9, least=21) == []
    assert choose_terms([], most=9, least=1) == []


def test_chance_alone_suggests_few_terms() -> None:
    chance = random.Random(8)
    words = [f"{a}{b}" for a, b in pairwise("abcdefghijklmnopqrst")]
    runs = [said(n, " ".join(chance.sample(words, 6)), success=n % 2 > 0) for n in range(200)]
    assert len(choose_terms(runs, most=50, least=3)) < len(words)
