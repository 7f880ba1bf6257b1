"""What a cycle may spend is set aside before a call, and what the call took is settled after."""

import asyncio
from datetime import date
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from tracetune.graph.context import DEFAULT_MODEL, Settings
from tracetune.graph.state import ModelCall
from tracetune.nodes.calling.budget import ANSWER_TOKENS, Budget, Limits, SpentError
from tracetune.nodes.calling.prices import cost_usd, price_of, prices_taken
from tracetune.nodes.report import spent_on
from tracetune.nodes.workplace import Workplace
from tracetune.stores.project_file import Price

PRICED = {"m": Price(input=1.0, output=10.0)}


def call(**given: Any) -> ModelCall:
    values: dict[str, Any] = {
        "branch": "b",
        "agent": "",
        "model": "m",
        "tokens_in": 100,
        "tokens_out": 10,
        "seconds": 0.5,
        "usd": 0.0002,
        "attempt": 1,
        "error": "",
    }
    return ModelCall(**{**values, **given})


def budget(**limits: Any) -> Budget:
    return Budget(Limits(**limits), PRICED)


async def test_a_call_too_many_is_refused_at_once() -> None:
    left = budget(max_calls=2)
    await left.reserve("m", 10)
    await left.reserve("m", 10)
    with pytest.raises(SpentError, match=r"is spent \(max_calls: 2\)"):
        await left.reserve("m", 10)


async def test_what_a_call_did_not_take_is_there_again() -> None:
    left = budget(max_tokens=2 * ANSWER_TOKENS)
    left.settle(await left.reserve("m", 350), call())
    await left.reserve("m", 350)


@pytest.mark.parametrize(
    "settled",
    [
        pytest.param(call(tokens_in=None, tokens_out=None, usd=None), id="nobody counted it"),
        pytest.param(None, id="it was broken off"),
    ],
)
async def test_what_is_not_known_to_be_less_counts_as_taken(settled: ModelCall | None) -> None:
    left = budget(max_tokens=2 * ANSWER_TOKENS)
    left.settle(await left.reserve("m", 350), settled)
    with pytest.raises(SpentError, match="max_tokens"):
        await left.reserve("m", 350)


async def test_usd_are_limited_by_the_price() -> None:
    # 3,500 characters are 1,000 tokens: 0.001 USD, and 0.02 for the answer.
    left = budget(max_usd=0.0212)
    left.settle(await left.reserve("m", 3500), call(usd=0.0002))
    left.settle(await left.reserve("m", 3500), call(usd=0.0003))
    with pytest.raises(SpentError, match="max_usd"):
        await left.reserve("m", 3500)


async def test_what_is_set_aside_for_another_call_is_waited_for() -> None:
    left = budget(max_tokens=2 * ANSWER_TOKENS)
    first = await left.reserve("m", 350)
    second = asyncio.create_task(left.reserve("m", 350))
    await asyncio.sleep(0.01)
    assert not second.done()
    left.settle(first, call())
    async with asyncio.timeout(5):
        await second


async def test_whoever_waits_is_refused_when_too_much_was_taken() -> None:
    left = budget(max_tokens=2 * ANSWER_TOKENS)
    first = await left.reserve("m", 350)
    second = asyncio.create_task(left.reserve("m", 350))
    await asyncio.sleep(0)
    left.settle(first, call(tokens_out=ANSWER_TOKENS))
    with pytest.raises(SpentError, match="max_tokens"):
        await second


async def test_a_call_larger_than_what_is_left_is_not_kept_waiting() -> None:
    left = budget(max_tokens=2 * ANSWER_TOKENS)
    await left.reserve("m", 350)
    with pytest.raises(SpentError, match="max_tokens"):
        await left.reserve("m", 4 * 3 * ANSWER_TOKENS)


async def test_nobody_waits_past_the_deadline() -> None:
    left = budget(max_tokens=2 * ANSWER_TOKENS, deadline_s=0.05)
    await left.reserve("m", 350)
    async with asyncio.timeout(5):
        with pytest.raises(SpentError, match=r"the deadline of the cycle is over"):
            await left.reserve("m", 350)


async def test_who_is_cancelled_while_waiting_is_in_nobodys_way() -> None:
    left = budget(max_tokens=2 * ANSWER_TOKENS)
    first = await left.reserve("m", 350)
    second, third = (asyncio.create_task(left.reserve("m", 350)) for _ in range(2))
    await asyncio.sleep(0)
    second.cancel()
    left.settle(first, call())
    async with asyncio.timeout(5):
        await third


@pytest.mark.parametrize("limit", ["max_tokens", "max_usd"])
async def test_many_at_once_spend_what_there_is_and_no_more(limit: str) -> None:
    most = {"max_tokens": 10_000, "max_usd": 0.06}[limit]
    left, taken = budget(**{limit: most}), []

    async def ask(tokens: int) -> None:
        try:
            reserved = await left.reserve("m", 350)
        except SpentError:
            return
        await asyncio.sleep(0.001 * (tokens % 7))
        taken.append(call(tokens_in=100, tokens_out=tokens, usd=tokens / 100_000))
        left.settle(reserved, taken[-1])

    await asyncio.gather(*(ask(200 + 100 * n) for n in range(18)))
    key = {"max_tokens": lambda c: c["tokens_in"] + c["tokens_out"], "max_usd": lambda c: c["usd"]}
    spent = sum(key[limit](c) for c in taken)
    one_call = {"max_tokens": 100 + ANSWER_TOKENS, "max_usd": 0.0201}[limit]
    assert most - one_call < spent <= most


async def test_a_model_without_a_price_is_not_asked_where_usd_are_limited() -> None:
    with pytest.raises(SpentError, match="no price of home-made is known"):
        await budget(max_usd=5.0).reserve("home-made", 10)
    await budget(max_tokens=10_000).reserve("home-made", 10)


async def test_after_the_deadline_nothing_is_asked() -> None:
    now = [100.0]
    left = Budget(Limits(deadline_s=5), clock=lambda: now[0])
    assert left.left_s() == 5
    now[0] = 104.0
    await left.reserve("m", 10)
    now[0] = 106.0
    assert left.left_s() == 0
    with pytest.raises(SpentError, match=r"the deadline of the cycle is over \(5 s\)"):
        await left.reserve("m", 10)


async def test_a_resumed_cycle_begins_with_what_it_has_spent() -> None:
    spent = [call(), call(tokens_in=None, tokens_out=None, usd=None)]
    left = Budget(Limits(max_calls=3), PRICED, spent)
    await left.reserve("m", 10)
    with pytest.raises(SpentError, match="max_calls"):
        await left.reserve("m", 10)


@pytest.mark.parametrize(
    ("model", "own", "day", "expected"),
    [
        pytest.param("gemini-2.5-flash", {}, None, (0.3, 2.5), id="a known model"),
        pytest.param("models/gemini-2.5-flash", {}, None, (0.3, 2.5), id="as Google writes it"),
        pytest.param(
            "gemini-3.8-flash", {}, date(2026, 12, 31), (0.75, 3.75), id="before its price changes"
        ),
        pytest.param("gemini-3.8-flash", {}, date(2027, 1, 1), (1.5, 7.5), id="from that day on"),
        pytest.param(
            "gemini-flash-latest", {}, date(2026, 12, 1), (0.75, 3.75), id="another model's name"
        ),
        pytest.param("m", {"m": (1, 2)}, None, (1, 2), id="the project's own"),
        pytest.param("m", {"ollama:m": (0, 0)}, None, (0, 0), id="with its provider"),
        pytest.param("qwen3:8b", {"qwen3:8b": (0, 0)}, None, (0, 0), id="a name with a colon"),
        pytest.param("gpt-5", {"gpt-5": (9, 9)}, None, (9, 9), id="the own price goes first"),
        pytest.param("gpt-5-2099-01-01", {}, None, None, id="nearly a known name is unknown"),
        pytest.param("8b", {"qwen3:4b:8b": (1, 1)}, None, None, id="the end of a name is none"),
    ],
)
def test_prices(
    model: str,
    own: dict[str, tuple[float, float]],
    day: date | None,
    expected: tuple[float, float] | None,
) -> None:
    prices = {name: Price(input=i, output=o) for name, (i, o) in own.items()}
    found = price_of(model, prices, day)
    assert (found and (found.input, found.output)) == expected


def test_the_default_model_has_a_price_and_the_table_a_day() -> None:
    assert price_of(DEFAULT_MODEL.partition(":")[2], {}) is not None
    assert prices_taken() >= date(2026, 11, 22)


def test_costs_are_per_million_tokens() -> None:
    assert cost_usd(Price(input=0.3, output=2.5), 1_000_000, 200_000) == pytest.approx(0.8)


def test_what_calls_took_together() -> None:
    spent = spent_on(
        [
            call(),
            call(attempt=2, error="cut off"),
            call(tokens_in=0, tokens_out=0, usd=0.0, error="HTTP 500"),
            call(tokens_in=None, tokens_out=None, usd=None, error="no answer"),
        ]
    )
    assert spent.model_dump() == {
        "calls": 4,
        "failed_calls": 3,
        "retries": 1,
        "tokens_in": 200,
        "tokens_out": 20,
        "unmetered_calls": 1,
        "usd": 0.0004,
        "unpriced_models": [],
        "seconds": 2.0,
    }


def test_costs_are_unknown_where_one_model_has_no_price() -> None:
    spent = spent_on([call(), call(model="home-made", usd=None)])
    assert (spent.usd, spent.unpriced_models) == (None, ["home-made"])


async def test_branches_of_a_cycle_share_a_budget_and_another_process_goes_on_from_its_calls() -> (
    None
):
    settings = Settings(max_calls=2).model_dump()
    here, there = Workplace(), Workplace()
    cycle = await here.begin(Settings(**settings))
    one = await here.account({"settings": settings, "cycle": cycle, "calls": []})
    other = await here.account({"settings": settings, "cycle": cycle, "calls": []})
    await one.budget.reserve("m", 10)
    await other.budget.reserve("m", 10)
    with pytest.raises(SpentError, match="max_calls"):
        await one.budget.reserve("m", 10)
    state = {"settings": settings, "cycle": cycle, "calls": [call()]}
    resumed = await RunnableLambda(there.account).ainvoke(state)  # as a node: within a run
    await resumed.budget.reserve("m", 10)
    with pytest.raises(SpentError, match="max_calls"):
        await resumed.budget.reserve("m", 10)
