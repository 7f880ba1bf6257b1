"""What a proposed prompt may not do, whoever proposed it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from tracetune.nodes.guidelines import budget, is_clear

__all__ = ["TemplateFormat", "Violation", "check_prompt", "check_sentence", "check_text"]

TemplateFormat = Literal["auto", "none", "f-string", "mustache", "jinja2"]

_LINK = re.compile(r"\b(?:https?|ftp)://[^\s<>\"')\]]+|\bwww\.[^\s<>\"')\]]+", re.IGNORECASE)
_FIELD = re.compile(r"\{([A-Za-z_]\w*)\}")
_NAMED = re.compile(r"`([A-Za-z_][\w.-]*)`")
_SECRET = re.compile(
    r"\b(?:sk-[\w-]{16,}|AIza[\w-]{30,}|gh[pousr]_\w{20,}|xox[abpr]-[\w-]{10,}|AKIA[A-Z0-9]{16})\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a proposed text breaks."""

    rule: Literal[
        "empty",
        "budget",
        "variables",
        "template",
        "section",
        "link",
        "secret",
        "tool",
        "braces",
        "length",
        "characters",
    ]
    text: str
    """What was found and what was expected."""


def check_prompt(
    before: str,
    after: str,
    *,
    template_format: TemplateFormat,
    tools: Collection[str] | None = None,
) -> list[Violation]:
    """Return every rule that `after` breaks as a successor of `before`; empty when it may be used.

    Args:
        template_format: How the agent fills the prompt in. `none`: it is never formatted, so a new
            `{x}` would reach the model. `auto`: unknown, so every `{name}` must stay.
        tools: Names that may newly stand in backticks; None checks no names.
    """
    found: list[Violation] = []
    if not after.strip():
        return [Violation("empty", "the new prompt is empty")]
    if len(after) > (most := budget(before)) and len(after) > len(before):
        found.append(
            Violation("budget", f"{len(after)} characters, but at most {most} are allowed")
        )
    if not is_clear(before):
        found.append(Violation("section", "the tags of the managed section stand there unpaired"))
    found += _check_variables(before, after, template_format)
    for link in sorted(set(_LINK.findall(after)) - set(_LINK.findall(before))):
        found.append(Violation("link", f"a new link, {link[:60]!r}"))
    if _SECRET.search(after) and not _SECRET.search(before):
        found.append(Violation("secret", "something that looks like a credential"))
    if tools is not None:
        known = {*tools, *_NAMED.findall(before)}
        for name in sorted(
            {n for n in _NAMED.findall(after) if n not in known and n not in before}
        ):
            found.append(Violation("tool", f"`{name}`, which is no tool of this agent"))
    return found


def _check_variables(before: str, after: str, form: TemplateFormat) -> list[Violation]:
    try:
        old, new = _variables(before, form), _variables(after, form)
    except ValueError:
        try:
            _variables(before, form)
        except ValueError:
            # The owner's own text does not parse in that syntax: hold on to its fields at least.
            return _check_variables(before, after, "auto")
        return [Violation("template", f"the new prompt is no valid {form} template")]
    found = []
    if lost := sorted(old - new):
        found.append(Violation("variables", f"lost {', '.join(lost)}"))
    if invented := sorted(new - old):
        found.append(Violation("variables", f"invented {', '.join(invented)}"))
    return found


def _variables(text: str, form: TemplateFormat) -> set[str]:
    if form in ("auto", "none"):
        return set(_FIELD.findall(text))
    from langchain_core.prompts.string import get_template_variables

    try:
        return set(get_template_variables(text, form))
    except ImportError:
        raise  # a guard that cannot look must not say that nothing is wrong
    except Exception as error:  # each syntax has its own errors
        raise ValueError(str(error)) from error


def check_text(text: str) -> list[Violation]:
    """Return every rule that a short text breaks wherever it comes to stand."""
    found: list[Violation] = []
    if link := _LINK.search(text):
        found.append(Violation("link", f"a link, {link.group()[:60]!r}"))
    if _SECRET.search(text):
        found.append(Violation("secret", "something that looks like a credential"))
    if not text.isprintable():
        found.append(Violation("characters", "a character that does not print"))
    return found


def check_sentence(text: str, most: int) -> list[Violation]:
    """Return every rule that one guideline breaks on its own, whatever prompt it goes into."""
    found = check_text(text)
    if not text.strip():
        found.append(Violation("empty", "an empty guideline"))
    if len(text) > most:
        found.append(Violation("length", f"{len(text)} characters, but at most {most} are allowed"))
    if "{" in text or "}" in text:
        found.append(Violation("braces", "a brace, which a template would take for a variable"))
    if "learned_guidelines" in text:
        found.append(Violation("section", "a tag of the managed section"))
    return found
