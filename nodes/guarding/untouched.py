"""How much of a prompt a new text leaves as it was."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from tracetune.nodes.evidence.shortening import shorten
from tracetune.nodes.guarding.likeness import Read, binds, read, stands, telling
from tracetune.traces.redaction import Redactor

__all__ = ["DiffSize", "diff_size", "fresh", "sentences", "start_of", "too_much_changed"]

MOST_UNNAMED = 0.2
"""Share of the sentences no evidence speaks of that one rewrite may change.

What people changed in the seven prompts of Stratus from its 2025 to its 2026 version changed at
most 7 % of a prompt's sentences: a fifth leaves room for nearly three times that.
"""
MOST_OF_ALL = 0.5
"""Share of all sentences: feedback that speaks of everything opens no more than this."""
FEW_UNNAMED, FEW_OF_ALL = 2, 3
"""Sentences that may change however short the prompt is."""
MOST_LOST = 0.05
"""Share of the sentences that may go without evidence; people took out at most 2 of 70."""
SHORT = 5
"""A prompt of no more sentences may lose none without evidence; one of more, at least one."""
WORDS_SHOWN, SHOWN = 2, 60

# The colon behind a key of JSON ends nothing.
_END = re.compile(r"(?<=[.!?:;])(?<![\"']:)\s+|(?<=[\u3002\uff01\uff1f])")
_MARKS = "-*#>•|`0123456789.) \t"
_PIECE = re.compile(r"\w+|[^\w\s]")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_WIDE_SENTENCE = 4


@dataclass(frozen=True, slots=True)
class DiffSize:
    """How far two texts are apart."""

    characters: int
    """Taken out and put in, together; blanks do not count."""
    share: float
    """Of the characters of both, in [0, 1]."""


def too_much_changed(
    before: str, after: str, named: Sequence[str], *, freely: bool = False
) -> str | None:
    """Say what of `before` is not in `after` though it should be; None where all is well.

    No rule (never, do not, must, always) that no evidence speaks of may go or be turned round.

    Args:
        named: What the evidence says is to change: a sentence that shares two telling words, or a
            name written like_this, with one of these texts may change or go, though not everything
            may; of the others none may go, or a twentieth of a prompt of more than five.
        freely: Any sentence may be put in other words, and half of them may go.
    """
    old, new = sentences(before), sentences(after)
    changed = Counter(old) - Counter(new)
    told = [telling(text) for text in named]
    unnamed = {sentence for sentence in set(old) if not _is_named(sentence, told)}
    if not freely and (many := _too_many(old, changed, unnamed)):
        return many
    said_anew = fresh(new, {*old})
    # A sentence that stood there twice and stands there once is still there.
    gone = {s: stands(read(s), said_anew) for s in changed if s not in new}
    for sentence, how in gone.items():
        if how != "alike" and sentence in unnamed and (how == "reversed" or binds(sentence)):
            return _unasked(sentence, old, "turned round" if how == "reversed" else "gone")
    lost = [sentence for sentence, how in gone.items() if how == "gone"]
    if len(lost) > max(1, math.ceil(len(old) * MOST_OF_ALL)) or len(lost) == len(old) > 1:
        return f"{len(lost)} of {len(old)} sentences are gone"
    if freely:
        return None
    news = [telling(text) for text in new if text not in old]
    loose = [s for s in lost if s in unnamed and not _is_replaced(s, news, told)]
    if len(loose) > (max(1, int(len(old) * MOST_LOST)) if len(old) > SHORT else 0):
        return _unasked(loose[0], old, "gone")
    return None


def _too_many(old: Sequence[str], changed: Counter[str], unnamed: Collection[str]) -> str:
    touched = sum(count for sentence, count in changed.items() if sentence in unnamed)
    total = sum(1 for sentence in old if sentence in unnamed)
    if touched > max(FEW_UNNAMED, int(total * MOST_UNNAMED)):
        return f"{touched} of {total} sentences changed that no evidence speaks of"
    if changed.total() > max(FEW_OF_ALL, int(len(old) * MOST_OF_ALL)):
        return f"{changed.total()} of {len(old)} sentences changed"
    return ""


def fresh(new: Sequence[str], old: Collection[str]) -> list[Read]:
    """The new sentences, and each two that stand beside each other: one may have become two."""
    lines = [sentence for sentence in new if sentence not in old]
    pairs = [f"{one}, {two}" for one, two in itertools.pairwise(new) if {one, two}.isdisjoint(old)]
    return [read(text) for text in [*lines, *pairs]]


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order, without list marks and line breaks of its own."""
    found = []
    for line in text.splitlines():
        plain = " ".join(line.split()).lstrip(_MARKS)
        found += [part for part in _END.split(plain) if _is_sentence(part)]
    return found


def _is_sentence(part: str) -> bool:
    # Chinese and Japanese have no blanks between words.
    return len(part.split()) > 1 or len(_WIDE.findall(part)) >= _WIDE_SENTENCE


def _is_named(sentence: str, told: Iterable[set[str]]) -> bool:
    words = telling(sentence)
    if len(words) == 1 and not binds(sentence):
        return any(words <= text for text in told)
    shared = (words & text for text in told)
    return any(len(both) > 1 or any("_" in word for word in both) for both in shared)


def _is_replaced(sentence: str, news: Sequence[set[str]], told: Iterable[set[str]]) -> bool:
    """Whether evidence that speaks of one of its words asks for a sentence that came in."""
    words = telling(sentence)
    return any(words & text and any(len(new & text) > 1 for new in news) for text in told)


def _unasked(sentence: str, old: Sequence[str], what: str) -> str:
    place = f"sentence {old.index(sentence) + 1} of {len(old)} ({start_of(sentence)!r} …)"
    return f"{place} is {what}, and no evidence speaks of it"


def start_of(sentence: str) -> str:
    """The first words of a sentence: a log is to hold no more of a prompt."""
    return shorten(Redactor().text(" ".join(sentence.split()[:WORDS_SHOWN])), SHOWN)


def diff_size(before: str, after: str) -> DiffSize:
    """How much a diff by lines, and within them by words, takes out and puts in."""
    old, new = before.splitlines(), after.splitlines()
    changed = 0
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new).get_opcodes():
        if tag != "equal":
            changed += _by_words("\n".join(old[i:j]), "\n".join(new[k:m]))
    return DiffSize(changed, round(changed / max(1, _size(before) + _size(after)), 4))


def _by_words(before: str, after: str) -> int:
    # Blanks are left out: as words that stand everywhere, they make the search slow or blind.
    old, new = _PIECE.findall(before), _PIECE.findall(after)
    kept = sum(
        len(piece)
        for block in difflib.SequenceMatcher(None, old, new).get_matching_blocks()
        for piece in old[block.a : block.a + block.size]
    )
    return _size(before) + _size(after) - 2 * kept


def _size(text: str) -> int:
    return sum(map(len, text.split()))
