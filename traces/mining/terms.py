"""Words that runs which fail say and others do not, or the other way round."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracetune.traces.failures import EXCUSED
from tracetune.traces.model import Thought, ToolCall, Trace
from tracetune.traces.readers.canonical import trace_of

__all__ = [
    "RUNS_SAID",
    "TERMS_TRIED",
    "Said",
    "Speaker",
    "choose_terms",
    "halves",
    "join_said",
    "said_by",
    "said_in",
    "task_hash",
    "terms_of",
]

TERMS_TRIED = 50
"""How many terms of an agent are tested at most."""

RUNS_SAID = 500
"""How many runs of each outcome are listened to at most."""

_SIZE = 16_000_000
_TEXT = 8000
_TELLING = 1.96

_WORD = re.compile(r"[^\W\d_]{2,30}(?:['\u2019][^\W\d_]{1,10})?")


@dataclass(frozen=True, slots=True)
class Said:
    """What a run said to itself and to others, in words."""

    mark: int
    """The run's random number."""
    id: str
    size: int
    """Of the whole run, in characters."""
    success: bool
    counted: bool
    """False for failures of the infrastructure or the user, whose words are not kept."""
    task: str | None
    attempts: int
    """-1: unknown."""
    text: str
    """Lower-case words with one space between, one line per message or thought."""

    def row(self) -> list[Any]:
        """The fields in order, for JSON."""
        return [getattr(self, name) for name in self.__slots__]

    @classmethod
    def of(cls, row: Sequence[Any]) -> Said:
        """Read a `row`."""
        return cls(*row)


@dataclass(frozen=True, slots=True)
class Speaker:
    """What is known of a run, but for its words."""

    mark: int
    id: str
    success: bool
    counted: bool
    task: str | None
    attempts: int | None


def said_in(traces: Iterable[Trace], marks: Mapping[str, int]) -> tuple[Said, ...]:
    """What these traces of one agent said, those of known outcome; bounded as in `join_said`.

    Args:
        marks: Each run's random number, by id.
    """
    return said_by(
        (
            Speaker(
                marks[trace.id],
                trace.id,
                trace.success,
                trace.failure_kind not in EXCUSED,
                trace.task,
                trace.attempts,
            ),
            trace,
        )
        for trace in traces
        if trace.success is not None
    )


def said_by(runs: Iterable[tuple[Speaker, Trace | Mapping[str, Any]]]) -> tuple[Said, ...]:
    """What these runs of one agent said, each a trace or its canonical row; bounded likewise."""
    lowest = sorted(runs, key=lambda run: (run[0].mark, run[0].id))
    sides = (
        itertools.islice((run for run in lowest if run[0].success is outcome), RUNS_SAID)
        for outcome in (False, True)
    )
    return join_said(_said(speaker, run) for side in sides for speaker, run in side)


def join_said(said: Iterable[Said]) -> tuple[Said, ...]:
    """Of each outcome those with the lowest marks, sorted by mark.

    Up to 500 runs, and no more once those before hold 16 million characters: any order of
    joining gives the same.
    """
    kept: list[Said] = []
    runs, sizes = Counter[bool](), Counter[bool]()
    for one in sorted(said, key=lambda one: (one.mark, one.id)):
        if runs[one.success] < RUNS_SAID and sizes[one.success] < _SIZE:
            kept.append(one)
        runs[one.success] += 1
        sizes[one.success] += one.size
    return tuple(kept)


def halves(said: Sequence[Said]) -> tuple[list[Said], list[Said]]:
    """The runs that terms are chosen on, and those they are tested on.

    A term that was chosen for its contrast would show that contrast again on the same runs, and
    on others of a task that always ends the same way: such a task stays in one half. All other
    runs are parted by their marks; those of a task with both outcomes are compared within it.
    """
    counted = [one for one in said if one.counted]
    outcomes: dict[str | None, list[bool]] = {}
    for one in counted:
        outcomes.setdefault(one.task, []).append(one.success)
    parts: tuple[list[Said], list[Said]] = [], []
    for one in counted:
        ends = outcomes[one.task]
        together = one.task is not None and len(ends) > 1 and len(set(ends)) == 1
        parts[task_hash(one.task or "") % 2 if together else one.mark % 2].append(one)
    return parts


def terms_of(text: str) -> set[str]:
    """The words of a `Said.text`, and each two that follow one another in a line."""
    lines = [line.split() for line in text.split("\n")]
    words = {word for line in lines for word in line}
    return words | {f"{a} {b}" for line in lines for a, b in itertools.pairwise(line)}


def choose_terms(said: Sequence[Said], *, most: int, least: int) -> list[str]:
    """The terms that tell the outcomes of these runs apart most, most first.

    Of two that more than half of the runs with either share, the first is chosen.

    They are ordered by the log-odds ratio of their run counts with an informative Dirichlet
    prior, over its standard deviation; only those beyond 1.96 are chosen. The prior is what all
    runs say, with the weight of one average run. Terms of fewer than `least` runs do not count.

    Source: Monroe, Colaresi and Quinn 2008, Political Analysis 16, 372-403, eqs. 15, 16 and 22.
    """
    runs: dict[str, list[int]] = {}
    for place, one in enumerate(said):
        for term in terms_of(one.text):
            runs.setdefault(term, []).append(place)
    succeeded = [one.success for one in said]
    pairs = {term: _by_outcome(places, succeeded) for term, places in runs.items()}
    ranked = [
        (-abs(z), -len(term.split()), term)
        for term, z in _log_odds(pairs, len(said)).items()
        if len(runs[term]) >= least and abs(z) >= _TELLING
    ]
    chosen: dict[str, set[int]] = {}
    for *_, term in sorted(ranked):
        own = set(runs[term])
        if len(chosen) < most and not any(
            2 * len(own & other) > len(own | other) for other in chosen.values()
        ):
            chosen[term] = own
    return list(chosen)


def task_hash(task: str) -> int:
    """A task's MD5 as a number, evenly spread."""
    return int(hashlib.md5(task.encode(errors="replace"), usedforsecurity=False).hexdigest(), 16)


def _by_outcome(places: Iterable[int], succeeded: Sequence[bool]) -> tuple[int, int]:
    """How many of these runs failed, and succeeded."""
    outcomes = [succeeded[place] for place in places]
    return outcomes.count(False), outcomes.count(True)


def _log_odds(counts: Mapping[str, tuple[int, int]], runs: int) -> dict[str, float]:
    """Each term's log-odds ratio of failed to successful runs, in standard deviations."""
    failed = sum(pair[0] for pair in counts.values())
    succeeded = sum(pair[1] for pair in counts.values())
    weight = (failed + succeeded) / runs if runs else 0.0
    found = {}
    for term, (bad, good) in counts.items():
        prior = (bad + good) / runs
        odds = [
            math.log((count + prior) / (total + weight - count - prior))
            for count, total in ((bad, failed), (good, succeeded))
            if total + weight > count + prior
        ]
        if len(odds) == 2:
            spread = math.sqrt(1 / (bad + prior) + 1 / (good + prior))
            found[term] = (odds[0] - odds[1]) / spread
    return found


def _said(speaker: Speaker, run: Trace | Mapping[str, Any]) -> Said:
    size, spoken = _spoken(run) if isinstance(run, Trace) else _spoken_in_row(run)
    counted = speaker.counted
    return Said(
        mark=speaker.mark,
        id=speaker.id,
        size=size,
        success=speaker.success,
        counted=counted,
        task=speaker.task if counted else None,
        attempts=-1 if speaker.attempts is None else speaker.attempts,
        text=_words(spoken) if counted else "",
    )


def _spoken(trace: Trace) -> tuple[int, list[str]]:
    """How many characters there are in all texts of the run, and its own texts."""
    size, spoken = 0, []
    for step in trace.steps:
        if isinstance(step, ToolCall):
            size += len(str(dict(step.arguments))) + len(step.result or "") + len(step.error or "")
        else:
            size += len(step.text)
            if isinstance(step, Thought) or step.role == "assistant":
                spoken.append(step.text)
    return size, spoken


def _spoken_in_row(row: Mapping[str, Any]) -> tuple[int, list[str]]:
    """The same of a canonical row: to make a trace of it takes several times as long."""
    size, spoken = 0, []
    for step in row.get("steps") or ():
        if step.get("kind") == "tool_call":
            texts = step.get("result") or "", step.get("error") or ""
            arguments = step.get("arguments", {})
            if not (type(arguments) is dict and type(texts[0]) is type(texts[1]) is str):
                return _spoken(trace_of(row))
            size += len(str(arguments)) + len(texts[0]) + len(texts[1])
        elif type(text := step.get("text")) is not str:
            return _spoken(trace_of(row))
        else:
            size += len(text)
            if step["kind"] == "thought" or step.get("role") == "assistant":
                spoken.append(text)
    return size, spoken


def _words(spoken: Iterable[str]) -> str:
    """The words of a run; of many the first and the last, 8,000 characters in all."""
    lines = [" ".join(_WORD.findall(text[:_TEXT].casefold())) for text in spoken]
    text = "\n".join(line for line in lines if line)
    if len(text) <= _TEXT:
        return text
    # Cut at blanks, so that no half words are left.
    start, end = text[: _TEXT // 2], text[-_TEXT // 2 :]
    return f"{start[: start.rfind(' ')]}\n{end[end.find(' ') + 1 :]}"
