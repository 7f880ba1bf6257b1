"""Guidelines that cannot both be followed: of two such, the one that rests on more stays."""

from __future__ import annotations

import re

__all__ = ["are_rivals"]

_NAME = re.compile(r"`[^`]+`|\w+_\w+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
_ORDER = re.compile(r"\b(?:before|after|then|first)\b")
_START = re.compile(r"(?:always )?(?:start|begin) (?:with|by calling) (?:`[^`]+`|\w+_\w+)\W*")
_BARE = re.compile(r"\b(?:do not|don['\u2019]t|never|must not|always|please|do)\b\s*")
_FORBIDS = re.compile(r"\b(?:not|never)\b|n['\u2019]t\b")
_CONDITION = re.compile(
    r"\b(?:if|when|where|while|unless|for|of|with|whose|than|from|on|in|once|after|until)\b"
)


def are_rivals(one: str, other: str) -> bool:
    """Whether two sentences ask for opposite things; when in doubt, no.

    They call the same two tools in the opposite order, start with different ones, differ in
    nothing but that one forbids, or in nothing but one number. A number in a condition ("if it
    weighs more than 23 kg") may well have another one beside it.
    """
    first, second = _plain(one), _plain(other)
    if first == second:
        return False
    if _START.fullmatch(first) and _START.fullmatch(second):
        return True
    forbids = [_FORBIDS.search(text) is not None for text in (first, second)]
    if forbids[0] is not forbids[1]:
        return _BARE.sub("", first) == _BARE.sub("", second)
    return _turned_round(first, second) or _another_number(first, second)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(" .!")


def _turned_round(first: str, second: str) -> bool:
    names, others = _NAME.findall(first), _NAME.findall(second)
    if len(names) != 2 or names != others[::-1] or names == others:
        return False
    return bool(_ORDER.search(first)) and _NAME.sub("x", first) == _NAME.sub("x", second)


def _another_number(first: str, second: str) -> bool:
    numbers, others = _outside_names(first), _outside_names(second)
    if len(numbers) != len(others) or _NUMBER.sub("0", first) != _NUMBER.sub("0", second):
        return False
    differ = [one for one, two in zip(numbers, others, strict=True) if one.group() != two.group()]
    return len(differ) == 1 and _CONDITION.search(first[: differ[0].start()]) is None


def _outside_names(text: str) -> list[re.Match[str]]:
    names = [match.span() for match in _NAME.finditer(text)]
    found = _NUMBER.finditer(text)
    return [m for m in found if not any(low <= m.start() < high for low, high in names)]
