"""What goes wrong around a cycle: threads, parents, edits, races, crashes, strangers."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from typing_extensions import TypedDict

from tracetune.errors import InputError
from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings
from tracetune.graph.schemas import CycleReport
from tracetune.stores.backends import open_store
from tracetune.stores.memory import ProceduralMemory
from tracetune.stores.yaml_files import replace_values
from tracetune.traces.model import ToolCall, Trace

STUCK = ToolCall("transfer", {"why": "stuck"}, result="done")


def runs(agent: str = "desk", call: ToolCall = STUCK) -> list[dict[str, Any]]:
    """Twelve short runs that succeed, six that repeat one call and fail."""
    good = [Trace(f"ok{i}", agent, success=True, turns=3, latency_s=2.0) for i in range(12)]
    bad = [
        Trace(f"bad{i}", agent, success=False, turns=40, latency_s=60.0, steps=(call,) * 12)
        for i in range(6)
    ]
    return [trace.to_dict() for trace in [*good, *bad]]


def asked(prompt: str = "You answer.", **more: Any) -> dict[str, Any]:
    agent: dict[str, Any] = {"prompts": {"main": prompt}, "config": {}}
    return {"project": "desks", "inline": {"desk": agent}, "traces": runs(), **more}


def reported(values: Any) -> CycleReport:
    return CycleReport.model_validate(values)


async def test_a_second_cycle_on_a_thread_knows_nothing_of_the_first(airline: Path) -> None:
    graph = build_graph(store=InMemoryStore(), project=airline, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    first = reported(await graph.ainvoke(asked(), config))
    assert [r.outcome for r in first.results] == ["released"]
    second = reported(await graph.ainvoke({}, config))
    assert [r.agent for r in second.results] == ["airline"]
    third = reported(await graph.ainvoke(asked(), config))
    assert [(r.outcome, r.release) for r in third.results] == [("nothing new", None)]


async def test_an_inline_request_cannot_touch_the_project_s_own_agents(airline: Path) -> None:
    graph = build_graph(store=InMemoryStore(), project=airline)
    with pytest.raises(InputError, match="must not be 'airline' with inline agents"):
        await graph.ainvoke(asked(project="airline"))
    with pytest.raises(InputError, match="must name what memory"):
        await graph.ainvoke(asked(project=""))
    evil = {"airline": {"prompts": {"policy": "EVIL"}}}
    await graph.ainvoke(asked(inline=evil, traces=runs("airline")))
    assert not (airline / ".tracetune" / "releases").exists()


@pytest.mark.parametrize("sync", [True, False], ids=["invoke", "ainvoke"])
async def test_inside_a_parent_the_own_store_and_settings_hold(sync: bool) -> None:
    class Outer(TypedDict):
        told: str

    class Theirs(TypedDict):
        model: int

    own, theirs = InMemoryStore(), InMemoryStore()
    cycle = build_graph(store=own, settings=Settings(min_traces=18))

    async def anode(state: Outer) -> Outer:
        return {"told": (await cycle.ainvoke(asked()))["status"]}

    def node(state: Outer) -> Outer:
        return {"told": cycle.invoke(asked())["status"]}

    parent = StateGraph(Outer, context_schema=Theirs)
    parent.add_node("tune", node if sync else anode)
    parent.add_edge(START, "tune")
    parent.add_edge("tune", END)
    graph = parent.compile(store=theirs)
    context: Any = {"model": 7}
    if sync:
        got = graph.invoke({"told": ""}, context=context)
    else:
        got = await graph.ainvoke({"told": ""}, context=context)
    assert got["told"] == "released"
    assert len(ProceduralMemory(own, "desks").agent("desk").releases()) == 2
    assert theirs.list_namespaces() == []


async def test_a_hand_edit_is_kept_and_what_was_learned_too(airline: Path) -> None:
    async with open_store("sqlite:///memory.db", base=airline) as store:
        graph = build_graph(store=store, project=airline)
        await graph.ainvoke({})
        file = airline / "prompts.yaml"
        text = file.read_text(encoding="utf-8")
        file.write_text(replace_values(text, {"policy": "A new policy."}), encoding="utf-8")
        again = reported(await graph.ainvoke({}))
        head = await ProceduralMemory(store, "airline").agent("airline").ahead()
        assert head is not None
        assert head.origin == "human"
        assert head.prompts["policy"].startswith("A new policy.\n\n<learned_guidelines>\n- ")
        assert head.config == {"max_steps": 60}
        assert any("edited by hand" in note for note in again.notes)
        third = reported(await graph.ainvoke({}))
        assert third.results[0].base == head.id
        assert not any("edited by hand" in note for note in third.notes)
        assert file.read_text(encoding="utf-8") == replace_values(text, {"policy": "A new policy."})


async def test_two_first_cycles_at_once_import_once() -> None:
    store = InMemoryStore()
    graph = build_graph(store=store)
    both = await asyncio.gather(*(graph.ainvoke(asked()) for _ in range(2)))
    outcomes = sorted(reported(got).results[0].outcome for got in both)
    releases = ProceduralMemory(store, "desks").agent("desk").releases()
    assert [release.origin for release in releases].count("import") == 1
    assert outcomes[-1] == "released"


def test_a_cycle_goes_on_in_another_process_s_graph(airline: Path, tmp_path: Path) -> None:
    config: Any = {"configurable": {"thread_id": "1"}}
    with (
        open_store("sqlite:///memory.db", base=airline) as store,
        SqliteSaver.from_conn_string(str(tmp_path / "checkpoints.db")) as saver,
    ):
        first = build_graph(store=store, project=airline, checkpointer=saver)
        first.invoke({}, config, context=Settings(review=True))
        # A graph of its own holds nothing of what the first one read.
        second = build_graph(store=store, project=airline, checkpointer=saver)
        done = second.invoke(Command(resume={"approve": True, "comment": "fine"}), config)
        [result] = reported(done).results
        assert result.outcome == "released"
        head = ProceduralMemory(store, "airline").agent("airline").release
        assert head.why[-1] == "Approved in review: fine"


@pytest.mark.parametrize("changed", [False, True], ids=["as they were", "changed meanwhile"])
async def test_a_cycle_that_goes_on_elsewhere_reads_the_same_traces_again(
    changed: bool, airline: Path
) -> None:
    saver: Any = InMemorySaver()
    config: Any = {"configurable": {"thread_id": "1"}}
    store = InMemoryStore()
    await build_graph(store=store, project=airline, checkpointer=saver).ainvoke({}, config)
    first = build_graph(store=store, project=airline, checkpointer=saver)
    history = [state async for state in first.aget_state_history(config)]
    before = next(state for state in history if state.next == ("compute_metrics",))
    if changed:
        more = Trace("new", "airline", success=True).to_dict()
        (airline / "traces.json").write_text(json.dumps([more]), encoding="utf-8")
        file = airline / "tracetune.yaml"
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("traces.json.gz", "traces.json"), encoding="utf-8")
    other = build_graph(store=store, project=airline, checkpointer=saver)
    if changed:
        with pytest.raises(InputError, match="The traces of airline have changed since"):
            await other.ainvoke(None, before.config)
    else:
        again = reported(await other.ainvoke(None, before.config))
        assert again.results[0].metrics is not None
        assert again.results[0].metrics["n"] == 50


async def test_what_was_committed_before_a_crash_is_not_committed_again() -> None:
    store = InMemoryStore()
    graph = build_graph(store=store, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    await graph.ainvoke(asked(), config)
    history = [state async for state in graph.aget_state_history(config)]
    before = next(state for state in history if state.next == ("checkpoint_versions",))
    again = reported(await graph.ainvoke(None, before.config))
    assert again.results[0].outcome == "released"
    assert len(ProceduralMemory(store, "desks").agent("desk").releases()) == 2


async def test_a_mistyped_review_can_be_answered_again(airline: Path) -> None:
    graph = build_graph(store=InMemoryStore(), project=airline, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    await graph.ainvoke({}, config, context=Settings(review=True))
    wrong = Command(resume={"approve": True, "only": ["nobody"]})
    [waiting] = (await graph.ainvoke(wrong, config))["__interrupt__"]
    assert waiting.value["question"] == "No 'nobody' is under review. Release airline?"
    got = await graph.ainvoke(Command(resume={"approve": True, "only": ["airline"]}), config)
    assert reported(got).status == "released"


async def test_review_without_a_place_to_wait_is_refused(airline: Path) -> None:
    graph = build_graph(store=InMemoryStore(), project=airline)
    with pytest.raises(InputError, match="review needs a checkpointer"):
        await graph.ainvoke({}, context=Settings(review=True))


async def test_two_agents_may_number_their_runs_alike() -> None:
    agents = {name: {"prompts": {"main": "You answer."}} for name in ("desk", "phone")}
    got = await build_graph().ainvoke(asked(inline=agents, traces=[*runs("desk"), *runs("phone")]))
    assert [(r.agent, r.traces, r.set_aside) for r in reported(got).results] == [
        ("desk", 18, 0),
        ("phone", 18, 0),
    ]


async def test_a_harmful_limit_is_refused_even_beside_a_guideline(scripted: Any) -> None:
    model = scripted(
        Classification=[{"updates": [{"agent": "desk", "prompt": "main", "why": "it loops"}]}],
        Edits=[{"add": [{"text": "Stop when done.", "why": "loops"}]}],
        ConfigChanges=[{"changes": [{"parameter": "max_steps", "value": 1, "why": "shorter"}]}],
    )
    agent = {
        "prompts": {"main": "You answer."},
        "config": {"max_steps": 40},
        "parameters": {"max_steps": {"min": 1, "step_limit": True}},
    }
    got = await build_graph(model=model).ainvoke(asked(inline={"desk": agent}))
    [result] = reported(got).results
    assert result.outcome == "refused"
    assert result.release is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"parameter": "retries", "value": -5}, "retries", id="a new sign"),
        pytest.param({"parameter": "retries", "value": True}, "retries", id="another type"),
        pytest.param({"parameter": "retries", "value": 10**30}, "retries", id="beyond bounds"),
        pytest.param({"parameter": "style", "value": "rude"}, "style", id="undeclared text"),
        pytest.param({"parameter": "nothing", "value": 1}, "nothing", id="no such parameter"),
    ],
)
async def test_what_nobody_allowed_is_not_changed(
    change: dict[str, Any], reason: str, scripted: Any
) -> None:
    good = {"parameter": "retries", "value": 4, "why": "fewer"}
    model = scripted(
        Classification=[{"updates": []}],
        ConfigChanges=[{"changes": [good | {"parameter": "tries"}, change | {"why": "more"}]}],
    )
    config = {"retries": 3, "tries": 2, "style": "kind"}
    agent = {"prompts": {"main": "You answer."}, "config": config}
    got = await build_graph(model=model).ainvoke(asked(inline={"desk": agent}))
    [result] = reported(got).results
    assert [c.name for c in result.changes] == ["tries"]
    assert any(reason in text for text in result.dropped)


async def test_text_that_no_store_can_keep_is_refused_before_anything_is_kept() -> None:
    store = InMemoryStore()
    with pytest.raises(InputError, match=r"desk\.prompts\.main holds the character U\+0000"):
        await build_graph(store=store).ainvoke(asked("a\x00b"))
    assert store.list_namespaces() == []


class Sized(InMemoryStore):
    """A store that is false while it is empty, as anything with a length is."""

    def __len__(self) -> int:
        return len(self._data)


async def test_an_empty_store_is_still_the_store_that_was_given() -> None:
    store = Sized()
    got = reported(await build_graph(store=store).ainvoke(asked()))
    assert not any("forgotten" in note for note in got.notes)
    assert len(ProceduralMemory(store, "desks").agent("desk").releases()) == 2


async def test_a_second_run_with_the_same_id_is_set_aside_and_told() -> None:
    got = reported(await build_graph().ainvoke(asked(traces=[*runs(), runs()[0]])))
    assert [(r.traces, r.set_aside) for r in got.results] == [(18, 1)]
    reason = "Two traces of agent 'desk' have the id 'ok0'; expected 1."
    assert f"desk: 1 record was set aside; the first: records 19: {reason}" in got.notes
