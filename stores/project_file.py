"""What stands in a project file, and one line for everything that may be wrong with it."""

from __future__ import annotations

import difflib
import json
import math
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)

from tracetune.errors import ProjectError
from tracetune.stores.yaml_files import same_value

__all__ = ["AgentPart", "Parameter", "ProjectPart", "PromptSpec", "nearest", "parse_project"]

STORES = ("memory://", "sqlite:///", "postgresql://", "postgres://")

Kind = Literal["int", "float", "bool", "str"]
Scalar = str | int | float | bool


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", value):
        raise ValueError("must be a name of letters, digits, - and _ (at most 64)")
    return value


def _text(value: object) -> object:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text")
    return value


def _sources(value: object) -> object:
    items = value if isinstance(value, list | tuple) else [value]
    if not items or not all(isinstance(item, str) and item.strip() for item in items):
        raise ValueError("must be a path, a glob, or a list of them")
    return tuple(items)


def _choices(value: object) -> object:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be a list with at least one value")
    if not all(isinstance(item, Scalar) and item == item for item in value):
        raise ValueError("must hold text, numbers, true or false")
    return tuple(value)


def _store(value: str) -> str:
    if not value.startswith(STORES) or value == "sqlite:///":
        raise ValueError("must be memory://, sqlite:///path or postgresql://…")
    return value


Name = Annotated[str, AfterValidator(_name)]
Number = Annotated[int | float, BeforeValidator(_number)]
Text = Annotated[str, BeforeValidator(_text)]


class _Part(BaseModel):
    """A part of the file; a key with nothing behind it counts as left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nothing(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {k: v for k, v in data.items() if v is not None or k not in cls.model_fields}


class PromptSpec(_Part):
    """When and how one prompt may be updated."""

    when_to_update: str = Field(
        default="",
        description="When this prompt is to be updated, in words; `never` leaves it alone.",
    )
    update_instructions: str = Field(
        default="", description="What an update must keep and how to write."
    )
    template_format: Literal["auto", "none", "f-string", "mustache", "jinja2"] = Field(
        default="auto",
        description="How the agent fills it in; `none` means the text is used as it is.",
    )


class Parameter(_Part):
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
                raise ValueError(f"choices must all be {self.type}, but one is {_short(choice)}")
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
            listed = ", ".join(_short(choice) for choice in self.choices)
            return None if known else f"{_short(value)} is none of its choices {listed}"
        kind = self.type or _kind_of(current)
        if kind is None and (self.min is not None or self.max is not None):
            kind = "float"
        if kind is None:
            return f"its type is not known from {_short(current)}: declare it"
        if not _fits(kind, value):
            return f"{_short(value)} is no {kind}"
        if self.min is not None and value < self.min:
            return f"{_short(value)} is below its minimum {self.min}"
        if self.max is not None and value > self.max:
            return f"{_short(value)} is above its maximum {self.max}"
        return None

    def mismatch(self, current: Any) -> str | None:
        """Say why the value an agent has now is not of the declared type, or None when it is."""
        if self.type is None or _fits(self.type, current):
            return None
        return f"{_short(current)} is no {self.type}"


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


class RewardPart(_Part):
    """The weights of the reward; `RewardSpec` says what they weigh."""

    success_weight: Number = 1.0
    latency_weight: Number = -0.5
    attempts_weight: Number = -0.3
    cap: Annotated[Number, Field(gt=0)] = 3.0


class AgentPart(_Part):
    """One agent; paths are relative to the project file."""

    prompts_file: Text | None = None
    config_file: Text | None = None
    traces: Annotated[tuple[str, ...], BeforeValidator(_sources)] = ()
    trace_agent: Text | None = None
    prompts: dict[str, PromptSpec] = Field(default_factory=dict)
    parameters: dict[str, Parameter] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _agree(self) -> AgentPart:
        if self.prompts_file is None and self.config_file is None:
            raise ValueError("needs a prompts_file, a config_file or both")
        if self.prompts and self.prompts_file is None:
            raise ValueError("has prompts, but no prompts_file that holds them")
        if self.parameters and self.config_file is None:
            raise ValueError("has parameters, but no config_file that holds them")
        limits = [name for name, parameter in self.parameters.items() if parameter.step_limit]
        if len(limits) > 1:
            raise ValueError(f"may have one step_limit, but has {' and '.join(limits)}")
        return self


class ProjectPart(_Part):
    """The whole file."""

    project: Name
    model: Text | None = None
    store: Annotated[str, AfterValidator(_store)] = "sqlite:///.tracetune/memory.db"
    reward: RewardPart = RewardPart()
    min_traces: Annotated[StrictInt, Field(ge=1)] = 5
    agents: Annotated[dict[Name, AgentPart], Field(min_length=1)]


def parse_project(data: dict[str, Any], name: str) -> ProjectPart:
    """Return the parsed file; `name` is what errors call it.

    Raises:
        ProjectError: One line with the dotted key, the value and what was expected.
    """
    try:
        return ProjectPart.model_validate(data)
    except ValidationError as error:
        problems = [dict(problem) for problem in error.errors(include_url=False)]
        # A mistyped key is often why another one is missing.
        problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ProjectError(f"{name}: {_sentence(problems[0], data)}{more}.") from None


def nearest(word: str, known: list[str]) -> str:
    """Return the sentence that helps someone who wrote a name that is not there."""
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"there is {', '.join(known) or 'nothing'}"


def _sentence(problem: dict[str, Any], data: Any) -> str:
    loc = problem["loc"]
    if problem["type"] == "extra_forbidden":
        known = list(_part_at(loc).model_fields)
        return f"{_dotted(loc)} is not a known key ({nearest(str(loc[-1]), known)})"
    if problem["type"] == "missing":
        return f"{_dotted(loc)} is missing"
    if loc[-1] == "[key]":
        loc = loc[:-1]
        return f"{_dotted(loc)}: a name {_expected(problem)}, but got {_short(loc[-1])}"
    # Behind the keys of the file, pydantic adds which member of a union it tried.
    key, value = [], data
    for part in loc:
        if not (isinstance(value, dict) and part in value):
            break
        key.append(part)
        value = value[part]
    expected = _expected(problem)
    if isinstance(value, dict) and problem["type"] == "value_error":
        return f"{_dotted(key)}: {expected}"
    shown = _without_secrets(value) if key == ["store"] else _short(value)
    return f"{_dotted(key)} {expected}, but got {shown}"


def _part_at(loc: tuple[str | int, ...]) -> type[BaseModel]:
    if len(loc) == 1:
        return ProjectPart
    if loc[0] == "reward":
        return RewardPart
    if len(loc) == 3:
        return AgentPart
    return PromptSpec if loc[2] == "prompts" else Parameter


EXPECTED = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "too_short": "must name at least one",
}


def _expected(problem: dict[str, Any]) -> str:
    if known := EXPECTED.get(problem["type"]):
        return known
    message = str(problem["msg"]).removeprefix("Value error, ")
    return message.replace("Input should be", "must be", 1)


def _dotted(loc: Any) -> str:
    return ".".join(str(part) for part in loc)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _without_secrets(url: Any) -> str:
    scheme, mark, _ = str(url).partition("://")
    return f"{scheme}{mark}…" if mark else _short(url)
