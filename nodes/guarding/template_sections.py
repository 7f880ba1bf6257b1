"""Under which conditions of a template each of its sentences reaches the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tracetune.nodes.guarding.likeness import read, stands
from tracetune.nodes.guarding.template_tags import tags_in
from tracetune.nodes.guarding.untouched import fresh, sentences

__all__ = ["moved"]

Sections = tuple[str, ...]
"""The tags that open the sections around a place, from the outermost; a branch's with them."""

_BLOCKS = frozenset(("autoescape", "block", "call", "filter", "for", "if", "macro", "raw", "with"))
"""Words of jinja2 that open what an `end…` closes."""
_WORD = re.compile(r"\{% (\w+)|\{\{[#^/]([\w.-]+)")
"""What a tag opens or closes: no blank has to stand behind it, as in `{% if(vip) %}`."""


def moved(before: str, after: str, form: str) -> str | None:
    """Return a sentence or tag of `before` that stands in other sections in `after`; None if none.

    A rule that comes to stand between `{% if vip %}` and its end is gone for all others, though
    every word and every tag is still there.

    Args:
        form: As `tags_in` has it.
    """
    old, new = _by_sections(before, form), _by_sections(after, form)
    if len(old) < 2 and len(new) < 2:
        return None
    was, now = _places(old), _places(new)
    rephrased = {sections: fresh(said, was) for sections, said in new.items()}
    for said, sections in was.items():
        there = now.get(said, set())
        if _covers(there, sections):
            continue
        words = read(said)
        # Mostly it is where it was: all others are looked through only where it is not.
        here = {s for s in sections if stands(words, rephrased.get(s, ())) == "alike"}
        if _covers(there | here, sections):
            continue
        if there or here or any(stands(words, others) == "alike" for others in rephrased.values()):
            return said
    return None


def _covers(there: set[Sections], was: set[Sections]) -> bool:
    """Whether what stood in some sections is still said wherever it was.

    A place is one of those it had, and holds for those within it: what stood before a section and
    in it may be left before it only.
    """
    kept = there & was
    return all(any(whole[: len(place)] == place for place in kept) for whole in was)


def _places(said: Mapping[Sections, Iterable[str]]) -> dict[str, set[Sections]]:
    places: dict[str, set[Sections]] = {}
    for sections, parts in said.items():
        for part in parts:
            places.setdefault(part, set()).add(sections)
    return places


def _by_sections(text: str, form: str) -> dict[Sections, list[str]]:
    """The sentences and tags that stand in the same sections, in their order."""
    said: dict[Sections, list[str]] = {(): []}
    inside: Sections = ()
    at = 0
    for tag in tags_in(text, form):
        if tag.kind == "output":
            said[inside].append(tag.text)
            continue
        said[inside] += sentences(text[at : tag.start])
        at = tag.end
        if tag.kind == "control":
            within = _behind(tag.text, inside)
            if within == inside:
                said[inside].append(tag.text)
            inside = within
            said.setdefault(inside, [])
    said[inside] += sentences(text[at:])
    return said


def _behind(tag: str, inside: Sections) -> Sections:
    """The sections behind a control; the same where it neither opens nor closes one."""
    word = _word(tag)
    if tag.startswith("{{"):
        return _closed(inside, "{{", word) if tag[2] == "/" else (*inside, tag)
    if word.startswith("end"):
        return _closed(inside, "{%", word[3:])
    if word in ("else", "elif") and inside:
        return *inside[:-1], inside[-1] + tag
    # What `{% set x | replace(old="a") %}` opens has no value of its own.
    opens = word in _BLOCKS or (word == "set" and "=" not in tag.split("|")[0])
    return (*inside, tag) if opens else inside


def _closed(inside: Sections, brace: str, word: str) -> Sections:
    """Without the innermost section that opens so, and all within it."""
    for place in reversed(range(len(inside))):
        if inside[place].startswith(brace) and _word(inside[place]) == word:
            return inside[:place]
    return inside


def _word(tag: str) -> str:
    found = _WORD.match(tag)
    return (found[1] or found[2]) if found else ""
