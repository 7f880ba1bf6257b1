"""Ten cycles on the same runs end where one ended, whoever writes the guidelines."""

from collections.abc import Callable
from typing import Any

import pytest

from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings
from tracetune.nodes.guidelines import budget, outside, read_examples, read_section
from tracetune.stores.backends import open_store
from tracetune.stores.memory import ProceduralMemory
from tracetune.traces.model import Message, ToolCall, Trace

PROMPT = "You book flights. Be kind."


def runs(*, turned: bool = False) -> list[dict[str, Any]]:
    """Runs that look before they book and succeed, and runs that loop and fail; or turned round."""
    look, book = ToolCall("look", {"to": "Rome"}), ToolCall("book", {"id": 7})
    told = Message("user", "Book me a flight."), Message("assistant", "It is booked.")
    steps = {True: (told[0], look, book, told[1]), False: (told[0], *(book,) * 4, told[1])}
    return [
        Trace(
            f"{won}{n}", "desk", task=f"t{n % 8}", success=won, steps=steps[won is not turned]
        ).to_dict()
        for won in (True, False)
        for n in range(16)
    ]


async def ten(model: Any = None, **spec: Any) -> tuple[list[str], list[str], Any]:
    """The prompt and the status after each of ten cycles, and the last release."""
    inline = {"desk": {"prompts": {"main": PROMPT}, "prompt_specs": {"main": spec}}}
    request = {"project": "ten", "inline": inline, "traces": runs()}
    texts, ends, head = [], [], None
    async with open_store("memory://") as store:
        settings = Settings(relearn=True, model="rules") if model is None else None
        graph = build_graph(store=store, model=model, settings=settings or Settings(relearn=True))
        memory = ProceduralMemory(store, "ten").agent("desk")
        for _ in range(10):
            report = await graph.ainvoke(request)
            assert report["fallbacks"] == []
            head = await memory.ahead()
            assert head is not None
            texts.append(head.prompts["main"])
            ends.append(report["status"])
    return texts, ends, head


def asking(scripted: Any, answer: Callable[[int], dict[str, Any]]) -> Any:
    """A model that always updates the prompt; its n-th answer is `answer(n)`."""
    chosen = {"updates": [{"agent": "desk", "prompt": "main", "why": "it loops"}]}
    return scripted(Classification=[chosen] * 10, Edits=[answer(n) for n in range(10)])


@pytest.mark.parametrize("allowed", [0, 2], ids=["no examples", "two examples"])
async def test_the_rules_learn_once(allowed: int) -> None:
    texts, ends, head = await ten(demonstrations=allowed)
    assert ends == ["released"] + ["no change"] * 9
    assert set(texts) == {texts[0]}
    assert outside(texts[0]) == PROMPT
    assert "Call `look` before `book`." in read_section(texts[0])
    assert len(read_examples(texts[0])) == allowed
    assert {line.origin for line in head.guidelines} == {"rules"}
    assert all(line.evidence["patterns"][0]["traces"] for line in head.guidelines)


WAYS = (
    "Call `look` before `book`.",
    "call `look` before `book`",
    "Always call `look` before you call `book`.",
    "Please call `look` first, before `book`.",
    "Before anything else call `look`, and only then `book`.",
)


async def test_a_model_that_says_the_same_again_and_again_is_heard_once(scripted: Any) -> None:
    def answer(n: int) -> dict[str, Any]:
        said = [WAYS[n % len(WAYS)], WAYS[(n + 1) % len(WAYS)]]
        return {"add": [{"text": text, "why": "It helps.", "patterns": [1]} for text in said]}

    texts, ends, _ = await ten(asking(scripted, answer), style="guidelines")
    assert ends == ["released"] + ["no change"] * 9
    assert set(texts) == {texts[0]}
    assert read_section(texts[0]) == [WAYS[0]]


async def test_a_model_that_always_adds_outgrows_no_budget(scripted: Any) -> None:
    def answer(n: int) -> dict[str, Any]:
        lessons = [f"Lesson {n}{i}: {' '.join(f'w{n}{i}x{k}' for k in range(20))}" for i in "abcde"]
        return {"add": [{"text": text, "why": "", "patterns": [1]} for text in lessons]}

    texts, _, head = await ten(asking(scripted, answer), style="guidelines")
    assert all(len(text) <= budget(PROMPT) for text in texts)
    assert len(set(texts[3:])) == 1, "once it is full, what stands there stays"
    assert outside(texts[-1]) == PROMPT
    assert [line.text for line in head.guidelines] == read_section(texts[-1])


async def test_what_later_runs_speak_against_is_taken_out(scripted: Any) -> None:
    """Nobody chooses the prompt in the second cycle: guidelines retire all the same."""
    inline = {"desk": {"prompts": {"main": PROMPT}}}
    request = {"project": "turned", "inline": inline}
    async with open_store("memory://") as store:
        by_rules = build_graph(store=store, settings=Settings(model="rules"))
        await by_rules.ainvoke({**request, "traces": runs()})
        memory = ProceduralMemory(store, "turned").agent("desk")
        learned = await memory.ahead()
        assert learned is not None
        assert read_section(learned.prompts["main"])
        idle = build_graph(store=store, model=scripted(Classification=[{"updates": []}]))
        report = await idle.ainvoke({**request, "traces": runs(turned=True)})
        head = await memory.ahead()
    assert report["status"] == "released"
    assert head is not None
    assert head.parent == learned.id
    assert head.prompts["main"] == PROMPT
    assert any("Retired: “Call `look` before `book`.”" in why for why in head.why)
    assert all("100%" in why for why in head.why)
