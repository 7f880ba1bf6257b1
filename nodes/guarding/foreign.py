"""What a text holds that its prompt's owner did not write: credentials, names of tools, copies.

Each function returns what it finds, so that what stood in the prompt before can be taken off.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator

from tracetune.nodes.guarding.links import FILES
from tracetune.traces.secrets import find_secrets, may_hold_secrets

__all__ = ["copies", "is_name", "names", "secrets", "spoken", "words_in", "words_of"]

COPIED_WORDS = 12
COPIED_CHARACTERS = 80


def secrets(text: str) -> set[bytes]:
    """Credentials, as the redaction of traces knows them."""
    raw = text.encode("utf-8", "surrogatepass")
    if not may_hold_secrets(raw):
        return set()
    return {raw[span.start : span.end] for span in find_secrets(raw)}


_TOOL_NAME = re.compile(r"[\w.:/-]{1,64}")
_SEAMS = re.compile(r"[_.:/-]+|(?<=[a-z])(?=[A-Z])")


def is_name(tool: str) -> bool:
    """Whether a tool that a trace names has the name of one, and not a sentence for a name.

    That is 1 to 64 letters, digits and `_.:/-`; what the words in it say is for `words_in`.
    """
    return _TOOL_NAME.fullmatch(tool) is not None


def words_in(tool: str) -> str:
    """The words that a name is made of: "forgetAllRules" says "forget All Rules"."""
    return _SEAMS.sub(" ", tool)


_TICKED = re.compile(r"`([A-Za-z_][\w.-]*)(?:\(\))?`")
_SNAKE = re.compile(r"(?<![\w{`.-])([A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+)(?![\w}`])")
_SHAPED = r"([a-z]+(?:[A-Z][a-z0-9]+)+|[A-Za-z][A-Za-z0-9]*(?:[_.][A-Za-z0-9]+)+)"
_USED = re.compile(
    rf"\b(?:[Cc]all|[Cc]alling|[Uu]se|[Uu]sing|[Ii]nvoke|[Ii]nvoking|[Rr]un|[Ee]xecute)\s+"
    rf"(?:the\s+|an?\s+)?[\"']?{_SHAPED}|(?<![\w.]){_SHAPED}(?=\(|[\"']?\s+(?:tool|function)\b)"
)
_CALLED = re.compile(
    r"\b(?:[Cc]all|[Ii]nvoke|[Ee]xecute)\s+(?:the\s+)?(?:[\"'*_<]{1,2}([A-Za-z][\w.-]+)[\"'*_>]"
    r"|([A-Z][a-z0-9]+(?:[A-Z][a-z0-9]+)+)\b)|(?<![\w.-])([A-Za-z][\w.-]*)\(\)"
    r"|\b(?:tool|function)\s+(?:named|called)\s+[\"'*]{0,2}([A-Za-z][\w.-]*\w)"
)
"""Any name, where it stands as only a tool's would: a quoted one may be a word to be used."""


def names(text: str, known: Collection[str] = ()) -> set[str]:
    """Names of tools: in backticks, told to be called, or written like_this and not in `known`."""
    text = unicodedata.normalize("NFKC", text)
    found = set(_TICKED.findall(text))
    found |= {name for groups in _CALLED.findall(text) for name in groups if name}
    used = {one or other for one, other in _USED.findall(text)}
    found |= {name for name in used if name.rpartition(".")[2] not in FILES}
    return found | {name for name in _SNAKE.findall(text) if name not in known}


_TOOL_WORD = re.compile(r"\b(?:tool|function|endpoint|API)s?\b", re.IGNORECASE)
_PHRASE = re.compile(r"(?:[A-Za-z][\w-]* ){1,4}$")
_PHRASE_LONG = 80
_TOLD = r"(?:call|calling|calls|invoke|invoking|use|using|run|running|execute|executing|trigger)"
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_FILLER_WORDS = (
    "a an the this that these those any every each all no one right wrong same other correct "
    "appropriate available relevant necessary suitable proper required first next last second "
    "own your its their of with to in by on for and or not only single new available external "
    "use using call calling invoke invoking run running execute which what another specific "
    "listed given provided known unknown best most"
)
_FILLERS = frozenset(_FILLER_WORDS.split())
_STEM = 5
"""Letters that tell words apart: a "calculator tool" is `calculate`."""


def spoken(
    text: str, told: Iterable[str], foreign: Collection[str], own: Collection[str]
) -> set[str]:
    """Tools that a text names in plain words: "the delete account tool" is `delete_account`.

    Args:
        told: Texts of traces: the names that stand there, `like_this` or as "the … tool", are
            strangers', unless they are a way to speak of one of `own`.
        foreign: Tools of other agents.
        own: Names of the agent's tools, and what its prompt holds.
    """
    plain = " ".join(unicodedata.normalize("NFKC", text).split())
    theirs = {*foreign, *words_of(told)} - {*own}
    found = {name for name in theirs if _is_named(name, plain, of_tool=name in foreign)}
    if phrases := _phrases(plain):
        found |= phrases & _phrases(" ".join(" ".join(one.split()) for one in told))
    stems = [_stems(name) for name in own]
    return {name for name in found if not any(_stems(name) <= known for known in stems)}


def _is_named(name: str, plain: str, *, of_tool: bool) -> bool:
    parts = [re.escape(part) for part in _PART.findall(name)]
    if not parts or not (of_tool or len(parts) > 1):
        return False
    words = r"[ -]".join(parts)
    forms = rf"\b{words}[\"'*]* (?:tool|function|endpoint|API)\b"
    if len(parts) > 1 and of_tool:
        forms += rf"|\b{_TOLD} (?:the |an? )?[\"'*]*{words}\b"
    return re.search(forms, plain, re.IGNORECASE) is not None


def _phrases(plain: str) -> set[str]:
    """What stands before "tool" and its like, without the words that every tool may have there."""
    found = set()
    for word in _TOOL_WORD.finditer(plain):
        before = plain[max(0, word.start() - _PHRASE_LONG) : word.start()]
        if (phrase := _PHRASE.search(before)) is not None:
            found.add(_telling(phrase.group()))
    return found - {""}


def _telling(phrase: str) -> str:
    words = phrase.casefold().split()
    while words and words[0] in _FILLERS:
        del words[0]
    return "" if any(word in _FILLERS for word in words) else " ".join(words)


def _stems(name: str) -> set[str]:
    return {part.casefold()[:_STEM] for part in _PART.findall(name)}


def words_of(texts: Iterable[str]) -> set[str]:
    """Every word written like_this, whatever stands around it."""
    return {word for text in texts for word in re.findall(r"\w*_\w*", text)}


def copies(text: str, before: str, quotes: Iterable[str]) -> bool:
    """Whether 12 words in a row, or 80 characters, stand in a quote and did not stand in `before`.

    Case, punctuation, line breaks and the escapes of a fence make no difference.
    """
    old_lines = set(before.splitlines())
    words = _plain("\n".join(line for line in text.splitlines() if line not in old_lines))
    old = f" {' '.join(_plain(before))} "
    for quote in quotes:
        told = f" {' '.join(_plain(html.unescape(quote)))} "
        if any(_whole_words(piece) not in old for piece in _shared(words, told)):
            return True
    return False


def _whole_words(piece: str) -> str:
    # Of what stood there before, a piece may go on with the first letter of another word.
    return piece[piece.find(" ") + 1 : piece.rfind(" ")] if piece.count(" ") > 1 else piece


def _shared(words: list[str], told: str) -> Iterator[str]:
    for i in range(len(words) - COPIED_WORDS + 1):
        gram = f" {' '.join(words[i : i + COPIED_WORDS])} "
        if gram in told:
            yield gram
    line, half = " ".join(words), COPIED_CHARACTERS // 2
    # Each piece of 80 characters holds one of these whole blocks of 40: few are looked for.
    for block in range(0, len(line) - half + 1, half):
        if line[block : block + half] in told:
            for start in range(max(0, block - half), block + 1):
                piece = line[start : start + COPIED_CHARACTERS]
                if len(piece) == COPIED_CHARACTERS and piece in told:
                    yield piece


def _plain(text: str) -> list[str]:
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
