"""How much of a prompt a new text leaves as it was."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["DiffSize", "diff_size", "too_much_changed"]

MOST_UNNAMED = 0.2
"""Share of the sentences no evidence speaks of that one rewrite may change or take out.

What people changed in the seven prompts of Stratus from its 2025 to its 2026 version took out at
most 7 % of a prompt's sentences: a fifth leaves room for nearly three times that.
"""
MOST_OF_ALL = 0.5
"""Share of all sentences: feedback that speaks of everything opens no more than this."""
FEW_UNNAMED, FEW_OF_ALL = 2, 3
"""Sentences that may change however short the prompt is."""

_END = re.compile(r"(?<=[.!?:;])\s+|(?<=[\u3002\uff01\uff1f])")
_MARKS = "-*#>•|`0123456789.) \t"
_WORD = re.compile(r"\w{4,}")
_PIECE = re.compile(r"\w+|[^\w\s]")
_COMMON_WORDS = (
    "about after again also always before being cannot could does doing each ever every from "
    "have here into just like make more most must never only other over same should some such "
    "than that their them then there these they this those through under very were what when "
    "where which while will with without would your"
)
_COMMON = frozenset(_COMMON_WORDS.split())


@dataclass(frozen=True, slots=True)
class DiffSize:
    """How far two texts are apart."""

    characters: int
    """Taken out and put in, together; blanks do not count."""
    share: float
    """Of the characters of both, in [0, 1]."""


def too_much_changed(before: str, after: str, named: Sequence[str]) -> str | None:
    """Say how much of `before` is not in `after` as it was, where that is too much; else None.

    Args:
        named: What the evidence says is to change: a sentence that shares two telling words, or a
            name written like_this, with one of these texts may change, though not everything may.
    """
    old = sentences(before)
    lost = Counter(old) - Counter(sentences(after))
    told = [_telling(text) for text in named]
    unnamed = {sentence for sentence in set(old) if not _is_named(sentence, told)}
    changed = sum(count for sentence, count in lost.items() if sentence in unnamed)
    total = sum(1 for sentence in old if sentence in unnamed)
    if changed > max(FEW_UNNAMED, int(total * MOST_UNNAMED)):
        return f"{changed} of {total} sentences changed that no evidence speaks of"
    if lost.total() > max(FEW_OF_ALL, int(len(old) * MOST_OF_ALL)):
        return f"{lost.total()} of {len(old)} sentences changed"
    return None


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order, without list marks and line breaks of its own."""
    found = []
    for line in text.splitlines():
        plain = " ".join(line.split()).lstrip(_MARKS)
        found += [part for part in _END.split(plain) if len(part.split()) > 1]
    return found


def _telling(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold())) - _COMMON


def _is_named(sentence: str, told: Iterable[set[str]]) -> bool:
    words = _telling(sentence)
    shared = (words & text for text in told)
    return any(len(both) > 1 or any("_" in word for word in both) for both in shared)


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
