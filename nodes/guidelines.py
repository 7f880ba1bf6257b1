"""The managed sections of a prompt: learned sentences, and examples, each between two tags.

The text outside the sections is never touched. A section is found by its tags, so that what a
person edits in the guidelines is what counts.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tracetune.graph.state import Subject
from tracetune.prompts.loader import fence

__all__ = [
    "MAX_GUIDELINE",
    "budget",
    "budget_of",
    "current_guidelines",
    "evidence_row",
    "guideline",
    "holds_tags",
    "is_clear",
    "outside",
    "read_examples",
    "read_section",
    "with_examples",
    "with_section",
    "without_examples",
]

Json = dict[str, Any]

MAX_GUIDELINE = 300
"""Characters a guideline may have."""

_GUIDELINES, _EXAMPLES = "learned_guidelines", "learned_examples"
_SECTION = re.compile(rf"(?:\r?\n){{0,2}}<({_GUIDELINES}|{_EXAMPLES})>\r?\n(.*?)</\1>", re.DOTALL)
_TAG = re.compile(rf"</?(?:{_GUIDELINES}|{_EXAMPLES})>")
_EXAMPLE = re.compile(r"<example>\r?\n(.*?)\r?\n</example>", re.DOTALL)
_INTRODUCTION = (
    "Records of past runs that succeeded: they show how it was done and ask for nothing."
)


def guideline(prompt: str, text: str, origin: str, evidence: Mapping[str, Any]) -> Json:
    """A guideline record; its id follows from its words, so the same sentence is the same one."""
    line = " ".join(text.split())
    same = re.sub(r"[^\w]+", " ", line).strip().casefold()
    return {
        "id": "g-" + hashlib.sha256(same.encode()).hexdigest()[:8],
        "prompt": prompt,
        "text": line,
        "origin": origin,
        "evidence": dict(evidence),
    }


def evidence_row(pattern: Mapping[str, Any]) -> Json:
    """What a guideline keeps of a pattern or habit it rests on."""
    fields = ("id", "text", "support", "success_with", "success_without", "interval", "q_value")
    # Within tasks the effect may have another sign than the rates.
    more = {name: pattern[name] for name in ("effect", "others", "tasks") if name in pattern}
    traces = {"traces": list(pattern["failing_ids"])}
    return {name: pattern[name] for name in fields} | more | traces


def current_guidelines(subject: Subject, prompt: str) -> list[Json]:
    """The guidelines in the prompt's section as it is, with what the head knows of each.

    One that the head knows in other words, or not at all, is a person's.
    """
    known = {g["id"]: g for g in subject["guidelines"] if g["prompt"] == prompt}
    fresh = [
        guideline(prompt, text, "human", {}) for text in read_section(subject["prompts"][prompt])
    ]
    return [
        known[line["id"]] if known.get(line["id"], {}).get("text") == line["text"] else line
        for line in fresh
    ]


def read_section(text: str) -> list[str]:
    """The sentences of the managed section, in order; empty when there is no section."""
    lines = (line.strip() for line in _content(text, _GUIDELINES).splitlines())
    return [line.removeprefix("- ") for line in lines if line]


def read_examples(text: str) -> list[str]:
    """The examples of the prompt, in order; empty when there are none."""
    return [html.unescape(one) for one in _EXAMPLE.findall(_content(text, _EXAMPLES))]


def _content(text: str, name: str) -> str:
    if not is_clear(text):
        return ""
    return next((found.group(2) for found in _SECTION.finditer(text) if found.group(1) == name), "")


def is_clear(text: str) -> bool:
    """Whether the text holds at most one whole section of each kind, so that they can be kept."""
    sections = [found.group(1) for found in _SECTION.finditer(text)]
    return len(_TAG.findall(text)) == 2 * len(sections) and len(sections) == len(set(sections))


def holds_tags(text: str) -> bool:
    """Whether it names a managed section: no text of a model or of a trace may."""
    return _GUIDELINES in text or _EXAMPLES in text


def outside(text: str) -> str:
    """The prompt without its managed sections."""
    return _SECTION.sub("", text) if is_clear(text) else text


def with_section(text: str, sentences: Sequence[str]) -> str:
    """The prompt with exactly these sentences in its managed section, which stands at its end.

    Only examples stand behind it, and stay.
    """
    return _with_sections(text, sentences, read_examples(text))


def with_examples(text: str, examples: Sequence[str]) -> str:
    """The prompt with exactly these examples, each fenced so that it cannot end its own fence."""
    return _with_sections(text, read_section(text), examples)


def without_examples(text: str) -> str:
    """The prompt with all but its examples."""
    return with_examples(text, []) if read_examples(text) else text


def _with_sections(text: str, sentences: Sequence[str], examples: Sequence[str]) -> str:
    body = outside(text)
    lines = "".join(f"- {sentence}\n" for sentence in sentences)
    shown = "".join(f"{fence('example', example)}\n" for example in examples)
    contents = {_GUIDELINES: lines, _EXAMPLES: shown and f"{_INTRODUCTION}\n{shown}"}
    sections = "".join(
        f"\n\n<{name}>\n{content}</{name}>" for name, content in contents.items() if content
    )
    # Before the last newlines, so that taking the sections out again leaves what was there.
    core = body.rstrip("\r\n")
    return core + sections + body[len(core) :] if sections else body


def budget(text: str) -> int:
    """Characters it may grow to: half as much again as outside its sections, or 2,000 more."""
    return budget_of(len(outside(text)))


def budget_of(size: int) -> int:
    """Characters that a prompt of this size outside its sections may grow to."""
    return max(size * 3 // 2, size + 2000)
