"""Where credentials stand in a text.

Patterns run in RE2, whose time is linear in the text whatever stands in it. Texts are UTF-8 bytes:
no secret holds more than ASCII, and RE2 counts in bytes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tracetune.traces.secret_rules import Rule, rules

__all__ = ["Span", "apart", "find_secrets", "linear", "may_hold_secrets"]

_PLACES = ("secret", "double", "single", "bare")
_NONE = (-1, -1)
_TAIL = re.compile(rb"[\w-]*")


class Span(NamedTuple):
    """What must go: the bytes from start to end, and what kind of secret they are."""

    start: int
    end: int
    kind: str


def linear(pattern: str) -> Any:
    """Compile for RE2, to match bytes.

    Raises:
        re2.error: RE2 has no such construct: look-around, a reference back.
    """
    import re2  # type: ignore[import-untyped,unused-ignore]

    return re2.compile(pattern.encode(), _options())


def _options() -> Any:
    import re2  # type: ignore[import-untyped,unused-ignore]

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes: a text may hold a lone surrogate
    options.log_errors = False
    options.max_mem = 64 << 20
    return options


@functools.cache
def _compiled() -> tuple[Any, list[list[tuple[Rule, Any]]]]:
    """All anchors as one set, and at the index of each anchor its rules."""
    import re2  # type: ignore[import-untyped,unused-ignore]

    anchors: dict[str, list[tuple[Rule, Any]]] = {}
    for rule in rules():
        anchors.setdefault(rule.anchor, []).append((rule, linear(rule.pattern)))
    together = re2.Set.SearchSet(_options())
    for anchor in anchors:
        together.Add(anchor.encode())
    together.Compile()
    return together, list(anchors.values())


def may_hold_secrets(text: bytes) -> bool:
    """Return whether it is worth to look closer: False is certain."""
    return bool(_compiled()[0].Match(text))


def find_secrets(text: bytes) -> list[Span]:
    """Return what must go from the text, in order, and none over another.

    Time is linear in the length of the text. Detectors of entropy are left out: the results of
    tools are full of ids and hashes.

    Source: formats of detect-secrets 1.5, and of the providers' own pages for what it lacks.
    """
    together, rules = _compiled()
    found: list[Span] = []
    # Formats come before `name = value`: of two findings at one place the first names the kind.
    for index in sorted(together.Match(text) or ()):
        for rule, regex in rules[index]:
            found += _matches(rule, regex, text)
    return apart(found)


def _matches(rule: Rule, regex: Any, text: bytes) -> Iterator[Span]:
    done = 0
    for match in regex.finditer(text):
        groups = {name.decode(): match.span(at) for name, at in regex.groupindex.items()}
        start, end = next(
            (groups[n] for n in _PLACES if groups.get(n, _NONE) != _NONE), match.span()
        )
        if start < done:
            continue
        said = {name: text[slice(*span)].decode("latin-1") for name, span in groups.items()}
        said["secret"] = text[start:end].decode("latin-1").rstrip("\\")
        if rule.meant is not None and not rule.meant(said):
            continue
        # A format may have grown longer than the pattern knows: no tail of it may stay.
        done = start + len(said["secret"])
        if rule.meant is None and (tail := _TAIL.match(text, end)):
            done = tail.end()
        yield Span(start, done, rule.kind)


def apart(found: list[Span]) -> list[Span]:
    """Join what overlaps; its kind is that of the part that begins first, or the longest."""
    apart: list[Span] = []
    for span in sorted(found, key=lambda s: (s.start, -s.end)):
        if apart and span.start < apart[-1].end:
            last = apart.pop()
            apart.append(last._replace(end=max(last.end, span.end)))
        else:
            apart.append(span)
    return apart
