"""What a text hides: characters that do not show, letters that only look alike, encoded passages.

Guards look at every reading of a text: what stands there, and what is hidden in it.
"""

from __future__ import annotations

import base64
import binascii
import functools
import html
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

__all__ = ["encoded", "hidden", "readings", "without_hidden"]

DEEPEST = 3
"""How often what was decoded is decoded again."""
LONGEST_CODE = 40
"""Characters from which a run of letters and digits at random is a code of its own, read or not."""
SHORTEST_CODE = 16
_READABLE = 0.9
"""Share of letters and blanks from which decoded bytes are a text that somebody wrote."""

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

# Letters that pass for Latin ones and that NFKC leaves as they are (Unicode TS 39, confusables).
_LOOK_ALIKE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u051b\u051d\u04bb\u04cf"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0423\u0406\u0408\u0405"
    "\u03bf\u03b1\u03c1\u03bd\u03b9\u03ba\u03c5\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c"
    "\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u0251\u0261\u026a\u0274\u0280\u029f\u1d00\u1d04\u1d05"
    "\u1d07\u1d0a\u1d0b\u1d0d\u1d0f\u1d18\u1d1b\u1d1c\u1d20\u1d21\u1d22\u0299\u0262\u029c\ua730"
    "\ua731\u0131\u028f",
    "aeopcyxijsdqwhlABEKMHOPCTXYIJSoapvikuABEZHIKMNOPTYXagINRLACDEJKMOPTUVWZBGHFSiY",
)

_SPREAD = re.compile(r"(?<!\w)(?:[^\W_][ .·*_-]){5,}[^\W_](?!\w)")
"""Letters one by one: "i g n o r e"."""
_MOST_CHOICES = 8
_ESCAPES = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,5})\})")
_ESCAPED = re.compile(
    r"(?:%[0-9a-fA-F]{2}){4,}|(?:\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}){4,}"
    r"|(?:&#x?[0-9a-fA-F]{1,6};){4,}"
)
_BASE64 = re.compile(rf"(?<![\w+/-])[A-Za-z0-9+/_-]{{{SHORTEST_CODE},}}={{0,2}}(?![\w+/=-])")
_HEX = re.compile(rf"(?<!\w)(?:0x)?((?:[0-9a-fA-F]{{2}}[ :]?){{{SHORTEST_CODE // 2},}})(?!\w)")
_TURNS = re.compile(r"(?<=[a-z])[A-Z0-9]|(?<=[A-Z])[0-9]|(?<=[0-9])[A-Za-z]")


@functools.lru_cache(maxsize=16)
def readings(text: str) -> tuple[str, ...]:
    """The text with everything in it that does not show taken out, and whatever it may hide.

    Compatible characters are folded (NFKC), entities, escapes and percent signs decoded, letters
    that look like Latin ones put as those, and passages in base64 or hexadecimal digits decoded.
    """
    found: dict[str, None] = {}
    seen, rest = set[str](), [text]
    for _ in range(DEEPEST):
        fresh = [one for one in rest if one not in seen]
        seen.update(fresh)
        rest = [reading for one in fresh for reading in _read(one)]
        found |= dict.fromkeys(rest)
    return tuple(found)


def _read(text: str) -> Iterator[str]:
    plain = without_hidden(unicodedata.normalize("NFKC", html.unescape(text)))
    yield plain
    if not plain.isascii():
        yield _without_accents(plain).translate(_LOOK_ALIKE)
    if (joined := _SPREAD.sub(lambda m: re.sub(r"[ .·*_-]", "", m.group()), plain)) != plain:
        yield joined
    if "%" in plain and (decoded := unquote(plain)) != plain:
        yield decoded
    if "\\" in plain and (decoded := _ESCAPES.sub(_character, plain)) != plain:
        yield decoded
    yield from (told for _, told in _decoded(plain) if told)


def _without_accents(text: str) -> str:
    """Latin letters without their accents; other scripts tell letters apart by them."""
    parts = unicodedata.normalize("NFD", text)
    bare = re.sub("(?<=[A-Za-z])[\u0300-\u036f]+", "", parts)
    return unicodedata.normalize("NFC", bare)


def _character(match: re.Match[str]) -> str:
    code = int(next(filter(None, match.groups())), 16)
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else ""


def _decoded(text: str) -> Iterator[tuple[str, str]]:
    """Every run that may be in base64 or hexadecimal digits, with the text that it holds, if any.

    So long a run of both cases and digits at random is a code, whatever it holds.
    """
    for match in _BASE64.finditer(text):
        run = match.group()
        told = _as_text(_from_base64(run))
        if told or _is_random(run):
            yield run, told
    for match in _HEX.finditer(text):
        digits = re.sub(r"[ :]", "", match.group(1))
        told = _as_text(binascii.unhexlify(digits))
        if told or len(digits) >= LONGEST_CODE:
            yield match.group(), told


def _from_base64(run: str) -> bytes:
    body = run.rstrip("=").translate(str.maketrans("-_", "+/"))
    body = body[: len(body) - (len(body) % 4 == 1)]
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4))
    except ValueError:
        return b""


def _as_text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    if not text:
        return ""
    wordy = sum(char.isalpha() or char in " .,:/'!?-\n" for char in text)
    readable = wordy >= _READABLE * len(text) or _BASE64.fullmatch(text)
    return text if text.isprintable() and readable else ""


def _is_random(run: str) -> bool:
    # Paths and long names turn from small letters to capitals and digits only here and there.
    return len(run) >= LONGEST_CODE and len(_TURNS.findall(run)) >= len(run) / 5


def encoded(text: str) -> set[str]:
    """Passages in base64, hexadecimal digits, escapes or single letters: nobody reads them so."""
    plain = without_hidden(unicodedata.normalize("NFKC", text))
    found = {match.group() for match in _ESCAPED.finditer(plain)}
    found |= {match.group() for match in _SPREAD.finditer(plain) if _is_words(match.group())}
    return found | {run for run, _ in _decoded(plain)}


def _is_words(spread: str) -> bool:
    letters = spread[::2].casefold()
    # "a b c d e f g h" lists choices.
    return len(letters) > _MOST_CHOICES and list(letters) != sorted(letters)


def hidden(text: str) -> set[str]:
    """Characters that do not show or turn the direction, by name, and words in mixed alphabets."""
    found = {f"U+{ord(char):04X}" for char in set(text) if _is_hidden(char)}
    found |= {f"U+{ord(match.group()[0]):04X}" for match in _MARKS.finditer(text)}
    if not text.isascii():
        found |= {repr(word) for word in _LETTERS.findall(text) if len(_scripts(word)) > 1}
    return found


def without_hidden(text: str) -> str:
    """The text without the characters that do not show."""
    return text.translate({ord(char): None for char in set(text) if _is_hidden(char)})


def _is_hidden(char: str) -> bool:
    if char < "\x7f":
        return char < " " and char not in "\n\r\t"
    return char in _BLANK or unicodedata.category(char) in _UNSEEN


def _scripts(word: str) -> set[str]:
    if word.isascii():
        return set()
    return {unicodedata.name(char, "?").split()[0] for char in word} & set(_SCRIPTS)
