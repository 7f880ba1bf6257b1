"""The variables of a prompt, in the syntax its agent fills it in with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from string import Formatter
from typing import Literal

from tracetune.nodes.guarding.template_sections import moved
from tracetune.nodes.guarding.template_tags import Tags, in_braces, tags_of
from tracetune.nodes.guarding.untouched import start_of

__all__ = ["TemplateFormat", "misplaced", "template_violations"]

TemplateFormat = Literal["auto", "none", "f-string", "mustache", "jinja2"]

SHOWN = 60
_NAME = r"\s*[A-Za-z_][\w-]*\s*"
_PARTS = r"(?:\.[A-Za-z_]\w*|\[[^\[\]{}]+\])*"
_SPEC = (
    r"(?:[^{}]?[<>=^])?[-+]?z?#?0?\d{0,9}[,_]?(?:\.\d+)?[bcdeEfFgGnosxX%]?"
    r"|[^{}]{0,40}%[A-Za-z][^{}]{0,40}"
)
_FIELD = re.compile(rf"(?<!\{{)\{{({_NAME})({_PARTS}(?:![rsa])?(?::(?:{_SPEC}))?)\}}")
_PLAIN = re.compile(rf"({_NAME}|\d+)({_PARTS})")
_IS_SPEC = re.compile(_SPEC)
_PERCENT = re.compile(r"%\([A-Za-z_]\w*\)[-#0 +]*\d*(?:\.\d+)?[diouxXeEfFgGcrsa]")
_DOLLAR = re.compile(r"(?<![\w$])\$[A-Za-z_]\w*")
_DOUBLED = re.compile(r"\{\{\s*[\"'}]")
"""JSON with its braces doubled, so that filling the prompt in halves them."""

_UNREADABLE = (
    "the new prompt is no valid f-string template: a brace of no field has to stand there twice"
)

Found = tuple[Literal["variables", "template"], str]


@dataclass(frozen=True, slots=True)
class _Slots:
    """What is filled in: each variable by name, and each place as it is written."""

    names: frozenset[str]
    places: frozenset[str]


def template_violations(before: str, after: str, form: TemplateFormat) -> list[Found]:
    """What `after` gets wrong as a template: the rule and what was found; empty when nothing.

    A variable is lost or invented, another attribute, conversion or format of it is taken, a tag
    or section of jinja2 or mustache is lost or new, or the text can be filled in no more. Where
    the form is `auto`, a text that `str.format` fills in, with at least one field, must stay one.
    Braces of JSON are no variables.
    """
    if form in ("auto", "f-string"):
        old = _formatted(before)
        if old is not None and (form == "f-string" or old.names or _DOUBLED.search(before)):
            return _of_formatted(old, before, after, form)
        # The owner's own text does not parse in that syntax: hold on to its fields at least.
        form = "auto"
    if form in ("jinja2", "mustache"):
        return _of_tags(before, after, form)
    found = _compared(_loose(before), _loose(after))
    if form == "auto":
        found = _merged(found, _of_others(before, after))
    found = _merged(found, _tags_compared(before, after, form))
    if not found and _DOUBLED.search(after) and "{{" not in before:
        found.append(("template", "doubled braces, in a text whose braces are single"))
    return found


def misplaced(before: str, after: str, form: TemplateFormat) -> str | None:
    """Say which sentence or tag stands in other sections of the template; None where none does."""
    if form == "none" or (form == "f-string" and _formatted(before) is not None):
        return None
    said = moved(in_braces(before, form), in_braces(after, form), form)
    if said is None:
        return None
    return f"{start_of(said)!r} … stands in other sections of the template than before"


def _of_formatted(old: _Slots, before: str, after: str, form: TemplateFormat) -> list[Found]:
    new = _formatted(after)
    if new is None:
        # Fields that are lost besides say more than that it does not parse.
        lost = sorted(old.names - _loose(after).names)
        told: Found = ("template", _UNREADABLE)
        return [("variables", f"lost {_listed(lost)}")] if lost else [told]
    found = _compared(old, new)
    if form == "auto":
        found = _merged(found, _of_others(before, after))
        return _merged(found, _tags_compared(before, after, form))
    # Two braces are one when the prompt is filled in: `{{x}}` would reach the model as `{x}`.
    invented = sorted(tags_of(after).names - tags_of(before).names)
    return _merged(found, [("variables", f"invented {_listed(invented)}")] if invented else [])


def _formatted(text: str) -> _Slots | None:
    """The fields that `str.format` fills in; None where it would fail, as at braces of JSON."""
    names, places, numbered = set[str](), set[str](), 0
    try:
        for name, parts, spec, conversion in _fields(text):
            if name == "":
                name, numbered = str(numbered), numbered + 1
            names.add(name)
            written = f"{name}{parts}{conversion and f'!{conversion}'}{spec and f':{spec}'}"
            places.add(f"{{{written}}}")
    except ValueError:
        return None
    return _Slots(frozenset(names), frozenset(places))


def _fields(text: str, depth: int = 2) -> Iterator[tuple[str, str, str, str]]:
    if depth == 0:
        raise ValueError("Max string recursion exceeded")
    for _, field, spec, conversion in Formatter().parse(text):
        if field is None:
            continue
        plain = _PLAIN.fullmatch(field) if field else None
        if field and plain is None:
            raise ValueError(f"{field!r} is no name")
        nested = list(_fields(spec, depth - 1)) if spec and "{" in spec else []
        yield from nested
        if not nested and not _IS_SPEC.fullmatch(spec or ""):
            raise ValueError(f"{spec!r} is no format")
        yield (
            plain.group(1) if plain else "",
            plain.group(2) if plain else "",
            spec or "",
            conversion or "",
        )


def _loose(text: str) -> _Slots:
    """Every `{name}`, wherever it stands: what fills it in may look for nothing else."""
    found = list(_FIELD.finditer(text))
    return _Slots(
        frozenset(match.group(1) for match in found),
        frozenset(match.group() for match in found),
    )


def _of_others(before: str, after: str) -> list[Found]:
    """Variables of `%` and of `string.Template`.

    A `$NAME` may be a shell's: one may come in where there was none.
    """
    old, new = {*_PERCENT.findall(before)}, {*_PERCENT.findall(after)}
    held, put = {*_DOLLAR.findall(before)}, {*_DOLLAR.findall(after)}
    return _told(old | held, new | (put if held else set()))


def _of_tags(before: str, after: str, form: Literal["jinja2", "mustache"]) -> list[Found]:
    try:
        old = _parsed(before, form)
    except ValueError:
        return template_violations(before, after, "auto")
    try:
        new = _parsed(after, form)
    except ValueError:
        return [("template", f"the new prompt is no valid {form} template")]
    return _told(old, new) or _tags_compared(before, after, form)


def _parsed(text: str, form: Literal["jinja2", "mustache"]) -> set[str]:
    from langchain_core.prompts.string import get_template_variables

    try:
        return set(get_template_variables(text, form))
    except ImportError:
        raise  # a guard that cannot look must not say that nothing is wrong
    except Exception as error:  # each syntax has its own errors
        raise ValueError(str(error)) from error


def _tags_compared(before: str, after: str, form: TemplateFormat) -> list[Found]:
    old, new = (tags_of(in_braces(text, form), form) for text in (before, after))
    return _told(old.names, new.names) or _of_controls(old, new, form)


def _of_controls(old: Tags, new: Tags, form: TemplateFormat) -> list[Found]:
    lost = [*(old.outputs - new.outputs), *(Counter(old.controls) - Counter(new.controls))]
    added = new.outputs - old.outputs or Counter(new.controls) - Counter(old.controls)
    if lost and form != "none":
        return [("template", f"lost {_listed(sorted(lost))}")]
    if added or new.comments - old.comments:
        return [("template", f"new code in a {form} template")]
    return []


def _compared(old: _Slots, new: _Slots) -> list[Found]:
    if found := _told(old.names, new.names):
        return found
    if old.places - new.places:
        return [("template", f"lost {_listed(sorted(old.places - new.places))}")]
    return [("template", "new code in a field")] if new.places - old.places else []


def _told(old: Collection[str], new: Collection[str]) -> list[Found]:
    found: list[Found] = []
    if lost := sorted({*old} - {*new}):
        found.append(("variables", f"lost {_listed(lost)}"))
    if invented := sorted({*new} - {*old}):
        found.append(("variables", f"invented {_listed(invented)}"))
    return found


def _merged(found: list[Found], more: list[Found]) -> list[Found]:
    """Both, but only what is said of variables where anything is."""
    both = list(dict.fromkeys([*found, *more]))
    return [one for one in both if one[0] == "variables"] or both


def _listed(variables: Iterable[str]) -> str:
    # A number or a blank tells little without its braces.
    shown = (name if name.strip("0123456789 ") == name else f"{{{name}}}" for name in variables)
    return ", ".join(name[:SHOWN] for name in shown)
