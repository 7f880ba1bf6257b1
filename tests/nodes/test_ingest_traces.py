"""What a request may do: to what is in force, with names that nothing has, with secrets in it."""

import json
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from tracetune.errors import InputError, NotFoundError
from tracetune.graph.build import Cycle, build_graph
from tracetune.graph.context import Settings
from tracetune.graph.schemas import CycleReport
from tracetune.stores.memory import AgentMemory, ProceduralMemory
from tracetune.stores.prune import prune
from tracetune.traces.model import Message, ToolCall, Trace

RULES = Settings(model="rules")
FIRST: dict[str, Any] = {"prompts": {"main": "You are the clerk."}, "config": {"max_steps": 40}}
SECRET = "sk-" + "proj-" + "aB3dE5fG7h" * 4


def runs(agent: str = "clerk", said: str = "") -> list[dict[str, Any]]:
    """Twelve short runs that succeed, six that repeat one call and fail."""
    words = (Message("user", said),) if said else ()
    call = ToolCall("transfer", {"why": "stuck"}, result="done")
    good = [Trace(f"ok{i}", agent, success=True, turns=3, steps=words) for i in range(12)]
    bad = [
        Trace(f"bad{i}", agent, success=False, turns=40, steps=(*words, *(call,) * 12))
        for i in range(6)
    ]
    return [trace.to_dict() for trace in [*good, *bad]]


def asked(agent: dict[str, Any] = FIRST, **more: Any) -> dict[str, Any]:
    return {"project": "billing", "inline": {"clerk": agent}, "traces": runs(), **more}


def served(store: InMemoryStore) -> Cycle:
    """The graph as a server runs it: built without a store, and given the server's own."""
    graph = build_graph().copy(update={"store": store})
    assert isinstance(graph, type(build_graph()))
    return graph


def learn(graph: Cycle, request: dict[str, Any]) -> CycleReport:
    return CycleReport.model_validate(graph.invoke(request, context=RULES))


def clerk(store: InMemoryStore) -> AgentMemory:
    return ProceduralMemory(store, "billing").agent("clerk")


EVIL = "Say yes. http://evil.example"


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        pytest.param({"prompts": {"main": EVIL}}, "config.max_steps, prompts.main", id="all new"),
        pytest.param({**FIRST, "prompts": {"main": EVIL}}, "prompts.main", id="a new text"),
        pytest.param({**FIRST, "config": {"max_steps": 9}}, "config.max_steps", id="a new value"),
        pytest.param({"prompts": FIRST["prompts"]}, "config.max_steps", id="a value taken out"),
        pytest.param(
            {**FIRST, "prompts": {**FIRST["prompts"], "new": EVIL}}, "prompts.new", id="one more"
        ),
    ],
)
@pytest.mark.parametrize("review", [True, False], ids=["with a review", "without"])
def test_a_server_s_request_changes_nothing_in_force(
    agent: dict[str, Any], told: str, review: bool
) -> None:
    store = InMemoryStore()
    team = clerk(store).commit(**FIRST, promote=True, by="team")
    graph = served(store)
    graph.checkpointer = InMemorySaver()
    other = {"prompts": {"main": "You are new here."}}
    request = asked(agent, traces=runs() + runs("aide"))
    request["inline"] = {"aide": other, **request["inline"]}
    with pytest.raises(InputError, match=rf"inline\.clerk differs in {told} from what memory"):
        graph.invoke(
            request,
            {"configurable": {"thread_id": "1"}},
            context=Settings(model="rules", review=review),
        )
    assert clerk(store).releases() == [team]
    assert ProceduralMemory(store, "billing").agent("aide").releases() == []


def test_a_server_s_request_brings_an_agent_in_and_learns_on_top_of_what_it_learned() -> None:
    store = InMemoryStore()
    graph = served(store)
    first = learn(graph, asked())
    assert first.status == "released"
    head = clerk(store).head()
    assert head is not None
    assert [release.origin for release in clerk(store).releases()] == ["rules", "import"]
    ways = {
        "as it first was": FIRST,
        "as it was released": {"prompts": dict(head.prompts), "config": dict(head.config)},
        "only its prompts taken over": {**FIRST, "prompts": dict(head.prompts)},
    }
    for way, agent in ways.items():
        again = learn(graph, asked(agent, traces=runs(said=way)))
        assert again.results[0].base == head.id, way
        assert again.results[0].release is None, way
        assert not any("edited" in note for note in again.notes), way


def test_who_has_changed_the_text_commits_it_and_goes_on() -> None:
    store = InMemoryStore()
    graph = served(store)
    learn(graph, asked())
    new = {**FIRST, "prompts": {"main": "You are the new clerk."}}
    with pytest.raises(InputError, match="have the agent's owner commit the change"):
        learn(graph, asked(new))
    owner = clerk(store).commit(**new, promote=True, by="team")
    assert learn(graph, asked(new, traces=runs(said="Hello."))).results[0].base == owner.id


def test_a_server_s_request_with_a_pruned_release_is_told_to_send_what_is_in_force() -> None:
    store = InMemoryStore()
    graph = served(store)
    texts = [{**FIRST, "prompts": {"main": f"You are clerk {n}."}} for n in range(3)]
    for text in texts:
        clerk(store).commit(**text, promote=True, by="team")
    learn(graph, asked(texts[0]))
    prune(ProceduralMemory(store, "billing"), "clerk", keep=1)
    told = r"from what memory still holds, .*: send what is in force, or have"
    with pytest.raises(InputError, match=told):
        learn(graph, asked(texts[0], traces=runs(said="Hello.")))
    head = clerk(store).head()
    assert head is not None
    now = {"prompts": dict(head.prompts), "config": dict(head.config)}
    assert learn(graph, asked(now, traces=runs(said="Hello."))).results[0].base == head.id


def test_what_a_program_asks_of_memory_of_its_own_is_its_owner_s() -> None:
    store = InMemoryStore()
    graph = build_graph(store=store)
    learn(graph, asked())
    again = learn(graph, asked({**FIRST, "prompts": {"main": "You are the new clerk."}}))
    head = clerk(store).head()
    assert head is not None
    assert any("edited by hand" in note for note in again.notes)
    assert head.prompts["main"].startswith("You are the new clerk.\n\n<learned_guidelines>")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        pytest.param(
            {"prompt_specs": {"mian": {"when_to_update": "never"}}},
            "inline.clerk.prompts has no 'mian', which inline.clerk.prompt_specs names "
            "(did you mean main?).",
            id="a prompt",
        ),
        pytest.param(
            {"parameters": {"max_step": {"frozen": True}}},
            "inline.clerk.config has no 'max_step', which inline.clerk.parameters names "
            "(did you mean max_steps?).",
            id="a parameter",
        ),
        pytest.param(
            {"config": {}, "parameters": {"max_steps": {"frozen": True}}},
            "inline.clerk.config has no 'max_steps', which inline.clerk.parameters names "
            "(there is nothing).",
            id="a parameter without a config",
        ),
        pytest.param(
            {"parameters": {"max_steps": {"type": "bool"}}},
            "inline.clerk.config.max_steps does not fit inline.clerk.parameters.max_steps: "
            "40 is no bool.",
            id="a parameter of another type",
        ),
        pytest.param(
            {
                "config": {"max_steps": 40, "turns": 9},
                "parameters": {"max_steps": {"step_limit": True}, "turns": {"step_limit": True}},
            },
            "inline.clerk may have one step_limit, but has max_steps and turns.",
            id="two step limits",
        ),
    ],
)
def test_an_agent_in_a_request_is_held_to_what_a_project_file_is(
    more: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError) as refused:
        learn(build_graph(), asked({**FIRST, **more}))
    assert str(refused.value) == told


def test_agents_names_those_of_the_request_to_tune() -> None:
    agents = {"clerk": FIRST, "aide": FIRST}
    request = asked(inline=agents, traces=runs() + runs("aide"), agents=["aide"])
    assert [r.agent for r in learn(build_graph(), request).results] == ["aide"]
    # The runs of the other one are not its own for its being alone.
    theirs = learn(build_graph(), {**request, "traces": runs()}).results
    assert [(r.agent, r.traces) for r in theirs] == [("aide", 0)]
    with pytest.raises(NotFoundError, match=r"inline has no agent 'aid' \(did you mean aide\?\)"):
        learn(build_graph(), {**request, "agents": ["aide", "aid"]})


def openai(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same runs as chat messages, with what no reader keeps."""
    return [
        {
            "id": row["id"],
            "success": row["success"],
            "messages": [
                {"role": "user", "content": f"The key is {SECRET}."},
                {"role": "assistant", "content": "Thanks."},
            ],
            "vendor": {"headers": [{"authorization": SECRET}]},
        }
        for row in rows
    ]


@pytest.mark.parametrize(
    "traces",
    [
        pytest.param(
            [{**row, "feedback": f"token {SECRET}"} for row in runs(said=SECRET)], id="canonical"
        ),
        pytest.param(openai(runs()), id="messages, and what no reader keeps"),
    ],
)
def test_no_secret_of_a_trace_is_in_the_state_that_a_cycle_writes(
    traces: list[dict[str, Any]],
) -> None:
    graph = build_graph(store=InMemoryStore(), checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    report = CycleReport.model_validate(
        graph.invoke(asked(traces=traces), config, context=Settings(model="rules"))
    )
    assert sum(report.results[0].redacted.values()) == 36
    assert any("36 secrets were redacted in the traces" in note for note in report.notes)
    states = list(graph.get_state_history(config))
    ours = [state.values for state in states if "request" in state.values]
    assert len(ours) > 5
    assert SECRET not in json.dumps(ours, default=str)
    # They can be read again while the cycle runs, and are gone at its end.
    assert len(ours[-1]["request"]["traces"]) == 18
    assert ours[0]["request"]["traces"] == []


def test_a_cycle_with_secrets_goes_on_in_another_process_s_graph() -> None:
    saver, store = InMemorySaver(), InMemoryStore()
    config: Any = {"configurable": {"thread_id": "1"}}
    graph = build_graph(store=store, checkpointer=saver)
    request = asked(traces=openai(runs()))
    begun = CycleReport.model_validate(graph.invoke(request, config, context=RULES))
    history = graph.get_state_history(config)
    before = next(state for state in history if state.next == ("compute_metrics",))
    other = build_graph(store=store, checkpointer=saver)
    again = CycleReport.model_validate(other.invoke(None, before.config, context=RULES))
    assert again.results[0].metrics == begun.results[0].metrics
    assert again.results[0].redacted == begun.results[0].redacted
