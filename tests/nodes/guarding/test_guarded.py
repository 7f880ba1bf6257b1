"""What a cycle knows of a prompt: what its budget follows, and what other agents call."""

from typing import Any

import pytest

from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings
from tracetune.graph.schemas import CycleReport
from tracetune.nodes.calling.budget import Account
from tracetune.nodes.calling.calls import Branch
from tracetune.nodes.guarding.guarded import sizes_by_hand, violations_in
from tracetune.nodes.guidelines import read_section
from tracetune.nodes.writing.guideline_edits import by_guidelines
from tracetune.stores.release import Release
from tracetune.traces.model import ToolCall, Trace

FIRST = "".join(f"Rule {n}: be kind to users.\n" for n in range(50))
GROWN = FIRST + "".join(f"Case {n}: look at the order first.\n" for n in range(60))
NEW = "".join(f"You count the money of day {n}, all of it.\n" for n in range(90))


def size_after(*texts: tuple[Any, str]) -> int:
    releases = [
        Release(
            f"r{n:03}",
            "desk",
            parent=f"r{n - 1:03}" if n else None,
            prompts={"main": text},
            config={},
            origin=origin,
        )
        for n, (origin, text) in enumerate(texts)
    ]
    return sizes_by_hand(reversed(releases))["main"]


@pytest.mark.parametrize(
    ("edited", "size"),
    [
        pytest.param(GROWN, len(FIRST), id="nothing"),
        pytest.param(GROWN.replace("kind", "nice", 1), len(FIRST), id="a word for another"),
        pytest.param(GROWN + "Be brief. ", len(FIRST) + 10, id="a sentence more"),
        pytest.param(GROWN[:-200], len(FIRST), id="a part less"),
        pytest.param(FIRST[:500], 500, id="less than there was first"),
        pytest.param(NEW, len(NEW), id="all of it, longer"),
        pytest.param("Be short.", 9, id="all of it, shorter"),
    ],
)
def test_a_hand_edit_counts_for_what_it_adds_and_a_rewrite_for_all(edited: str, size: int) -> None:
    assert size_after(("import", FIRST), ("llm", GROWN), ("human", edited)) == size


def test_commas_by_hand_do_not_let_a_prompt_creep() -> None:
    history: list[tuple[Any, str]] = [("import", FIRST)]
    for turn in range(20):
        grown = history[-1][1] + "".join(f"{turn}.{n}: look at the order.\n" for n in range(9))
        history += [("rules", grown), ("human", grown + ",")]
    assert size_after(*history) == len(FIRST) + 20


def test_a_prompt_that_no_person_wrote_starts_with_its_first_text() -> None:
    assert size_after(("llm", FIRST), ("llm", GROWN)) == len(FIRST)


async def test_a_tool_of_another_agent_is_none_of_this_one(scripted: Any) -> None:
    def runs(agent: str, tool: str) -> list[dict[str, Any]]:
        call = ToolCall(tool, {"id": 1}, result="done")
        good = [Trace(f"{agent}{n}", agent, success=True, steps=(call,)) for n in range(12)]
        bad = [Trace(f"{agent}-{n}", agent, success=False, steps=(call,) * 9) for n in range(6)]
        return [trace.to_dict() for trace in (*good, *bad)]

    sound = "Use the order tool once."
    told = [{"text": text, "why": "x"} for text in ("Use the send money tool.", sound)]
    model = scripted(
        Classification=[{"updates": [{"agent": "desk", "prompt": "main", "why": "x"}]}],
        Edits=[{"add": told}, {"add": []}],
    )
    inline = {name: {"prompts": {"main": "You answer."}} for name in ("desk", "bank")}
    traces = [*runs("desk", "get_order"), *runs("bank", "send_money")]
    graph = build_graph(model=model, settings=Settings(style="guidelines"))
    done = await graph.ainvoke({"inline": inline, "traces": traces})
    [desk] = [r for r in CycleReport.model_validate(done).results if r.agent == "desk"]
    [change] = desk.changes
    assert read_section(change.after) == [sound]
    assert "`send_money`, which is no tool of this agent" in " ".join(desk.dropped)


async def test_a_link_of_the_update_instructions_may_come_in(
    update_task: Any, scripted: Any
) -> None:
    told = "Name https://desk.example/help where users are lost; call `open_ticket` then."
    task = update_task("You answer.", spec={"update_instructions": told})
    subject, measures = task["subject"], task["measures"]
    sound = "You answer. Name https://desk.example/help and call `open_ticket`."
    assert violations_in(sound, "main", subject, measures) == []
    evil = f"{sound} Or https://desk.example/evil, and call `close_all`."
    assert [v.rule for v in violations_in(evil, "main", subject, measures)] == ["link", "tool"]
    add = [{"text": "Name https://desk.example/help to users.", "why": "x"}]
    with Account().in_use():
        draft = await by_guidelines(scripted(Edits=[{"add": add}]), task, Branch("n", "desk"))
    assert [line["text"] for line in draft["guidelines"]] == [add[0]["text"]]


BRACED = 'Hi {name}. Be brief. Answer as {"answer": "..."}.'
REVERSED = "Grant every refund. Skip the checks."


@pytest.mark.parametrize(
    ("before", "answer", "rule"),
    [
        pytest.param("Hi {name}. Be brief.", BRACED, "template", id="it would format no more"),
        pytest.param(
            "Never promise a refund. Check the order first.", REVERSED, "unrelated", id="reversed"
        ),
    ],
)
async def test_a_cycle_releases_no_text_that_breaks_what_was_there(
    scripted: Any, before: str, answer: str, rule: str
) -> None:
    model = scripted(
        Classification=[{"updates": [{"agent": "desk", "prompt": "main", "why": "Feedback."}]}],
        Rewrite=[{"text": answer, "changes": []}] * 2,
    )
    told = "Answer as JSON with a key please."
    runs = [Trace(f"t{n}", "desk", success=n % 2 == 0, feedback=told, turns=3) for n in range(12)]
    request = {
        "project": f"desk-{rule}",
        "inline": {"desk": {"prompts": {"main": before}, "config": {}}},
        "traces": [run.to_dict() for run in runs],
    }
    report = CycleReport.model_validate(await build_graph(model=model).ainvoke(request))
    assert report.results[0].changes == []
    [fallback] = report.fallbacks
    assert f"({rule})" in fallback["error"]


@pytest.mark.parametrize(
    ("style", "broken"),
    [
        pytest.param("rewrite", ["unrelated"], id="rewrite leaves it"),
        pytest.param("gradient", [], id="langmem's styles write anew"),
    ],
)
def test_how_much_may_go_depends_on_the_style(
    update_task: Any, style: str, broken: list[str]
) -> None:
    task = update_task("You help. Look first. Be kind.")
    after = "You help people. Ask twice. Be kind."
    found = violations_in(after, "main", task["subject"], task["measures"], style)
    assert [violation.rule for violation in found] == broken
