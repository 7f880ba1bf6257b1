"""The managed section of a prompt: learned sentences, one a line, between two tags.

The text outside the section is never touched. The section is found by its tags, so that what a
person edits there is what counts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "MAX_GUIDELINE",
    "budget",
    "guideline",
    "is_clear",
    "outside",
    "read_section",
    "with_section",
]

MAX_GUIDELINE = 300
"""Characters a guideline may have."""

_OPEN, _CLOSE = "<learned_guidelines>", "</learned_guidelines>"
_SECTION = re.compile(rf"(?:\r?\n){{0,2}}{_OPEN}\r?\n(.*?){_CLOSE}", re.DOTALL)


def guideline(prompt: str, text: str, origin: str, evidence: Mapping[str, Any]) -> dict[str, Any]:
    """A guideline record; its id follows from its text, so the same sentence is the same one."""
    line = " ".join(text.split())
    same = re.sub(r"[^\w]+", " ", line).strip().casefold()
    return {
        "id": "g-" + hashlib.sha256(same.encode()).hexdigest()[:8],
        "prompt": prompt,
        "text": line,
        "origin": origin,
        "evidence": dict(evidence),
    }


def read_section(text: str) -> list[str]:
    """The sentences of the managed section, in order; empty when there is no section."""
    found = _SECTION.search(text)
    if not found or not is_clear(text):
        return []
    lines = (line.strip() for line in found.group(1).splitlines())
    return [line.removeprefix("- ") for line in lines if line]


def is_clear(text: str) -> bool:
    """Whether the text holds one whole managed section or none, so that one can be kept in it."""
    tags = text.count(_OPEN), text.count(_CLOSE)
    return tags == (0, 0) or (tags == (1, 1) and _SECTION.search(text) is not None)


def outside(text: str) -> str:
    """The prompt without its managed section."""
    return _SECTION.sub("", text) if is_clear(text) else text


def with_section(text: str, sentences: Sequence[str]) -> str:
    """The prompt with exactly these sentences in its managed section, which stands at its end."""
    body = outside(text)
    if not sentences:
        return body
    lines = "".join(f"- {sentence}\n" for sentence in sentences)
    # Before the last newlines, so that taking the section out again leaves what was there.
    core = body.rstrip("\r\n")
    section = f"\n\n<learned_guidelines>\n{lines}</learned_guidelines>"
    return core + section + body[len(core) :]


def budget(text: str) -> int:
    """Characters it may grow to: half as much again as outside the section, or 2,000 more."""
    size = len(outside(text))
    return max(size * 3 // 2, size + 2000)
