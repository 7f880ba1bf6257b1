"""The store's own embedding function: sync or async, and given up where it hangs."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langgraph.store.memory import InMemoryStore

from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings
from tracetune.graph.schemas import CycleReport
from tracetune.nodes.blaming.embedding import embedding_of
from tracetune.nodes.blaming.feedback_match import Embed
from tracetune.traces.model import Trace


def one_hot(texts: Sequence[str]) -> list[list[float]]:
    """Vectors that know that junk is what newsletters are."""
    return [[1.0, 0.0] if {"junk", "newsletters"} & set(t.split()) else [0.0, 1.0] for t in texts]


async def embed_later(texts: Sequence[str]) -> list[list[float]]:
    await asyncio.sleep(0)
    return one_hot(texts)


def hang(texts: Sequence[str]) -> list[list[float]]:
    threading.Event().wait()
    return []


async def never_end(texts: Sequence[str]) -> list[list[float]]:
    await asyncio.Event().wait()
    return []


def refuse(texts: Sequence[str]) -> list[list[float]]:
    raise ConnectionError("told to nobody")


class AsyncAlone(Embeddings):
    """A client that knows no sync calls."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        raise NotImplementedError

    def embed_query(self, text: str) -> list[float]:
        raise NotImplementedError

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return await embed_later(texts)


def embed_by(given: Any, allowed_s: Callable[[], float]) -> Embed:
    embed = embedding_of(InMemoryStore(index={"dims": 2, "embed": given}), allowed_s)
    assert embed is not None
    return embed


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(one_hot, id="a sync function"),
        pytest.param(embed_later, id="an async function"),
        pytest.param(AsyncAlone(), id="a client that is async alone"),
    ],
)
async def test_a_store_s_embedding_function_works_from_a_thread(given: Any) -> None:
    embed = embed_by(given, lambda: 5)
    assert await asyncio.to_thread(embed, ["junk", "other"]) == [[1.0, 0.0], [0.0, 1.0]]


async def test_a_store_without_an_index_has_no_embedding_function() -> None:
    assert embedding_of(InMemoryStore(), lambda: 5) is None
    assert embedding_of(None, lambda: 5) is None


@pytest.mark.parametrize("given", [hang, never_end], ids=["sync", "async"])
async def test_an_embedding_function_that_hangs_is_given_up_once_and_for_all(given: Any) -> None:
    times = iter([0.05])
    embed = embed_by(given, lambda: next(times))
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(embed, ["junk"])


async def test_without_time_nothing_is_embedded() -> None:
    asked: list[str] = []
    embed = embed_by(asked.extend, lambda: 0.0)
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(embed, ["junk"])
    assert asked == []


def told(error: str) -> list[str]:
    return [
        f"{agent}: the embedding function of the store failed ({error}): feedback was matched by "
        f"its words alone."
        for agent in ("mail", "post")
    ]


@pytest.mark.parametrize(
    ("given", "notes"),
    [
        pytest.param(one_hot, [], id="works"),
        pytest.param(refuse, told("ConnectionError"), id="fails"),
        pytest.param(hang, told("TimeoutError"), id="hangs"),
    ],
)
@pytest.mark.parametrize("sync", [True, False], ids=["invoke", "ainvoke"])
async def test_a_cycle_matches_feedback_with_the_store_s_function(
    given: Any, notes: list[str], sync: bool
) -> None:
    asked: list[str] = []

    def embed(texts: Sequence[str]) -> list[list[float]]:
        asked.extend(texts)
        vectors: list[list[float]] = given(texts)
        return vectors

    store = InMemoryStore(index={"dims": 2, "embed": embed})
    # The time for all calls of the function is half of the deadline.
    settings = Settings(model="rules", min_traces=1, deadline_s=1 if given is hang else 60)
    graph = build_graph(store=store, settings=settings)
    prompts = {"skip": "ignore newsletters", "reply": "write politely"}
    agents = {"mail": {"prompts": prompts}, "post": {"prompts": prompts}}
    traces = [Trace(a, a, success=False, feedback="junk").to_dict() for a in agents]
    request = {"project": "p", "inline": agents, "traces": traces}
    values = (
        await asyncio.to_thread(graph.invoke, request) if sync else await graph.ainvoke(request)
    )
    report = CycleReport.model_validate(values)
    assert [note for note in report.notes if "embedding" in note] == notes
    assert "junk" in asked
