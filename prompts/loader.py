"""The optimizer's own prompts: one file each, named as the node that uses it."""

from __future__ import annotations

import functools
import hashlib
from importlib import resources
from string import Template
from xml.sax.saxutils import escape

__all__ = ["enclose", "fence", "render"]


def render(stem: str, **inputs: str) -> str:
    """Return the prompt `<stem>.md` with every `$name` filled in.

    Raises:
        ValueError: An input is missing, or one is given that the prompt does not take.
    """
    template, takes = _template(stem)
    if takes != inputs.keys():
        raise ValueError(f"{stem}.md takes {sorted(takes)}, but got {sorted(inputs)}.")
    return template.substitute(inputs)


@functools.cache
def _template(stem: str) -> tuple[Template, frozenset[str]]:
    """The prompt's text, and the names that it takes."""
    file = resources.files("tracetune.prompts").joinpath(f"{stem}.md")
    template = Template(file.read_text("utf-8"))
    return template, frozenset(template.get_identifiers())


def fence(tag: str, text: str, **attributes: str) -> str:
    """Return `text` as an element that it cannot close itself: it was written by strangers."""
    named = "".join(
        f' {name}="{escape(value, {chr(34): "&quot;"})}"' for name, value in attributes.items()
    )
    return f"<{tag}{named}>\n{escape(text)}\n</{tag}>"


def enclose(tag: str, text: str) -> str:
    """Return `text` unescaped, for a model to give back, between tags that it cannot hold.

    Their name ends in a hash of the text: nobody can write a text that holds its own.
    """
    name = f"{tag}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
    return f"<{name}>\n{text}\n</{name}>"
