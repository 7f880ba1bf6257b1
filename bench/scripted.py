"""A chat model that answers by script: for tests and benchmarks, with no provider."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field

__all__ = ["ScriptedModel"]

Answer = Any
"""A tool's arguments; or a text, which is said instead; or an error, which is raised."""


class ScriptedModel(BaseChatModel):
    """Answers the first tool of its script that it is offered; errs when offered none of them."""

    answers: dict[str, Answer | Callable[[str], Answer]]
    """Tool -> its answer, or what makes one of all the text that was sent."""
    delay_s: float = 0.0
    """Seconds every call takes."""
    sent: list[str] = Field(default_factory=list)
    """The text of every call: all its messages."""
    asked: list[str] = Field(default_factory=list)
    """The tool that every call was answered with."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind(offered=[_name(tool) for tool in tools])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        time.sleep(self.delay_s)
        return self._answer(messages, kwargs["offered"])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        await asyncio.sleep(self.delay_s)
        return self._answer(messages, kwargs["offered"])

    def _answer(self, messages: list[BaseMessage], offered: list[str]) -> ChatResult:
        text = "\n".join(str(message.content) for message in messages)
        tool = next((name for name in self.answers if name in offered), None)
        if tool is None:
            raise AssertionError(f"no answer is scripted for any of {offered}")
        self.sent.append(text)
        self.asked.append(tool)
        answer = self.answers[tool]
        answer = answer(text) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        calls = [] if isinstance(answer, str) else [_call(tool, answer, len(self.sent))]
        message = AIMessage(answer if isinstance(answer, str) else "", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=message)])


def _call(tool: str, arguments: Any, number: int) -> Any:
    return {"name": tool, "args": arguments, "id": f"call-{number}", "type": "tool_call"}


def _name(tool: Any) -> str:
    if isinstance(tool, dict):
        return str(tool.get("function", tool).get("name") or tool.get("title"))
    return str(getattr(tool, "__name__", None) or tool.name)
