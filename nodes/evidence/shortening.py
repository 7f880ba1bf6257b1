"""Texts and steps of runs, cut to a bound."""

from __future__ import annotations

from xml.sax.saxutils import escape

from tracetune.traces.model import Message, Step, Thought, ToolCall

__all__ = ["fenced_tokens", "shorten", "shorten_to", "step_line", "tokens_of"]

CHARACTERS = {"message": 400, "thought": 300, "name": 80, "arguments": 200, "result": 250}
"""Most of each part of a step that is shown."""
LEAST_SHOWN = 32
"""Characters: with fewer, a cut text would say little but that it is cut."""


def shorten(text: str, most: int) -> str:
    """The text itself, or its beginning and end with what was left out in between."""
    if len(text) <= most:
        return text
    half = max((most - 30) // 2, 1)
    return f"{text[:half]} … {len(text) - 2 * half} characters … {text[-half:]}"


def shorten_to(text: str, tokens: int, *, fenced: bool = False) -> str:
    """The text, or as much of its beginning and end as so many tokens hold; empty where none is.

    Args:
        fenced: Count it as it is sent between tags: `<`, `>` and `&` take more there.
    """
    measure = fenced_tokens if fenced else tokens_of
    most, cut = len(text), text
    while (size := measure(cut)) > tokens:
        # A part may be denser than the whole: the bound shrinks until what is left fits.
        most = min(most - 1, most * tokens // size)
        if most < LEAST_SHOWN:
            return ""
        cut = shorten(text, most)
    return cut


def tokens_of(text: str) -> int:
    """How many tokens a text takes at most, as good as always: a third of its bytes in UTF-8.

    Tokenizers differ, and most need a download. Plain English takes about a quarter of its bytes,
    code and JSON three tenths, Chinese a quarter to a third.
    """
    return (len(text.encode("utf-8", "replace")) + 2) // 3


def fenced_tokens(text: str) -> int:
    """How many tokens a text takes at most as it is sent between tags that it cannot close."""
    return tokens_of(escape(text))


def step_line(step: Step) -> str:
    """The step on one line, beginning with who acted, where the step says so."""
    if isinstance(step, ToolCall):
        return _call_line(step)
    if isinstance(step, Thought):
        who = f"{step.agent} thinks" if step.agent else "thought"
        return f"{who}: {_part(step.text, 'thought')}"
    return f"{_speaker(step)}: {_part(step.text, 'message')}"


def _part(text: str, kind: str) -> str:
    # On one line: else what a stranger wrote could pass for a step of its own.
    return " ".join(shorten(text, CHARACTERS[kind]).split())


def _speaker(step: Message) -> str:
    return f"{step.agent} ({step.role})" if step.agent else step.role


def _call_line(call: ToolCall) -> str:
    caller = "user" if call.by == "user" else call.agent
    who = f"{caller} calls" if caller else "call"
    outcome = f"error: {call.error}" if call.error else str(call.result)
    name = " ".join(shorten(call.name, CHARACTERS["name"]).split())
    arguments = _part(str(dict(call.arguments)), "arguments")
    return f"{who} {name}({arguments}) -> {_part(outcome, 'result')}"
