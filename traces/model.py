"""The canonical trace: one finished run of an agent, whatever recorded it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

__all__ = [
    "MAX_COST_USD",
    "MAX_LATENCY_S",
    "FailureKind",
    "Message",
    "Step",
    "Thought",
    "ToolCall",
    "Trace",
    "in_utc",
    "plain_number",
]

MAX_LATENCY_S = 1e9
"""No run or call took longer, in seconds: 31 years. More was counted in other units."""

MAX_COST_USD = 1e9
"""No run cost more: metrics add up billionths of a dollar, and of a second, in whole numbers."""

FailureKind = Literal["agent", "user", "infrastructure", "unknown"]

_PLAIN = frozenset({bool, float, int, type(None)})


def plain_number(value: Any) -> Any:
    """Return a number or truth value of NumPy, or a `Decimal`, as Python's own; all else as it is.

    JSON holds none of those, and some of them cannot be compared.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Decimal):
        return float(value)
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "shape", None) == () else value


def in_utc(moment: datetime) -> datetime:
    """Return the time in UTC, which a naive one is in: the machine may be in any zone."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Message:
    """What someone said during the run."""

    role: Literal["system", "user", "assistant"]
    text: str
    agent: str | None = None
    """Which of several agents that worked in the run said it; None: the run's own, or no agent."""


@dataclass(frozen=True, slots=True)
class Thought:
    """What the agent wrote to itself."""

    text: str
    agent: str | None = None
    """Which of several agents that worked in the run thought it; None: the run's own."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool, joined with its result."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    result: str | None = None
    error: str | None = None
    """The error's text; None when the call succeeded or nothing is known."""
    started_at: datetime | None = None
    """In UTC; a naive time is."""
    latency_s: float | None = None
    """From 0 to `MAX_LATENCY_S`."""
    by: Literal["agent", "user"] = "agent"
    """Whose call it was: user simulators call tools too, and those are no attempts."""
    agent: str | None = None
    """Which of several agents that worked in the run made it; None: the run's own."""

    def __post_init__(self) -> None:
        if type(self.latency_s) not in _PLAIN:
            object.__setattr__(self, "latency_s", plain_number(self.latency_s))
        if isinstance(at := self.started_at, datetime) and at.tzinfo is not UTC:
            object.__setattr__(self, "started_at", in_utc(at))


Step = Message | Thought | ToolCall


@dataclass(frozen=True, slots=True)
class Trace:
    """One finished run of an agent. None means unknown, never zero or false.

    Numbers of NumPy become Python's own.
    """

    id: str
    agent: str
    release: str | None = None
    """Id of the release it ran under."""
    task: str | None = None
    """What it was asked; runs of the same task are compared with each other."""
    started_at: datetime | None = None
    """In UTC; a naive time is."""
    latency_s: float | None = None
    """From 0 to `MAX_LATENCY_S`; a trace with another cannot be counted."""
    success: bool | None = None
    score: float | None = None
    feedback: str | Mapping[str, Any] | None = None
    steps: tuple[Step, ...] = ()
    """In the order they happened."""
    attempts: int | None = None
    """Tool calls by the agent; counted from `steps` when left out and there are any."""
    turns: int | None = None
    """Steps as the agent's own step limit counts them."""
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None
    """From 0 to `MAX_COST_USD`; a trace with another cannot be counted."""
    failure_kind: FailureKind = "unknown"
    labels: Mapping[str, str] = field(default_factory=dict)
    """Anything else worth grouping by; `ended_by` says what ended the run."""

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            if type(value := getattr(self, name)) not in _PLAIN:
                object.__setattr__(self, name, plain_number(value))
        if isinstance(at := self.started_at, datetime) and at.tzinfo is not UTC:
            object.__setattr__(self, "started_at", in_utc(at))
        if self.attempts is None and self.steps:
            object.__setattr__(self, "attempts", len(list(self.agent_calls())))

    def agent_calls(self) -> Iterator[ToolCall]:
        """The agent's own tool calls, in order."""
        return (s for s in self.steps if isinstance(s, ToolCall) and s.by == "agent")

    def to_dict(self) -> dict[str, Any]:
        """The canonical JSON form: `from_dict` reads it back to an equal trace."""
        row = {name: getattr(self, name) for name in _TRACE_NAMES}
        row["started_at"] = _stamp(self.started_at)
        row["labels"] = dict(self.labels)
        row["steps"] = [_step_to_dict(step) for step in self.steps]
        if isinstance(self.feedback, Mapping):
            row["feedback"] = dict(self.feedback)
        return {
            name: value
            for name, value in row.items()
            if value is not None and (type(value) not in (dict, list) or value)
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Trace:
        """Read the canonical JSON form; unknown keys are an error.

        Raises:
            TypeError, ValueError, KeyError: The row is not a canonical trace.
        """
        values = dict(row)
        values["started_at"] = _moment(values.get("started_at"))
        values["steps"] = tuple(_step_from_dict(step) for step in values.get("steps", ()))
        return cls(**values)


def _stamp(moment: datetime | None) -> str | None:
    return in_utc(moment).isoformat() if moment else None


def _moment(stamp: str | None) -> datetime | None:
    return None if stamp is None else in_utc(datetime.fromisoformat(stamp))


_STEPS: dict[str, type[Message] | type[Thought] | type[ToolCall]] = {
    "message": Message,
    "thought": Thought,
    "tool_call": ToolCall,
}


# Asked of the classes once: traces are written by the million.
_NAMES = {
    cls: (kind, tuple(field.name for field in dataclasses.fields(cls)))
    for kind, cls in _STEPS.items()
}
_TRACE_NAMES = tuple(field.name for field in dataclasses.fields(Trace))
_NUMBERS = (
    *("success", "score", "latency_s", "cost_usd"),
    *("attempts", "turns", "tokens_in", "tokens_out"),
)


def _step_to_dict(step: Step) -> dict[str, Any]:
    kind, names = _NAMES[type(step)]
    row: dict[str, Any] = {"kind": kind}
    for name in names:
        if (value := getattr(step, name)) is not None:
            row[name] = value
    if isinstance(step, ToolCall):
        row["arguments"] = dict(step.arguments)
        if step.started_at is not None:
            row["started_at"] = _stamp(step.started_at)
    return row


def _step_from_dict(row: Mapping[str, Any]) -> Step:
    values = dict(row)
    cls = _STEPS[values.pop("kind")]
    if cls is ToolCall:
        values["started_at"] = _moment(values.get("started_at"))
    return cls(**values)
