"""What a cycle takes in and gives back: the schemas of its input, its review and its report."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tracetune.graph.state import Fallback, Json, ModelCall
from tracetune.stores.project import Parameter, PromptSpec

__all__ = [
    "AgentResult",
    "Change",
    "CycleInput",
    "CycleReport",
    "InlineAgent",
    "ReviewAnswer",
    "Spent",
]


class InlineAgent(BaseModel):
    """An agent carried by the request itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: dict[str, str] = Field(
        default_factory=dict, description="Prompt texts by name.", examples=[{"main": "You are …"}]
    )
    config: Json = Field(default_factory=dict, description="Config values by name.")
    prompt_specs: dict[str, PromptSpec] = Field(
        default_factory=dict, description="When and how each prompt may be updated."
    )
    parameters: dict[str, Parameter] = Field(
        default_factory=dict, description="Type, bounds and choices of config values."
    )


class CycleInput(BaseModel):
    """What to tune: agents of the server's own project, or agents carried inline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: str = Field(
        default="",
        description="Name of the server's project; with `inline`, the name memory is kept under.",
    )
    agents: list[str] = Field(
        default_factory=list, description="Agents of the project to tune; none named means all."
    )
    inline: dict[str, InlineAgent] = Field(
        default_factory=dict, description="Agents carried by the request, by name."
    )
    traces: list[Json] = Field(
        default_factory=list,
        description="Their runs, as canonical traces or in any format that is read.",
    )
    strict: bool = Field(
        default=False, description="Stop at the first trace record that cannot be used."
    )


class ReviewAnswer(BaseModel):
    """A person's answer to the review."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    approve: bool = Field(description="Release what is shown.")
    only: list[str] | None = Field(
        default=None,
        description="Agents the approval is limited to: an empty list approves none; null, all.",
    )
    comment: str = Field(default="", description="Why; kept in the journal.")


class Change(BaseModel):
    """One prompt or parameter that differs between the base and the candidate."""

    kind: Literal["prompt", "config"]
    name: str
    before: Any
    after: Any
    why: list[str]
    origin: Literal["llm", "rules", "human"]
    """`human` for what a person edited before the release."""
    style: str = ""
    """How a model was asked for a prompt's text; `by hand` where a person edited it."""
    characters: int = 0
    """What a diff takes out of a prompt and puts in, together."""
    share: float = 0.0
    """Of the characters of both texts, in [0, 1]."""


class AgentResult(BaseModel):
    """What the cycle found and did for one agent."""

    agent: str
    outcome: Literal[
        "released",
        "no change",
        "not enough traces",
        "nothing new",
        "refused",
        "rejected",
        "failed",
    ]
    detail: str
    """One line that says why."""
    traces: int
    set_aside: int
    """Records that could not be read."""
    redacted: dict[str, int] = {}
    """Kind of secret -> how many were taken out of its sources, which agents may share."""
    metrics: Json | None = None
    patterns: list[Json] = []
    """The strongest, strongest first."""
    why_no_patterns: str = ""
    """One sentence where there are none."""
    coverage: str = ""
    """How much of what failed a model was shown, at most; empty where none was asked."""
    changes: list[Change] = []
    dropped: list[str] = []
    verdict: Json | None = None
    base: str | None = None
    """Release the candidate was built on."""
    release: str | None = None
    files: list[str] = []
    """YAML files written, relative to the project's folder."""
    mirrored: list[str] = []
    """Other places that hold it now, or why they do not, one line each."""


class Spent(BaseModel):
    """What the model's calls of a cycle took together, also those that failed."""

    calls: int = 0
    failed_calls: int = 0
    """Calls that gave nothing usable."""
    retries: int = 0
    """Calls that asked a question again."""
    tokens_in: int = 0
    tokens_out: int = 0
    unmetered_calls: int = 0
    """Calls of whose tokens nobody said anything: with any, tokens and USD are lower bounds."""
    usd: float | None = 0.0
    """None where a model that took tokens has no known price."""
    unpriced_models: list[str] = []
    """Those models, sorted."""
    seconds: float = 0.0
    """The calls' seconds added up; branches call side by side."""


class CycleReport(BaseModel):
    """What a cycle found, changed and kept."""

    status: Literal["released", "no change", "failed"]
    summary: str
    """One paragraph."""
    results: list[AgentResult]
    notes: list[str]
    fallbacks: list[Fallback]
    calls: list[ModelCall]
    spent: Spent = Spent()
