"""Checking what a caller gave against the annotations of what is called."""

from __future__ import annotations

import functools
import numbers
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import (
    Any,
    ClassVar,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

from tracetune.errors import InputError

__all__ = ["Record", "check_argument", "checked", "checker"]

P = ParamSpec("P")
T = TypeVar("T")


@runtime_checkable
class Record(Protocol):
    """A dataclass, such as a verdict."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


_WORDS: Mapping[Any, str] = {
    Record: "a record",
    str: "text",
    int: "a whole number",
    bool: "True or False",
    types.NoneType: "None",
}


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function, refusing arguments of another type than its annotations say.

    Raises:
        InputError: One is; names it and what was expected. Nothing was called.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        checker(function)(args, kwargs)
        return function(*args, **kwargs)

    return call


@functools.cache
def checker(function: Callable[..., Any]) -> Callable[[tuple[Any, ...], Mapping[str, Any]], None]:
    """Return what checks the arguments of a call to the function, without `self`.

    Keys and values of mappings are not looked at, nor are items of iterators, nor arguments the
    function does not take.
    """
    hints = get_type_hints(function)
    hints.pop("return", None)
    at_a_glance = {name: _at_a_glance(hint) for name, hint in hints.items()}

    def check(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        given = {**dict(zip(hints, args, strict=False)), **kwargs} if args else kwargs
        for name, value in given.items():
            if name in hints and type(value) not in at_a_glance[name]:
                check_argument(name, value, hints[name])

    return check


def check_argument(name: str, value: object, hint: Any) -> None:
    """Pass where the value is of the type; no text is one of numbers, no bool a whole number.

    Raises:
        InputError: It is of another; names it and what was expected.
    """
    if not _fits(value, hint):
        got = " ".join(repr(value).split())
        raise InputError(f"{name} must be {_named(hint)}, but got {got:.60}.")


def _at_a_glance(hint: Any) -> frozenset[type]:
    """The classes whose every value fits: asking the type itself takes microseconds."""
    kind = get_origin(hint)
    if kind in (Union, types.UnionType):
        return frozenset().union(*map(_at_a_glance, get_args(hint)))
    return frozenset({dict} if kind is Mapping else {hint} if kind is None else ())


def _fits(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    kind = get_origin(hint)
    if kind is None:
        return isinstance(value, hint)
    parts = get_args(hint)
    if kind in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is Literal:
        return isinstance(value, str) and value in parts
    if issubclass(kind, Mapping):
        return isinstance(value, kind)
    if kind is Iterable and isinstance(value, Iterator):
        return True  # to look at it would use it up
    return isinstance(value, kind) and all(_fits(item, parts[0]) for item in value)


def _named(hint: Any) -> str:
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        return " or ".join(map(_named, parts))
    if kind is Literal:
        return f"one of {', '.join(parts)}"
    if kind is None:
        return _WORDS.get(hint, hint.__name__)
    return "a mapping" if issubclass(kind, Mapping) else f"a list of {_named(parts[0])}"
