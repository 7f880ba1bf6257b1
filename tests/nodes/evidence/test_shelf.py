"""How long the evidence of a cycle is kept."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.store.memory import InMemoryStore

from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings
from tracetune.graph.schemas import CycleReport
from tracetune.nodes.evidence.shelf import EvidenceShelf
from tracetune.traces.model import Trace

SIDE_BY_SIDE = 6


class Run:
    """Stands for one run of a graph."""


def test_the_evidence_of_cycles_that_run_is_kept_however_many_they_are() -> None:
    shelf, runs = EvidenceShelf(size=2), [Run() for _ in range(9)]
    for number, run in enumerate(runs):
        shelf.put(str(number), {}, run)

    assert [shelf.get(str(number), run) for number, run in enumerate(runs)] == [{}] * 9


def test_of_cycles_whose_run_has_ended_the_latest_are_kept() -> None:
    shelf, running = EvidenceShelf(size=2), Run()
    shelf.put("running", {}, running)
    for number in range(9):
        shelf.put(str(number), {}, Run())
    shelf.put("last", {}, running)

    kept = [name for name in ("running", *map(str, range(9))) if held(shelf, name, running)]
    assert kept == ["running", "7", "8"]


def held(shelf: EvidenceShelf, cycle: str, run: object) -> bool:
    return shelf.get(cycle, run) is not None


def test_a_cycle_that_goes_on_is_kept_for_its_new_run() -> None:
    shelf, again = EvidenceShelf(size=1), Run()
    shelf.put("resumed", {}, Run())
    assert held(shelf, "resumed", again)
    for number in range(9):
        shelf.put(str(number), {}, Run())

    assert held(shelf, "resumed", again)


def test_what_is_dropped_is_gone() -> None:
    shelf, run = EvidenceShelf(), Run()
    shelf.put("done", {}, run)
    shelf.drop("done")
    shelf.drop("done")

    assert not held(shelf, "done", run)


class Gated(BaseChatModel):
    """Answers nothing usable, once the gate lets it."""

    gate: Callable[[], Awaitable[None]]

    @property
    def _llm_type(self) -> str:
        return "gated"

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        await self.gate()
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Hm."))])


async def test_cycles_side_by_side_end_with_the_traces_they_began_with(airline: Path) -> None:
    waiting, all_wait = list[bool](), asyncio.Event()

    async def gate() -> None:
        waiting.append(True)
        if len(waiting) == SIDE_BY_SIDE:
            more = [Trace("new", "airline", success=True).to_dict()]
            (airline / "traces.json").write_text(json.dumps(more), encoding="utf-8")
            file = airline / "tracetune.yaml"
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace("traces.json.gz", "traces.json"), encoding="utf-8")
            all_wait.set()
        await all_wait.wait()

    graph = build_graph(store=InMemoryStore(), project=airline, model=Gated(gate=gate))
    settings = Settings(retries=0)
    cycles = [graph.ainvoke({}, context=settings) for _ in range(SIDE_BY_SIDE)]
    reports = [CycleReport.model_validate(got) for got in await asyncio.gather(*cycles)]

    # They may conflict when they release, all being built on one head.
    assert "released" in {result.outcome for report in reports for result in report.results}
    assert {result.traces for report in reports for result in report.results} == {50}
