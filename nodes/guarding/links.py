"""Whatever in a text leads away: links, hosts, addresses, telephone and account numbers."""

from __future__ import annotations

import functools
import re
from typing import Any

from tracetune.nodes.guarding.disguises import readings

__all__ = ["FILES", "links"]

_END = r"[^\s<>\"'`)\]]"
_URL = re.compile(
    rf"(?:\b[a-z][a-z0-9+.-]{{1,20}}:)?//[\w\[]{_END}+"
    rf"|\b(?:https?|ftp|mailto|tel|sms|javascript|vbscript|data|blob|file)\s?:(?!\s){_END}+"
    rf"|\bwww\.{_END}+|\bxn--[a-z0-9-]+(?:\.{_END}+)?",
    re.IGNORECASE,
)
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)+")
_TARGET = re.compile(r"\]\(\s*<?([^)\s>]+)|^[ \t]*\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_HOST = re.compile(
    rf"(?<![\w@/.-])((?:{_LABEL}\.)+([^\W\d_]{{2,24}}))(?::\d{{1,5}})?([/?#]{_END}*)?(?![\w-])"
)
_ADDRESS = re.compile(
    r"(?<![\w.])(?:(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.]*\w)"
    rf"|localhost(?=[:/]))(?::\d{{1,5}})?(?:/{_END}*)?",
    re.IGNORECASE,
)
_PHONE = re.compile(
    r"(?<![\w+])\+\d[\d ().-]{6,18}\d"
    "|(?<![\\w.-])(?:1[-. \u2010])?\\(?\\d{3}\\)?[-. \u2010]\\d{3}[-.\u2010]\\d{4}(?![\\w-])"
)
_HTML = re.compile(
    r"<\s*[a-z]+\b[^<>]*\b(?:href|src|action|on[a-z]+)\s*=[^<>]*>?"
    r"|<\s*(?:script|iframe|object|embed)\b[^<>]*>?",
    re.IGNORECASE,
)
_IPV6 = re.compile(r"\[(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}\](?::\d{1,5})?", re.IGNORECASE)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[0-9A-Z]{4}){3,7}(?: ?[0-9A-Z]{1,3})?\b")
_LEAD_AWAY = (_URL, _MAIL, _ADDRESS, _IPV6, _PHONE, _IBAN, _HTML)

_DOTS = str.maketrans(dict.fromkeys((0x3002, 0xFF0E, 0xFF61, 0x2024), "."))
_UNWRAPPED = re.compile(r"\s?[\[({<]\s?(\.|dot)\s?[\])}>]\s?", re.IGNORECASE)
_SPOKEN = re.compile(
    r"\s{1,3}(?:dot\s{1,3}|\.\s?)(?=(?:com|net|org|io|info|biz|xyz|app|dev|ru|cn|shop|online)\b)",
    re.IGNORECASE,
)
_SENT_TO = re.compile(
    r"\b(?:visit|browse|open|surf|(?:go|going|head|navigate|redirect(?:ed)?|sent?|links?)\s+(?:\w+\s+)?to|"
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
FILES = frozenset(_FILE_ENDINGS.split())
"""Endings of files."""
_BOTH = frozenset(("md", "pl", "ps", "py", "rs", "sh", "zip"))
"""Endings of files that are also those of hosts."""
_ATTRIBUTES = frozenset(["am", "as", "at", "be", "by", "do", "id", "in", "is", "re", "so", "to"])
"""Countries that are also words of programs and of plain text: `order.id`, `tensor.to`."""
_OBJECTS = frozenset(["cls", "console", "df", "log", "logger", "logging", "obj", "self"])
"""What comes before the dot in programs only: `logger.info`."""
_WORDLESS = (
    "com net org edu gov mil int info biz mobi app dev xyz top site online shop club cloud tech "
    "website fun icu buzz blog asia click lol party world live link space example vip bid loan "
    "casino bet money cash agency guru ninja ooo onl pro wtf porn sex xxx news wiki"
)
_DOMAINS = frozenset(_WORDLESS.split())
"""Other domains than countries' under which a name is a host wherever it stands."""
_GROUPS = re.compile(r"(?:[a-z0-9-]+\.)*(?:k8s|kubernetes)\.io(?:/[\w.-]+)?")
"""Names of Kubernetes' API groups and labels, which no stranger can own."""


@functools.lru_cache(maxsize=16)
def links(text: str) -> frozenset[str]:
    """Links, bare domains, mail addresses and targets of Markdown links, folded to lower case.

    Those in disguise are found too: written around as `evil[.]com`, with other dots, encoded, with
    letters that look alike. A name with a dot and no path is a host where the public suffix list
    (https://publicsuffix.org) knows its ending, unless programs and files have such names: then it
    takes a hyphen, a digit, or somebody who is to go there. So are telephone numbers, bank accounts
    (IBAN) and the tags of HTML that lead away.
    """
    return frozenset(link for reading in readings(text) for link in _links(reading))


def _links(text: str) -> set[str]:
    plain = _UNWRAPPED.sub(".", text.translate(_DOTS))
    plain = _SPOKEN.sub(".", re.sub(r"\bhxxp", "http", plain, flags=re.IGNORECASE))
    found = {m.group() for pattern in _LEAD_AWAY for m in pattern.finditer(plain)}
    found |= {one or other for one, other in _TARGET.findall(plain)}
    found |= {match.group() for match in _HOST.finditer(plain) if _is_host(match)}
    return {link.rstrip(".,;:!?").casefold() for link in found}


def _is_host(match: re.Match[str]) -> bool:
    name, ending, path = match.group(1), match.group(2), match.group(3)
    kind = ending.casefold()
    if _GROUPS.fullmatch(match.group().rstrip(".,;:")):
        return False
    if kind in FILES:
        # "setup.py/setup.cfg" are two files.
        path = path if kind in _BOTH and (path or "").rpartition(".")[2] not in FILES else None
    if path or (kind not in FILES and ":" in match.group()):
        return True
    before = match.string[max(0, match.start() - 40) : match.start()]
    if kind not in FILES - _BOTH and _SENT_TO.search(before):
        return True
    return kind not in FILES and _is_plainly_host(name, ending, match.string[match.end() :][:1])


def _is_plainly_host(name: str, ending: str, follows: str) -> bool:
    kind, labels = ending.casefold(), name.split(".")[:-1]
    if labels[-1] in _OBJECTS:
        return False
    if kind in _DOMAINS:
        # `logger.info(` is called.
        return follows != "(" or kind in ("com", "net", "org")
    if name.casefold().startswith(("e.g.", "i.e.")) or not _is_top_level(kind):
        return False
    # "Use it.In doubt, ask": a blank was forgotten, or it is a class of a module.
    if ending.istitle() and not name.istitle():
        return False
    if len(kind) > 2 or kind in _ATTRIBUTES:
        return any("-" in label or re.search(r"[a-z]\d|\d[a-z]", label) for label in labels)
    return follows != "(" and not labels[-1].isdecimal()


def _is_top_level(ending: str) -> bool:
    return bool(_suffixes().publicsuffix(f"host.{ending}"))


@functools.cache
def _suffixes() -> Any:
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(accept_unknown=False)
