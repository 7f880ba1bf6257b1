"""The variables of a prompt, in the syntax its agent fills it in with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

__all__ = ["TemplateFormat", "template_violations"]

TemplateFormat = Literal["auto", "none", "f-string", "mustache", "jinja2"]

_FIELD = re.compile(r"\{([A-Za-z_]\w*)((?:\.\w+|\[\w+\])*(?:![rsa])?(?::[^{}\s\"',]*)?)\}")
_TAG = re.compile(r"\{\{\{?[&#^/]?\s*([A-Za-z_][\w.]*)\s*\}?\}\}")
_OPENS = re.compile(r"\{\{\{|\{\{|\{%|\{#")
_CLOSES = {"{{{": "}}}", "{{": "}}", "{%": "%}", "{#": "#}"}

Found = tuple[Literal["variables", "template"], str]


def template_violations(before: str, after: str, form: TemplateFormat) -> list[Found]:
    """What `after` gets wrong as a template: the rule and what was found; empty when nothing.

    A variable is lost or invented, the syntax is broken, or there is new code: in `jinja2` and
    `mustache` any tag that did not stand there, in the others a format or an attribute of a field.
    Braces of JSON are no variables.
    """
    try:
        old = _variables(before, form)
    except ValueError:
        # The owner's own text does not parse in that syntax: hold on to its fields at least.
        return template_violations(before, after, "auto")
    try:
        new = _variables(after, form)
    except ValueError:
        return [("template", f"the new prompt is no valid {form} template")]
    found: list[Found] = []
    if lost := sorted(old - new):
        found.append(("variables", f"lost {_listed(lost)}"))
    if invented := sorted(new - old):
        found.append(("variables", f"invented {_listed(invented)}"))
    if not found and _code(after, form) - _code(before, form):
        found.append(("template", f"new code in a {form} template"))
    return found


def _listed(variables: list[str]) -> str:
    return ", ".join(name or "{}" for name in variables)


def _variables(text: str, form: TemplateFormat) -> set[str]:
    if form in ("auto", "none"):
        # Braces of one kind stand within those of the other: `{{x}}` may be a tag, or escaped.
        tags = _TAG.findall(text) if form == "auto" else ()
        return {match.group(1) for match in _FIELD.finditer(text)} | set(tags)
    from langchain_core.prompts.string import get_template_variables

    try:
        return set(get_template_variables(text, form))
    except ImportError:
        raise  # a guard that cannot look must not say that nothing is wrong
    except Exception as error:  # each syntax has its own errors
        raise ValueError(str(error)) from error


def _code(text: str, form: TemplateFormat) -> set[str]:
    if form in ("jinja2", "mustache"):
        return {"".join(code.split()) for code in _tags(text)}
    fields = {match.group() for match in _FIELD.finditer(text) if match.group(2)}
    return fields | {code for code in _tags(text) if code[1] in "%#"}


def _tags(text: str) -> Iterator[str]:
    """Every tag, in order; without looking twice for an end that is not there."""
    at, endless = 0, set[str]()
    while (opened := _OPENS.search(text, at)) is not None:
        at = opened.end()
        close = _CLOSES[opened.group()]
        end = -1 if close in endless else text.find(close, at)
        if end < 0:
            endless.add(close)
            continue
        at = end + len(close)
        yield text[opened.start() : at]
