"""A real agent runs under the release in force, and its runs and messages say which that is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from pydantic import Field

from tracetune.errors import InputError, NotFoundError
from tracetune.stores.backends import open_store
from tracetune.stores.memory import AgentMemory, ProceduralMemory
from tracetune.stores.middleware import AGENT_KEY, RELEASE_KEY, TunedPrompt, atuned, stamp, tuned
from tracetune.stores.release import Release

ASK: Any = {"messages": [("user", "hi")]}


class Replying(BaseChatModel):
    """Answers from its script; remembers the system prompts and settings it was called with."""

    script: list[AIMessage]
    systems: list[str | None] = Field(default_factory=list)
    settings: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "replying"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind(**{k: v for k, v in kwargs.items() if k != "tool_choice"})

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        first = messages[0]
        self.systems.append(first.text if first.type == "system" else None)
        self.settings.append(kwargs)
        return ChatResult(generations=[ChatGeneration(message=self.script.pop(0))])


class Watch(BaseCallbackHandler):
    """What a tracer sees of the metadata of model calls and of what the run returns."""

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] = []
        self.roots: list[dict[str, Any]] = []
        self.outputs: list[Any] = []

    def on_chat_model_start(self, *args: Any, metadata: Any = None, **kwargs: Any) -> None:
        self.models.append(metadata)

    def on_chain_start(
        self, *args: Any, parent_run_id: Any = None, metadata: Any = None, **kwargs: Any
    ) -> None:
        if parent_run_id is None:
            self.roots.append(metadata)

    def on_chain_end(self, outputs: Any, *, parent_run_id: Any = None, **kwargs: Any) -> None:
        if parent_run_id is None:
            self.outputs.append(outputs)


def calling(times: int, name: str = "look") -> Replying:
    calls = [
        AIMessage("", tool_calls=[{"name": name, "args": {}, "id": f"c{i}"}]) for i in range(times)
    ]
    return Replying(script=[*calls, AIMessage("done")])


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[AgentMemory]:
    with open_store(f"sqlite:///{tmp_path}/memory.db") as store:
        yield ProceduralMemory(store, "shop").agent("desk")


@pytest.fixture
async def amemory(tmp_path: Path) -> AsyncIterator[AgentMemory]:
    async with open_store(f"sqlite:///{tmp_path}/memory.db") as store:
        yield ProceduralMemory(store, "shop").agent("desk")


def promote(memory: AgentMemory, text: str, **config: Any) -> Release:
    return memory.commit(prompts={"main": text}, config=config, promote=True)


def looking(memory: AgentMemory | None = None) -> Any:
    @tool
    def look() -> str:
        """Look; and promote another release in the middle of the run."""
        if memory is not None:
            promote(memory, "Be brief.", max_steps=1)
        return "seen"

    return look


def test_the_head_is_the_system_prompt_and_the_next_run_sees_the_next_head(
    memory: AgentMemory,
) -> None:
    model = Replying(script=[AIMessage("a"), AIMessage("b")])
    agent = create_agent(model, middleware=[TunedPrompt(memory)], system_prompt="The agent's own.")
    first = promote(memory, "Be kind to {name}.")
    said = agent.invoke(ASK)["messages"][-1]
    second = promote(memory, "Be brief.")
    again = agent.invoke(ASK)["messages"][-1]
    assert model.systems == ["Be kind to {name}.", "Be brief."]
    assert [m.response_metadata[RELEASE_KEY] for m in (said, again)] == [first.id, second.id]


def test_a_promotion_in_the_middle_of_a_run_waits_for_the_next(memory: AgentMemory) -> None:
    first = promote(memory, "Be kind.", max_steps=9)
    model = calling(2)
    agent = create_agent(
        model, [looking(memory)], middleware=[TunedPrompt(memory, step_limit="max_steps")]
    )
    said = agent.invoke(ASK)["messages"]
    assert model.systems == ["Be kind."] * 3
    assert {m.response_metadata[RELEASE_KEY] for m in said if m.type == "ai"} == {first.id}
    assert memory.release.prompts["main"] == "Be brief."


def test_a_run_that_was_interrupted_goes_on_under_its_release(memory: AgentMemory) -> None:
    @tool
    def look() -> str:
        """Ask a person."""
        return str(interrupt("may I?"))

    first = promote(memory, "Be kind.", max_steps=2)
    model = calling(2)
    tuned_prompt = TunedPrompt(memory, step_limit="max_steps")
    agent = create_agent(model, [look], middleware=[tuned_prompt], checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "1"}}
    assert "__interrupt__" in agent.invoke(ASK, thread)
    promote(memory, "Be brief.", max_steps=50)
    agent.invoke(Command(resume="yes"), thread)
    last = agent.invoke(Command(resume="yes"), thread)["messages"][-1]
    assert model.systems == ["Be kind.", "Be kind."]
    assert "2 model calls that max_steps allows" in last.text
    assert last.response_metadata[RELEASE_KEY] == first.id

    model.script = [AIMessage("fresh")]
    assert agent.invoke(ASK, thread)["messages"][-1].text == "fresh"
    assert model.systems[-1] == "Be brief."


def test_tracers_see_the_release_on_every_model_call_and_in_the_output(
    memory: AgentMemory,
) -> None:
    release, watch = promote(memory, "Be kind."), Watch()
    agent = create_agent(calling(1), [looking()], middleware=[TunedPrompt(memory)])
    result = agent.invoke(ASK, {"callbacks": [watch], "metadata": {"ticket": 7}})
    mark = {AGENT_KEY: "desk", RELEASE_KEY: release.id}
    assert len(watch.models) == 2
    for metadata in watch.models:
        assert mark.items() <= metadata.items()
        assert metadata["ticket"] == 7
    assert RELEASE_KEY not in watch.roots[0]
    said = [m for m in watch.outputs[0]["messages"] if m.type == "ai"]
    assert [m.response_metadata for m in said] == [mark, mark]
    assert set(result) == {"messages"}


async def test_async_runs_do_the_same_and_keep_apart(amemory: AgentMemory) -> None:
    first = await amemory.acommit(prompts={"main": "One."}, config={"n": 2}, promote=True)
    watch, model = Watch(), calling(1)
    agent = create_agent(model, [looking()], middleware=[TunedPrompt(amemory, step_limit="n")])
    await agent.ainvoke(ASK, {"callbacks": [watch]})
    assert model.systems == ["One.", "One."]
    assert [m[RELEASE_KEY] for m in watch.models] == [first.id, first.id]

    model.script = [AIMessage("x") for _ in range(20)]
    runs = [asyncio.create_task(agent.ainvoke(ASK)) for _ in range(10)]
    await amemory.acommit(prompts={"main": "Two."}, promote=True)
    runs += [asyncio.create_task(agent.ainvoke(ASK)) for _ in range(10)]
    ends = [(await run)["messages"][-1].response_metadata[RELEASE_KEY] for run in runs]
    assert set(ends[10:]) == {(await atuned(amemory)).id}
    assert model.systems[-1] == "Two."


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async on a sync store"])
def test_the_step_limit_ends_the_run_with_a_message(
    memory: AgentMemory, asynchronous: bool
) -> None:
    release = promote(memory, "Be kind.", max_steps=3)
    model = calling(99)
    agent = create_agent(
        model, [looking()], middleware=[TunedPrompt(memory, step_limit="max_steps")]
    )
    for _ in range(2):
        result = asyncio.run(agent.ainvoke(ASK)) if asynchronous else agent.invoke(ASK)
        last = result["messages"][-1]
        assert last.text == "Stopped: this run has made the 3 model calls that max_steps allows."
        assert last.response_metadata == {
            AGENT_KEY: "desk",
            RELEASE_KEY: release.id,
            "ended_by": "max_steps",
        }
        assert result["messages"][-2].type == "tool"
    assert len(model.systems) == 6


def test_a_run_that_ends_at_its_limit_by_itself_is_not_stopped(memory: AgentMemory) -> None:
    promote(memory, "Be kind.", max_steps=3)
    limited = TunedPrompt(memory, step_limit="max_steps")
    agent = create_agent(calling(2), [looking()], middleware=[limited])
    assert agent.invoke(ASK)["messages"][-1].text == "done"


def test_model_settings_come_from_the_config(memory: AgentMemory) -> None:
    promote(memory, "Be kind.", temperature=0.3, top_p=1, max_steps=4)
    model = calling(0)
    agent = create_agent(
        model, middleware=[TunedPrompt(memory, model_settings=["temperature", "top_p"])]
    )
    agent.invoke(ASK)
    assert model.settings == [{"temperature": 0.3, "top_p": 1}]


def test_without_a_release_the_agents_own_prompt_is_used_unstamped(memory: AgentMemory) -> None:
    model = calling(0)
    own = create_agent(model, middleware=[TunedPrompt(memory)], system_prompt="My own.")
    watch = Watch()
    last = own.invoke(ASK, {"callbacks": [watch]})["messages"][-1]
    assert model.systems == ["My own."]
    assert RELEASE_KEY not in last.response_metadata
    assert RELEASE_KEY not in watch.models[0]
    bare = create_agent(calling(0), middleware=[TunedPrompt(memory)])
    with pytest.raises(NotFoundError, match="no release in force to take the prompt 'main' from"):
        bare.invoke(ASK)


def test_the_runs_context_may_choose_the_user(tmp_path: Path) -> None:
    @dataclass
    class Who:
        user: str

    with open_store(f"sqlite:///{tmp_path}/users.db") as store:
        project = ProceduralMemory(store, "shop")
        promote(project.agent("desk"), "Be kind.")
        project.agent("desk", "ana").prefer(prompts={"main": "Be kind to Ana."})
        model = Replying(script=[AIMessage("a"), AIMessage("b")])
        chosen = TunedPrompt(lambda runtime: project.agent("desk", runtime.context.user))
        agent = create_agent(model, middleware=[chosen], context_schema=Who)
        agent.invoke(ASK, context=Who("bob"))
        agent.invoke(ASK, context=Who("ana"))
    assert model.systems == ["Be kind.", "Be kind to Ana."]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async on a sync store"])
def test_a_label_is_followed_and_the_head_is_not(memory: AgentMemory, asynchronous: bool) -> None:
    old = promote(memory, "Be kind.")
    promote(memory, "Be brief.")
    model = calling(0)
    agent = create_agent(model, middleware=[TunedPrompt(memory, label="canary")])

    def run() -> Any:
        return asyncio.run(agent.ainvoke(ASK)) if asynchronous else agent.invoke(ASK)

    with pytest.raises(NotFoundError, match="has no label 'canary'"):
        run()
    memory.label("canary", old.id)
    assert run()["messages"][-1].response_metadata[RELEASE_KEY] == old.id
    assert model.systems == ["Be kind."]
    assert tuned(memory, label="canary") == old
    assert asyncio.run(atuned(memory, label="canary")) == old


def test_what_later_middleware_adds_to_the_prompt_stays(memory: AgentMemory) -> None:
    class Signing(AgentMiddleware[Any, Any, Any]):
        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            signed = f"{request.system_prompt} Sign as desk."
            return handler(request.override(system_prompt=signed))

    release, model = promote(memory, "Be kind."), calling(0)
    agent = create_agent(model, middleware=[TunedPrompt(memory), Signing()])
    last = agent.invoke(ASK)["messages"][-1]
    assert model.systems == ["Be kind. Sign as desk."]
    assert last.response_metadata[RELEASE_KEY] == release.id


class Named(AgentState[Any]):
    """A state with something for templates."""

    name: str


class NamedState(AgentMiddleware[Any, Any, Any]):
    state_schema = Named


@pytest.mark.parametrize(
    ("template_format", "text", "expected"),
    [
        pytest.param("none", "{name} {{name}} {", "{name} {{name}} {", id="raw text stays raw"),
        pytest.param("f-string", "Hi {name}, {{x}}", "Hi Ana, {x}", id="an f-string"),
        pytest.param("mustache", "Hi {{name}}, {x}", "Hi Ana, {x}", id="mustache"),
        pytest.param(
            "jinja2", "Hi {{ name }}{% if desk > 3 %}!{% endif %}", "Hi Ana!", id="jinja2"
        ),
        pytest.param("f-string", "Desk {desk}", "Desk 4", id="from the context"),
        pytest.param("f-string", "Brief.", "Brief.", id="no variables"),
    ],
)
def test_templates_are_filled_from_state_and_context(
    memory: AgentMemory, template_format: Any, text: str, expected: str
) -> None:
    if template_format == "jinja2":
        pytest.importorskip("jinja2")
    promote(memory, text)
    model = calling(0)
    filling = TunedPrompt(memory, template_format=template_format)
    agent: Any = create_agent(model, middleware=[filling, NamedState()], context_schema=dict)
    agent.invoke({**ASK, "name": "Ana"}, context={"desk": 4})
    assert model.systems == [expected]


@pytest.mark.parametrize(
    ("template_format", "text", "problem"),
    [
        pytest.param("f-string", "Hi {nme}", "needs a value for nme, .* have only name", id="typo"),
        pytest.param("mustache", "Hi {{nme}}", "needs a value for nme", id="not blank either"),
        pytest.param("f-string", "See {messages}", "needs a value for messages", id="only data"),
        pytest.param("f-string", "Hi {name", "cannot be filled in as f-string", id="no template"),
        pytest.param("f-string", "{name.x}", "cannot be filled in as f-string", id="attributes"),
    ],
)
def test_a_template_that_cannot_be_filled_in_is_told_of(
    memory: AgentMemory, template_format: Any, text: str, problem: str
) -> None:
    release = promote(memory, text)
    filling = TunedPrompt(memory, template_format=template_format)
    agent: Any = create_agent(calling(0), middleware=[filling, NamedState()])
    with pytest.raises(InputError, match=f"Prompt 'main' of release {release.id} {problem}") as it:
        agent.invoke({**ASK, "name": "Ana"})
    assert "\n" not in str(it.value)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param(
            {"prompt": "mian"}, r"has no 'mian' in its prompts \(did you mean main\?\)", id="prompt"
        ),
        pytest.param({"step_limit": "steps"}, "has no 'steps' in its config", id="no limit"),
        pytest.param({"model_settings": ["heat"]}, "has no 'heat' in its config", id="setting"),
        pytest.param({"step_limit": "mode"}, "from 1 to limit .*, but is 'fast'", id="limit text"),
        pytest.param({"step_limit": "none"}, "from 1 to limit .*, but is 0", id="limit zero"),
        pytest.param({"step_limit": "on"}, "from 1 to limit .*, but is True", id="limit true"),
    ],
)
def test_what_the_release_lacks_is_told_before_the_model_is_called(
    memory: AgentMemory, options: dict[str, Any], problem: str
) -> None:
    promote(memory, "Be kind.", max_step=3, mode="fast", none=0, on=True)
    model = calling(0)
    agent = create_agent(model, middleware=[TunedPrompt(memory, **options)])
    with pytest.raises(InputError, match=problem):
        agent.invoke(ASK)
    assert model.systems == []


def test_an_unknown_format_is_told_at_once(memory: AgentMemory) -> None:
    with pytest.raises(InputError, match=r"must be one of none, .*, but got 'jinja'"):
        TunedPrompt(memory, template_format="jinja")  # type: ignore[arg-type]


def test_a_memory_of_no_agent_is_told_at_once() -> None:
    told = r"memory must be an agent's .*ProceduralMemory"
    with open_store("memory://") as store, pytest.raises(InputError, match=told):
        TunedPrompt(ProceduralMemory(store, "p"))  # type: ignore[arg-type]


def test_a_hand_made_graph_reads_a_release_and_stamps_its_runs(memory: AgentMemory) -> None:
    release, watch, model = promote(memory, "Be kind."), Watch(), calling(0)

    def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke([("system", tuned(memory).prompts["main"])])]}

    graph = StateGraph(MessagesState).add_node(answer)
    graph.add_edge(START, "answer").add_edge("answer", END)
    config: Any = {"callbacks": [watch], "metadata": {"ticket": 7}}
    graph.compile().invoke(ASK, stamp(config, release))
    mark = {AGENT_KEY: "desk", RELEASE_KEY: release.id, "ticket": 7}
    assert mark.items() <= watch.roots[0].items()
    assert mark.items() <= watch.models[0].items()
    assert config["metadata"] == {"ticket": 7}
    assert stamp(None, release) == {"metadata": {AGENT_KEY: "desk", RELEASE_KEY: release.id}}


def test_tuned_tells_when_nothing_is_in_force(memory: AgentMemory) -> None:
    with pytest.raises(NotFoundError, match="Agent 'desk' has no release in force"):
        tuned(memory)
    with pytest.raises(NotFoundError, match="Agent 'desk' has no release in force"):
        asyncio.run(atuned(memory))
