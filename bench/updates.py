"""Updating prompts: tracetune's drop-in against langmem, with the same scripted model.

    python bench/updates.py

Prints Markdown tables: wall time, calls, characters sent, and time beside the model's. Both are
told to update every prompt; every call of the model takes 0.3 seconds, or none where its time is
not what is measured.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import langmem
from langgraph.store.memory import InMemoryStore
from scripted import ScriptedModel

import tracetune
from tracetune import Settings, build_graph

Json = dict[str, Any]

CALL_S = 0.3
CHARACTERS = 1_800
"""Of one trajectory."""
REPEATS = 9


def prompts(count: int) -> list[Json]:
    """As many prompts, each to be updated where its part is done badly."""
    return [
        {
            "name": f"part_{i}",
            "prompt": f"You do part {i} of the work. Be thorough. Say what you did.",
            "when_to_update": f"When part {i} went wrong.",
            "update_instructions": "Keep it short.",
        }
        for i in range(count)
    ]


def trajectories(count: int, take: int = 0) -> list[Any]:
    """As many conversations of 1,800 characters, two of three with feedback; each take its own."""
    words = ("the report left out what was asked for and came late " * 40)[: CHARACTERS // 2]
    said = [{"role": "user", "content": words}, {"role": "assistant", "content": words}]
    told = f"of take {take}: say what is missing."
    return [(said, f"Run {i} {told}" if i % 3 else None) for i in range(count)]


def model(count: int, delay_s: float = 0.0) -> ScriptedModel:
    """A model that has every one of so many prompts updated."""
    names = [prompt["name"] for prompt in prompts(count)]

    def rewritten(sent: str) -> str:
        found = re.search(r"<(current_prompt|text-\w+)>\n(.*?)\n</\1>", sent, re.DOTALL)
        return (found.group(2) if found else "") + " Say what is missing."

    return ScriptedModel(
        delay_s=delay_s,
        answers={
            "Classification": {
                "updates": [{"agent": "agent", "prompt": n, "why": "feedback"} for n in names]
            },
            "Classify": {"reasoning": "feedback", "which": names},
            "Rewrite": lambda sent: {
                "text": rewritten(sent),
                "changes": [{"what": "One sentence more.", "why": "Feedback asks for it."}],
            },
            "OptimizedPromptOutput": lambda sent: {
                "analysis": "",
                "improved_prompt": rewritten(sent),
            },
            "recommend": {
                "warrants_adjustment": True,
                "hypotheses": "Parts are missing.",
                "full_recommendations": "Ask to say what is missing.",
            },
            "think": {"thought": "Parts are missing."},
            "GeneralResponse": lambda sent: {
                "logic": "",
                "update_prompt": True,
                "new_prompt": rewritten(sent),
            },
        },
    )


Factory = Callable[..., Any]
SYSTEMS: dict[str, tuple[Factory, str]] = {
    f"{name} {kind}": (module.create_multi_prompt_optimizer, kind)
    for name, module, kinds in (
        ("langmem", langmem, ("prompt_memory", "gradient", "metaprompt")),
        ("tracetune", tracetune, ("prompt_memory", "gradient", "metaprompt", "rewrite")),
    )
    for kind in kinds
}


def timed(system: str, chat: ScriptedModel, runs: list[Any], count: int, *, sync: bool) -> float:
    """Seconds of one update of so many prompts; fails where not all of them were updated."""
    make, kind = SYSTEMS[system]
    optimizer = make(chat, kind=kind)
    given = {"trajectories": runs, "prompts": prompts(count)}
    began = time.perf_counter()
    got = optimizer.invoke(given) if sync else asyncio.run(optimizer.ainvoke(given))
    took = time.perf_counter() - began
    assert all(p["prompt"].endswith("what is missing.") for p in got), (system, got)
    return took


def wall_times() -> Iterator[str]:
    yield "| system | prompts | calls | sync, s | async, s | two calls, s |"
    yield "|---|--:|--:|--:|--:|--:|"
    for system in ("langmem prompt_memory", "tracetune prompt_memory", "tracetune rewrite"):
        for count in (1, 4, 8):
            chat = model(count, CALL_S)
            took = timed(system, chat, trajectories(3), count, sync=True)
            calls = len(chat.sent)
            also = timed(system, chat, trajectories(3), count, sync=False)
            yield f"| {system} | {count} | {calls} | {took:.2f} | {also:.2f} | {2 * CALL_S:.2f} |"


def characters() -> Iterator[str]:
    yield "| system | calls | 10 traces | 100 traces | 1,000 traces |"
    yield "|---|--:|--:|--:|--:|"
    for system in SYSTEMS:
        sizes, calls = [], 0
        for count in (10, 100, 1000):
            chat = model(4)
            timed(system, chat, trajectories(count), 4, sync=True)
            sizes.append(sum(map(len, chat.sent)))
            calls = len(chat.sent)
        yield f"| {system} | {calls} | " + " | ".join(f"{size:,}" for size in sizes) + " |"


def overheads() -> Iterator[str]:
    yield "| system | 10 traces, ms | 100 traces, ms | 1,000 traces, ms |"
    yield "|---|--:|--:|--:|"
    for system in ("langmem prompt_memory", "tracetune prompt_memory", "tracetune rewrite"):
        cells = []
        for count in (10, 100, 1000):
            takes = [trajectories(count, take) for take in range(REPEATS)]
            times = [timed(system, model(4), runs, 4, sync=True) for runs in takes]
            cells.append(f"{statistics.median(times) * 1000:.0f}")
        yield f"| {system} | {' | '.join(cells)} |"
    cells = [f"{asyncio.run(cycle_s(count)) * 1000:.0f}" for count in (10, 100, 1000)]
    yield f"| tracetune, a whole cycle | {' | '.join(cells)} |"


async def cycle_s(count: int) -> float:
    """Seconds of one whole cycle of `build_graph`, half of whose runs failed, in memory."""
    agent = {"prompts": {prompt["name"]: prompt["prompt"] for prompt in prompts(4)}}
    times = []
    for take in range(REPEATS):
        rows = [
            {
                "messages": said,
                "feedback": told,
                "success": i % 2 == 0,
                "agent": "agent",
                "id": str(i),
            }
            for i, (said, told) in enumerate(trajectories(count, take))
        ]
        graph = build_graph(store=InMemoryStore(), model=model(4))
        given: Json = {"project": "bench", "inline": {"agent": agent}, "traces": rows}
        began = time.perf_counter()
        report = await graph.ainvoke(given, context=Settings(style="rewrite"))
        times.append(time.perf_counter() - began)
        assert report["status"] == "released", report
    return statistics.median(times)


def main() -> None:
    """Print every table."""
    for system in SYSTEMS:
        timed(system, model(2), trajectories(3), 2, sync=True)  # what is imported on first use
    for title, table in (
        (f"Wall time, every call {CALL_S} s", wall_times),
        ("Characters sent for 4 prompts", characters),
        (f"Time beside the model's for 4 prompts, median of {REPEATS}", overheads),
    ):
        print(f"\n{title}\n")
        for line in table():
            print(line)


if __name__ == "__main__":
    main()
