"""The tags of jinja2 and mustache that stand in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Tags", "tags_of"]

_OPENS = re.compile(r"\{\{\{|\{\{|\{%|\{#")
_CLOSES = {"{{{": "}}}", "{{": "}}", "{%": "%}", "{#": "#}"}
_SECTION = re.compile(r"[#^/]\s*[\w.-]+")
_OUTPUT = re.compile(r"[&>]?\s*([A-Za-z_][\w.-]*)\s*(?:[|(\[][^{}:\n]*)?")


@dataclass(frozen=True, slots=True)
class Tags:
    """Every tag without its blanks and marks for blanks."""

    names: frozenset[str]
    """Of variables, in `auto`: the first word of each output, as it is written there."""
    outputs: frozenset[str]
    controls: tuple[str, ...]
    """`{% … %}` and sections, in their order."""
    comments: frozenset[str]


def tags_of(text: str, form: str = "auto") -> Tags:
    """The tags of a text.

    Args:
        form: In `jinja2` and `mustache` whatever stands between two braces is one; in all others
            only what can be no JSON in doubled braces.
    """
    names, outputs, controls, comments = set[str](), set[str](), list[str](), set[str]()
    for opening, content in _tags(text):
        plain = "".join(content.split())
        if opening == "{%":
            plain = f" {' '.join(content.split())} "
        tag = f"{opening}{plain}{_CLOSES[opening]}"
        if opening == "{#" or (form == "mustache" and plain.startswith("!")):
            comments.add(tag)
        elif opening == "{%" or _SECTION.fullmatch(content.strip()):
            controls.append(tag)
        elif form in ("jinja2", "mustache"):
            outputs.add(tag)
        elif (output := _OUTPUT.fullmatch(content.strip())) is not None:
            names.add(f"{{{{{output.group(1)}}}}}")
            outputs.add(tag)
    return Tags(frozenset(names), frozenset(outputs), tuple(controls), frozenset(comments))


def _tags(text: str) -> Iterator[tuple[str, str]]:
    """Every tag's opening and content, in order; no end that is not there is looked for twice."""
    at, endless = 0, set[str]()
    while (opened := _OPENS.search(text, at)) is not None:
        opening, at = opened.group(), opened.end()
        close = _CLOSES[opening]
        end = -1 if close in endless else text.find(close, at)
        if end < 0:
            endless.add(close)
            continue
        content = text[at:end]
        at = end + len(close)
        yield opening, content if opening == "{#" else content.strip("-+")
