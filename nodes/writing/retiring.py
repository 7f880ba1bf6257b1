"""The life of guidelines: retired when runs speak against them, merged, and capped.

What a person wrote or edited is never retired, merged away or capped.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracetune.nodes.blaming.ranking import SIGNIFICANT
from tracetune.nodes.writing.rivals import are_rivals

__all__ = ["MOST_GUIDELINES", "Settled", "in_numbers", "say_the_same", "settle", "speaks_against"]

Json = dict[str, Any]

MOST_GUIDELINES = 20
"""Guidelines a prompt may hold, beside those of people."""
ALIKE = 0.8
"""Share of their words, in order, from which two sentences say the same."""
ALIKE_ON_THE_SAME = 0.4
"""The share of all their words, in any order, where both rest on the same patterns."""

SURER = 10
"""How many times lower the q-value of a guideline must be that takes the place of its opposite."""

_NAME = re.compile(r"`[^`]+`|\w+_\w+")
"""In backticks, or written like_this: mostly a tool."""
_NOT = re.compile(
    r"\b(?:not|never|no|none|without|avoid|stop|refrain|instead|unless)\b|n['\u2019]t\b"
)
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a all always an and any are as at be been by can do each every for from has have if in is"
        " it its of on or please so such that the their them then there they this to was were will"
        " with you your",
    )
)
_STEM = 5
"""Letters that tell words apart: "answers" and "answered" are one word."""


@dataclass(slots=True)
class Settled:
    """The guidelines a prompt is to hold, and what became of the others."""

    guidelines: list[Json] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    """One sentence per guideline of the prompt that is gone."""
    dropped: list[str] = field(default_factory=list)
    """One phrase per proposed guideline that was not taken."""


def settle(
    current: Sequence[Json],
    proposed: Sequence[Json],
    findings: Sequence[Mapping[str, Any]],
    fits: Callable[[Sequence[str]], bool],
) -> Settled:
    """Return what a prompt is to hold of the proposed guidelines.

    First those are retired that the findings speak against, then those merged that say the same
    (the older one stays, with the evidence of both), then of those that ask for opposite things
    only what rests on most is kept (of equals the older one), then the weakest left out until the
    rest are few enough and fit. Settling what is settled changes nothing.

    Args:
        current: Those the prompt holds; of people's, each stays whether proposed or not.
        findings: Patterns and habits of the runs of this cycle.
        fits: Whether the prompt has room for these sentences.
    """
    wanted = {g["id"] for g in proposed}
    held = {g["id"] for g in current}
    kept = [g for g in current if not _is_ours(g) or g["id"] in wanted]
    kept += [g for g in proposed if g["id"] not in held]
    settled = Settled()
    kept = _retire(kept, held, findings, settled)
    kept = _merge(kept, held, settled)
    kept = _without_rivals(kept, held, settled)
    settled.guidelines = _cap(kept, held, fits, settled)
    return settled


def _is_ours(line: Mapping[str, Any]) -> bool:
    return bool(line["origin"] != "human")


def _retire(
    lines: Sequence[Json],
    held: set[str],
    findings: Sequence[Mapping[str, Any]],
    settled: Settled,
) -> list[Json]:
    gone: list[Json] = []
    for line in lines:
        if line["id"] in held and _is_ours(line) and (told := speaks_against(line, findings)):
            gone.append(line)
            settled.why.append(f"Retired: “{line['text']}” {told}")
    kept: list[Json] = []
    for line in lines:
        if line["id"] not in held and any(say_the_same(line, old) for old in gone):
            settled.dropped.append("a guideline that says what was just retired")
        elif line not in gone:
            kept.append(line)
    return kept


def speaks_against(line: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> str:
    """What turned since the guideline was learned, in numbers; empty where nothing did.

    A pattern it rests on must now go along with the opposite outcome (q at most 0.1, and the
    interval of the effect on that side of zero), and none of the others may still stand. That a
    pattern is seen no more is no evidence against it: a loop that is gone is what was asked for.
    """
    by_id = {finding["id"]: finding for finding in findings}
    turned: list[Mapping[str, Any]] = []
    for old in line["evidence"].get("patterns", ()):
        now = by_id.get(old["id"])
        if now is None or now["q_value"] > SIGNIFICANT:
            continue
        # What is kept from earlier has no effect, but the interval around it.
        was = old["effect"] if "effect" in old else sum(old["interval"])
        low, high = now["interval"]
        if was * now["effect"] > 0:
            return ""
        if (was < 0 < low) or (high < 0 < was):
            turned.append(now)
    return f"It rested on the opposite: {in_numbers(turned[0])}" if turned else ""


def in_numbers(finding: Mapping[str, Any]) -> str:
    """What a pattern or habit carries, and no more: rates, difference, interval, test."""
    low, high = finding["interval"]
    runs = f"{finding['support']}"
    if "others" in finding:
        runs += f" of {finding['support'] + finding['others']}"
    difference = "difference within tasks" if finding.get("tasks") else "difference"
    told = (
        f"{runs} runs where the agent {finding['text']}: {finding['success_with']:.0%} succeeded, "
        f"{finding['success_without']:.0%} of the others "
        f"({difference} {finding['effect'] * 100:+.0f} points, 95 % interval {low * 100:+.0f} to "
        f"{high * 100:+.0f})"
    )
    if finding.get("long_with", 0) > finding.get("long_without", 0):
        told += (
            f"; {finding['long_with']:.0%} made more than twice the usual number of tool calls, "
            f"{finding['long_without']:.0%} of the others"
        )
    return f"{told}; q = {finding['q_value']:.2g}, {_compared(finding.get('tasks', 0))}."


def _compared(tasks: int) -> str:
    if not tasks:
        return "not compared within tasks"
    return f"compared within {tasks} task{'s' if tasks > 1 else ''}"


def _merge(lines: Sequence[Json], held: set[str], settled: Settled) -> list[Json]:
    kept: list[Json] = []
    for line in lines:
        same = next((n for n, old in enumerate(kept) if say_the_same(line, old)), None)
        if same is None or not (_is_ours(line) or _is_ours(kept[same])):
            kept.append(line)
            continue
        old = kept[same]
        stays, goes = (old, line) if _is_ours(line) else (line, old)
        kept[same] = {**stays, "evidence": _joined(stays["evidence"], goes["evidence"])}
        if goes["id"] in held:
            settled.why.append(f"Merged into “{stays['text']}”: “{goes['text']}”")
        else:
            settled.dropped.append(f"a guideline that says the same as {stays['id']}")
    return kept


def _without_rivals(lines: Sequence[Json], held: set[str], settled: Settled) -> list[Json]:
    kept: list[Json] = []
    for line in lines:
        rivals = [old for old in kept if are_rivals(line["text"], old["text"])]
        wins = all(_goes_before(line, old) for old in rivals)
        gone = rivals if wins else [line] * _is_ours(line)
        kept = [old for old in [*kept, line] if not any(old is one for one in gone)]
        stays = line if wins else rivals[0]
        for one in gone:
            if one["id"] in held:
                told = f"“{stays['text']}” asks for the opposite and rests on more"
                settled.why.append(f"Taken out, for {told}: “{one['text']}”")
            else:
                settled.dropped.append(f"a guideline that asks for the opposite of {stays['id']}")
    return kept


def _goes_before(line: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    if not (_is_ours(line) and _is_ours(old)):
        return _is_ours(old)
    # Ever more is asked of the next one, so that two cannot take turns for ever.
    q_value, was = _weakness(line)[0], _weakness(old)[0]
    return q_value < was and q_value * SURER <= was


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> Json:
    """Both evidences; of the same pattern, the figures it was first learned with."""
    rows = [*one.get("patterns", ()), *other.get("patterns", ())]
    joined = {**other, **one}
    if rows:
        first: dict[str, Json] = {}
        for row in rows:
            first.setdefault(row["id"], row)
        joined["patterns"] = list(first.values())
    return joined


def say_the_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two guidelines ask for the same thing; when in doubt, no.

    Both must name the same tools in the same order, hold the same numbers, and both
    or neither must forbid. Then one must hold all words of the other that matter, and few more,
    in about their order. Where both rest on the same patterns, sharing many words is enough: that
    is one lesson put in two ways.
    """
    if one["id"] == other["id"]:
        return True
    first, second = one["text"].casefold(), other["text"].casefold()
    if any(pick(first) != pick(second) for pick in (_names, _numbers, _forbids)):
        return False
    words, others = _words(first), _words(second)
    shared, both = set(words) & set(others), set(words) | set(others)
    # "Ask for the order" and "ask for the address" differ in a word that matters.
    held = shared in (set(words), set(others))
    if held and difflib.SequenceMatcher(None, words, others, autojunk=False).ratio() >= ALIKE:
        return True
    return bool(_ids(one) and _ids(one) == _ids(other)) and len(shared) >= (
        ALIKE_ON_THE_SAME * len(both)
    )


def _names(text: str) -> list[str]:
    return [name.strip("`") for name in _NAME.findall(text)]


def _numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+", _NAME.sub("", text)))


def _forbids(text: str) -> bool:
    return _NOT.search(text) is not None


def _words(text: str) -> list[str]:
    return [word[:_STEM] for word in re.findall(r"\w+", text) if word not in _COMMON]


def _ids(line: Mapping[str, Any]) -> set[str]:
    return {row["id"] for row in line["evidence"].get("patterns", ())}


def _cap(
    lines: Sequence[Json],
    held: set[str],
    fits: Callable[[Sequence[str]], bool],
    settled: Settled,
) -> list[Json]:
    kept = list(lines)
    while ours := [n for n, line in enumerate(kept) if _is_ours(line)]:
        if len(ours) <= MOST_GUIDELINES and fits([line["text"] for line in kept]):
            break
        gone = kept.pop(max(ours, key=lambda n: (_weakness(kept[n]), n)))
        if gone["id"] in held:
            settled.why.append(f"Taken out, for its evidence is the weakest: “{gone['text']}”")
        else:
            settled.dropped.append("a guideline for which there is no room: others rest on more")
    return kept


def _weakness(line: Mapping[str, Any]) -> tuple[float, int]:
    """Sorts guidelines by what they rest on, strongest first; no evidence at all comes last."""
    rows = line["evidence"].get("patterns", ())
    return min(((row["q_value"], -row["support"]) for row in rows), default=(2.0, 0))
