"""What a list of chat messages tells: steps, tokens, and the stamps of `TunedPrompt`.

Messages come as OpenAI, Anthropic, Gemini, Bedrock and LangChain write them, as items of OpenAI's
Responses API, and with the parts of OpenTelemetry's GenAI conventions. They are read as they are,
because converting each into a LangChain object takes most of the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tracetune.traces.model import Message, Step, Thought
from tracetune.traces.readers.base import as_list, as_mapping, count, shown, text
from tracetune.traces.readers.blocks import (
    CALL_KINDS,
    NOTHING_SAID,
    Call,
    Result,
    Spoken,
    blocks_of,
    call_of,
    flat,
    role_of,
)
from tracetune.traces.readers.joining import Joined, Timing

__all__ = ["Chat", "open_calls", "read_chat"]

_AGENT, _RELEASE = "tracetune_agent", "tracetune_release"  # as the middleware writes them
_USAGE = (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens"))
_CACHED = ("cache_creation_input_tokens", "cache_read_input_tokens")
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Chat:
    """What the messages of one run tell; None means that they do not."""

    steps: tuple[Step, ...]
    agent: str | None
    """Stamped on the messages, else the one name that all of the assistant's messages bear."""
    release: str | None
    """None also if its messages bear the stamps of several."""
    ended_by: str | None
    calls: int | None
    """Replies of the model; known where a release is, whose step limit counts them."""
    tokens_in: int | None
    """Summed; None unless each reply of a model tells its own."""
    tokens_out: int | None
    unknown: Mapping[str, int] = field(default_factory=dict)
    """How many blocks were left out because nothing is known of their kind, by kind."""

    def unread(self) -> Iterator[str]:
        """Yield what is to be said of the blocks that were left out, a line for each kind."""
        for kind, blocks in self.unknown.items():
            yield f"messages hold blocks of an unknown kind, {shown(kind)}: {blocks} left out"


class _Told(msgspec.Struct, frozen=True):
    """One message: whose it is, and its fields wherever its form keeps them."""

    role: str
    fields: Mapping[str, Any]
    stamp: Mapping[str, Any]
    """What its provider, and `TunedPrompt`, noted beside it."""
    agent: str | None
    """The assistant's name."""


def read_chat(
    messages: Sequence[Any],
    *,
    agent: str | None = None,
    named: str | None = None,
    timings: Mapping[int, Timing] = _NOTHING,  # type: ignore[assignment]
) -> Chat:
    """Return what the messages tell; media, and blocks of unknown kinds, are left out.

    Args:
        messages: Objects, or LangChain's messages and what it takes for messages.
        agent: Whose run it is, if known; steps that other agents took bear their names.
        named: Whose run it is if no message bears a stamp.
        timings: When the tool calls ran whose results are in a message, by the message's index.

    Raises:
        TypeError, ValueError: A message cannot be read, by its position from 1.
    """
    told = [_told(one, index) for index, one in enumerate(messages, 1)]
    replies = [one for one in told if one.role == "assistant"]
    own = agent or _agent(replies, named)
    joined = Joined()
    unknown: Counter[str] = Counter()
    for index, one in enumerate(told):
        spoken = _spoken(one, f"messages[{index + 1}]")
        unknown.update(spoken.unknown)
        # What a reply itself holds the results of was called in it; a user's message answers.
        own_results = one.role == "assistant"
        if not own_results:
            _answer(joined, spoken, timings.get(index))
        whose = one.agent if one.agent != own else None
        for step in _words(one.role, spoken, whose):
            joined.add(step)
        for call in spoken.calls:
            joined.call(call, whose)
        if own_results:
            _answer(joined, spoken, timings.get(index))
    tokens_in, tokens_out = _tokens(replies)
    return Chat(
        steps=joined.steps(),
        agent=own,
        release=_release(replies, own),
        ended_by=_ended_by(replies),
        calls=_calls(replies),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        unknown=unknown,
    )


def _answer(joined: Joined, spoken: Spoken, timing: Timing | None) -> None:
    for result in spoken.results:
        joined.answer(result, timing)


def open_calls(messages: Sequence[Any]) -> list[str]:
    """Return the ids of the calls that have no result, in order."""
    ids: dict[str, None] = {}
    for index, one in enumerate(messages, 1):
        spoken = _spoken(_told(one, index), f"messages[{index}]")
        for result in spoken.results:
            ids.pop(result.id, None)
        ids |= {call.id: None for call in spoken.calls}
    return list(ids)


def _told(one: Any, position: int) -> _Told:
    if not isinstance(one, dict):
        one = dict(one) if isinstance(one, Mapping) else _object(one, position)
    if isinstance(role := one.get("role"), str):
        return _role(role, one, position)
    kind = one.get("type")
    if isinstance(inner := one.get("data"), Mapping):
        return _role(inner.get("role") or kind, inner, position)
    if one.get("lc"):
        inner = as_mapping(one.get("kwargs"), f"messages[{position}].kwargs")
        path = as_list(one.get("id"), f"messages[{position}].id")
        return _role(inner.get("role") or (path[-1] if path else kind), inner, position)
    if kind in CALL_KINDS or str(kind).endswith(("_call", "_output")) or kind == "reasoning":
        return _Told("assistant", {"content": [one]}, _NOTHING, None)
    if kind is None and "parts" in one:
        return _role("user", one, position)  # Gemini's requests of one message need no role
    if kind in NOTHING_SAID:
        return _Told("remove", _NOTHING, _NOTHING, None)
    if kind is None:
        raise ValueError(f"messages[{position}] has no role and no type")
    return _role(kind, one, position)


def _role(kind: Any, fields: Mapping[str, Any], position: int) -> _Told:
    kind = str(kind)
    role = role_of(kind)
    if role is None:
        raise ValueError(
            f"messages[{position}].role is {shown(kind)}, expected system, user, assistant or tool"
        )
    noted = fields.get("response_metadata")
    stamp: Mapping[str, Any] = noted if isinstance(noted, dict) else _NOTHING
    name = (stamp.get(_AGENT) or fields.get("name")) if role == "assistant" else None
    return _Told(role, fields, stamp, name if isinstance(name, str) else None)


def _object(one: Any, position: int) -> dict[str, Any]:
    if hasattr(one, "additional_kwargs"):
        return dict(vars(one))
    if dump := getattr(one, "model_dump", None):
        return dict(dump())
    from langchain_core.messages import convert_to_messages

    try:
        [message] = convert_to_messages([one])
    except (NotImplementedError, ValueError):
        raise TypeError(f"messages[{position}] is {shown(one)}, expected a chat message") from None
    return dict(vars(message))


def _spoken(one: _Told, where: str) -> Spoken:
    fields = one.fields
    if one.role == "remove":
        return Spoken()
    if one.role == "tool" and "parts" not in fields:
        return Spoken(results=[_result(fields)])
    content = fields.get("parts", fields.get("content"))
    spoken = Spoken()
    if isinstance(content, str):
        spoken.texts.append(content)
    elif content is not None:
        spoken = blocks_of(as_list(content, f"{where}.content"), where)
    if one.role == "assistant":
        extra = as_mapping(fields.get("additional_kwargs"), f"{where}.additional_kwargs")
        _add_calls(spoken, fields, extra, where)
        _add_thoughts(spoken, fields, extra)
        refused = fields.get("refusal") or extra.get("refusal")
        if isinstance(refused, str) and not any(spoken.texts):
            spoken.texts.append(refused)
    return spoken


def _result(fields: Mapping[str, Any]) -> Result:
    failed = fields.get("is_error")
    if not isinstance(failed, bool):
        failed = True if fields.get("status") == "error" else None
    id = fields.get("tool_call_id") or ""
    return Result(str(id), fields.get("name"), flat(fields.get("content")), failed)


def _add_calls(
    spoken: Spoken, fields: Mapping[str, Any], extra: Mapping[str, Any], where: str
) -> None:
    made = as_list(fields.get("tool_calls"), f"{where}.tool_calls")
    invalid = as_list(fields.get("invalid_tool_calls"), f"{where}.invalid_tool_calls")
    if not made and not invalid:
        # Older LangChain keeps what the provider sent; exports may hold it as plain text.
        kept = extra.get("tool_calls") or ()
        made = [call for call in kept if isinstance(call, Mapping)]
    if old := fields.get("function_call") or (not made and extra.get("function_call")):
        made.append({"function": old})
    if not made and not invalid:
        return
    calls = [call_of(as_mapping(c, f"{where}.tool_calls"), where) for c in made]
    calls += [_broken(as_mapping(c, f"{where}.invalid_tool_calls"), where) for c in invalid]
    # Anthropic's blocks stand in the content even where LangChain has taken the calls out.
    twice = {call.id for call in calls if call.id}
    spoken.calls[:] = [*calls, *(call for call in spoken.calls if call.id not in twice)]


def _broken(call: Mapping[str, Any], where: str) -> Call:
    """Return a call that LangChain could not read: it may name no tool, and never ran."""
    read = call_of({**call, "name": call.get("name") or "unknown"}, where)
    said = call.get("error")
    fault = read.fault or (said if isinstance(said, str) and said else "it could not be read")
    return msgspec.structs.replace(read, fault=fault)


def _add_thoughts(spoken: Spoken, fields: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
    if spoken.thoughts:
        return
    named = [fields.get(name) for name in ("reasoning_content", "reasoning", "thinking")]
    for thought in (*named, extra.get("reasoning_content")):
        if isinstance(thought, str) and thought:
            spoken.thoughts.append(thought)
            return
    if isinstance(summary := extra.get("reasoning"), Mapping):
        spoken.thoughts.extend(said for said in [flat(summary.get("summary"))] if said)


def _words(role: str, spoken: Spoken, agent: str | None) -> Iterator[Step]:
    yield from (Thought(thought, agent) for thought in spoken.thoughts)
    if said := "".join(spoken.texts):
        # What a tool says is in its result; anything else in its message is no one's.
        if role == "assistant":
            yield Message("assistant", said, agent)
        elif role in ("user", "system"):
            yield Message("user" if role == "user" else "system", said)


def _agent(replies: list[_Told], named: str | None) -> str | None:
    stamped = {str(name) for one in replies if (name := one.stamp.get(_AGENT))}
    if len(stamped) == 1 or named:
        return stamped.pop() if len(stamped) == 1 else named
    names = {one.agent for one in replies if not _is_notice(one)}
    return names.pop() if len(names) == 1 and not stamped else None


def _release(replies: list[_Told], agent: str | None) -> str | None:
    stamps = [one.stamp for one in replies if _RELEASE in one.stamp]
    own = [stamp for stamp in stamps if stamp.get(_AGENT) in (agent, None)]
    releases = {stamp[_RELEASE] for stamp in own or stamps}
    return text(releases.pop(), _RELEASE) if len(releases) == 1 else None


def _is_notice(reply: _Told) -> bool:
    """Whether no model wrote it: the middleware says so when a step limit ends the run."""
    return _RELEASE in reply.stamp and "ended_by" in reply.stamp


def _calls(replies: list[_Told]) -> int | None:
    if not any(_RELEASE in one.stamp for one in replies):
        return None
    return sum(not _is_notice(one) for one in replies)


def _ended_by(replies: list[_Told]) -> str | None:
    return str(replies[-1].stamp["ended_by"]) if replies and _is_notice(replies[-1]) else None


def _tokens(replies: list[_Told]) -> tuple[int | None, int | None]:
    told = [_used(one) for one in replies if not _is_notice(one)]
    read, written = ([one[which] for one in told] for which in (0, 1))
    return _sum(read), _sum(written)


def _sum(told: list[int | None]) -> int | None:
    known = [tokens for tokens in told if tokens is not None]
    return sum(known) if known and len(known) == len(told) else None


def _used(reply: _Told) -> tuple[int | None, int | None]:
    """Return the tokens that the model read and wrote for one reply."""
    fields, stamp = reply.fields, reply.stamp
    usage = fields.get("usage_metadata") or fields.get("usage")
    usage = usage or stamp.get("token_usage") or stamp.get("usage")
    if not usage and isinstance(extra := fields.get("additional_kwargs"), dict):
        usage = extra.get("usage_metadata")
    if not isinstance(usage, dict):
        return None, None
    read, written = (_counted(usage, names) for names in _USAGE)
    # Anthropic counts apart what its cache held, and writes null where there is no cache.
    cached = [count(usage[name], f"usage.{name}") or 0 for name in _CACHED if name in usage]
    return read if read is None else read + sum(cached), written


def _counted(usage: Mapping[str, Any], names: tuple[str, str]) -> int | None:
    for name in names:
        if (value := usage.get(name)) is not None:
            return count(value, f"usage.{name}")
    return None
