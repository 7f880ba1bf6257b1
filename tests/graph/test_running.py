"""Nodes that run sync and async, side by side, and to no end."""

import asyncio
import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langgraph.store.memory import InMemoryStore

from tracetune.errors import StoreError
from tracetune.graph.build import Cycle, build_graph
from tracetune.graph.context import Settings
from tracetune.stores.backends import open_store

RULES = Settings(model="rules")


def asked(name: str, runs: int = 20) -> dict[str, Any]:
    """A cycle's input: an agent whose runs fail where they do not look first."""
    look = {"kind": "tool_call", "name": "look_up"}
    book = {"kind": "tool_call", "name": "book"}
    traces = [
        {"id": f"{n}", "agent": name, "success": n % 2 == 0, "steps": [look, book][n % 2 :]}
        for n in range(runs)
    ]
    prompts = {"prompts": {"main": "You book rooms."}}
    return {"project": "desk", "inline": {name: prompts}, "traces": traces}


@pytest.fixture
def graph() -> Cycle:
    return build_graph(store=InMemoryStore())


def told(report: dict[str, Any]) -> tuple[str, list[tuple[str, str, int]]]:
    results = [(r["agent"], r["outcome"], r["traces"]) for r in report["results"]]
    return report["status"], results


def test_a_sync_run_where_the_store_works_is_an_error_and_no_deadlock(tmp_path: Path) -> None:
    async def run() -> None:
        async with open_store(f"sqlite:///{tmp_path}/memory.db") as store:
            build_graph(store=store).invoke(asked("desk"), context=RULES)

    with pytest.raises(StoreError, match=r"works in the event loop .* await `ainvoke` instead"):
        asyncio.run(run())


def test_cycles_side_by_side_keep_apart(graph: Cycle) -> None:
    by_threads: dict[str, Any] = {}

    def run(name: str, runs: int) -> None:
        by_threads[name] = told(graph.invoke(asked(name, runs), context=RULES))

    async def all_at_once() -> list[Any]:
        every = [graph.ainvoke(asked(f"a{n}", 20 + n), context=RULES) for n in range(6)]
        return list(await asyncio.gather(*every))

    threads = [threading.Thread(target=run, args=(f"t{n}", 30 + n)) for n in range(3)]
    for thread in threads:
        thread.start()
    found = {f"a{n}": told(report) for n, report in enumerate(asyncio.run(all_at_once()))}
    for thread in threads:
        thread.join()
    sizes = {f"a{n}": 20 + n for n in range(6)} | {f"t{n}": 30 + n for n in range(3)}
    expected = {name: ("released", [(name, "released", runs)]) for name, runs in sizes.items()}
    assert found | by_threads == expected


@pytest.mark.parametrize("steps", [1, 3, 10, 30], ids=lambda steps: f"after {steps} steps")
def test_a_cancelled_cycle_is_in_nobodys_way(steps: int, graph: Cycle) -> None:
    async def cancel_and_go_on() -> Any:
        task = asyncio.ensure_future(graph.ainvoke(asked("desk"), context=RULES))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await graph.ainvoke(asked("desk"), context=RULES)

    status, [(_, outcome, runs)] = told(asyncio.run(cancel_and_go_on()))
    assert (status, outcome, runs) == ("released", "released", 20)


@pytest.mark.parametrize("sync", [True, False], ids=["invoke", "ainvoke"])
def test_a_node_is_one_run_in_a_trace(sync: bool, graph: Cycle) -> None:
    started: Counter[str] = Counter()

    class Counting(BaseCallbackHandler):
        def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
            started[kwargs["name"]] += 1

    config: Any = {"callbacks": [Counting()]}
    if sync:
        graph.invoke(asked("desk"), config, context=RULES)
    else:
        asyncio.run(graph.ainvoke(asked("desk"), config, context=RULES))
    nodes = ("ingest_traces", "compute_metrics", "classify_prompts", "assemble_candidates")
    assert {name: started[name] for name in nodes} == dict.fromkeys(nodes, 1)


def test_a_small_cycle_needs_no_database_and_ends_with_its_process() -> None:
    lines = (
        "import json, sys",
        "from tracetune import Settings, build_graph",
        "report = build_graph().invoke(json.load(sys.stdin), context=Settings(model='rules'))",
        "print(report['status'], 'duckdb' in sys.modules)",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        input=json.dumps(asked("desk")),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "released False\n"), done.stderr
