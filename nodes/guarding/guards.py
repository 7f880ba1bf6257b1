"""What a proposed prompt may not do, whoever proposed it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tracetune.errors import InputError
from tracetune.nodes.guarding import foreign
from tracetune.nodes.guarding.disguises import encoded, hidden
from tracetune.nodes.guarding.links import links
from tracetune.nodes.guarding.orders import orders
from tracetune.nodes.guarding.template_fields import TemplateFormat, misplaced, template_violations
from tracetune.nodes.guarding.untouched import too_much_changed
from tracetune.nodes.guidelines import (
    budget_of,
    holds_tags,
    is_clear,
    outside,
    without_examples,
)
from tracetune.traces.redaction import Redactor

__all__ = ["Rule", "TemplateFormat", "Violation", "check_prompt", "check_sentence", "check_text"]

Rule = Literal[
    "braces",
    "budget",
    "characters",
    "copy",
    "empty",
    "encoded",
    "length",
    "link",
    "optimizer",
    "secret",
    "section",
    "template",
    "tool",
    "unrelated",
    "variables",
]

_SCHEME = re.compile(r"^(?:(?:https?:)?//|mailto:|tel:)")

UNREAD = 10_000
"""Characters beyond twice the old text after which one that is too long is not read further."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a proposed text breaks."""

    rule: Rule
    text: str
    """What was found and what was expected; never a credential, nor a copied passage."""


def check_prompt(
    before: str,
    after: str,
    *,
    template_format: TemplateFormat,
    tools: Collection[str] | None = None,
    other_tools: Collection[str] = (),
    quotes: Sequence[str] = (),
    named: Sequence[str] = (),
    trusted: Sequence[str] = (),
    first_size: int | None = None,
    freely: bool = False,
) -> list[Violation]:
    """Return every rule that `after` breaks as a successor of `before`; empty when it may be used.

    Args:
        template_format: How the agent fills the prompt in. `none`: it is never formatted, so a new
            `{x}` would reach the model. `auto`: unknown, so every `{name}` and every tag must stay,
            and what `str.format` fills in must stay such a text.
        tools: Names that may newly stand as tools; None checks no names.
        other_tools: Tools of other agents, which are not to be named in plain words either.
        quotes: Texts of traces that whoever proposed it was shown: no long copy of one may come in.
        named: What the evidence speaks of, such as feedback and patterns: sentences of `before`
            about that may change; of the others, few, and none that forbids or demands something.
        trusted: What the prompt's owner said of runs: links and names of tools that stand there
            word for word may come in, and so may passages of it.
        first_size: Characters of the prompt as a person last wrote it, which its budget follows;
            None: of `before`.
        freely: All may be put in other words, and half of the sentences may go, but no rule.

    Raises:
        InputError: `template_format` is not known, or a prompt is no text.
    """
    for name, text in (("before", before), ("after", after)):
        if not isinstance(text, str):
            raise InputError(f"{name} must be text, but got {text!r:.40}.")
    if template_format not in get_args(TemplateFormat):
        known = ", ".join(get_args(TemplateFormat))
        got = f"{template_format!r:.40}"
        raise InputError(f"template_format must be one of {known}, but got {got}.")
    if not after.strip() or (not outside(after).strip() and outside(before).strip()):
        return [Violation("empty", "the new prompt is empty")]
    found = _check_size(before, after, first_size)
    if found and len(after) > 2 * len(before) + UNREAD:
        return found  # whatever else is in it, nobody has to read it
    if not is_clear(before):
        found.append(Violation("section", "the tags of the managed section stand there unpaired"))
    elif not is_clear(after):
        found.append(Violation("section", "the new text unpairs the tags of the managed section"))
    broken = template_violations(before, after, template_format)
    found += [Violation(*one) for one in broken]
    told = too_much_changed(outside(before), outside(after), named, freely=freely)
    if told is not None:
        found.append(Violation("unrelated", told))
    # Looking for each sentence of a text that is another one takes long, and tells nothing more.
    elif not broken and (told := misplaced(before, after, template_format)) is not None:
        found.append(Violation("template", told))
    found += _brought_in(before, after, trusted)
    # Examples are copied from runs by design, and chosen by code.
    bare, owned = without_examples(after), (before, *trusted)
    if tools is not None:
        found += _check_names("\n".join(owned), bare, tools, other_tools, quotes)
    if quotes and foreign.copies(bare, "\n".join(owned), quotes):
        found.append(Violation("copy", "a long passage that is copied from a run or from feedback"))
    return found


def _check_size(before: str, after: str, first_size: int | None) -> list[Violation]:
    most = budget_of(len(outside(before)) if first_size is None else first_size)
    if len(after) <= most or len(after) <= len(before):
        return []
    return [Violation("budget", f"{len(after)} characters, but at most {most} are allowed")]


def _check_names(
    before: str,
    after: str,
    tools: Collection[str],
    other_tools: Collection[str],
    quotes: Sequence[str],
) -> Iterable[Violation]:
    # Whoever made a trace chose its tools' names: one that is none does not excuse its words.
    tools = [tool for tool in tools if foreign.is_name(tool)]
    known = {*tools, *re.findall(r"[\w.-]+", before), *foreign.names(before)}
    clean = Redactor().text(after)
    named = foreign.names(clean, known=foreign.words_of(quotes)) - known
    spoken = foreign.spoken(clean, quotes, other_tools, {*tools, *foreign.names(before)})
    spoken -= foreign.spoken(before, quotes, other_tools, tools)
    for name in sorted(named | spoken):
        if not holds_tags(name):
            yield Violation("tool", f"`{name[:60]}`, which is no tool of this agent")


def check_text(text: str, trusted: Sequence[str] = ()) -> list[Violation]:
    """Return every rule that a short text breaks wherever it comes to stand.

    Args:
        trusted: As `check_prompt` has it.
    """
    found = _brought_in("", text, trusted)
    if not text.isprintable() and not any(v.rule == "characters" for v in found):
        found.append(Violation("characters", "a character that does not print"))
    return found


def _brought_in(before: str, after: str, trusted: Sequence[str]) -> list[Violation]:
    # What is found here is told to the model and to the report: a key in it must not be.
    old, new = Redactor().text(before), Redactor().text(after)
    brought = links(new) - links(old)
    codes = encoded(new) - encoded(old)
    if (brought or codes) and trusted:
        told = "\n".join(trusted)
        said = links(told)
        brought -= said | {_SCHEME.sub("", link) for link in said}
        codes -= encoded(told)
    found = [Violation("link", f"a link, {link[:60]!r}") for link in sorted(brought)]
    if foreign.secrets(after) - foreign.secrets(before):
        found.append(Violation("secret", "something that looks like a credential"))
    if characters := sorted(hidden(after) - hidden(before)):
        shown = ", ".join(characters[:5])
        found.append(Violation("characters", f"characters that do not show or mislead ({shown})"))
    if codes:
        found.append(Violation("encoded", "an encoded passage, which nobody reads as it stands"))
    if orders(after) - orders(before):
        found.append(Violation("optimizer", "words that address whoever rewrites the prompt"))
    return found


def check_sentence(text: str, most: int, trusted: Sequence[str] = ()) -> list[Violation]:
    """Return every rule that one guideline breaks on its own, whatever prompt it goes into.

    Args:
        most: Characters that it may have.
        trusted: As `check_prompt` has it.
    """
    if len(text) > most:
        told = f"{len(text)} characters, but at most {most} are allowed"
        return [Violation("length", told)]
    found = check_text(text, trusted)
    if not text.strip():
        found.append(Violation("empty", "an empty guideline"))
    if "{" in text or "}" in text:
        found.append(Violation("braces", "a brace, which a template would take for a variable"))
    if holds_tags(text):
        found.append(Violation("section", "a tag of the managed section"))
    return found
