"""A cycle broken off amid its branches, resumed elsewhere: what was spent stays spent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from pydantic import Field
from typing_extensions import TypedDict

from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings
from tracetune.graph.schemas import CycleReport
from tracetune.traces.model import ToolCall, Trace

CHOSEN = [{"agent": "desk", "prompt": name, "why": "It fails."} for name in ("first", "second")]


class Halting(BaseChatModel):
    """A model that answers for one prompt, and for the other hangs or fails."""

    hangs: bool
    asked: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "halting"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind(schema=tools[0].__name__)

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(
        self, messages: list[BaseMessage], *args: Any, schema: str = "", **kwargs: Any
    ) -> ChatResult:
        second = "Prompt: second" in str(messages[-1].content)
        self.asked.append(f"{schema} second" if second else schema)
        if second and self.hangs:
            await asyncio.Event().wait()
        if second:
            raise ConnectionError
        told = {"updates": CHOSEN} if schema == "Classification" else {"add": []}
        call = {"name": schema, "args": told, "id": "1"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])


@asynccontextmanager
async def kept(kind: str, folder: Path) -> AsyncIterator[Any]:
    if kind == "memory":
        yield InMemorySaver()
        return
    async with AsyncSqliteSaver.from_conn_string(str(folder / "threads.db")) as saver:
        yield saver


def request() -> dict[str, Any]:
    stuck = ToolCall("transfer", {}, result="done")
    traces = [Trace(f"ok{n}", "desk", success=True) for n in range(12)]
    traces += [Trace(f"bad{n}", "desk", success=False, steps=(stuck,) * 12) for n in range(6)]
    prompts = {"first": "You answer.", "second": "You ask back."}
    return {
        "project": "desks",
        "inline": {"desk": {"prompts": prompts}},
        "traces": [trace.to_dict() for trace in traces],
    }


async def until_noted(saver: Any, model: Halting) -> None:
    """Wait until one branch has ended, with what it wrote, and the other hangs."""
    async with asyncio.timeout(20):
        while True:
            found = [one async for one in saver.alist({"configurable": {"thread_id": "1"}})]
            writes = [write for one in found for write in one.pending_writes or ()]
            ended = any(name == "prompt_drafts" and type(told) is list for _, name, told in writes)
            if ended and "Edits second" in model.asked:
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("nested", [False, True], ids=["alone", "inside a parent"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_calls_of_branches_that_ended_count_where_the_cycle_goes_on(
    kind: str, nested: bool, tmp_path: Path
) -> None:
    config: Any = {"configurable": {"thread_id": "1"}}
    settings = Settings(max_calls=3, style="guidelines", retries=2)
    async with kept(kind, tmp_path) as saver:
        before = Halting(hangs=True)
        graph = machine(before, settings, saver, nested)
        running = asyncio.create_task(
            graph.ainvoke({"told": request()} if nested else request(), config)
        )
        await until_noted(saver, before)
        running.cancel()
        await asyncio.wait([running])
        after = Halting(hangs=False)
        done = await machine(after, settings, saver, nested).ainvoke(None, config)
    report = CycleReport.model_validate(done["report"] if nested else done)
    # Of three calls two were made before, of which one by a branch that had ended.
    assert before.asked[0] == "Classification"
    assert after.asked == ["Edits second"]
    assert [f["error"] for f in report.fallbacks] == [
        "the budget of the cycle is spent (max_calls: 3)"
    ]
    assert len(report.calls) == 3


def machine(model: Halting, settings: Settings, saver: Any, nested: bool) -> Any:
    if not nested:
        return build_graph(model=model, settings=settings, checkpointer=saver)

    class Outer(TypedDict, total=False):
        told: dict[str, Any]
        report: dict[str, Any]

    cycle = build_graph(model=model, settings=settings)

    async def tune(state: Outer) -> Outer:
        return {"report": await cycle.ainvoke(state.get("told", {}))}

    parent = StateGraph(Outer)
    parent.add_node("tune", tune)
    parent.add_edge(START, "tune")
    parent.add_edge("tune", END)
    return parent.compile(checkpointer=saver)
