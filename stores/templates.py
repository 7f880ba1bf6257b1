"""Prompts that are templates, filled in by LangChain's formatters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.prompts.string import DEFAULT_FORMATTER_MAPPING, get_template_variables

from tracetune.errors import InputError

__all__ = ["TemplateFormat", "check_format", "filled"]

TemplateFormat = Literal["none", "f-string", "mustache", "jinja2"]


def check_format(template_format: str) -> None:
    """Check that templates of this format can be filled in here.

    Raises:
        InputError: It is unknown, or needs a package that is not installed.
    """
    known = ("none", *DEFAULT_FORMATTER_MAPPING)
    if template_format not in known:
        raise InputError(
            f"template_format must be one of {', '.join(known)}, but got {template_format!r:.40}."
        )
    if template_format == "none":
        return
    try:
        get_template_variables("", template_format)
    except ImportError:
        raise InputError(
            "template_format 'jinja2' needs a package that is not installed: pip install jinja2"
        ) from None


def filled(text: str, template_format: str, values: Mapping[str, Any], where: str) -> str:
    """Return the text with its variables filled in.

    Args:
        template_format: Any but `none`.
        values: By name; only text, numbers, booleans, null, lists and mappings are used.
        where: What errors call the text.

    Raises:
        InputError: A variable has no value, or the text is no template of the format.
    """
    # A template may call what it is given, and a model may have written it: it gets data only.
    data = {name: value for name, value in values.items() if _plain(value)}
    try:
        needed = get_template_variables(text, template_format)
        if missing := [name for name in needed if name not in data]:
            raise InputError(
                f"{where} needs a value for {', '.join(missing)}, but the state and the context"
                f" of the run have only {', '.join(sorted(data)) or 'none'}."
            )
        return DEFAULT_FORMATTER_MAPPING[template_format](
            text, **{name: data[name] for name in needed}
        )
    except InputError:
        raise
    except Exception as error:  # each template engine has its own tree of errors
        reason = " ".join(str(error).split())
        raise InputError(f"{where} cannot be filled in as {template_format}: {reason}.") from error


def _plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(_plain(item) for item in value)
    return value is None or isinstance(value, str | int | float)
