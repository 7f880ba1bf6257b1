"""Candidates that a person edited in the thread's state: told as what they hold, guarded again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from tracetune.errors import InputError
from tracetune.graph.schemas import Change
from tracetune.graph.state import Candidate, Reviewable, Subject
from tracetune.nodes.guarding.guarded import BY_HAND
from tracetune.nodes.guarding.untouched import diff_size
from tracetune.nodes.guidelines import current_guidelines
from tracetune.nodes.validate_candidates import violations_of
from tracetune.traces.compare import compare_runs

__all__ = ["as_they_are"]

Json = dict[str, Any]
Kind = Literal["prompt", "config"]
Values = tuple[Any, Any]
"""Before and after."""

_CANDIDATE = TypeAdapter(Candidate)


def as_they_are(state: Reviewable) -> tuple[dict[str, Candidate], dict[str, Json]]:
    """The candidates, with changes that tell what they hold, and their verdicts.

    Every one is guarded again. What was edited since it was validated is told as edited by hand;
    no recorded run says anything of it, and it survives if it breaks no rule.

    Raises:
        InputError: What stands in the state is no candidate.
    """
    candidates: dict[str, Candidate] = {}
    verdicts: dict[str, Json] = {}
    if not isinstance(state["candidates"], Mapping):
        kind = type(state["candidates"]).__name__
        raise InputError(f"candidates in the thread's state must be a mapping, but is {kind}.")
    for agent, subject in state["subjects"].items():
        if agent not in state["candidates"]:
            continue
        held = _checked(agent, state["candidates"][agent])
        candidates[agent] = candidate = _as_it_is(held, subject)
        if not candidate["changes"]:
            continue
        verdict = state["verdicts"].get(agent)
        if verdict is None or candidate["changes"] != held["changes"]:
            why = "Not enough evidence: it was edited by hand, and no recorded run tells of that."
            verdict = asdict(replace(compare_runs([], []), more_needed=None, why=why))
        violations = violations_of(candidate, subject, state["measured"][agent])
        survives = not violations and verdict["decision"] != "worse"
        verdicts[agent] = {**verdict, "survives": survives, "violations": violations}
    return candidates, verdicts


def _checked(agent: str, held: Candidate) -> Candidate:
    try:
        return _CANDIDATE.validate_python(held)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("candidates", agent, *first["loc"])))
        told = f"{where} in the thread's state is no candidate's: {first['msg']}."
        raise InputError(told) from None


def _as_it_is(candidate: Candidate, subject: Subject) -> Candidate:
    differing = _differing(candidate, subject)
    told = {(change.get("kind"), change.get("name")): change for change in candidate["changes"]}
    kept = [
        told[place]
        for place, values in differing.items()
        if place in told and (told[place].get("before"), told[place].get("after")) == values
    ]
    if len(kept) == len(differing) == len(candidate["changes"]):
        return candidate
    edits = [
        _by_hand(*place, values)
        for place, values in differing.items()
        if told.get(place) not in kept
    ]
    there = subject.copy()
    there["prompts"], there["guidelines"] = candidate["prompts"], candidate["guidelines"]
    lines = [line for name in candidate["prompts"] for line in current_guidelines(there, name)]
    return {**candidate, "changes": [*kept, *edits], "guidelines": lines}


def _differing(candidate: Candidate, subject: Subject) -> dict[tuple[Kind, str], Values]:
    """What was there and what is there now, where that is not the same."""
    halves: list[tuple[Kind, Mapping[str, Any], Mapping[str, Any]]] = [
        ("config", subject["config"], candidate["config"]),
        ("prompt", subject["prompts"], candidate["prompts"]),
    ]
    return {
        (kind, name): (before.get(name), after.get(name))
        for kind, before, after in halves
        for name in {**before, **after}
        if name not in before or name not in after or not _alike(before[name], after[name])
    }


def _alike(one: Any, other: Any) -> bool:
    # JavaScript, where Studio runs, writes 1.0 as 1; but no boolean as a number.
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _by_hand(kind: Kind, name: str, values: Values) -> Json:
    before, after = values
    change = Change(
        kind=kind,
        name=name,
        before=before,
        after=after,
        why=[f"{name} was edited by hand before its release."],
        origin="human",
    )
    if kind == "prompt":
        size = diff_size(before or "", after or "")
        change.style, change.characters, change.share = BY_HAND, size.characters, size.share
    return change.model_dump()
