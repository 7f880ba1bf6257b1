"""Parts of messages that have no type, as Gemini and Bedrock write them, with one.

Forms: https://ai.google.dev/api/caching#Part and
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracetune.traces.readers.base import as_mapping

__all__ = ["typed"]

_MEDIA = frozenset(
    {
        "audio",
        "cachePoint",
        "document",
        "fileData",
        "file_data",
        "guardContent",
        "image",
        "inlineData",
        "inline_data",
        "searchResult",
        "video",
    }
)
_BESIDE = frozenset(
    {
        "mediaResolution",
        "media_resolution",
        "partMetadata",
        "part_metadata",
        "thought",
        "thoughtSignature",
        "thought_signature",
        "videoMetadata",
        "video_metadata",
    }
)
"""What Gemini notes beside what a part is."""
_RUN = "code_execution"


def typed(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a part with the type that others give such a block; its own key, if it is none.

    Raises:
        TypeError: What a part holds is no object where it must be one.
    """
    text = part.get("text", part.get("content"))
    if text is not None:
        if part.get("thought") is True:
            return {"type": "thinking", "thinking": text}
        return {**part, "type": "text"}
    held = {name: value for name, value in part.items() if name not in _BESIDE}
    for name, value in held.items():
        if value is None:
            continue
        if name in _MEDIA:
            return {"type": "media"}
        if (make := _MADE.get(name)) is not None:
            return make(as_mapping(value, name))
        return {"type": name}
    return {"type": "text", "text": ""}


def _called(call: Mapping[str, Any]) -> dict[str, Any]:
    given = call.get("args", call.get("input"))
    return {"type": "tool_call", "id": _id(call), "name": call.get("name"), "args": given}


def _answered(answer: Mapping[str, Any]) -> dict[str, Any]:
    told = answer.get("response")
    failed = None
    if isinstance(told, Mapping) and len(told) == 1:
        [(key, worth)] = told.items()
        if key in ("output", "result"):
            told = worth
        elif key == "error" and worth:
            told, failed = worth, True
    return _result(answer, told, failed)


def _ran(code: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "tool_call", "id": _id(code), "name": _RUN, "args": {**code}}


def _came_out(result: Mapping[str, Any]) -> dict[str, Any]:
    failed = result.get("outcome") not in (None, "OUTCOME_OK")
    return _result({"name": _RUN, **result}, result.get("output"), failed)


def _used(answer: Mapping[str, Any]) -> dict[str, Any]:
    told = answer.get("content")
    if isinstance(told, list):
        told = [_worth(one) if isinstance(one, Mapping) else one for one in told]
        told = told[0] if len(told) == 1 else told
    return _result(answer, told, answer.get("status") == "error")


def _worth(block: Mapping[str, Any]) -> Any:
    return block.get("text", block.get("json", block))


def _reasoned(told: Mapping[str, Any]) -> dict[str, Any]:
    said = told.get("reasoningText")
    return {"type": "thinking", "thinking": said.get("text") if isinstance(said, Mapping) else ""}


def _result(answer: Mapping[str, Any], told: Any, failed: bool | None) -> dict[str, Any]:
    row = {"type": "tool_result", "tool_use_id": _id(answer), "name": answer.get("name")}
    return {**row, "content": told, "is_error": failed}


def _id(row: Mapping[str, Any]) -> Any:
    return row.get("id") or row.get("toolUseId")


_MADE = {
    "codeExecutionResult": _came_out,
    "code_execution_result": _came_out,
    "executableCode": _ran,
    "executable_code": _ran,
    "functionCall": _called,
    "functionResponse": _answered,
    "function_call": _called,
    "function_response": _answered,
    "reasoningContent": _reasoned,
    "toolResult": _used,
    "toolUse": _called,
}
