"""Forgetting a trace: its id, and what is kept of it, leave every record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.store.base import GetOp, PutOp, SearchItem

from tracetune.errors import InputError
from tracetune.stores.arguments import checked
from tracetune.stores.memory import ProceduralMemory
from tracetune.stores.records import Namespace, arun, note, records, renewal, run, strings, write
from tracetune.stores.steps import WritePlan
from tracetune.traces.recording.sinks import traces_namespace

__all__ = ["Forgotten", "Resting", "aforget", "forget"]

Json = dict[str, Any]

_QUOTING = ("evidence", "metrics", "verdict", "why")
_NAMING = ("id", "trace", "trace_id", "run", "run_id")
_DISTINCT = 8
"""Characters from which an id in a sentence is one, and not a word or a number."""
_GONE = "[forgotten]"
_WHY = "its records no longer name one of the traces"


@dataclass(frozen=True, slots=True)
class Resting:
    """A guideline that rests on a trace, at least in part."""

    agent: str
    id: str
    prompt: str
    text: str
    in_force: bool
    """Whether the release in force has it."""
    releases: tuple[str, ...]
    """Those that have it, newest first."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Where a trace was named, and is no more."""

    releases: tuple[str, ...]
    """Ids of the releases whose records were rewritten, newest first."""
    entries: int
    """Journal entries and other records that were rewritten."""
    guidelines: tuple[Resting, ...]
    """For a person to decide on: they stay, and so does the text of every prompt."""
    prompts: tuple[str, ...]
    """`agent.name` of the prompts in force whose text holds the id itself, sorted."""
    recorded: int
    """Traces of that id that a recorder had put into the same store; they are gone."""


def forget(
    memory: ProceduralMemory, trace_id: str, *, agent: str | None = None, by: str = ""
) -> Forgotten:
    """Take a trace out of memory, and return where it was and which guidelines rest on it.

    Its id leaves the evidence, metrics, verdicts and guidelines' evidence of releases, with what
    is kept of the trace beside it; in sentences (reasons) an id of 8 characters or more is
    blotted out, while a shorter one may be a common word and stays. Figures stay as they are, as
    do guidelines and prompts. What a recorder put into the same store under that id is deleted.

    This is the one thing that rewrites the records of releases and journals in place: a person's
    right to be forgotten outranks that they never change. Prompts and config are not touched, so
    the content hash still holds. The journal notes each rewriting, without the id.

    Memory is all that is looked through. The trace's own file, checkpoints of a LangGraph server
    and copies of memory (archives, backups) are their owners' to clear.

    Args:
        agent: Whose trace it is, where two agents have one with that id; all when left out.
        by: Who did it, for the journal.

    Raises:
        InputError: The id is empty.
        StoreError: The store failed; run it again, what is done already stays done.
    """
    found = run(memory.store, _forget(memory, trace_id, agent, by), "forget a trace")
    memory.look_again()
    return found


async def aforget(
    memory: ProceduralMemory, trace_id: str, *, agent: str | None = None, by: str = ""
) -> Forgotten:
    """As `forget`; never blocks the event loop."""
    found = await arun(memory.store, _forget(memory, trace_id, agent, by), "forget a trace")
    memory.look_again()
    return found


@checked
def _forget(
    memory: ProceduralMemory, trace_id: str, agent: str | None, by: str
) -> WritePlan[Forgotten]:
    if not trace_id.strip():
        raise InputError(f"The trace's id must be text, but got {trace_id!r}.")
    home: Namespace = ("tracetune", memory.project)
    home += () if agent is None else (memory.agent(agent).name,)
    items = sorted((yield from records(home)), key=lambda item: item.key, reverse=True)
    blot = _Blot(trace_id)
    puts: list[PutOp] = []
    touched: dict[tuple[Namespace, str], None] = {}
    for item in items:
        value = blot.record(item.value)
        if value == item.value:
            continue
        puts.append(PutOp(item.namespace, item.key, value, index=False))
        about = item.key if item.namespace[-1] == "releases" else str(value.get("release", ""))
        touched[item.namespace[:-1], about] = None
    notes = [note(place, "forgotten", about, by, _WHY) for place, about in touched]
    agents = {item.namespace[2] for item in items if len(item.namespace) > 2}
    recorded = yield from _recorded(agents | {agent or ""}, trace_id)
    yield from write([*notes, *puts, *recorded])
    for place in dict.fromkeys(place for place, _ in touched):
        [head] = yield [GetOp(place, "head", refresh_ttl=False)]
        if head is not None:
            yield renewal(place, head)
    held = [item for item in items if item.namespace[-1] == "releases"]
    forces = _in_force(items)
    return Forgotten(
        releases=tuple(put.key for put in puts if put.namespace[-1] == "releases"),
        entries=sum(put.namespace[-1] != "releases" for put in puts),
        guidelines=_resting(held, blot, forces),
        prompts=tuple(sorted(_prompts(held, blot, forces))),
        recorded=len(recorded),
    )


def _recorded(agents: set[str], trace_id: str) -> WritePlan[list[PutOp]]:
    """The deletions of the trace, wherever a recorder put it for one of the agents."""
    places = [traces_namespace(agent) for agent in sorted(agents) if agent]
    found = yield [GetOp(place, trace_id, refresh_ttl=False) for place in places]
    return [PutOp(i.namespace, i.key, None) for i in found if i is not None]


class _Blot:
    """Takes one trace out of JSON values."""

    def __init__(self, trace_id: str) -> None:
        self._id = trace_id
        self._telling = any(letter.isdigit() for letter in trace_id)
        self._word = re.compile(rf"(?<![\w-]){re.escape(trace_id)}(?![\w-])")

    def record(self, value: Json) -> Json:
        """The record without the trace; the same where it does not name it."""
        new = {k: self._part(v) if k in _QUOTING else v for k, v in value.items()}
        if isinstance(lines := value.get("guidelines"), list):
            new["guidelines"] = [self.record(g) if isinstance(g, dict) else g for g in lines]
        return new

    def names(self, text: object) -> bool:
        """Whether a sentence holds the id, and not just a word that is the same."""
        found = len(self._id) >= _DISTINCT and isinstance(text, str)
        return found and self._word.search(str(text)) is not None

    def _part(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: self._part(v) for k, v in value.items() if not self._is_under(k, v)}
        if isinstance(value, list):
            return [self._part(v) for v in value if not self._is_it(v)]
        return self._word.sub(_GONE, value) if self.names(value) else value

    def _is_under(self, key: str, value: Any) -> bool:
        if isinstance(value, dict) and self._is_it(value):
            return True
        # A field is not to be lost because someone calls a trace `rules` or `support`.
        return self._telling and self._id in (key, value)

    def _is_it(self, value: Any) -> bool:
        """Whether the value is the id, or all it holds is about that trace."""
        if isinstance(value, dict):
            return any(value.get(key) == self._id for key in _NAMING)
        return bool(value == self._id)


def _in_force(items: Sequence[SearchItem]) -> set[str]:
    return {text for item in items if item.key == "head" for text in strings(item.value)}


def _resting(
    releases: Sequence[SearchItem], blot: _Blot, in_force: set[str]
) -> tuple[Resting, ...]:
    found: dict[tuple[str, str, str], tuple[str, list[str]]] = {}
    for item in releases:
        for line in item.value.get("guidelines") or ():
            if blot.record(line) != line or blot.names(line["text"]):
                place = (item.value["agent"], line["id"], line["prompt"])
                found.setdefault(place, (line["text"], []))[1].append(item.key)
    return tuple(
        Resting(agent, name, prompt, text, bool(in_force & set(ids)), tuple(ids))
        for (agent, name, prompt), (text, ids) in found.items()
    )


def _prompts(releases: Sequence[SearchItem], blot: _Blot, in_force: set[str]) -> set[str]:
    return {
        f"{item.value['agent']}.{name}"
        for item in releases
        if item.key in in_force
        for name, text in item.value["prompts"].items()
        if blot.names(text)
    }
