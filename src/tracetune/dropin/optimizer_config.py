"""langmem's `config` for an optimizer, checked, and its templates made safe to fill in."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from tracetune.errors import InputError

__all__ = ["checked_config"]

_log = logging.getLogger(__name__)

_VARIABLES = {
    ("gradient", "gradient_prompt"): ("prompt", "update_instructions", "trajectories", "feedback"),
    ("gradient", "metaprompt"): (
        "current_prompt",
        "hypotheses",
        "recommendations",
        "update_instructions",
    ),
    ("metaprompt", "metaprompt"): ("prompt", "update_instructions", "trajectories"),
}
"""What langmem fills into each template, by kind and key."""
_STEPS = ("max_reflection_steps", "min_reflection_steps")
MOST_STEPS = 97
_PATCHES = 2
"""Calls that langmem may make on top to have an answer mended that does not fit."""


def checked_config(
    kind: str, config: Mapping[str, Any] | None
) -> tuple[dict[str, Any], int | None]:
    """Return the config as langmem may have it, and the most calls it may make for one prompt.

    The calls are None where the config says nothing of them. A key that means nothing for the kind
    is left out with a warning; a value of None counts as left out.

    Raises:
        InputError: Steps that are no number from 1 to 97 (of the least: from 0), or a template that
            is no text.
    """
    checked: dict[str, Any] = {}
    for key, value in (config or {}).items():
        if value is None:
            continue
        if key in _STEPS and kind in ("gradient", "metaprompt"):
            checked[key] = _steps(key, value)
        elif (kind, key) in _VARIABLES:
            checked[key] = _template(key, value, _VARIABLES[kind, key])
        else:
            _log.warning("config %r means nothing for kind %r and is left out.", key, kind)
    if "max_reflection_steps" not in checked:
        return checked, None
    # gradient's edit is one call more.
    steps: int = checked["max_reflection_steps"]
    return checked, max(3, steps + (kind == "gradient") + _PATCHES)


def _steps(key: str, value: Any) -> int:
    least = 1 if key == "max_reflection_steps" else 0
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MOST_STEPS:
        raise InputError(f"config {key} must be {least} to {MOST_STEPS}, but got {value!r:.40}.")
    return value


def _template(key: str, value: Any, variables: tuple[str, ...]) -> str:
    """The template as `str.format` takes it: where it does not, its other braces are doubled."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"config {key} must be a text, but got {value!r:.40}.")
    try:
        value.format(**dict.fromkeys(variables, ""))
    except (AttributeError, IndexError, KeyError, ValueError):
        known = "|".join(variables)
        return re.sub(rf"(\{{(?:{known})\}})|([{{}}])", _kept_or_doubled, value)
    return value


def _kept_or_doubled(found: re.Match[str]) -> str:
    return found.group(1) or found.group(2) * 2
