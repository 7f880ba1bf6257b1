"""langmem's optimizers with models of every kind: they get their braces and their update."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

from tracetune.graph.state import PromptDraft, PromptTask
from tracetune.nodes.calling.budget import Account, Budget, Limits
from tracetune.nodes.calling.calls import Branch, CallError
from tracetune.nodes.evidence.shortening import tokens_of
from tracetune.nodes.writing.langmem_styles import KINDS, Kind, by_langmem, optimize
from tracetune.nodes.writing.meter import Meter

Make = Callable[..., PromptTask]

BRANCH = Branch("generate_update", "desk", "main")
MARKS = re.compile("[\ufdd0-\ufddb]")
STEPS = {"prompt_memory": 1, "metaprompt": 4, "gradient": 3}
"""Calls of an optimizer that thinks no longer than it must."""


class Refused(Exception):  # noqa: N818
    """A 400, as providers' clients raise it of a choice that they do not know."""

    status_code = 400


class Chat(BaseChatModel):
    """Answers whatever it is offered; as tools where it may, and else in JSON."""

    answers: dict[str, Any]
    """By tool or schema; of several that are offered, the first one here is answered."""
    choices: tuple[Any, ...] | None = None
    """Choices of tools that it takes, any at all if None; without one it knows no tools."""
    talks: bool = False
    """Whether it answers in words though it is given tools."""
    sent: list[list[BaseMessage]] = Field(default_factory=list)
    offers: list[str] = Field(default_factory=list)
    """Everything that it was offered, as JSON."""
    told: dict[str, Any] = Field(default_factory=dict)
    """The response's metadata."""

    @property
    def _llm_type(self) -> str:
        return "chat"

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any
    ) -> Runnable[Any, AIMessage]:
        if self.choices == ():
            raise NotImplementedError
        return self.bind(tools=list(map(convert_to_openai_tool, tools)), choice=tool_choice)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        tools: Sequence[Any] = (),
        choice: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        if tools and self.choices is not None and choice not in self.choices:
            raise Refused
        self.sent.append(messages)
        offered = json.dumps(tools) if tools else messages[-1].text
        self.offers.append(offered)
        name = next((name for name in self.answers if f'"{name}"' in offered), "")
        answer = self.answers.get(name, "I would rather talk.")
        if isinstance(answer, list):
            answer = answer.pop(0)
        called = bool(tools) and not self.talks and not isinstance(answer, str)
        calls = [{"name": name, "args": answer, "id": f"call-{len(self.sent)}"}] if called else []
        words = answer if isinstance(answer, str) else f"```json\n{json.dumps(answer)}\n```"
        message = AIMessage("" if called else words, tool_calls=calls, response_metadata=self.told)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def text(self) -> str:
        return "\n".join(f"{message.content}" for sent in self.sent for message in sent)


def wanting(text: Any) -> dict[str, Any]:
    """What a model says in all of an optimizer's calls, that wants this text."""
    return {
        "recommend": {
            "warrants_adjustment": True,
            "hypotheses": "It is {vague}.",
            "full_recommendations": "Be kind.",
        },
        "think": {"thought": "It fails at {x} and {{y}}."},
        "OptimizedPromptOutput": {"analysis": "It fails.", "improved_prompt": text},
        "GeneralResponse": {"logic": "It fails.", "update_prompt": True, "new_prompt": text},
    }


async def optimized(kind: Kind, model: BaseChatModel, text: str, account: Account) -> str:
    with account.in_use():
        return await optimize(kind, text, "<run>\n{y}\n</run>", Meter(model, BRANCH, 5, 4))


async def styled(
    model: BaseChatModel, task: PromptTask, kind: Kind, account: Account | None = None
) -> PromptDraft:
    with (account or Account(retries=0)).in_use():
        return await by_langmem(model, task, BRANCH, kind)


NESTED = 'Return {"a": {"b": {"c": 1}}}'


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("Be brief.", 'Be brief. Say {"a": {"b": 1}}', id="new, where none were"),
        pytest.param("Be brief.", f"Be brief. {NESTED}", id="three new at a time"),
        pytest.param(NESTED, f"{NESTED}. Be kind.", id="written back"),
        pytest.param(
            'Hi {name}, you are {role}. Return {{"a": 1}}.',
            'Hi {name}, you are {role}. Return {{"a": 1}}. Be kind.',
            id="variables beside escaped ones",
        ),
        pytest.param("Hi {{ user }}.", "Hi {{ user }}. {% if a %}b{% endif %}", id="tags"),
        pytest.param("Odd } and {{ and }}} {.", "Odd }} {{{ and {} }.", id="in no order"),
        pytest.param("Signs ⦃x⦄ \ufdd0.", "Signs ⦃x⦄ {y}.", id="beside signs like them"),
        pytest.param("<TO_OPTIMIZE>{x}</TO_OPTIMIZE>", "<TO_OPTIMIZE>{x}!", id="langmem's tags"),
    ],
)
async def test_braces_are_as_the_model_writes_them(kind: Kind, before: str, after: str) -> None:
    model = Chat(answers=wanting(after))
    assert await optimized(kind, model, before, Account()) == after
    assert before in model.text()
    # langmem's own words on braces, of which it saw none, would mislead.
    assert not re.search("will be escaped|no input f-string", "".join(model.offers))
    assert not MARKS.search(model.text().replace(before, ""))


@pytest.mark.parametrize("kind", KINDS)
async def test_braces_said_in_words_are_as_they_were_said(kind: Kind) -> None:
    after = "{x} }} " + NESTED
    model = Chat(answers=wanting(after), choices=())
    assert await optimized(kind, model, "{x} {{", Account()) == after
    assert "{x} {{" in model.text()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("form", "before", "added"),
    [
        pytest.param("auto", "Be brief.", ' Return {"a": {"b": 1}}.', id="auto, JSON"),
        pytest.param("auto", "Hi {name}.", ' Return {{"a": {{"b": 1}}}}.', id="auto, a field"),
        pytest.param("auto", "Hi {{name}}.", ' Return {"a": {"b": 1}}.', id="auto, a tag"),
        pytest.param("none", "Say <p>.", ' Return {"a": {"b": 1}}.', id="none, JSON"),
        pytest.param("f-string", "Hi {name}.", ' Return {{"a": {{"b": 1}}}}.', id="f-string"),
        pytest.param("jinja2", "Hi {{ name }}.", ' Return {"a": {"b": 1} }.', id="jinja2"),
        pytest.param("mustache", "Hi {{name}}.", ' Return {"a": {"b": 1} }.', id="mustache"),
    ],
)
async def test_new_braces_pass_the_guards_of_every_format(
    update_task: Make, kind: Kind, form: str, before: str, added: str
) -> None:
    task = update_task(before, spec={"template_format": form})
    draft = await styled(Chat(answers=wanting(before + added)), task, kind)
    assert (draft.get("text"), draft["dropped"]) == (before + added, [])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_variable_that_becomes_escaped_is_lost(update_task: Make, kind: Kind) -> None:
    model = Chat(answers={**wanting("Hi {{name}}. Be kind."), "Rewrite": {"text": "Hi {{name}}!"}})
    with pytest.raises(CallError, match=r"broke a rule twice \(variables\)"):
        await styled(model, update_task("Hi {name}."), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("given", "refused"),
    [
        pytest.param({"choices": ()}, 0, id="it knows no tools"),
        pytest.param({"talks": True}, 0, id="it answers in words though it has tools"),
        pytest.param({"choices": ("required",)}, 1, id="a named choice is refused"),
        pytest.param({"choices": (None,)}, 2, id="every choice is refused"),
        pytest.param({"choices": ("never",)}, 3, id="tools are refused"),
    ],
)
async def test_any_model_that_can_answer_in_json_makes_the_update(
    update_task: Make, kind: Kind, given: dict[str, Any], refused: int
) -> None:
    account = Account(retries=0)
    for first in (True, False):
        model = Chat(answers=wanting("Be brief. Be kind."), **given)
        draft = await styled(model, update_task("Be brief."), kind, account)
        assert (draft.get("text"), draft.get("style")) == ("Be brief. Be kind.", kind)
        assert draft["dropped"] == []
        errors = [call["error"] for call in account.calls if call["error"]]
        # prompt_memory asks for a schema, of which such a model has one form.
        most = min(refused, 1) if kind == "prompt_memory" else refused
        assert errors == ["refused (HTTP 400)"] * most, first
        assert len(model.sent) == STEPS[kind]


@pytest.mark.parametrize("kind", ["metaprompt", "gradient"])
async def test_a_model_without_tools_is_sent_a_conversation(kind: Kind) -> None:
    model = Chat(answers=wanting("Be kind."), choices=())
    await optimized(kind, model, "Be brief.", Account())
    for messages in model.sent:
        types = [message.type for message in messages]
        assert types == [*["human", "ai"] * (len(types) // 2), "human"]
        assert not any(getattr(message, "tool_calls", None) for message in messages)
    assert "It fails at {x} and {{y}}." in model.sent[1][1].text


@pytest.mark.parametrize("words", [False, True], ids=["with tools", "in words"])
async def test_what_does_not_fit_is_mended_with_its_braces(words: bool) -> None:
    patch = {
        "json_doc_id": "call-4",
        "planned_edits": "Say the text.",
        "patches": [{"op": "replace", "path": "/improved_prompt", "value": f"{NESTED}."}],
    }
    answers = {"PatchFunctionErrors": patch, **wanting(None)}
    model = Chat(answers=answers, choices=() if words else None)
    with Account().in_use():
        meter = Meter(model, BRANCH, 5, 4)
        config = {"max_reflection_steps": 2}
        mended = await optimize("metaprompt", "Be brief.", "runs", meter, config=config)
    assert mended == f"{NESTED}."


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("given", "why"),
    [
        pytest.param({"choices": ()}, "no answer in the asked form", id="without tools"),
        pytest.param({}, "no answer in the asked form", id="with tools"),
        pytest.param(
            {"told": {"finish_reason": "length"}, "answers": wanting("Be brief. Be k")},
            "the answer was cut off",
            id="cut off",
        ),
    ],
)
async def test_where_langmem_can_use_no_answer_the_text_is_rewritten(
    update_task: Make, kind: Kind, given: dict[str, Any], why: str
) -> None:
    class Finishing(Chat):
        """Comes to an end where it rewrites."""

        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            made = super()._generate(*args, **kwargs)
            if "Rewrite" in self.offers[-1]:
                made.generations[0].message.response_metadata = {}
            return made

    answers = {**given.get("answers", {}), "Rewrite": {"text": "Be brief. Be kind."}}
    model = Finishing(**{**given, "answers": answers})
    account = Account(retries=0)
    draft = await styled(model, update_task("Be brief."), kind, account)
    assert (draft.get("text"), draft.get("style")) == ("Be brief. Be kind.", "rewrite")
    told = f"main: {kind}, as langmem failed ({why}); it was rewritten in tracetune's own way"
    assert draft["dropped"] == [f"{told} instead"]
    assert [c["error"] for c in account.calls if c["error"]] == [why] * (len(account.calls) - 1)


async def test_the_budget_holds_for_calls_made_in_vain_too(update_task: Make) -> None:
    model = Chat(answers=wanting("Be kind."), choices=("required",))
    account = Account(Budget(Limits(max_calls=2)), retries=0)
    with pytest.raises(CallError, match=r"max_calls: 2"):
        await styled(model, update_task("Be brief."), "gradient", account)
    assert len(account.calls) == 2


@pytest.mark.parametrize("most", [3000, 8000])
@pytest.mark.parametrize("kind", KINDS)
async def test_no_question_in_words_is_longer_than_the_setting(
    update_task: Make, kind: Kind, most: int
) -> None:
    long = "It fails for a reason that takes many words to tell. " * 1500
    told = {"warrants_adjustment": True, "hypotheses": long, "full_recommendations": long}
    task = update_task(
        "Be brief.",
        runs=("<run>\nuser: hello there\n</run>" * 20,) * 12,
        feedback=("word " * 60,) * 12,
        spec={"update_instructions": "Do so. " * 1000},
        max_prompt_tokens=most,
    )
    answers = {**wanting("Be brief. Be kind."), "think": {"thought": long}, "recommend": told}
    model = Chat(answers=answers, choices=())
    draft = await styled(model, task, kind)
    assert (draft.get("text"), draft["dropped"]) == ("Be brief. Be kind.", [])
    assert max(sum(tokens_of(m.text) for m in sent) for sent in model.sent) <= most
