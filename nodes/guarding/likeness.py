"""Whether a sentence still stands in a text that was written anew, and still says the same."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Read", "Stands", "binds", "read", "stands", "telling"]

Stands = Literal["alike", "reversed", "gone"]

ALIKE = 0.7
"""Share of a sentence's words that another must hold to be the same one in other words.

One word of three exchanged ("Check the order" for "Skip the order") makes another sentence.
"""
ALIKE_MARKED = 0.5
"""The same where the other holds all its variables, links and names, too."""
CLOSE = 0.9
"""Share of letters."""
STEM = 5
"""Letters that tell words apart: "promising" and "promise" are one."""
_BESIDE = 4
"""Words in the same clause before or behind what is said, where a "do not" may stand."""

_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+(?:['\u2019][^\W\d_]+)?|[,;]"
)
_MARK = re.compile(r"\{+[^{}]*\}+|https?://\S+|\w+_\w+")
_JOINTS = frozenset(
    (",", ";", "and", "or", "but", "und", "oder", "aber", "et", "ou", "y", "o", "e")
)
_BRACES = re.compile(r"\{+[^{}]*\}+")
_WORD = re.compile(r"[^\W_]{4,}")
_COMMON_WORDS = (
    "about after again also always before being cannot could does doing each ever every from "
    "have here into just like make more most must never only other over same should some such "
    "than that their them then there these they this those through under very were what when "
    "where which while will with without would your"
)
_COMMON = frozenset(_COMMON_WORDS.split())
_EMPTY_WORDS = "a an the to of and or is are be it its this that any every all your please do"
_EMPTY = frozenset(_EMPTY_WORDS.split())

_FORBIDS = re.compile(
    r"never|not|no|cannot|without|avoid\w*|refus\w*|declin\w*|forbid\w*|forbidden|prohibit\w*|neither"
    r"|nor|.*n['\u2019]t"
    r"|nie|niemals|nicht|kein\w*|ohne|jamais|pas|aucun\w*|nunca|jam\u00e1s|n\u00e3o|mai|non|nessun\w*"
    r"|\u043d\u0435|\u043d\u0435\u043b\u044c\u0437\u044f|\u043d\u0438\u043a\u043e\u0433\u0434\u0430"
    r"|\u4e0d|\u52ff|\u522b|\u7981"
)
_LOOSENS = re.compile(
    r"may|might|can|could|optional\w*|sometimes|rarely|seldom|kannst|k\u00f6nnen|peut|puede\w*|pode"
)
_EXCEPTS = re.compile(
    r"unless|except|excepting|au\u00dfer|sauf|salvo|tranne|exceto|excepto|\u043a\u0440\u043e\u043c\u0435|\u9664"
)
_DEMANDS = re.compile(
    r"must|shall|always|only|required|mandatory|muss|m\u00fcssen|immer|nur|doit|toujours|debe\w*"
    r"|siempre|deve|sempre"
)
_RULE = re.compile(
    r"\b(?:never|must|always|cannot|(?:do|does|should|shall|may|can|are|is) not|not allowed"
    r"|forbidden|prohibited|niemals|nie|nicht|keine?[nmrs]?|jamais|ne|nunca|jam\u00e1s|n\u00e3o|mai|non(?!-))\b"
    r"|\b\w+n['\u2019]t\b|\b(?:\u043d\u0435|\u043d\u0435\u043b\u044c\u0437\u044f"
    r"|\u043d\u0438\u043a\u043e\u0433\u0434\u0430)\b"
    r"|[\u4e0d\u52ff\u522b\u7981]|\u306a\u3044\u3067|\u306a\u304b\u308c",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Read:
    """A sentence in its words."""

    words: tuple[str, ...]
    """Lower case, in their order, with the commas between them."""
    content: frozenset[str]
    """Stems of what it is about: nothing in braces, and no word that forbids, demands or allows."""
    marks: frozenset[str]
    """Braces with what is in them, links and names written like_this, without blanks."""


# Several guards read the same text, one after the other.
@functools.lru_cache(maxsize=4096)
def read(sentence: str) -> Read:
    """Take a sentence apart; Chinese and Japanese count by the character."""
    words = tuple(_TOKEN.findall(_BRACES.sub(" ", sentence).casefold()))
    marks = frozenset("".join(mark.split()) for mark in _MARK.findall(sentence))
    return Read(words, frozenset(word[:STEM] for word in words if _is_content(word)), marks)


def _is_content(word: str) -> bool:
    if word in _EMPTY or word in ",;":
        return False
    return not any(form.fullmatch(word) for form in (_FORBIDS, _LOOSENS, _DEMANDS))


def stands(sentence: Read, others: Sequence[Read]) -> Stands:
    """Say what became of a sentence: `alike` where one of the others says it in other words.

    `reversed` is one that still speaks of the same, but forbids what was asked for, asks for what
    was forbidden, makes an exception to that, or leaves open what had to be.
    """
    found: Stands = "gone"
    for other in others:
        if not _is_same(sentence, other):
            continue
        if not _is_turned(sentence, other):
            return "alike"
        found = "reversed"
    return found


def _is_same(sentence: Read, other: Read) -> bool:
    most, shared = len(sentence.content), len(sentence.content & other.content)
    if sentence.marks and sentence.marks <= other.marks:
        # "Hello {name}" for "Hi {name}": of so few words, what is filled in tells most.
        marks = len(sentence.marks)
        return shared + marks >= ALIKE_MARKED * (most + marks)
    if shared >= max(1, ALIKE * most):
        return True
    return shared >= ALIKE_MARKED * most > 0 and _is_close(sentence.words, other.words)


def _is_close(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether they differ in a few letters only, as where a word was spelled wrong."""
    matcher = difflib.SequenceMatcher(None, " ".join(one), " ".join(other))
    return matcher.quick_ratio() >= CLOSE and matcher.ratio() >= CLOSE


def _is_turned(sentence: Read, other: Read) -> bool:
    old, new = sentence.words, _around(sentence, other)
    if _holds(_FORBIDS, old) is not _holds(_FORBIDS, new):
        return True
    if _holds(_FORBIDS, old) and _holds(_EXCEPTS, other.words) and not _holds(_EXCEPTS, old):
        return True
    loosened = _holds(_LOOSENS, new) and not _holds(_LOOSENS, old)
    return _holds(_DEMANDS, old) and loosened and not _holds(_DEMANDS, new)


def _around(sentence: Read, other: Read) -> tuple[str, ...]:
    """The part of the other sentence that holds what this one says, with the rest of its clause."""
    places = [i for i, word in enumerate(other.words) if word[:STEM] in sentence.content]
    if not places:
        return other.words
    start, end = places[0], places[-1] + 1
    first, last = max(0, start - _BESIDE), min(len(other.words), end + _BESIDE)
    while start > first and other.words[start - 1] not in _JOINTS:
        start -= 1
    while end < last and other.words[end] not in _JOINTS:
        end += 1
    return other.words[start:end]


def _holds(form: re.Pattern[str], words: Sequence[str]) -> bool:
    return any(form.fullmatch(word) for word in words)


def binds(sentence: str) -> bool:
    """Whether it forbids something or demands it without exception: a rule that must not go."""
    return _RULE.search(sentence) is not None


def telling(text: str) -> set[str]:
    """Stems of the words that tell what a text is about, and its names written like_this."""
    plain = text.casefold()
    names = set(re.findall(r"\w+_\w+", plain))
    return names | {word[:STEM] for word in _WORD.findall(plain) if word not in _COMMON}
