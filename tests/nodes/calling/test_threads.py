"""Sync calls on threads of their own: as before to their caller, and nothing waits at the end."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.language_models import BaseChatModel, SimpleChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import Field, PrivateAttr

from tracetune.nodes.calling.threads import start, sync_calls_apart

WHERE: ContextVar[str] = ContextVar("where", default="nowhere")


class SyncChat(BaseChatModel):
    """A model without a single async method."""

    words: list[str] = Field(default=["one", "two"])
    seen: list[tuple[str, str]] = Field(default_factory=list)
    _used: int = PrivateAttr(default=0)

    @property
    def _llm_type(self) -> str:
        return "sync"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        self._used += 1
        self.seen.append((threading.current_thread().name, WHERE.get()))
        if not self.words:
            raise ConnectionError("nobody there")
        message = AIMessage(content=" ".join([*self.words, *(stop or []), *kwargs]))
        return ChatResult(generations=[ChatGeneration(message=message)])


class StreamingChat(SyncChat):
    """One that streams too."""

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for word in self.words:
            self.seen.append((threading.current_thread().name, WHERE.get()))
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=f"{word} "))
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


class AsyncChat(SyncChat):
    """One that has a way of its own."""

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate(*args, **kwargs)


class ChangedChat(AsyncChat):
    """A subclass of one, which changes its sync call alone."""

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        self.words = ["changed"]
        return super()._generate(*args, **kwargs)


class Mixin:
    """Changes the sync call of what it is mixed with."""

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        message = AIMessage(content="mixed")
        return ChatResult(generations=[ChatGeneration(message=message)])


class MixedChat(Mixin, AsyncChat):
    """One changed so."""


class AsyncAlone(AsyncChat):
    """One whose sync call is no use."""

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError("async only")

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return SyncChat()._generate([])


class StillAsync(AsyncAlone):
    """One that says so once more."""

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError("async only")


class Simple(SimpleChatModel):
    """LangChain's shortest model."""

    @property
    def _llm_type(self) -> str:
        return "simple"

    def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
        return threading.current_thread().name


class Listening(AsyncCallbackHandler):
    """Hears a call in the loop that it is made in."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, asyncio.AbstractEventLoop]] = []

    async def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.heard.append((f"start {serialized['name']}", asyncio.get_running_loop()))

    async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.heard.append(("end", asyncio.get_running_loop()))


async def test_a_sync_call_has_its_own_thread_and_the_caller_s_context() -> None:
    model = sync_calls_apart(SyncChat())
    WHERE.set("here")
    reply = await model.ainvoke("Hello?", stop=["three"], extra=4)
    assert reply.content == "one two three extra"
    assert getattr(model, "seen") == [("tracetune-call", "here")]  # noqa: B009 - not of the base


async def test_callbacks_stay_in_the_caller_s_loop() -> None:
    heard = Listening()
    await sync_calls_apart(SyncChat()).ainvoke("Hello?", {"callbacks": [heard]})
    loop = asyncio.get_running_loop()
    assert heard.heard == [("start SyncChat", loop), ("end", loop)]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        pytest.param(ChangedChat, "changed", id="in a subclass"),
        pytest.param(MixedChat, "mixed", id="in a mixin"),
        pytest.param(StillAsync, "one two", id="to none"),
    ],
)
async def test_a_change_of_the_sync_call_alone_is_not_passed_by(
    kind: type[SyncChat], said: str
) -> None:
    reply = await sync_calls_apart(kind()).ainvoke("Hello?")
    assert reply.content == said


async def test_an_error_comes_back_as_it_is() -> None:
    with pytest.raises(ConnectionError, match="nobody there"):
        await sync_calls_apart(SyncChat(words=[])).ainvoke("Hello?")


@pytest.mark.parametrize("kind", [SyncChat, StreamingChat])
async def test_langgraph_streams_what_it_says(kind: type[SyncChat]) -> None:
    model = sync_calls_apart(kind())

    async def speak(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node(speak).add_edge(START, "speak").compile()
    parts = [
        part.content
        async for part, _ in graph.astream(
            {"messages": [HumanMessage(content="Hello?")]}, stream_mode="messages"
        )
        if isinstance(part, AIMessage)
    ]
    assert [part for part in parts if part] == {
        SyncChat: ["one two"],
        StreamingChat: ["one ", "two "],
    }[kind]
    assert {name for name, _ in getattr(model, "seen")} == {"tracetune-call"}  # noqa: B009


def test_the_model_is_the_same_to_whoever_looks_at_it() -> None:
    model = SyncChat(words=["x"], metadata={"a": 1})
    apart = sync_calls_apart(model)
    assert isinstance(apart, SyncChat)
    assert (type(apart).__name__, type(apart).__module__) == ("SyncChat", __name__)
    assert apart.model_dump() == model.model_dump()
    assert type(apart.model_copy(update={"words": ["y"]})) is type(apart)
    assert type(sync_calls_apart(SyncChat())) is type(apart)
    assert sync_calls_apart(apart) is apart
    assert apart.invoke("Hello?").content == "x"


async def test_a_copy_calls_itself() -> None:
    copy = sync_calls_apart(SyncChat()).model_copy(update={"words": ["other"]})
    assert (await copy.ainvoke("Hello?")).content == "other"


async def test_langchain_s_simple_model_is_one_of_them() -> None:
    assert (await sync_calls_apart(Simple()).ainvoke("Hello?")).content == "tracetune-call"


def test_a_model_with_async_calls_is_left_as_it_is() -> None:
    model = AsyncChat()
    assert sync_calls_apart(model) is model


def test_more_calls_than_cores_run_side_by_side() -> None:
    together = threading.Barrier(40, timeout=20)
    assert len({call.result() for call in [start(together.wait) for _ in range(40)]}) == 40


HANGING = """
import asyncio, threading
from langchain_core.language_models import BaseChatModel
from langgraph.store.memory import InMemoryStore
from tracetune import Settings, build_graph

class Hanging(BaseChatModel):
    _llm_type = "hanging"
    def _generate(self, *args, **kwargs):
        threading.Event().wait()

def hang(texts):
    threading.Event().wait()

call = {"kind": "tool_call", "name": "look_up"}
traces = [
    {"id": str(n), "agent": "desk", "success": n % 2 == 0, "steps": [call][n % 2:],
     "feedback": "Sign."}
    for n in range(12)
]
agents = {"desk": {"prompts": {"a": "Book.", "b": "Greet."}}}
request = {"project": "p", "inline": agents, "traces": traces}
store = InMemoryStore(index={"dims": 2, "embed": hang})
graph = build_graph(store=store, model=Hanging())
settings = Settings(deadline_s=30, call_timeout_s=0.1, retries=0)
for report in (
    graph.invoke(request, context=settings),
    asyncio.run(graph.ainvoke({**request, "project": "q"}, context=settings)),
):
    print(sorted({fallback["error"] for fallback in report["fallbacks"]}))
"""


def test_a_process_ends_though_the_model_and_the_embedding_function_hang() -> None:
    # Neither the loop nor the process would come to an end by itself.
    done = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "['no answer within 0.1 s']\n" * 2), done.stderr
    assert "Fatal" not in done.stderr
