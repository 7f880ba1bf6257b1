"""A chat model as langmem's optimizers call it, asked in whatever form it understands.

langmem gets tool calls from a model that knows no tools; and it sees no braces, which its patterns
would double or lose: those of its questions are put back before a model is asked, and those of
answers are taken out again.
"""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    merge_message_runs,
)
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, Field, create_model

from tracetune.errors import ReplyError
from tracetune.nodes.calling.forms import FORMS, SAID_BY_PROMPT, TOOL_FORMS, asked_in
from tracetune.nodes.calling.models import name_of
from tracetune.nodes.calling.replies import (
    NoAnswerError,
    check_ending,
    read_reply,
    with_schema,
)
from tracetune.nodes.calling.troubles import another_form_may_do, unread
from tracetune.nodes.writing.marks import Marks
from tracetune.nodes.writing.meter import Meter

__all__ = ["LangmemModel"]

Json = dict[str, Any]

_ON_BRACES = " The prompt section being optimized"
"""Begins what langmem tells of variables in a prompt: without its braces, it finds none."""
_KEEP = " Keep its template variables, and write braces as the current prompt does."


class GeneralResponse(BaseModel):
    """What prompt_memory asks for; langmem's own is a TypedDict, which cannot be checked."""

    logic: str = ""
    update_prompt: bool = True
    new_prompt: str = Field(description="The full prompt; empty where nothing is to be updated.")


class LangmemModel:
    """Has what langmem and trustcall use of a chat model; every call goes through the meter."""

    def __init__(self, meter: Meter, marks: Marks) -> None:
        own: Any = meter.model.callbacks
        handlers = [*(getattr(own, "handlers", own) or ()), meter]
        self.model = meter.model.model_copy(update={"callbacks": handlers})
        self.marks = marks
        self.meter = meter
        self._unfit: set[str] = set()
        """Forms that did not work in the calls of this optimizer so far."""

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: str | None = None) -> _Question:
        """What answers messages with a message that calls one of the tools."""
        functions = [_told_of_braces(convert_to_openai_tool(tool)["function"]) for tool in tools]
        # A provider's client may read a class better than what we would make of it.
        given = [
            tool if isinstance(tool, type) else {"type": "function", "function": function}
            for tool, function in zip(tools, functions, strict=True)
        ]
        return _ToolQuestion(self, given, functions, tool_choice)

    def with_structured_output(self, schema: Any, **kwargs: Any) -> _Question:
        """What answers prompt_memory's text; with no new prompt where no update is wanted."""
        return _PromptQuestion(self)

    async def answer(self, question: _Question, sent: Any, config: Any) -> Any:
        """Ask in the first form that is not known to fail; in the next ones where it does.

        Raises:
            NoAnswerError: The model says something else, asked in plain text too.
        """
        refused, unanswered = list[str](), list[str]()
        forms, name = self.meter.account.forms, name_of(self.meter.model)
        while True:
            unfit = {*refused, *unanswered, *forms.unfit(name), *self._unfit}
            form = next((form for form in question.forms if form not in unfit), "text")
            made = self.meter.made
            try:
                answer = await question.once(form, sent, config)
            except Exception as error:
                if isinstance(error, ReplyError):
                    self.meter.unread(str(error))
                if form == "text" or not _in_another_form(error):
                    raise
                if unread(error):
                    # It speaks where it is to call: no other form of a call will do.
                    unanswered.append(form)
                    self._unfit |= {*question.forms} - {"text"}
                else:
                    refused.append(form)
                self.meter.in_vain(made)
                continue
            self._unfit |= {*refused}
            forms.learn(name, form, refused, unanswered)
            return answer


def _in_another_form(error: Exception) -> bool:
    return unread(error) or another_form_may_do(error)


@dataclass(frozen=True, slots=True)
class _Question(ABC):
    """One kind of question."""

    owner: LangmemModel

    async def ainvoke(self, sent: Any, config: Any = None) -> Any:
        """The model's answer, as langmem takes it."""
        return await self.owner.answer(self, sent, config)

    @property
    @abstractmethod
    def forms(self) -> Sequence[str]:
        """Those in which it can be asked, the surest first; the last is `text`."""

    @abstractmethod
    async def once(self, form: str, sent: Any, config: Any) -> Any:
        """The answer in this form.

        Raises:
            NotImplementedError: There is no such form of the model.
            NoAnswerError: There is no answer in what it says.
            ReplyError: The answer is cut off, blocked, too large, or does not fit.
        """


@dataclass(frozen=True, slots=True)
class _PromptQuestion(_Question):
    """prompt_memory's: a text, answered with the new prompt."""

    @property
    def forms(self) -> Sequence[str]:
        return FORMS

    async def once(self, form: str, sent: Any, config: Any) -> Json:
        asked = asked_in(self.owner.model, GeneralResponse, form)
        if asked is None:
            raise NotImplementedError(form)
        text = self.owner.marks.show(sent)
        if form in SAID_BY_PROMPT:
            text = with_schema(text, GeneralResponse)
        answer = read_reply(await asked.ainvoke(text, config), GeneralResponse)
        # langmem takes the text of an answer that wants no update, too.
        new = answer.new_prompt if answer.update_prompt else ""
        return {"new_prompt": self.owner.marks.hide(new)}


@dataclass(frozen=True, slots=True)
class _ToolQuestion(_Question):
    """trustcall's: messages, answered with one that calls tools."""

    given: Sequence[Any]
    """The tools, as a model is given them."""
    tools: Sequence[Json]
    """As OpenAI's functions."""
    choice: str | None

    @property
    def forms(self) -> Sequence[str]:
        return TOOL_FORMS

    async def once(self, form: str, sent: Any, config: Any) -> Any:
        messages = [self._with(message, self.owner.marks.show) for message in sent]
        if form == "text":
            messages = _in_plain_text(messages, self._asked_in_words())
            reply = await self.owner.model.ainvoke(messages, config)
        else:
            choice = {"tools": self.choice, "tools_required": "required"}.get(form)
            options = {"tool_choice": choice} if choice else {}
            try:
                asked = self.owner.model.bind_tools(self.given, **options)
            except (AttributeError, TypeError, ValueError):
                raise NotImplementedError(form) from None
            reply = await asked.ainvoke(messages, config)
        return self._with(self._read(reply), self.owner.marks.hide)

    @staticmethod
    def _with(message: Any, change: Callable[[Any], Any]) -> Any:
        """The message with its content, and what it calls tools with, changed."""
        new = {"content": change(message.content)}
        if calls := getattr(message, "tool_calls", None):
            new["tool_calls"] = [{**call, "args": change(call["args"])} for call in calls]
        return message.model_copy(update=new)

    def _asked_in_words(self) -> str:
        schemas = [
            {"title": t["name"], "description": t.get("description"), **t["parameters"]}
            for t in self.tools
        ]
        fits = "this JSON schema" if len(schemas) == 1 else "one of these JSON schemas"
        said = "\n".join(json.dumps(schema, ensure_ascii=False) for schema in schemas)
        return f"Answer with one JSON object and nothing else. It must fit {fits}:\n{said}\n"

    def _read(self, reply: Any) -> Any:
        check_ending(reply)
        if reply.tool_calls:
            return reply  # trustcall has what does not fit mended
        found = [answer for tool in self.tools if (answer := _answer_of(reply, tool)) is not None]
        if not found:
            raise NoAnswerError("no answer in the asked form")
        # A step that says most: thoughts may stand beside what they lead to.
        best = max(found, key=lambda answer: len(answer.model_fields_set))
        args = best.model_dump(exclude_unset=True)
        call = {"name": type(best).__name__, "args": args, "id": uuid.uuid4().hex}
        message = AIMessage("", id=reply.id, tool_calls=[{**call, "type": "tool_call"}])
        self.owner.meter.shorten(message)
        return message


def _answer_of(reply: Any, tool: Json) -> BaseModel | None:
    """The tool's arguments, where the reply says them in words."""
    known = tool["parameters"].get("properties", {})
    needed = tool["parameters"].get("required", ())
    fields: Any = {name: (Any, ... if name in needed else None) for name in known}
    schema: type[BaseModel] = create_model(tool["name"], **fields)
    try:
        return read_reply(reply, schema)
    except ReplyError:
        return None


def _in_plain_text(messages: Sequence[BaseMessage], asked: str) -> list[BaseMessage]:
    """The messages for a model that knows no tools: what it called is what it said."""
    plain: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            plain += [HumanMessage(message.text)] if message.text.strip() else []
        elif isinstance(message, AIMessage):
            said = [json.dumps(call["args"], ensure_ascii=False) for call in message.tool_calls]
            plain.append(AIMessage("\n".join(filter(None, [message.text, *said]))))
        else:
            plain.append(message)
    return merge_message_runs([*plain, HumanMessage(asked)], chunk_separator="\n\n")


def _told_of_braces(tool: Mapping[str, Any]) -> Json:
    """The tool, saying of its text's braces what is so: langmem saw none."""
    told = json.loads(json.dumps(tool))
    for field in told["parameters"].get("properties", {}).values():
        said, found, _ = str(field.get("description", "")).partition(_ON_BRACES)
        if found:
            field["description"] = said.rstrip() + _KEEP
    return dict(told)
