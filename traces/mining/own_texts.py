"""What a run says itself, whether to itself or to others, and in which words."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tracetune.traces.model import Thought, ToolCall, Trace

__all__ = ["OwnTexts", "own_texts", "words_of"]

OwnTexts = tuple[int, list[str]]
"""How many characters there are in all texts of a run, and its own texts."""

_TEXT = 8000

_WORD = re.compile(r"[^\W\d_]{2,30}(?:['\u2019][^\W\d_]{1,10})?")
_ASCII_WORD = re.compile(r"[a-z]{2,30}(?:'[a-z]{1,10})?")
"""The same in lower-case ASCII, found in half the time."""


def own_texts(trace: Trace) -> OwnTexts:
    """What the run says in its thoughts and as the assistant."""
    size, texts = 0, []
    for step in trace.steps:
        if isinstance(step, ToolCall):
            size += len(str(dict(step.arguments))) + len(step.result or "") + len(step.error or "")
        else:
            size += len(step.text)
            if isinstance(step, Thought) or step.role == "assistant":
                texts.append(step.text)
    return size, texts


def words_of(texts: Iterable[str]) -> str:
    """The words of a run; of many the first and the last, 8,000 characters in all."""
    text = "\n".join(filter(None, map(_words_in, texts)))
    if len(text) <= _TEXT:
        return text
    # Cut at blanks, so that no half words are left.
    start, end = text[: _TEXT // 2], text[-_TEXT // 2 :]
    return f"{start[: start.rfind(' ')]}\n{end[end.find(' ') + 1 :]}"


def _words_in(text: str) -> str:
    folded = text[:_TEXT].casefold()
    return " ".join((_ASCII_WORD if folded.isascii() else _WORD).findall(folded))
