"""What recording costs a run: `python bench/recorder.py` prints a table.

An agent of `create_agent` runs whole, with a scripted model and a tool that does nothing, with
and without a recorder, turn about in one process; of each the median counts. Redaction is on. A
step is a call of the model or of the tool. The agent's own time is LangGraph's: a real model
takes a thousand times as long.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.callbacks import GraphCallbackHandler
from langgraph.store.memory import InMemoryStore
from rich.console import Console
from rich.table import Table

from tracetune.traces.model import Message, ToolCall, Trace
from tracetune.traces.recording.recorder import TraceRecorder
from tracetune.traces.redaction import Redactor

CONSOLE = Console(width=100)
RESULT = "The order 8f14e45fceea167a5a36dedd4bea2543 left the warehouse on 2026-03-01. " * 8


class Scripted(BaseChatModel):
    """Calls the tool until it has done so often enough."""

    calls: int

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        made = sum(isinstance(message, AIMessage) for message in messages)
        if made < self.calls:
            call = {"name": "look_up", "args": {"order": str(made)}, "id": f"call-{made}"}
            said = AIMessage("I look.", tool_calls=[call])
        else:
            said = AIMessage("It left.")
        return ChatResult(generations=[ChatGeneration(message=said)])


@tool
def look_up(order: str) -> str:
    """Look up an order."""
    return RESULT


class Nothing(GraphCallbackHandler):
    """A callback that does nothing: what LangChain itself spends on one."""

    run_inline = True


def run_time(agent: Any, config: Any, *, is_async: bool) -> float:
    """Seconds of one run."""
    asked = {"messages": [("user", "Where is my order?")]}

    async def run() -> float:
        began = time.process_time()
        await agent.ainvoke(asked, config)
        return time.process_time() - began

    if is_async:
        return asyncio.run(run())
    began = time.process_time()
    agent.invoke(asked, config)
    return time.process_time() - began


def costs(calls: int, runs: int, sink: Any, *, is_async: bool) -> list[float]:
    """Return the median seconds without callbacks, with one that does nothing, with a recorder."""
    agent = create_agent(Scripted(calls=calls), [look_up], system_prompt="You help." * 50)
    recorder = TraceRecorder(sink, agent="shop")
    callbacks: list[list[Any]] = [[], [Nothing()], [recorder]]
    times: list[list[float]] = [[], [], []]
    for _ in range(runs):
        for each, kept in zip(callbacks, times, strict=True):
            config = {"recursion_limit": 200, "callbacks": each}
            kept.append(run_time(agent, config, is_async=is_async))
    recorder.close()
    if recorder.dropped or recorder.recorded != runs:
        raise SystemExit(f"{recorder.recorded} of {runs} runs were recorded")
    return [statistics.median(kept) for kept in times]


def show_costs(runs: int, folder: Path) -> None:
    names = ("run", "sink", "no callback", "an empty one", "a recorder", "its cost", "per step")
    table = Table(*names)
    sinks: dict[str, Callable[[], Any]] = {
        "file": lambda: folder / "traces.jsonl",
        "memory store": InMemoryStore,
    }
    for calls in (1, 8, 32):
        for is_async in (False, True):
            for name, sink in sinks.items():
                times = costs(calls, runs, sink(), is_async=is_async)
                steps, cost = 2 * calls + 1, (times[2] - times[0]) * 1e6
                table.add_row(
                    f"{'async' if is_async else 'sync'}, {steps} steps",
                    name,
                    *(f"{seconds * 1e3:.2f} ms" for seconds in times),
                    f"{cost:.0f} µs",
                    f"{cost / steps:.0f} µs",
                )
    CONSOLE.print(table)


def show_redaction() -> None:
    table = Table("redaction", "text", "speed")
    small = _trace(8, "The order left the warehouse. ")
    secret = _trace(8, "password=" + "hunter2 and more words ")
    for name, trace in (("nothing to take out", small), ("8 secrets", secret)):
        size = sum(len(step.result or "") for step in trace.steps if isinstance(step, ToolCall))
        redactor = Redactor()
        redactor.trace(trace)
        began, rounds = time.process_time(), 2000
        for _ in range(rounds):
            redactor.trace(trace)
        speed = rounds * size / (time.process_time() - began)
        table.add_row(name, f"{size / 1e3:.0f} KB", f"{speed / 1e6:.0f} MB/s")
    CONSOLE.print(table)


def _trace(calls: int, text: str) -> Trace:
    steps = tuple(ToolCall("look_up", {"order": str(n)}, text + RESULT) for n in range(calls))
    return Trace(id="t", agent="shop", steps=(Message("user", "Where is it?"), *steps))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="of each row, with and without")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        show_costs(options.runs, Path(folder))
    show_redaction()
    return 0


if __name__ == "__main__":
    sys.exit(main())
