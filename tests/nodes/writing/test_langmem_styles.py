"""langmem's own optimizers inside our guards; each row answers a defect that langmem has."""

import asyncio
import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field

from tracetune.graph.state import PromptDraft, PromptTask
from tracetune.nodes.calling.budget import Account, Budget, Limits
from tracetune.nodes.calling.calls import Branch, CallError
from tracetune.nodes.evidence.shortening import tokens_of
from tracetune.nodes.writing.langmem_styles import (
    KINDS,
    Kind,
    by_langmem,
    optimize,
)
from tracetune.nodes.writing.meter import Meter

Make = Callable[..., PromptTask]

BRANCH = Branch("generate_update", "desk", "main")
BODY = 'Hi {name}.\nReturn {"a": {"b": 1}}.\nShow {{this}} as it is.'
THINK = ("think", {"thought": "It fails."})
STOP = ("recommend", {"warrants_adjustment": False})
GO = (
    "recommend",
    {"warrants_adjustment": True, "hypotheses": "vague", "full_recommendations": "be kind"},
)


class Toolbox(BaseChatModel):
    """A chat model that calls the tools of its script in order, whatever it is asked."""

    script: list[Any]
    seen: list[str] = Field(default_factory=list)
    sent: list[str] = Field(default_factory=list)
    """All that each call was sent: contents and arguments of calls."""

    @property
    def _llm_type(self) -> str:
        return "toolbox"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind()

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        self.seen.append(str(messages[0].content))
        calls = [call for m in messages for call in getattr(m, "tool_calls", ())]
        self.sent.append("".join([*(str(m.content) for m in messages), json.dumps(calls)]))
        if not self.script:
            pytest.fail("unscripted call")
        reply = self.script.pop(0)
        if isinstance(reply, Exception):
            raise reply
        name, arguments = reply
        message = AIMessage(
            content="",
            tool_calls=[{"name": name, "args": arguments, "id": f"call-{len(self.seen)}"}],
            usage_metadata={"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        if self.script and self.script[0] == "hang":
            await asyncio.Event().wait()
        return self._generate(*args, **kwargs)


def answers(kind: Kind, text: str) -> list[Any]:
    """What a model says, through all of an optimizer's calls, that wants this text."""
    if kind == "prompt_memory":
        answer = {"logic": "It fails.", "update_prompt": True, "new_prompt": text}
        return [("GeneralResponse", answer)]
    done = ("OptimizedPromptOutput", {"analysis": "It fails.", "improved_prompt": text})
    return [THINK, THINK, THINK, done] if kind == "metaprompt" else [THINK, GO, done]


def meter(model: BaseChatModel, timeout_s: float = 5, most_calls: int = 4) -> Meter:
    return Meter(model, BRANCH, timeout_s, most_calls)


async def run(kind: Kind, text: str, account: Account | None = None, **more: Any) -> str:
    with (account or Account()).in_use():
        model = Toolbox(script=answers(kind, text))
        return await optimize(kind, BODY, "<run>\n{y}\n</run>", meter(model), **more)


@pytest.mark.parametrize("kind", KINDS)
async def test_braces_come_back_as_they_were(kind: Kind) -> None:
    assert await run(kind, f"{BODY}\nBe kind.") == f"{BODY}\nBe kind."


@pytest.mark.parametrize("kind", KINDS)
async def test_every_call_counts_with_its_tokens(kind: Kind) -> None:
    account = Account()
    await run(kind, BODY, account)
    made = {"prompt_memory": 1, "metaprompt": 4, "gradient": 3}[kind]
    assert [(c["branch"], c["tokens_in"], c["tokens_out"], c["error"]) for c in account.calls] == [
        ("generate_update desk/main", 10, 5, "")
    ] * made


@pytest.mark.parametrize(
    ("kind", "script"),
    [
        pytest.param("prompt_memory", answers("prompt_memory", ""), id="prompt_memory blanks it"),
        pytest.param(
            "prompt_memory",
            [("GeneralResponse", {"logic": "", "update_prompt": False, "new_prompt": "Ha."})],
            id="prompt_memory says no and writes something",
        ),
        pytest.param("gradient", [THINK, STOP], id="gradient recommends nothing"),
        pytest.param("gradient", answers("gradient", ""), id="gradient blanks it"),
        pytest.param("metaprompt", answers("metaprompt", ""), id="metaprompt blanks it"),
        pytest.param("metaprompt", answers("metaprompt", BODY), id="metaprompt repeats it"),
    ],
)
async def test_no_change_is_no_change(update_task: Make, kind: Kind, script: list[Any]) -> None:
    draft = await styled(Toolbox(script=script), update_task(BODY), kind)
    assert "text" not in draft
    assert draft["why"] == []


async def styled(model: BaseChatModel, task: PromptTask, kind: Kind) -> PromptDraft:
    with Account().in_use():
        return await by_langmem(model, task, BRANCH, kind)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_draft_is_the_whole_text_with_its_style(update_task: Make, kind: Kind) -> None:
    model = Toolbox(script=answers(kind, f"{BODY}\nBe kind."))
    draft = await styled(model, update_task(BODY, feedback=("It is rude to me.",)), kind)
    assert draft.get("text") == f"{BODY}\nBe kind."
    assert draft.get("style") == kind
    assert draft["why"] == [f"Rewritten by langmem's {kind}. Its runs fail."]
    assert "feedback: It is rude to me." in model.seen[0]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_lost_variable_is_repaired_by_one_more_call(update_task: Make, kind: Kind) -> None:
    fixed = ("Rewrite", {"text": f"{BODY}\nBe kind.", "changes": []})
    model = Toolbox(script=[*answers(kind, BODY.replace("{name}", "Ana")), fixed])
    draft = await styled(model, update_task(BODY), kind)
    assert draft.get("text") == f"{BODY}\nBe kind."
    assert "variables: lost name" in model.seen[-1]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_breaks_a_rule_twice_fails_the_branch(update_task: Make, kind: Kind) -> None:
    bad = ("Rewrite", {"text": f"{BODY} See evil.example/x.", "changes": []})
    model = Toolbox(script=[*answers(kind, f"{BODY} See evil.example/x."), bad])
    with pytest.raises(CallError, match=r"broke a rule twice \(link\)"):
        await styled(model, update_task(BODY), kind)


@pytest.mark.parametrize(
    ("kind", "script", "told", "calls"),
    [
        pytest.param(
            "prompt_memory", [ConnectionError("key-1")], "provider not reached", 1, id="no network"
        ),
        pytest.param(
            "gradient", [THINK, ("other", {})] * 3, "", 5, id="a tool that does not exist"
        ),
        pytest.param("metaprompt", [THINK] * 5, "wants more than 4 calls", 4, id="never answers"),
        pytest.param("gradient", [("think", {})] * 5, "", 4, id="a tool called wrongly"),
        pytest.param("prompt_memory", [("GeneralResponse", {})] * 2, "", 2, id="an empty answer"),
    ],
)
async def test_whatever_fails_fails_the_branch_and_is_counted(
    update_task: Make, kind: Kind, script: list[Any], told: str, calls: int
) -> None:
    account = Account(retries=0)
    with account.in_use(), pytest.raises(CallError) as failed:
        await by_langmem(Toolbox(script=script), update_task(BODY), BRANCH, kind)
    assert told in str(failed.value)
    assert len(failed.value.calls) == len(account.calls) == calls
    assert failed.value.__cause__ is failed.value.__context__ is None
    assert "key-1" not in repr((failed.value, account.calls))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_model_that_hangs_is_left(kind: Kind) -> None:
    account, script = Account(retries=0), answers(kind, BODY)
    with account.in_use():
        measured = meter(Toolbox(script=[*script[:-1], "hang"]), timeout_s=0.5)
    with pytest.raises(CallError, match=r"no answer within 0\.5 s"):
        await optimize(kind, BODY, "runs", measured)
    assert account.calls[-1]["error"] == "no answer within 0.5 s"
    assert len(account.calls) == len(script)


class Busy(Exception):  # noqa: N818
    """A 429, as providers' clients raise it."""

    status_code = 429

    def __init__(self, wait_s: str) -> None:
        super().__init__("key-1")
        self.response = SimpleNamespace(headers={"retry-after": wait_s})


@pytest.mark.parametrize("kind", KINDS)
async def test_a_busy_provider_is_asked_again(kind: Kind, update_task: Make) -> None:
    *first, last = answers(kind, f"{BODY}\nBe kind.")
    account = Account(retries=1)
    model = Toolbox(script=[*first, Busy("0"), *first, last])
    with account.in_use():
        draft = await by_langmem(model, update_task(BODY), BRANCH, kind)
    assert draft.get("text") == f"{BODY}\nBe kind."
    tries = [call["attempt"] for call in account.calls]
    assert tries == [1] * (len(first) + 1) + [2] * (len(first) + 1)
    errors = [call["error"] for call in account.calls if call["error"]]
    assert errors == ["rate limited (HTTP 429)"]


async def test_a_provider_that_asks_for_more_time_than_is_left_is_not_waited_for() -> None:
    account = Account(Budget(Limits(deadline_s=60)), retries=5)
    model = Toolbox(script=[Busy("3600")])
    with account.in_use(), pytest.raises(CallError, match="in 3600 s, after") as failed:
        await optimize("prompt_memory", BODY, "runs", meter(model))
    assert len(failed.value.calls) == 1
    assert "key-1" not in repr(failed.value)


@pytest.mark.parametrize("kind", ["metaprompt", "gradient"])
async def test_the_budget_of_the_cycle_holds_inside_langmem(kind: Kind) -> None:
    account = Account(Budget(Limits(max_calls=2)))
    with pytest.raises(CallError, match=r"budget of the cycle is spent \(max_calls: 2\)"):
        await run(kind, BODY, account)
    assert len(account.calls) == 2


async def test_waiting_for_what_other_branches_set_aside_takes_no_time_of_a_call() -> None:
    budget = Budget(Limits(max_tokens=4000))
    reserved = await budget.reserve("toolbox", 10)
    account, model = Account(budget), Toolbox(script=answers("prompt_memory", BODY))
    with account.in_use():
        short = meter(model, timeout_s=0.1)
        asked = asyncio.create_task(optimize("prompt_memory", BODY, "runs", short))
    await asyncio.sleep(0.3)
    assert not model.seen
    budget.settle(reserved, None)
    with pytest.raises(CallError, match="max_tokens: 4000"):
        await asked


async def test_own_callbacks_of_the_model_stay() -> None:
    class Ends(AsyncCallbackHandler):
        seen = 0

        async def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
            self.seen += 1

    own = Ends()
    model = Toolbox(script=answers("gradient", BODY), callbacks=[own])
    with Account().in_use():
        await optimize("gradient", BODY, "runs", meter(model))
    assert own.seen == 3
    assert model.callbacks == [own]


LONG = "It fails for a reason that takes many words to tell. " * 2000
MUSING = ("think", {"thought": LONG})
CRITIQUE = ("critique", {"criticism": LONG})


@pytest.mark.parametrize("most", [3000, 8000])
@pytest.mark.parametrize("calls", [4, 20])
@pytest.mark.parametrize("kind", ["metaprompt", "gradient"])
async def test_no_step_is_sent_more_than_the_setting_however_much_is_reflected(
    update_task: Make, kind: Kind, calls: int, most: int
) -> None:
    done = ("OptimizedPromptOutput", {"analysis": LONG, "improved_prompt": f"{BODY}\nBe kind."})
    told = {"warrants_adjustment": True, "hypotheses": LONG, "full_recommendations": LONG}
    musing = [MUSING, CRITIQUE] * calls
    script = (
        [*musing[: calls - 1], done]
        if kind == "metaprompt"
        else [*musing[: calls - 2], ("recommend", told), done]
    )
    task = update_task(
        BODY,
        runs=("<run>\nuser: hello there\n</run>" * 20,) * 12,
        feedback=("word " * 60,) * 12,
        spec={"update_instructions": "Do so. " * 1000},
        max_prompt_tokens=most,
        optimizer_calls=calls,
    )
    model = Toolbox(script=script)
    draft = await styled(model, task, kind)
    assert draft.get("text") == f"{BODY}\nBe kind."
    assert len(model.sent) == calls
    assert max(map(tokens_of, model.sent)) <= most
    # Reflections do reach the last step of metaprompt, and what is recommended that of gradient.
    assert "It fails for" in model.sent[-1]


async def test_what_would_be_too_much_is_not_sent(update_task: Make) -> None:
    task = update_task(BODY, spec={"optimizer": {"metaprompt": "Mind this. " * 5000 + "{prompt}"}})
    model = Toolbox(script=[])
    with pytest.raises(CallError, match=r"wants to send 18,3\d\d tokens, but at most 8,000"):
        await styled(model, task, "metaprompt")
    assert model.sent == []


async def test_the_new_text_is_never_cut(update_task: Make) -> None:
    text = "\n".join(f"{n}. Ask for the order of number {n} first." for n in range(150))
    script = answers("metaprompt", f"{text}\nBe kind.")
    draft = await styled(Toolbox(script=script), update_task(text), "metaprompt")
    assert draft.get("text") == f"{text}\nBe kind."
