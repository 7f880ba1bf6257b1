"""Words that runs which fail say and others do not, or the other way round."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tracetune.traces.failures import EXCUSED
from tracetune.traces.mining.own_texts import own_texts, own_texts_in, words_of
from tracetune.traces.mining.stratified import Ints
from tracetune.traces.model import Trace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
else:
    Bools = Any

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
    "spoken",
    "task_hash",
]

TERMS_TRIED = 50
"""How many terms of an agent are tested at most."""

RUNS_SAID = 500
"""How many runs of each outcome are listened to at most."""

_SIZE = 16_000_000
_TELLING = 1.96


class Said(NamedTuple):
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


class Speaker(NamedTuple):
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


def said_by(runs: Iterable[tuple[Speaker, Trace | str]]) -> tuple[Said, ...]:
    """What these runs of one agent said, each a trace or its line of JSON; bounded likewise."""
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


def spoken(terms: Sequence[str], said: Sequence[Said]) -> Bools:
    """A row per term, a column per run: whether the run has the term.

    A term is a word, or two words that follow one another in a line.
    """
    import numpy as np

    # With blanks around each word, but not across lines.
    texts = [f" {one.text} ".replace("\n", " \n ") for one in said]
    has = [[f" {term} " in text for text in texts] for term in terms]
    return np.array(has, dtype=bool).reshape(len(terms), len(said))


def choose_terms(said: Sequence[Said], *, most: int, least: int) -> list[str]:
    """The terms that tell the outcomes of these runs apart most, most first.

    Of two that more than half of the runs with either share, the first is chosen.

    They are ordered by the log-odds ratio of their run counts with an informative Dirichlet
    prior, over its standard deviation; only those beyond 1.96 are chosen. The prior is what all
    runs say, with the weight of one average run. Terms of fewer than `least` runs do not count.

    Source: Monroe, Colaresi and Quinn 2008, Political Analysis 16, 372-403, eqs. 15, 16 and 22.
    """
    import numpy as np

    words, pairs = _terms_by_run(said)
    starts = np.flatnonzero(np.diff(pairs[:, 0], prepend=-1))
    terms, sizes = pairs[starts, 0], np.diff(starts, append=len(pairs))
    succeeded = np.array([one.success for one in said], dtype=np.int64)[pairs[:, 1]]
    good = np.add.reduceat(np.append(succeeded, 0), starts)
    telling = np.abs(_log_odds(sizes - good, good, len(said)))
    ranked = []
    for place in np.flatnonzero((sizes >= least) & (telling >= _TELLING)).tolist():
        first, second = divmod(int(terms[place]), len(words))
        term = f"{words[first]} {words[second]}" if second else words[first]
        runs = pairs[starts[place] : starts[place] + sizes[place], 1].tolist()
        ranked.append((-float(telling[place]), not second, term, set(runs)))
    chosen: dict[str, set[int]] = {}
    for *_, term, own in sorted(ranked, key=lambda one: one[:3]):
        if len(chosen) < most and not any(
            2 * len(own & other) > len(own | other) for other in chosen.values()
        ):
            chosen[term] = own
    return list(chosen)


def _terms_by_run(said: Sequence[Said]) -> tuple[list[str], Ints]:
    """All words; then rows (term, place of a run that has it), each once, sorted.

    A term is its first word's place times the number of words, plus its second word's place, or 0.
    """
    import numpy as np

    # An empty word ends a line.
    texts = [f"{one.text}\n".replace("\n", "  ") for one in said]
    spoken_words = "".join(texts).split(" ")[:-1]
    numbers = defaultdict[str, int]()
    numbers.default_factory = numbers.__len__
    words = np.fromiter(
        map(numbers.__getitem__, ["", *spoken_words]), np.int64, len(spoken_words) + 1
    )[1:]
    next_words = np.append(words, 0)[1:]
    run = np.repeat(np.arange(len(said)), [text.count(" ") for text in texts])
    one_word, two_words = words > 0, (words > 0) & (next_words > 0)
    alone, pair = words * len(numbers), words * len(numbers) + next_words
    terms = np.concatenate([alone[one_word], pair[two_words]])
    runs = np.concatenate([run[one_word], run[two_words]])
    each = np.sort(terms * max(1, len(said)) + runs)
    each = each[np.diff(each, prepend=-1) > 0]
    return list(numbers), np.column_stack(np.divmod(each, max(1, len(said))))


def task_hash(task: str) -> int:
    """A task's MD5 as a number, evenly spread."""
    return int(hashlib.md5(task.encode(errors="replace"), usedforsecurity=False).hexdigest(), 16)


def _log_odds(bad: Ints, good: Ints, runs: int) -> NDArray[np.float64]:
    """Each term's log-odds ratio of failed to successful runs, in standard deviations."""
    import numpy as np

    weight = float(bad.sum() + good.sum()) / max(1, runs)
    prior = (bad + good) / max(1, runs)
    found = np.zeros(len(prior))
    told = np.all([c.sum() + weight > c + prior for c in (bad, good)], axis=0)
    odds = [np.log((c + prior)[told] / (c.sum() + weight - c - prior)[told]) for c in (bad, good)]
    found[told] = (odds[0] - odds[1]) / np.sqrt(1 / (bad + prior) + 1 / (good + prior))[told]
    return found


def _said(speaker: Speaker, run: Trace | str) -> Said:
    size, texts = own_texts(run.steps) if isinstance(run, Trace) else own_texts_in(run)
    mark, id, success, counted, task, attempts = speaker
    return Said(
        mark=mark,
        id=id,
        size=size,
        success=success,
        counted=counted,
        task=task if counted else None,
        attempts=-1 if attempts is None else attempts,
        text=words_of(texts) if counted else "",
    )
