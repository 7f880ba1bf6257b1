"""Credentials, and on request personal data, taken out of traces before anything keeps them."""

from __future__ import annotations

import dataclasses
import functools
import os
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import orjson

from tracetune.errors import InputError
from tracetune.traces.model import Trace
from tracetune.traces.secret_rules import is_name, names_secret
from tracetune.traces.secrets import Span, apart, find_secrets, linear, may_hold_secrets

if TYPE_CHECKING:
    from tracetune.traces.analytics.direct import Row

__all__ = ["Redactor"]

_EMAIL = r"[0-9A-Za-z][\w.%+'-]{0,63}@(?:[0-9A-Za-z-]{1,63}\.){1,8}[A-Za-z]{2,24}"
_PHONE = r"[+(]?[0-9][0-9 ()./-]{5,24}[0-9]"

_DEEPEST = 100
"""Nesting of tool arguments that is followed; what lies deeper goes whole."""

_ENDLESS = 2_000
"""Levels that no JSON has which was read from a file."""

_TITLES = ("name", "key", "Name", "Key")
_VALUES = ("value", "Value")

_NO_TEXT = frozenset({bool, float, int, type(None)})

_counting = threading.RLock()  # a recorder that redacts may be collected anywhere


class Redactor:
    """Takes secrets out of texts and traces, and counts them by kind; it never keeps one.

    A secret gives way to a note of its kind: `<redacted: GitHub token>`. What holds none comes
    back as the same object. One redactor may serve many threads.

    Credentials always go: tokens and keys in the formats of known providers, private keys, web
    tokens, passwords in URLs, authorization headers, and what is assigned to the name of a secret
    (`password=…`, `"api_key": "…"`) unless it is a placeholder. Strings that merely look random
    stay: results of tools are full of ids and hashes.

    Args:
        emails: E-mail addresses go too.
        phones: Phone numbers go too: True for those written with `+` and the code of a country;
            a region (`"US"`) also for those written as is usual there. Needs `phonenumbers`.

    Raises:
        InputError: `phonenumbers` is asked for and not installed, or does not know the region.
    """

    def __init__(self, emails: bool = False, phones: bool | str = False) -> None:
        if phones:
            _phone_region(phones)
        self.counts: Counter[str] = Counter()
        """Kind of secret → how many were taken out so far."""
        self._emails = emails
        self._phones = phones
        self._on = True

    @classmethod
    def off(cls) -> Redactor:
        """Return one that takes nothing out."""
        redactor = cls()
        redactor._on = False
        return redactor

    def text(self, text: str) -> str:
        """Return the text without secrets; the same object when it holds none."""
        raw = _encoded(text)
        if not self._suspects(raw) or not (spans := self._spans(raw)):
            return text
        parts, at = [], 0
        for span in spans:
            parts += [raw[at : span.start], f"<redacted: {span.kind}>".encode()]
            at = span.end
            self._count(span.kind)
        return b"".join([*parts, raw[at:]]).decode("utf-8", "surrogatepass")

    def trace(self, trace: Trace) -> Trace:
        """Return the trace without secrets in any of its texts; the same object when it holds none.

        Tool arguments are searched whole, and a value goes whose key names a secret. Ids and
        names change only where they are a credential themselves.
        """
        # Nearly all traces hold nothing, and this is quick.
        if self.shows_none(trace):
            return trace
        clean: Trace = self._record(trace, 0)
        return clean

    def shows_none(self, run: Trace | Row) -> bool:
        """Return whether one look at everything at once shows no secret; False proves nothing."""
        if not self._on:
            return True
        try:
            texts, values = _held(run)
        except TypeError:  # a text that is none
            return False
        for look in (_as_json, _all_text):
            more = look(values)
            if more is not None and not self._suspects(texts + b"\0" + more):
                return True
        return False

    def _suspects(self, raw: bytes) -> bool:
        if not self._on:
            return False
        return may_hold_secrets(raw) or (self._emails and b"@" in raw) or bool(self._phones)

    def _spans(self, raw: bytes) -> list[Span]:
        spans = find_secrets(raw)
        if self._emails:
            spans += [
                Span(m.start(), m.end(), "e-mail address") for m in _pattern(_EMAIL).finditer(raw)
            ]
        if self._phones:
            spans += _phone_spans(raw, _phone_region(self._phones))
        return apart(spans)

    def _count(self, kind: str) -> None:
        with _counting:
            self.counts[kind] += 1

    def _value(self, value: Any, depth: int, key: Any = None) -> Any:
        """Return any part of a trace without secrets; the same object when it holds none."""
        if isinstance(value, str):
            new = self.text(value)
            return self._named(key, value) if new is value else new
        if isinstance(value, Mapping | list | tuple) and depth > _DEEPEST:
            self._count("nested too deep")
            return "<redacted: nested too deep>"
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, list | tuple):
            parts = [
                self._value(part, depth + 1, _named_by(before, part, len(value)) or key)
                for before, part in zip((None, *value), value, strict=False)
            ]
            same = all(a is b for a, b in zip(parts, value, strict=True))
            return value if same else tuple(parts) if isinstance(value, tuple) else parts
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._named(key, value)
        return self._record(value, depth) if dataclasses.is_dataclass(value) else value

    def _record(self, record: Any, depth: int) -> Any:
        old = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
        new = {name: self._value(value, depth) for name, value in old.items()}
        changed = {name: value for name, value in new.items() if value is not old[name]}
        return dataclasses.replace(record, **changed) if changed else record

    def _mapping(self, mapping: Mapping[Any, Any], depth: int) -> Mapping[Any, Any]:
        new: dict[Any, Any] = {}
        titled = _title(mapping)
        for key, value in mapping.items():
            name = self._value(key, depth)
            while name in new:  # two keys that were secrets
                name = f"{name}'"
            new[name] = self._value(value, depth + 1, titled if key in _VALUES else key)
        same = all(k in new and new[k] is value for k, value in mapping.items())
        return mapping if same else new

    def _named(self, key: Any, value: str | float) -> str | float:
        """Return the value, unless the key says that it is a secret."""
        if isinstance(key, str) and names_secret(key, str(value)):
            self._count("secret")
            return "<redacted: secret>"
        return value


def _in_child() -> None:
    global _counting  # a thread of the parent may hold it, and never frees it here
    _counting = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_in_child)


def _title(mapping: Mapping[Any, Any]) -> Any:
    """Return what `value` is the value of, as in `{"name": "DB_PASSWORD", "value": …}`."""
    return next((mapping[title] for title in _TITLES if title in mapping), None)


def _named_by(before: Any, part: Any, parts: int) -> str | None:
    """Return what stands before an item of a list, if it names that as a secret.

    An option of a command does, and the first of two, as in a header: `["x-api-key", …]`.
    """
    if not isinstance(before, str) or not isinstance(part, str) or not names_secret(before, part):
        return None
    if before.startswith("--"):
        return None if part.startswith("-") else before
    random = len(part) >= 8 and any(map(str.isdigit, part)) and not is_name(part)
    return before if parts == 2 and random else None


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # JSON may hold half a character


def _held(run: Trace | Row) -> tuple[bytes, list[Any]]:
    """Return a run's own texts in one, and the values it holds that may have texts in them."""
    texts = [run.id, run.agent, run.release or "", run.task or ""]
    values: list[Any] = [run.feedback, run.labels]
    steps = cast("Iterable[Any]", run.steps or ())
    for step in steps:
        if step.agent:
            texts.append(step.agent)
        if hasattr(step, "text"):
            texts.append(step.text)
        else:
            texts += (step.name, step.result or "", step.error or "")
            values.append(step.arguments)
    return _encoded("\0".join(texts)), values


def _as_json(values: list[Any]) -> bytes | None:
    """Return the values as JSON; None where that does not show a text or `key:` as it is."""
    try:
        inner = orjson.dumps(values)
    except TypeError:
        return None
    titled = b'alue":' in inner and (b'ame":' in inner or b'ey":' in inner)
    return None if titled or b"\\" in inner else inner


def _all_text(values: list[Any]) -> bytes | None:
    """Return all texts in the values, a key of a mapping as in `key: value`.

    None if they are nested so deep that one may hold itself.
    """
    texts: list[str] = []
    names: list[Any] = []
    level = values
    for _ in range(_ENDLESS):
        inner: list[Any] = []
        for value in level:
            kind = type(value)
            if kind is str:
                texts.append(value)
                if value.startswith("--"):
                    names.append(value)
            elif kind in _NO_TEXT:
                continue
            elif kind is dict or isinstance(value, Mapping):
                names += value
                if isinstance(title := _title(value), str):
                    names.append(title)
                inner += value.values()
            elif isinstance(value, list | tuple):
                inner += value
                if len(value) == 2 and isinstance(value[0], str):
                    names.append(value[0])
            elif isinstance(value, str):
                texts.append(value)
                names.append(value)
        if not inner:
            # An enumeration's text formats as its member's name.
            named = (name + ":" if isinstance(name, str) else f"{name}:" for name in names)
            return _encoded("\0".join([*texts, *named]))
        level = inner
    return None


@functools.cache
def _pattern(pattern: str) -> Any:
    return linear(pattern)


def _phone_region(phones: bool | str) -> str | None:
    try:
        import phonenumbers
    except ImportError:
        raise InputError(
            "phones needs the package phonenumbers, which is not installed: pip install"
            " 'tracetune[phones]'"
        ) from None
    if phones is True:
        return None
    if phones not in phonenumbers.SUPPORTED_REGIONS:
        raise InputError(f"phones is {phones!r:.40}, expected True or a region such as 'US'")
    return str(phones)


def _phone_spans(raw: bytes, region: str | None) -> list[Span]:
    import phonenumbers

    spans = []
    for match in _pattern(_PHONE).finditer(raw):
        # The library tells numbers from dates by what stands around them; a window bounds its work.
        start = max(0, match.start() - 4)
        window = raw[start : match.end() + 4].decode("latin-1")
        for found in phonenumbers.PhoneNumberMatcher(window, region):
            spans.append(Span(start + found.start, start + found.end, "phone number"))
    return spans
