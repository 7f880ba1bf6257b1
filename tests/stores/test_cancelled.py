"""Callers that give up, at any moment: the store stays as usable as it was."""

import asyncio
from pathlib import Path

import numpy as np

from tracetune.stores.backends import open_store
from tracetune.stores.memory import ProceduralMemory

MOMENTS = 150
TURNS = 300
"""Of the event loop: by then most of a commit is done."""


async def test_a_cancelled_caller_leaves_no_transaction_behind(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    cancelled = 0
    async with open_store("sqlite:///memory.db", base=tmp_path) as store:
        agent = ProceduralMemory(store, "desks").agent("desk")
        for moment in range(MOMENTS):
            prompts = {"main": f"You answer {moment}."}
            doing = agent.areleases() if moment % 2 else agent.acommit(prompts=prompts)
            asked = asyncio.ensure_future(doing)
            for _ in range(rng.integers(TURNS)):
                await asyncio.sleep(0)
            asked.cancel()
            await asyncio.wait([asked])
            cancelled += asked.cancelled()
            async with asyncio.timeout(20):
                head = await agent.ahead()
            assert head is None or head.prompts["main"].startswith("You answer ")
        done = await agent.acommit(prompts={"main": "Done."}, promote=True)
        assert await agent.ahead() == done
    assert cancelled > MOMENTS // 3
