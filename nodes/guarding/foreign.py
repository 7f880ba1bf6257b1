"""What a text holds that its prompt's owner did not write: links, credentials, commands, copies.

Each function returns what it finds, so that what stood in the prompt before can be taken off.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator

from tracetune.traces.secrets import find_secrets, may_hold_secrets

__all__ = ["copies", "hidden", "links", "names", "orders", "secrets", "words_of"]

COPIED_WORDS = 12
COPIED_CHARACTERS = 80

_URL = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]{1,20}:)?//[\w\[][^\s<>\"'`)\]]+|\b(?:mailto|tel|javascript|vbscript|data):"
    r"[^\s<>\"'`)\]]+|\bwww\.[^\s<>\"'`)\]]+",
    re.IGNORECASE,
)
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)+")
_TARGET = re.compile(r"\]\(\s*<?([^)\s>]+)|^[ \t]*\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_HOST = re.compile(
    rf"(?<![\w@/.-])((?:{_LABEL}\.)+([^\W\d_]{{2,24}}))(?::\d{{1,5}})?([/?#][^\s<>\"'`)\]]*)?(?![\w-])"
)
_ADDRESS = re.compile(
    r"(?<![\w.])(?:(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.]*\w)"
    r"|localhost(?=[:/]))(?::\d{1,5})?(?:/[^\s<>\"'`)\]]*)?",
    re.IGNORECASE,
)
_PHONE = re.compile(r"(?<![\w+])\+\d[\d ().-]{6,18}\d")
_HTML = re.compile(r"<\s*[a-z]+\b[^<>]*\b(?:href|src|action|on[a-z]+)\s*=[^<>]*>?", re.IGNORECASE)
_DOTS = str.maketrans(dict.fromkeys((0x3002, 0xFF0E, 0xFF61, 0x2024), "."))
_UNWRAPPED = re.compile(r"\s?[\[({<]\s?(\.|dot)\s?[\])}>]\s?", re.IGNORECASE)
_SENT_TO = re.compile(
    r"\b(?:visit|browse|surf|(?:go|going|head|navigate|redirect(?:ed)?|sent?|links?)\s+(?:\w+\s+)?to|"
    r"(?:web\s?)?(?:site|page|portal|domain))\s+[\"'`(<*]*$",
    re.IGNORECASE,
)
"""What stands before a name that is to be gone to."""

# Names of files and of parts of programs look like hosts: these endings are no links by themselves.
_FILE_ENDINGS = (
    "bak bat bin c cfg cc conf cpp cs css csv db doc docx env exe gif go gz h html ini ipynb "
    "java jpg jpeg js json jsonl jsx kt lock log lua md mjs pdf php pkl png pl ps py r rb rs "
    "rst sh sql sqlite svg tar tex toml ts tsv tsx txt vue xls xlsx xml yaml yml zip"
)
_FILES = frozenset(_FILE_ENDINGS.split())
_DOMAIN_ENDINGS = (
    "com net org edu gov biz mobi app dev ai io xyz top site online shop club cloud tech "
    "website fun icu buzz blog asia tk ml ga cf gq eu uk de fr nl es ch se dk fi cz ru ua cn "
    "jp kr br mx za tr ir hk tw sg au ca рф click lol party world life live link space example"
)
_DOMAINS = frozenset(_DOMAIN_ENDINGS.split())
_BOTH = frozenset(("md", "pl", "ps", "py", "rs", "sh", "zip"))
"""Endings of files that are also those of hosts."""
_SPOKEN = re.compile(
    r"\s{1,3}(?:dot\s{1,3}|\.\s?)(?=(?:com|net|org|io|info|biz|xyz|app|dev)\b)", re.IGNORECASE
)


_LEAD_AWAY = (_URL, _MAIL, _ADDRESS, _PHONE, _HTML)


def links(text: str) -> set[str]:
    """Links, bare domains, mail addresses and targets of Markdown links, folded to lower case.

    Written around as `evil[.]com`, with other dots, in full-width letters or as entities, they
    are found too. Of names with a dot and no path, only those under a common domain are links, and
    those that somebody is to go to. So are telephone numbers and the tags of HTML that lead away.
    """
    plain = unicodedata.normalize("NFKC", html.unescape(text).translate(_DOTS))
    plain = _UNWRAPPED.sub(".", _without_hidden(plain))
    plain = _SPOKEN.sub(".", re.sub(r"\bhxxp", "http", plain, flags=re.IGNORECASE))
    found = {m.group() for pattern in _LEAD_AWAY for m in pattern.finditer(plain)}
    found |= {one or other for one, other in _TARGET.findall(plain)}
    found |= {match.group() for match in _HOST.finditer(plain) if _is_host(match)}
    return {link.rstrip(".,;:!?").casefold() for link in found}


def _is_host(match: re.Match[str]) -> bool:
    ending, path = match.group(2).casefold(), match.group(3)
    if ending in _DOMAINS:
        return True
    if ending in _FILES:
        # "setup.py/setup.cfg" are two files.
        path = path if ending in _BOTH and (path or "").rpartition(".")[2] not in _FILES else None
    before = match.string[max(0, match.start() - 40) : match.start()]
    sent_to = ending not in _FILES - _BOTH and _SENT_TO.search(before) is not None
    has_port = ending not in _FILES and ":" in match.group()
    return bool(path) or sent_to or has_port


def secrets(text: str) -> set[bytes]:
    """Credentials, as the redaction of traces knows them."""
    raw = text.encode("utf-8", "surrogatepass")
    if not may_hold_secrets(raw):
        return set()
    return {raw[span.start : span.end] for span in find_secrets(raw)}


# Blank though no format characters: Hangul fillers, the empty Braille pattern, Mongolian selectors.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800\u180b\u180c\u180d\u180e")
_UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE")
_LETTERS = re.compile(r"[^\W\d_]{3,}")


# Marks over or after other characters that carry text of their own, strike it out, or pile up;
# U+FE0F is behind many an emoji, and a return at a line's end.
_MARKS = re.compile(
    "[\u034f\ufe00-\ufe0d\U000e0100-\U000e01ef]|[\u0334-\u0338]|(?<=[^\\W\\d])[\ufe0e\ufe0f]"
    "|[\ufe0e\ufe0f]{2}|[\u0300-\u036f]{3}|\r(?![\r\n])"
)


def _is_hidden(char: str) -> bool:
    if char < "\x7f":
        return char < " " and char not in "\n\r\t"
    return char in _BLANK or unicodedata.category(char) in _UNSEEN


def _without_hidden(text: str) -> str:
    return text.translate({ord(char): None for char in set(text) if _is_hidden(char)})


def hidden(text: str) -> set[str]:
    """Characters that do not show or turn the direction, by name, and words in mixed alphabets."""
    found = {f"U+{ord(char):04X}" for char in set(text) if _is_hidden(char)}
    found |= {f"U+{ord(match.group()[0]):04X}" for match in _MARKS.finditer(text)}
    if not text.isascii():
        found |= {repr(word) for word in _LETTERS.findall(text) if len(_scripts(word)) > 1}
    return found


def _scripts(word: str) -> set[str]:
    if word.isascii():
        return set()
    return {unicodedata.name(char, "?").split()[0] for char in word} & set(_SCRIPTS)


_RULES = r"(?:instructions?|rules?|prompts?|guidelines?|guards?|directions?|orders)"
_KEEP = r"\b(?:never|do not|don't|must not|may not|you must never)"
_EDIT = r"chang|remov|delet|edit|alter|rewrit|modif|updat|optimi[sz]|improv"
_PASSAGE = r"(?:line|sentence|rule|instruction|guideline|prompt)s?\b"
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass)\b[^.!?\n]{0,40}"
    r"\b(?:previous|prior|above|earlier|preceding|foregoing|former|system|these|those|your|all)\b"
    rf"[^.!?\n]{{0,30}}\b{_RULES}\b"
    r"|\b(?:ignore|disregard|forget) (?:everything|all|anything|whatever)\b[^.!?\n]{0,20}"
    r"\b(?:above|before|earlier|previous(?:ly)?|prior|told|said|instructed)\b"
    rf"|{_KEEP} (?:ever )?(?:{_EDIT})\w* (?:this|these) {_PASSAGE}"
    rf"|\b(?:this|these) {_PASSAGE} (?:must|may|shall|should|can)(?:not|n't| not| never) be "
    rf"(?:{_EDIT}|kept out)"
    rf"|\b(?:{_EDIT}|maintain|tun)\w* (?:this|these|the) (?:system )?prompts?\b"
    r"|\b(?:dear|hey|hello|attention|note to|to) (?:the )?optimi[sz]er\b|\bmeta[- ]agent\b"
    r"|^[^\w\n]*optimi[sz]er *[:,]|^[ \t#>*]*\[?system\]? *:|^[ \t#>*]*\[system\]"
    r"|\bas (?:the|an?) (?:prompt )?optimi[sz]er\b|\bprompt optimi[sz]er\b|\btracetune\b"
    r"|\b(?:you are|you're|when|while|whoever is|if you) (?:now )?(?:asked to )?"
    r"(?:updat|optimi[sz]|improv|rewrit|tun|edit)(?:e|es|ing)\b[^.!?\n]{0,20}\bprompts?\b"
    r"|\b(?:new|updated|real|actual) system prompt\b|\bsystem prompt:"
    r"|<\|[^|>\n]{1,30}\|>|\[/?INST\]|<</?SYS>>",
    re.IGNORECASE | re.MULTILINE,
)
_TAG_NAMES = (
    "agents answer changes current_prompt data evidence feedback guidelines hypotheses "
    "parameters prompt recommendations refused run system text to_optimize trajectories "
    "update_instructions"
)
_TAGS = _TAG_NAMES.split()
_TAG = re.compile(rf"<\s*/?\s*(?:(?:{'|'.join(_TAGS)})|text-[0-9a-f]{{16}})\b[^<>\n]*>?", re.I)


def orders(text: str) -> set[str]:
    """What speaks to whoever rewrites the prompt, or takes its place; tags of our own prompts."""
    plain = unicodedata.normalize("NFKC", html.unescape(text))
    plain = _without_hidden(plain)
    return {
        " ".join(match.group().split()).casefold()
        for pattern in (_ORDERS, _TAG)
        for match in pattern.finditer(plain)
    }


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
    found |= {name for name in used if name.rpartition(".")[2] not in _FILES}
    return found | {name for name in _SNAKE.findall(text) if name not in known}


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
        if any(piece not in old for piece in _shared(words, told)):
            return True
    return False


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
