"""What stands in a project file, and one line for everything that may be wrong with it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)

from tracetune.errors import ProjectError
from tracetune.stores.parameter import Number, Parameter, Part, short
from tracetune.traces.reward import LARGEST_WEIGHT

__all__ = [
    "AgentPart",
    "MirrorPart",
    "Parameter",
    "Price",
    "ProjectPart",
    "PromptSpec",
    "nearest",
    "parse_project",
    "step_limits",
]

RESERVED = ("langgraph", "tracetune")
STORES = ("memory://", "sqlite:///", "postgresql://", "postgres://")


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


def _namespace(value: object) -> object:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be a list of texts")
    for label in value:
        if not isinstance(label, str) or not label.strip() or "." in label:
            raise ValueError("must be a list of texts without dots (quote a number)")
    if value[0] in RESERVED:
        raise ValueError(f"must not begin with {value[0]}, which others keep their records under")
    return tuple(value)


def _store(value: str) -> str:
    if not value.startswith(STORES) or value == "sqlite:///":
        raise ValueError("must be memory://, sqlite:///path or postgresql://…")
    return value


Weight = Annotated[Number, Field(ge=-LARGEST_WEIGHT, le=LARGEST_WEIGHT)]
Name = Annotated[str, AfterValidator(_name)]
Text = Annotated[str, BeforeValidator(_text)]


class PromptSpec(Part):
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
    style: Literal["auto", "rewrite", "guidelines", "prompt_memory", "metaprompt", "gradient"] = (
        Field(
            default="auto",
            description="How a model writes its update; `auto` means as the settings say.",
        )
    )
    demonstrations: Annotated[StrictInt, Field(ge=0, le=5)] = Field(
        default=0,
        description="How many runs that succeeded it may show as examples, where there is room.",
    )
    trusted_feedback: StrictBool = Field(
        default=False,
        description="Whether links, addresses and names of tools that stand word for word in "
        "feedback may come in: only where no stranger can give any.",
    )


class MirrorPart(Part):
    """One place that an agent reads itself, and what every promotion puts there."""

    prompt: Text | None = Field(default=None, description="Name of the prompt to put there.")
    config: Text | None = Field(default=None, description="Or name of the config value.")
    namespace: Annotated[tuple[str, ...], BeforeValidator(_namespace)] | None = Field(
        default=None, description="Where it lies in the project's own store."
    )
    file: Text | None = Field(
        default=None, description="Or the YAML file it lies in, within the project's folder."
    )
    key: Text = Field(description="The store's key, or the file's top-level key.")
    field: Text | None = Field(
        default=None, description="The field of the store's value; its other fields stay."
    )

    @model_validator(mode="after")
    def _agree(self) -> MirrorPart:
        if (self.prompt is None) == (self.config is None):
            raise ValueError("needs either prompt or config: what to put there")
        if (self.namespace is None) == (self.file is None):
            raise ValueError("needs either namespace or file: where to put it")
        if (self.namespace is None) != (self.field is None):
            raise ValueError("needs a field with a namespace, and none with a file")
        return self


class RewardPart(Part):
    """The weights of the reward; `RewardSpec` says what they weigh."""

    success_weight: Weight = 1.0
    latency_weight: Weight = -0.5
    attempts_weight: Weight = -0.3
    cap: Annotated[Number, Field(gt=0, le=LARGEST_WEIGHT)] = 3.0


class Price(Part):
    """What a model costs, in USD per 1M tokens."""

    input: Annotated[Number, Field(ge=0)]
    output: Annotated[Number, Field(ge=0)]


class LimitsPart(Part):
    """What one cycle may spend on its model; a key that is left out limits nothing."""

    deadline_s: Annotated[Number, Field(gt=0, le=86400)] | None = None
    max_calls: Annotated[StrictInt, Field(ge=0)] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=0)] | None = None
    max_usd: Annotated[Number, Field(ge=0)] | None = None


class AgentPart(Part):
    """One agent; paths are relative to the project file."""

    prompts_file: Text | None = None
    config_file: Text | None = None
    traces: Annotated[tuple[str, ...], BeforeValidator(_sources)] = ()
    mapping: Text | None = None
    trace_agent: Text | None = None
    prompts: dict[str, PromptSpec] = Field(default_factory=dict)
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    write_files: StrictBool = False
    mirror: tuple[MirrorPart, ...] = ()

    @model_validator(mode="after")
    def _agree(self) -> AgentPart:
        if self.prompts_file is None and self.config_file is None:
            raise ValueError("needs a prompts_file, a config_file or both")
        if self.prompts and self.prompts_file is None:
            raise ValueError("has prompts, but no prompts_file that holds them")
        if self.parameters and self.config_file is None:
            raise ValueError("has parameters, but no config_file that holds them")
        if self.prompts_file is None and any(part.prompt for part in self.mirror):
            raise ValueError("has a prompt in mirror, but no prompts_file that holds it")
        if self.config_file is None and any(part.config for part in self.mirror):
            raise ValueError("has a config value in mirror, but no config_file that holds it")
        if self.mapping is not None and not self.traces:
            raise ValueError("has a mapping, but no traces it is for")
        if len(limits := step_limits(self.parameters)) > 1:
            raise ValueError(f"may have one step_limit, but has {' and '.join(limits)}")
        return self


class ProjectPart(Part):
    """The whole file."""

    project: Name
    model: Text | None = None
    store: Annotated[str, AfterValidator(_store)] = "sqlite:///.tracetune/memory.db"
    reward: RewardPart = RewardPart()
    min_traces: Annotated[StrictInt, Field(ge=1)] = 5
    limits: LimitsPart = LimitsPart()
    prices: dict[str, Price] = Field(default_factory=dict)
    agents: Annotated[dict[Name, AgentPart], Field(min_length=1)]


def step_limits(parameters: Mapping[str, Parameter]) -> list[str]:
    """Names of the parameters that limit the steps of a run."""
    return [name for name, parameter in parameters.items() if parameter.step_limit]


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
        return f"{_dotted(loc)}: a name {_expected(problem)}, but got {short(loc[-1])}"
    # Behind the keys of the file, pydantic adds which member of a union it tried.
    key, value = [], data
    for part in loc:
        in_list = isinstance(value, list) and isinstance(part, int)
        if not in_list and not (isinstance(value, dict) and part in value):
            break
        key.append(part)
        value = value[part]
    expected = _expected(problem)
    if isinstance(value, dict) and problem["type"] == "value_error":
        return f"{_dotted(key)}: {expected}"
    shown = _without_secrets(value) if key == ["store"] else short(value)
    return f"{_dotted(key)} {expected}, but got {shown}"


def _part_at(loc: tuple[str | int, ...]) -> type[BaseModel]:
    if len(loc) == 1:
        return ProjectPart
    if loc[0] == "reward":
        return RewardPart
    if loc[0] == "prices":
        return Price
    if len(loc) == 3:
        return AgentPart
    parts: dict[object, type[BaseModel]] = {"prompts": PromptSpec, "mirror": MirrorPart}
    return parts.get(loc[2], Parameter)


EXPECTED = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "too_short": "must name at least one",
    "tuple_type": "must be a list",
}


def _expected(problem: dict[str, Any]) -> str:
    if known := EXPECTED.get(problem["type"]):
        return known
    message = str(problem["msg"]).removeprefix("Value error, ")
    return message.replace("Input should be", "must be", 1)


def _dotted(loc: Any) -> str:
    return ".".join(str(part) for part in loc)


def _without_secrets(url: Any) -> str:
    scheme, mark, _ = str(url).partition("://")
    return f"{scheme}{mark}…" if mark else short(url)
