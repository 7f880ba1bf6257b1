"""Whole cycles with a real Gemini client, whose server fails in every way it can."""

import asyncio
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from fake_gemini import FAULTS, KEY, TOLD, Asked, FakeGemini, Reply, answer, fault, gemini
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings
from tracetune.graph.schemas import CycleReport
from tracetune.stores.memory import ProceduralMemory
from tracetune.traces.model import ToolCall, Trace

pytest.importorskip("langchain_google_genai")

PROMPTS = {
    "alpha": "You greet the guest. Mark: first-secret-line.",
    "beta": "You book the table for {guests}. Mark: second-secret-line.",
    "gamma": "You say goodbye. Mark: third-secret-line.",
}
MARKS = {name: text.rpartition(" ")[2] for name, text in PROMPTS.items()}
NEW = "Say what you will do before you do it."
CHOOSE = {
    "updates": [{"agent": "desk", "prompt": name, "why": "it loops"} for name in PROMPTS],
}
EDIT = {"add": [{"text": NEW, "why": "Runs that loop fail.", "patterns": [1]}], "retire": []}
TUNE = {"changes": [{"parameter": "max_steps", "value": 20, "why": "Long runs fail."}]}
SOUND = {"Classification": CHOOSE, "Edits": EDIT, "ConfigChanges": TUNE}
BRANCHES = {
    "classify_prompts",
    *(f"generate_update desk/{name}" for name in PROMPTS),
    "optimize_config desk",
}


def branch_of(asked: Asked) -> str:
    """Which part of the cycle asks; the text of one prompt stands in the request for it."""
    if asked.schema == "Classification":
        return "classify_prompts"
    if asked.schema == "ConfigChanges":
        return "optimize_config desk"
    [name] = [name for name, mark in MARKS.items() if mark in asked.prompt]
    return f"generate_update desk/{name}"


def runs() -> list[dict[str, object]]:
    call = ToolCall("transfer", {"why": "stuck"}, result="done")
    good = [Trace(f"ok{i}", "desk", success=True, turns=3, latency_s=2.0) for i in range(12)]
    bad = [
        Trace(f"bad{i}", "desk", success=False, turns=40, latency_s=60.0, steps=(call,) * 12)
        for i in range(6)
    ]
    return [trace.to_dict() for trace in [*good, *bad]]


def sound(asked: Asked) -> Reply:
    return answer(SOUND[asked.schema or _named(asked.prompt)])


def _named(prompt: str) -> str:
    """The schema that a prompt in plain text asks for."""
    return next(name for name in SOUND if f'"title": "{name}"' in prompt)


@pytest.fixture
def server() -> Iterator[FakeGemini]:
    with gemini(sound) as fake:
        yield fake


class Cycle:
    """One cycle over an agent with three prompts, and all it left behind."""

    def __init__(self, server: FakeGemini) -> None:
        self.store, self.saver = InMemoryStore(), InMemorySaver()
        self._model = server.model()

    async def run(self, **settings: Any) -> CycleReport:
        agent = {"prompts": PROMPTS, "config": {"max_steps": 40}}
        request = {"project": "desks", "inline": {"desk": agent}, "traces": runs()}
        return await self.resume(request, **settings)

    async def resume(self, request: Any = None, **settings: Any) -> CycleReport:
        """Go on where the cycle was left, as another process would."""
        graph = build_graph(store=self.store, checkpointer=self.saver, model=self._model)
        got = await graph.ainvoke(
            request,
            {"configurable": {"thread_id": "1"}},
            context=Settings(**{"retries": 0, "call_timeout_s": 20, **settings}),
        )
        return CycleReport.model_validate(got)

    def checkpoints(self) -> str:
        saved = [dict(self.saver.storage), dict(self.saver.blobs), dict(self.saver.writes)]
        return repr(saved)

    def assert_whole(self, report: CycleReport) -> None:
        """One whole release of the bundle is in force, and nothing in it is blank."""
        memory = ProceduralMemory(self.store, "desks").agent("desk")
        head, [result] = memory.release, report.results
        assert head.id == result.release
        assert [release.origin for release in memory.releases()].count("import") == 1
        assert head.prompts.keys() == PROMPTS.keys()
        for name, text in PROMPTS.items():
            assert head.prompts[name].startswith(text)
        assert isinstance(head.config["max_steps"], int)


def origins(report: CycleReport) -> dict[str, str]:
    return {change.name: change.origin for change in report.results[0].changes}


def assert_nothing_leaks(cycle: Cycle, report: CycleReport, log: str) -> None:
    told = report.model_dump()
    said = repr([told["fallbacks"], told["calls"], told["notes"], told["summary"], log])
    for secret in (KEY, TOLD, *MARKS.values()):
        assert secret not in said
    for secret in (KEY, TOLD):
        assert secret not in cycle.checkpoints()


def only(branch: str, reply: Reply) -> Any:
    return lambda asked: reply if branch_of(asked) == branch else sound(asked)


EXPECTED = {
    "key refused (401)": "key refused (HTTP 401)",
    "key refused (403)": "key refused (HTTP 403)",
    "key refused (400)": "key refused (HTTP 400)",
    "rate limited": "rate limited (HTTP 429)",
    "rate limited, come again at once": "rate limited (HTTP 429)",
    "rate limited, come again tomorrow": "rate limited (HTTP 429), to be asked again in 86400 s",
    "rate limited, told in the body": "rate limited (HTTP 429), to be asked again in 86400 s",
    "broken (500)": "provider failed (HTTP 500)",
    "broken (503)": "provider failed (HTTP 503)",
    "hangs": "no answer within 0.3 s",
    "drops the connection": "the call failed (RemoteProtocolError)",
    "malformed JSON around the answer": "the answer could not be read",
    "no candidate": "an empty answer",
    "blocked": "blocked by the provider's filter",
    "blocked while answering": "blocked by the provider's filter",
    "cut off": "the answer was cut off",
    "cut off and not said": "the answer did not fit the asked form",
    "another schema": "the answer did not fit the asked form",
    "a wrong type": "the answer did not fit the asked form",
    "plain prose": "no answer in the asked form",
    "5 MB": "the answer is too large: 5,000,",
    "5 MB that do not end": "the answer is too large: 5,000,",
}


def test_every_fault_is_tested() -> None:
    assert EXPECTED.keys() == FAULTS.keys()


@pytest.mark.parametrize("name", EXPECTED)
async def test_only_the_branch_whose_call_fails_falls_back(
    name: str, server: FakeGemini, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    beta = "generate_update desk/beta"
    server.script = only(beta, FAULTS[name])
    cycle = Cycle(server)
    report = await cycle.run(call_timeout_s=0.3 if name == "hangs" else 20)
    [fallback] = report.fallbacks
    assert (fallback["branch"], fallback["used"]) == (beta, "update_by_rules")
    assert fallback["error"].startswith(EXPECTED[name])
    assert fallback["attempts"] == 1
    assert origins(report) == {"alpha": "llm", "beta": "rules", "gamma": "llm", "max_steps": "llm"}
    assert {call["branch"]: bool(call["error"]) for call in report.calls} == {
        branch: branch == beta for branch in BRANCHES
    }
    assert (report.spent.calls, report.spent.failed_calls) == (5, 1)
    cycle.assert_whole(report)
    assert_nothing_leaks(cycle, report, own_lines(caplog))


def own_lines(caplog: pytest.LogCaptureFixture) -> str:
    """What was logged, but for libraries that log requests when asked for DEBUG."""
    quiet = ("httpcore", "httpx", "urllib3", "asyncio", "bm25s")
    return repr([r.getMessage() for r in caplog.records if r.name.split(".")[0] not in quiet])


@pytest.mark.parametrize("name", ["key refused (401)", "broken (500)", "5 MB", "cut off"])
async def test_where_every_call_fails_the_rules_carry_the_cycle(
    name: str, server: FakeGemini
) -> None:
    server.script = lambda asked: FAULTS[name]
    cycle = Cycle(server)
    report = await cycle.run()
    assert report.status == "released"
    assert set(origins(report).values()) == {"rules"}
    fell_back = {fallback["branch"]: fallback["used"] for fallback in report.fallbacks}
    assert fell_back["classify_prompts"] == "classify_by_rules"
    assert fell_back["optimize_config desk"] == "configure_by_rules"
    assert report.spent.failed_calls == report.spent.calls == len(fell_back)
    head = ProceduralMemory(cycle.store, "desks").agent("desk").release
    assert (head.model, head.calls, head.origin) == (None, report.spent.calls, "rules")
    cycle.assert_whole(report)


async def test_one_fault_after_another_and_then_an_answer(server: FakeGemini) -> None:
    again = {"Retry-After": "0"}
    faults = [fault(429, "RESOURCE_EXHAUSTED", again), FAULTS["another schema"]]
    waiting: dict[str, list[Reply]] = defaultdict(lambda: list(faults))

    def script(asked: Asked) -> Reply:
        left = waiting[branch_of(asked)]
        return left.pop(0) if left else sound(asked)

    server.script = script
    cycle = Cycle(server)
    report = await cycle.run(retries=2)
    assert report.fallbacks == []
    assert set(origins(report).values()) == {"llm"}
    by_branch: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for call in report.calls:
        by_branch[call["branch"]].append((call["attempt"], call["error"]))
    tried = [
        (1, "rate limited (HTTP 429)"),
        (2, "the answer did not fit the asked form"),
        (3, ""),
    ]
    assert by_branch == dict.fromkeys(BRANCHES, tried)
    assert (report.spent.retries, report.spent.failed_calls) == (10, 10)
    # The refused calls took nothing, the answers that did not fit took what the reply says.
    assert (report.spent.tokens_in, report.spent.tokens_out) == (10_000, 1_000)
    cycle.assert_whole(report)


@pytest.mark.parametrize("seed", range(6))
async def test_faults_at_random(seed: int, server: FakeGemini) -> None:
    dice = random.Random(seed)
    quick = [FAULTS[name] for name in sorted(FAULTS) if name not in ("hangs", "broken (500)")]

    def script(asked: Asked) -> Reply:
        return sound(asked) if dice.random() < 0.4 else dice.choice(quick)

    server.script = script
    cycle = Cycle(server)
    report = await cycle.run(retries=1, deadline_s=30)
    fell_back = {fallback["branch"]: fallback for fallback in report.fallbacks}
    answered = {call["branch"] for call in report.calls if not call["error"]}
    asked = {call["branch"] for call in report.calls}
    assert fell_back.keys() | answered == asked
    assert not fell_back.keys() & answered
    for branch, fallback in fell_back.items():
        made = [call for call in report.calls if call["branch"] == branch]
        assert fallback["attempts"] == len(made)
        assert made[-1]["error"]
    for name, origin in origins(report).items():
        branch = "optimize_config desk" if name == "max_steps" else f"generate_update desk/{name}"
        assert origin == ("rules" if branch in fell_back else "llm")
    assert report.spent.calls == len(server.asked)
    cycle.assert_whole(report)
    assert_nothing_leaks(cycle, report, "")


@pytest.mark.parametrize(
    ("edit", "broken"),
    [
        pytest.param({"text": "   "}, "empty", id="a blank guideline"),
        pytest.param({"text": "Greet {name} first."}, "braces", id="an invented variable"),
    ],
)
async def test_an_answer_that_breaks_a_guard_twice_is_left_to_the_rules(
    edit: Mapping[str, str], broken: str, server: FakeGemini
) -> None:
    beta = "generate_update desk/beta"
    server.script = only(beta, answer({"add": [{"why": "x", **edit}], "retire": []}))
    cycle = Cycle(server)
    report = await cycle.run()
    [fallback] = report.fallbacks
    assert fallback["branch"] == beta
    assert broken in fallback["error"]
    assert fallback["attempts"] == 2
    assert origins(report)["beta"] == "rules"
    cycle.assert_whole(report)


@pytest.mark.parametrize(
    ("new", "broken"),
    [
        pytest.param("   \n", "empty", id="a blank prompt"),
        pytest.param(PROMPTS["beta"].replace("{guests}", "all"), "variables", id="variables lost"),
    ],
)
async def test_a_rewritten_prompt_that_breaks_a_guard_twice_is_left_to_the_rules(
    new: str, broken: str, server: FakeGemini
) -> None:
    beta = "generate_update desk/beta"
    wrong = {"text": new, "changes": [{"what": "Rewritten.", "why": "x"}]}
    right = {"text": "", "changes": []}

    def script(asked: Asked) -> Reply:
        if asked.schema == "Rewrite":
            return answer(wrong if branch_of(asked) == beta else right)
        return sound(asked)

    server.script = script
    cycle = Cycle(server)
    report = await cycle.run(style="rewrite")
    [fallback] = report.fallbacks
    assert fallback["branch"] == beta
    assert broken in fallback["error"]
    cycle.assert_whole(report)


async def test_a_cycle_whose_server_hangs_ends_at_its_deadline(server: FakeGemini) -> None:
    server.script = lambda asked: FAULTS["hangs"]
    cycle = Cycle(server)
    report = await cycle.run(deadline_s=0.8, call_timeout_s=3600, retries=5)
    first, *rest = report.fallbacks
    assert first["branch"] == "classify_prompts"
    assert first["error"].startswith("no answer within 0.")
    assert {(f["error"], f["attempts"]) for f in rest} == {
        ("the deadline of the cycle is over (0.8 s)", 0)
    }
    assert len(server.asked) == 1
    assert report.spent.unmetered_calls == 1
    cycle.assert_whole(report)


async def test_a_cycle_that_is_killed_while_a_branch_waits_goes_on_with_what_the_others_have(
    server: FakeGemini,
) -> None:
    server.script = only("generate_update desk/gamma", FAULTS["hangs"])
    cycle = Cycle(server)
    killed = asyncio.create_task(cycle.run(max_calls=4))
    finished = re.compile(r"generate_update desk/(alpha|beta)")
    async with asyncio.timeout(20):
        while len(set(finished.findall(cycle.checkpoints()))) < 2:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    asked, server.script = len(server.asked), sound
    report = await cycle.resume(max_calls=4)
    assert len(server.asked) == asked + 1
    [fallback] = report.fallbacks
    assert fallback["error"] == "the budget of the cycle is spent (max_calls: 4)"
    assert origins(report) == {"alpha": "llm", "beta": "llm", "gamma": "llm"}
    cycle.assert_whole(report)


async def test_a_server_that_asks_for_more_time_than_is_left_is_not_waited_for(
    server: FakeGemini,
) -> None:
    server.script = lambda asked: FAULTS["rate limited, come again tomorrow"]
    report = await Cycle(server).run(retries=5)
    assert {fallback["attempts"] for fallback in report.fallbacks} == {1}


LIMITED = {
    "max_calls": ({"max_calls": 2}, 2, "the budget of the cycle is spent (max_calls: 2)"),
    "no call at all": ({"max_calls": 0}, 0, "the budget of the cycle is spent (max_calls: 0)"),
    "max_tokens": ({"max_tokens": 3090}, 1, "the budget of the cycle is spent (max_tokens: 3090)"),
    "max_usd": ({"max_usd": 0.0001}, 0, "the budget of the cycle is spent (max_usd: 0.0001)"),
}


@pytest.mark.parametrize("name", LIMITED)
async def test_what_would_go_past_the_budget_is_left_to_the_rules(
    name: str, server: FakeGemini
) -> None:
    settings, made, told = LIMITED[name]
    cycle = Cycle(server)
    report = await cycle.run(**settings)
    assert report.spent.calls == len(server.asked) == made
    assert {fallback["error"] for fallback in report.fallbacks} == {told}
    assert {fallback["attempts"] for fallback in report.fallbacks} == {0}
    cycle.assert_whole(report)


@pytest.mark.parametrize(
    "limit",
    [
        # The cycle takes 5,500 tokens and 0.0056 USD; 2,000 tokens are set aside per answer.
        pytest.param({"max_tokens": 8000}, id="max_tokens"),
        pytest.param({"max_usd": 0.015}, id="max_usd"),
    ],
)
@pytest.mark.parametrize("sync", [True, False], ids=["invoke", "ainvoke"])
async def test_a_budget_above_the_need_costs_no_update(
    limit: dict[str, Any], sync: bool, server: FakeGemini
) -> None:
    agent = {"prompts": PROMPTS, "config": {"max_steps": 40}}
    request = {"project": "desks", "inline": {"desk": agent}, "traces": runs()}
    graph, settings = build_graph(model=server.model()), Settings(retries=0, **limit)
    got = (
        await asyncio.to_thread(graph.invoke, request, context=settings)
        if sync
        else await graph.ainvoke(request, context=settings)
    )
    report = CycleReport.model_validate(got)
    assert report.fallbacks == []
    assert set(origins(report).values()) == {"llm"}
    assert len(server.asked) == 5


async def test_what_was_spent_is_in_the_report(server: FakeGemini) -> None:
    report = await Cycle(server).run()
    spent = report.spent
    assert (spent.calls, spent.failed_calls, spent.retries) == (5, 0, 0)
    assert (spent.tokens_in, spent.tokens_out, spent.unmetered_calls) == (5000, 500, 0)
    assert spent.usd is not None
    assert spent.usd > 0
    assert spent.unpriced_models == []


async def test_a_model_without_a_price_is_named_and_not_asked_under_max_usd(
    server: FakeGemini,
) -> None:
    model = server.model("home-made")
    agent = {"prompts": PROMPTS, "config": {"max_steps": 40}}
    request = {"inline": {"desk": agent}, "traces": runs()}
    graph = build_graph(model=model)
    free = CycleReport.model_validate(await graph.ainvoke(request))
    assert (free.spent.usd, free.spent.unpriced_models) == (None, ["home-made"])
    asked = len(server.asked)
    limited = CycleReport.model_validate(
        await graph.ainvoke(request, context=Settings(max_usd=5.0, relearn=True))
    )
    assert {fallback["error"] for fallback in limited.fallbacks} == {
        "max_usd is set and no price of home-made is known"
    }
    assert len(server.asked) == asked


@pytest.mark.parametrize("name", ["drops the connection", "cut off and not said", "broken (503)"])
async def test_streamed_calls_fail_alike(name: str, server: FakeGemini) -> None:
    beta = "generate_update desk/beta"
    server.script = only(beta, FAULTS[name])
    agent = {"prompts": PROMPTS, "config": {"max_steps": 40}}
    request = {"inline": {"desk": agent}, "traces": runs()}
    graph = build_graph(model=server.model())
    last: Any = None
    async for mode, event in graph.astream(
        request, context=Settings(retries=0), stream_mode=["messages", "values"]
    ):
        last = event if mode == "values" else last
    assert all(asked.streamed for asked in server.asked)
    report = CycleReport.model_validate(last)
    assert [fallback["branch"] for fallback in report.fallbacks] == [beta]
    assert origins(report)["alpha"] == "llm"


def test_sync_callers_get_the_same(server: FakeGemini) -> None:
    server.script = only("generate_update desk/beta", FAULTS["broken (503)"])
    agent = {"prompts": PROMPTS, "config": {"max_steps": 40}}
    request = {"inline": {"desk": agent}, "traces": runs()}
    graph = build_graph(model=server.model())
    report = CycleReport.model_validate(graph.invoke(request, context=Settings(retries=1)))
    [fallback] = report.fallbacks
    assert (fallback["error"], fallback["attempts"]) == ("provider failed (HTTP 503)", 2)


async def test_the_client_does_not_try_again_by_itself(server: FakeGemini) -> None:
    server.script = lambda asked: FAULTS["broken (503)"]
    report = await Cycle(server).run(retries=0)
    assert len(server.asked) == report.spent.calls
