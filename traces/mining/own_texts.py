"""What a run says itself, whether to itself or to others, and in which words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import orjson

from tracetune.traces.readers.canonical import trace_of

__all__ = ["OwnTexts", "own_texts", "own_texts_in", "words_of"]

OwnTexts = tuple[int, list[str]]
"""How many characters there are in all texts of a run, and its own texts."""

_TEXT = 8000

_WORD = re.compile(r"[^\W\d_]{2,30}(?:['\u2019][^\W\d_]{1,10})?")
_ASCII_WORD = re.compile(r"[a-z]{2,30}(?:'[a-z]{1,10})?")
"""The same in lower-case ASCII, found in half the time."""


def own_texts(steps: Iterable[Any]) -> OwnTexts:
    """What a run says in its thoughts and as the assistant.

    Args:
        steps: Those of a `Trace`, or of a line that `direct` has decoded.
    """
    size, texts = 0, []
    for step in steps:
        if hasattr(step, "text"):
            size += len(step.text)
            if getattr(step, "role", "assistant") == "assistant":  # a thought has none
                texts.append(step.text)
        else:
            asked = len(str(dict(step.arguments or {})))
            size += asked + len(step.result or "") + len(step.error or "")
    return size, texts


def own_texts_in(line: str) -> OwnTexts:
    """The same of a canonical line, without a trace: to make one takes several times as long."""
    from tracetune.traces.analytics.direct import decoded  # not before a line is there

    try:
        return own_texts(decoded(line).steps or ())
    except (RecursionError, ValueError):
        # Such as an argument that became text: the canonical reader knows what it stands for.
        return own_texts(trace_of(orjson.loads(line)).steps)


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
