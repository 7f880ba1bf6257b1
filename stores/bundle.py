"""A bundle: an agent's prompts and config, together the thing that is tuned and released."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tracetune.errors import InputError

__all__ = ["Bundle", "plain_text"]

# No backend keeps all of these: JSON has no lone surrogates, Postgres' jsonb no NUL.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_INTEGERS = range(-(2**63), 2**64)
_to_json = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=str).encode


@dataclass(frozen=True, slots=True)
class Bundle:
    """All prompts (text by name) and the config (JSON values by name) of one agent."""

    prompts: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of the content; key order does not count."""
        content = {"prompts": dict(self.prompts), "config": dict(self.config)}
        return hashlib.sha256(_to_json(content).encode()).hexdigest()[:16]

    def storable(self, agent: str) -> Bundle:
        """Return a deep copy in plain JSON values, which every store gives back unchanged.

        Raises:
            InputError: A store would lose or change something; names it as `agent.prompts.name`.
        """
        for name, text in self.prompts.items():
            if not isinstance(text, str):
                raise InputError(
                    f"{agent}.prompts.{name} must be text, but is {_kind(text)} {text!r:.40}."
                )
        prompts = _exact(self.prompts, f"{agent}.prompts")
        return Bundle(prompts, _exact(self.config, f"{agent}.config"))


def plain_text(text: str) -> str:
    """Return the text as every store keeps it: each character that one cannot is replaced."""
    # To look for an odd character with the pattern takes far longer.
    if "\0" not in text and (text.isascii() or _is_unicode(text)):
        return str.__str__(text)
    return _UNSTORABLE.sub("\ufffd", text)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _exact(value: Any, where: str) -> Any:
    """Copy `value` as plain JSON types; what JSON would change or lose is an error."""
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, Mapping):
        return {_name(key, where): _exact(v, f"{where}.{key}") for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and int(value) in _INTEGERS:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise InputError(
        f"{where} must be text, a finite number, true, false, null, a list or a mapping of these,"
        f" but is {_kind(value)} {value!r:.40}."
    )


def _name(key: Any, where: str) -> str:
    if not isinstance(key, str) or not key:
        raise InputError(
            f"{where} must have text as names, but one is {_kind(key)} {key!r:.40}: quote it."
        )
    return _text(key, f"a name in {where}")


def _text(text: str, where: str) -> str:
    if (kept := plain_text(text)) == text:
        return kept
    odd = next(_UNSTORABLE.finditer(text))
    raise InputError(
        f"{where} holds the character U+{ord(odd[0]):04X} at position {odd.start()},"
        f" which no store can keep; expected text without it."
    )


def _kind(value: object) -> str:
    return type(value).__name__
