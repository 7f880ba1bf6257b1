"""The tags of jinja2 and mustache that stand in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["Tag", "Tags", "in_braces", "tags_in", "tags_of"]

_OPENS = re.compile(r"\{\{\{|\{\{|\{%|\{#")
_CLOSES = {"{{{": "}}}", "{{": "}}", "{%": "%}", "{#": "#}"}
_SECTION = re.compile(r"[#^/]\s*[\w.-]+")
_DELIMITERS = re.compile(r"=\s*([^\s=]+)\s+([^\s=]+)\s*=")
_OUTPUT = re.compile(r"[&>]?\s*([A-Za-z_][\w.-]*)\s*(?:[|(\[][^{}:\n]*)?")


class Tag(NamedTuple):
    """A tag without its blanks and marks for blanks."""

    start: int
    end: int
    text: str
    kind: Literal["output", "control", "comment"]
    """Controls are `{% … %}` and the two ends of sections."""
    name: str
    """Of an output, in `auto`: its first word, as it is written there; else empty."""


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
        form: As `tags_in` has it.
    """
    tags = list(tags_in(text, form))
    outputs, controls, comments = (
        [tag.text for tag in tags if tag.kind == kind] for kind in ("output", "control", "comment")
    )
    names = frozenset(tag.name for tag in tags if tag.name)
    return Tags(names, frozenset(outputs), tuple(controls), frozenset(comments))


def in_braces(text: str, form: str) -> str:
    """The text with every tag in double braces, whatever delimiters `{{=<% %>=}}` sets for it.

    Args:
        form: In all but `mustache`, that sets nothing, and what stands behind it is still a tag.
    """
    if form != "mustache" or "{{=" not in text:
        return text
    parts, at, (left, right) = list[str](), 0, ("{{", "}}")
    while (start := text.find(left, at)) >= 0:
        end = text.find(right, start + len(left))
        if end < 0:
            break
        content = text[start + len(left) : end]
        # Two braces that stand there between other delimiters are no tag.
        parts += [text[at:start].replace("{{", "{ {"), "{{", content, "}}"]
        at = end + len(right)
        if (sets := _DELIMITERS.fullmatch(content)) is not None:
            left, right = sets.groups()
    rest = text[at:]
    return "".join([*parts, rest if left == "{{" else rest.replace("{{", "{ {")])


def tags_in(text: str, form: str = "auto") -> Iterator[Tag]:
    """Yield the tags of a text, in their order.

    Args:
        form: In `jinja2` and `mustache` whatever stands between two braces is one; in all others
            only what can be no JSON in doubled braces.
    """
    for start, end, opening, content in _enclosed(text):
        plain = "".join(content.split())
        if opening == "{%":
            plain = f" {' '.join(content.split())} "
        tag = f"{opening}{plain}{_CLOSES[opening]}"
        if opening == "{#" or (form == "mustache" and plain.startswith("!")):
            yield Tag(start, end, tag, "comment", "")
        elif opening == "{%" or _SECTION.fullmatch(content.strip()):
            yield Tag(start, end, tag, "control", "")
        elif form in ("jinja2", "mustache"):
            yield Tag(start, end, tag, "output", "")
        elif (output := _OUTPUT.fullmatch(content.strip())) is not None:
            yield Tag(start, end, tag, "output", f"{{{{{output.group(1)}}}}}")


def _enclosed(text: str) -> Iterator[tuple[int, int, str, str]]:
    """Every tag's place, opening and content; no end that is not there is looked for twice."""
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
        yield opened.start(), at, opening, content if opening == "{#" else content.strip("-+")
