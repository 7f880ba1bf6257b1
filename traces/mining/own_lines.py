"""What a run says itself, read from its line of JSON: no trace is made, and little else decoded.

Import it where it is used: msgspec takes a moment.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from tracetune.traces.mining.own_texts import OwnTexts, own_texts
from tracetune.traces.readers.canonical import trace_of

__all__ = ["own_texts_in"]


class _Told(msgspec.Struct, gc=False):
    """Keys that are not named here are passed over."""


class _Message(_Told, tag_field="kind", tag="message"):
    text: str
    role: str = ""


class _Thought(_Told, tag_field="kind", tag="thought"):
    text: str


class _Call(_Told, tag_field="kind", tag="tool_call"):
    arguments: dict[str, Any] = {}
    result: str | None = None
    error: str | None = None


class _Row(_Told):
    steps: list[_Message | _Thought | _Call] | None = None


_decoded = msgspec.json.Decoder(_Row).decode


def own_texts_in(line: str) -> OwnTexts:
    """What `own_texts` finds in the trace of a canonical line."""
    try:
        row = _decoded(line)
    except (msgspec.DecodeError, RecursionError):
        # Such as an argument that became text: the canonical reader knows what it stands for.
        return own_texts(trace_of(orjson.loads(line)))
    size, texts = 0, []
    for step in row.steps or ():
        if isinstance(step, _Call):
            size += len(str(step.arguments)) + len(step.result or "") + len(step.error or "")
        else:
            size += len(step.text)
            if isinstance(step, _Thought) or step.role == "assistant":
                texts.append(step.text)
    return size, texts
