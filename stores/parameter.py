"""What one config value may become."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, model_validator

from tracetune.stores.yaml_files import same_value

__all__ = ["Number", "Parameter", "Part", "short"]

Kind = Literal["int", "float", "bool", "str"]
Scalar = str | int | float | bool


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _choices(value: object) -> object:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be a list with at least one value")
    if not all(isinstance(item, Scalar) and item == item for item in value):
        raise ValueError("must hold text, numbers, true or false")
    return tuple(value)


Number = Annotated[int | float, BeforeValidator(_number)]


class Part(BaseModel):
    """A part of the file; a key with nothing behind it counts as left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nothing(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {k: v for k, v in data.items() if v is not None or k not in cls.model_fields}


class Parameter(Part):
    """What one config value may become."""

    type: Kind | None = Field(
        default=None, description="Its type; the current value's when left out."
    )
    min: Number | None = Field(default=None, description="Smallest value allowed.")
    max: Number | None = Field(default=None, description="Largest value allowed.")
    choices: Annotated[tuple[Scalar, ...], BeforeValidator(_choices)] | None = Field(
        default=None, description="The only values allowed."
    )
    frozen: StrictBool = Field(default=False, description="Whether it stays as it is.")
    step_limit: StrictBool = Field(
        default=False, description="Whether it limits the steps of a run."
    )
    description: str = Field(default="", description="What it does, for the model that tunes it.")

    @model_validator(mode="after")
    def _agree(self) -> Parameter:
        bounded = self.min is not None or self.max is not None
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min must be at most max, but {self.min} is above {self.max}")
        if bounded and self.choices is not None:
            raise ValueError("give either choices or bounds (min, max), not both")
        if bounded and self.type in ("bool", "str"):
            raise ValueError(f"bounds (min, max) need a number, but type is {self.type}")
        if self.step_limit and self.type in ("bool", "str"):
            raise ValueError(f"a step limit must be a number, but type is {self.type}")
        for choice in self.choices or ():
            if self.type and not _fits(self.type, choice):
                raise ValueError(f"choices must all be {self.type}, but one is {short(choice)}")
        return self

    def violation(self, value: Any, current: Any) -> str | None:
        """Say why the value may not replace the current one, or None when it may.

        Keeping the current value is always allowed. A boolean is no integer, and an integer
        will do where a float is wanted.
        """
        if same_value(value, current):
            return None
        if self.frozen:
            return "it is frozen"
        if self.choices is not None:
            known = any(_alike(value, choice) for choice in self.choices)
            listed = ", ".join(short(choice) for choice in self.choices)
            return None if known else f"{short(value)} is none of its choices {listed}"
        kind = self.type or _kind_of(current)
        if kind not in ("int", "float") and (self.min is not None or self.max is not None):
            kind = "float"
        if kind is None:
            return f"its type is not known from {short(current)}: declare it"
        if not _fits(kind, value):
            return f"{short(value)} is no {kind}"
        if self.min is not None and value < self.min:
            return f"{short(value)} is below its minimum {self.min}"
        if self.max is not None and value > self.max:
            return f"{short(value)} is above its maximum {self.max}"
        return None

    def mismatch(self, current: Any) -> str | None:
        """Say why the value an agent has now is not of the declared type, or None when it is."""
        if self.type is None or _fits(self.type, current):
            return None
        return f"{short(current)} is no {self.type}"


def _kind_of(value: object) -> Kind | None:
    kinds: tuple[Kind, ...] = ("bool", "int", "float", "str")
    return next((kind for kind in kinds if _fits(kind, value)), None)


def _fits(kind: Kind, value: object) -> bool:
    if kind == "bool" or isinstance(value, bool):
        return kind == "bool" and isinstance(value, bool)
    if kind == "float":
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, int if kind == "int" else str)


def _alike(one: object, other: object) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def short(value: Any) -> str:
    """Return the value as JSON, cut to 60 characters for one line of an error."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"
