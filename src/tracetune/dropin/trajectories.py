"""What langmem's callers hand over as trajectories, read as traces."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracetune.errors import InputError
from tracetune.traces.model import Message, Trace
from tracetune.traces.readers.blocks import role_of
from tracetune.traces.readers.chat import read_chat
from tracetune.traces.redaction import Redactor

__all__ = ["AGENT", "read_trajectories"]

AGENT = "agent"
"""Whose runs they are: trajectories do not say."""

_ROLES = frozenset(
    ["ai", "assistant", "developer", "function", "human", "model", "system", "tool", "user"]
)
"""What a pair begins with when it is one message."""

_OF_MESSAGES = frozenset(
    [
        *("additional_kwargs", "content", "data", "example", "id", "kwargs", "lc", "name"),
        *("parts", "response_metadata", "role", "type"),
    ]
)
"""What a message says; feedback that tells who gave it says more, or has nothing of content."""
_CONTENTS = frozenset(["content", "data", "kwargs", "parts"])


@dataclass(frozen=True, slots=True)
class _Session:
    messages: Any
    """A list of messages, or a conversation as one text."""
    feedback: Any = None


def read_trajectories(trajectories: Any) -> list[Trace]:
    """Return one trace per trajectory, in order; none where there is nothing to learn from.

    Taken are one text; `AnnotatedTrajectory`s, pairs of (messages, feedback), records with
    `messages`, bare lists of messages, and texts, in a list, a tuple or any iterable; and one pair
    or one conversation by itself. A pair may hold a record, or None, for its messages. Messages are
    LangChain's objects, dicts or (role, text) pairs, with text, blocks or nothing as their content.
    Feedback is a text, a number, a mapping, a message or a list of these. A message of a role that
    no provider has is read as the user's.

    Runs that begin with the same words of the user are runs of the same task.

    Raises:
        InputError: One cannot be read; says which.
    """
    sessions = list(_sessions(trajectories))
    traces = [_trace(session, f"trajectories[{i}]") for i, session in enumerate(sessions)]
    # They go to a model: credentials in them do not.
    redactor = Redactor()
    return [redactor.trace(trace) for trace in traces if trace.steps or trace.feedback is not None]


def _sessions(given: Any) -> Iterator[_Session]:
    if given is None:
        return
    if isinstance(given, str | Mapping) or _is_pair(given) or hasattr(given, "_fields"):
        yield _session(given, 0)
        return
    try:
        items = list(given)
    except TypeError:
        raise InputError(
            f"trajectories must be a text or a list of (messages, feedback), "
            f"but got {type(given).__name__}."
        ) from None
    if items and all(_is_message(item) for item in items):
        yield _Session(items)
        return
    for index, item in enumerate(items):
        yield _session(item, index)


def _session(item: Any, index: int) -> _Session:
    if isinstance(item, str):
        return _Session(item)
    if isinstance(item, Mapping):
        if "messages" in item:
            return _Session(item["messages"], item.get("feedback"))
        return _Session([item])
    if hasattr(item, "_fields") or _is_pair(item) or _is_said_of(item):
        first, feedback = item[0], item[1] if len(item) > 1 else None
        return _Session(first["messages"] if isinstance(first, Mapping) else first, feedback)
    if _is_message(item):
        return _Session([item])
    if isinstance(item, Sequence):
        if len(item) == 1 and isinstance(item[0], list | tuple) and not _is_message(item[0]):
            return _Session(item[0])
        return _Session(list(item))
    raise InputError(
        f"trajectories[{index}] must be (messages, feedback), messages or a text, "
        f"but got {type(item).__name__}."
    )


def _is_pair(item: Any) -> bool:
    """Whether it is (messages, feedback), rather than two messages or two conversations."""
    if not isinstance(item, list | tuple) or len(item) != 2 or _is_message(item):
        return False
    first, second = item
    if isinstance(first, str) or first is None:
        return isinstance(item, tuple)
    if isinstance(first, Mapping) and "messages" in first:
        return isinstance(item, tuple) and not _is_conversation(second)
    if not isinstance(first, list | tuple) or _is_message(first) or _is_pair(first):
        return False
    if not all(map(_is_message, first)) or _is_conversation(second):
        return False
    # A message after a conversation says something of it.
    return isinstance(item, tuple) or not isinstance(second, tuple) or not _is_message(second)


def _is_said_of(item: Any) -> bool:
    """Whether it is (messages, messages that say something of them)."""
    if not isinstance(item, tuple) or len(item) != 2:
        return False
    return all(isinstance(part, list | tuple) and _is_conversation(part) for part in item)


def _is_conversation(item: Any) -> bool:
    if isinstance(item, list | tuple):
        return (bool(item) and all(map(_is_message, item))) or _is_pair(item)
    return isinstance(item, Mapping) and "messages" in item


def _is_message(item: Any) -> bool:
    if isinstance(item, Mapping):
        return "messages" not in item and ("role" in item or "type" in item or "lc" in item)
    if isinstance(item, tuple):
        return len(item) == 2 and item[0] in _ROLES if isinstance(item[0], str) else False
    return hasattr(item, "content") and hasattr(item, "type")


def _trace(session: _Session, where: str) -> Trace:
    feedback = _feedback(session.feedback)
    steps: tuple[Any, ...] = ()
    task = None
    if isinstance(session.messages, str):
        steps = tuple(Message("user", line) for line in _parts(session.messages))
    elif session.messages:
        try:
            steps = read_chat([_known(m) for m in session.messages], agent=AGENT).steps
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: {error}.") from None
        asked = (s.text for s in steps if isinstance(s, Message) and s.role == "user")
        task = next(asked, None)
    digest = hashlib.sha256(f"{where}{steps!r}{feedback!r}".encode(errors="replace")).hexdigest()
    told = feedback if isinstance(feedback, Mapping) else {}
    success = told.get("success")
    return Trace(
        id=digest[:16],
        agent=AGENT,
        success=success if isinstance(success, bool) else None,
        score=_number(told.get("score")),
        feedback=feedback,
        steps=steps,
        task=task,
    )


def _known(message: Any) -> Any:
    """The message, by a role that is known: a person of another one speaks as a user."""
    if isinstance(message, list | tuple) and not _is_message(message):
        raise TypeError(f"a {type(message).__name__} stands where a message is expected")
    if isinstance(message, Mapping):
        role = message.get("role")
        strange = isinstance(role, str) and role_of(role) is None
        return {**message, "role": "user"} if strange else message
    role = getattr(message, "role", None)
    if isinstance(role, str) and role_of(role) is None:
        return {"role": "user", "content": getattr(message, "content", None)}
    return message


def _parts(text: str) -> Iterator[str]:
    # Line by line: a run is shortened step by step, and a whole log would be one long step.
    return (line for line in text.splitlines() if line.strip())


def _feedback(given: Any) -> str | dict[str, Any] | None:
    """Feedback as traces keep it: nothing said is None, and a bare number is a score."""
    given = _said(given)
    if given is None or (isinstance(given, str) and not given.strip()):
        return None
    if isinstance(given, str):
        return given
    if isinstance(given, Mapping):
        told = {str(k): _plain(v) for k, v in given.items() if v is not None and v != ""}
        return told or None
    if _number(given) is not None:
        return {"score": given}
    if isinstance(given, list | tuple):
        return "; ".join(str(_said(part)) for part in given if part is not None) or None
    return str(given)


def _said(given: Any) -> Any:
    """The words of a message; what is none, such as a record of some type, stays as it is."""
    if isinstance(given, tuple) or not _is_message(given):
        return given
    if isinstance(given, Mapping) and (
        not given.keys() <= _OF_MESSAGES or _CONTENTS.isdisjoint(given)
    ):
        return given
    try:
        steps = read_chat([given], agent=AGENT).steps
    except (TypeError, ValueError):
        return given
    return "\n".join(step.text for step in steps if isinstance(step, Message))


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else str(value)


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
