"""A stand-in for a chat model, so that the example runs without a key: it goes by words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable

WORDS = {"ignore": "newsletter", "respond": "meeting"}
LESSONS = {
    "sign": ("main_agent", 'Sign every answer with "Best, Ana".'),
    "newsletter": ("triage-ignore", "Ignore every newsletter."),
}
"""A word of feedback: the prompt it is about, and what that prompt should say."""


class OfflineModel(BaseChatModel):
    """Sorts and answers e-mails, and rewrites prompts, as far as a few words go."""

    @property
    def _llm_type(self) -> str:
        return "offline"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        tool = tools[0]
        return self.bind(tool=tool["name"] if isinstance(tool, dict) else tool.__name__)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        text = "\n".join(str(message.content) for message in messages)
        tool = kwargs.get("tool")
        if tool is None:
            reply = AIMessage(_letter(text))
        else:
            arguments = {"Triage": _sorted, "Classification": _chosen}.get(tool, _rewritten)(text)
            call = {"name": tool, "args": arguments, "id": "1", "type": "tool_call"}
            reply = AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=reply)])


def _letter(text: str) -> str:
    signed = re.search(r'Sign every answer with "([^"]+)"', text)
    return "Thank you, Tuesday suits me." + (f" {signed.group(1)}" if signed else "")


def _sorted(text: str) -> dict[str, Any]:
    rules, _, email = text.partition("E-mail:")
    ignored = WORDS["ignore"] in rules.casefold() and WORDS["ignore"] in email.casefold()
    return {"decision": "ignore" if ignored else "respond"}


def _chosen(text: str) -> dict[str, Any]:
    feedback = " ".join(re.findall(r"feedback: (.*)", text)).casefold()
    names = [name for word, (name, _) in LESSONS.items() if word in feedback]
    return {"updates": [{"agent": "agent", "prompt": n, "why": "Feedback says so."} for n in names]}


def _rewritten(text: str) -> dict[str, Any]:
    found = re.search(r"<(text-\w+)>\n(.*?)\n</\1>", text, re.DOTALL)
    before = found.group(2) if found else ""
    about = "triage-ignore" if "Prompt: triage-ignore" in text else "main_agent"
    lesson = next(said for name, said in LESSONS.values() if name == about)
    change = {"what": lesson, "why": "Feedback asks for it."}
    return {"text": f"{before} {lesson}", "changes": [change]}
