"""The state, in slices: each says what it holds and which node writes it.

Everything in it is JSON, so that any checkpointer keeps it and Studio shows it as it is.
"""

from __future__ import annotations

import operator
from typing import Annotated, Any, Literal

from langgraph.channels import EphemeralValue
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from tracetune.stores.project import Parameter, PromptSpec

__all__ = [
    "AgentResult",
    "Asked",
    "Branches",
    "Candidate",
    "Candidates",
    "Change",
    "Choice",
    "Classified",
    "ConfigDraft",
    "ConfigTask",
    "CycleInput",
    "CycleReport",
    "CycleState",
    "Evidenced",
    "Fallback",
    "Ingested",
    "InlineAgent",
    "Judgeable",
    "Judged",
    "Measured",
    "Measures",
    "ModelCall",
    "PromptDraft",
    "PromptTask",
    "Proposed",
    "ReviewAnswer",
    "Reviewable",
    "Reviewed",
    "Shippable",
    "Shipped",
    "Subject",
]

Json = dict[str, Any]


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


class Asked(TypedDict, total=False):
    """The input, written by the caller; gone once `ingest_traces` has read it.

    Were it kept, what one cycle of a thread leaves out would be what an earlier one had asked for.
    """

    project: Annotated[str, EphemeralValue]
    agents: Annotated[list[str], EphemeralValue]
    inline: Annotated[Json, EphemeralValue]
    traces: Annotated[list[Json], EphemeralValue]


class Subject(TypedDict):
    """One agent as the cycle found it."""

    agent: str
    prompts: dict[str, str]
    config: Json
    prompt_specs: dict[str, Json]
    parameters: dict[str, Json]
    guidelines: list[Json]
    """Those of the head; what stands in the prompts is what counts."""
    refs: Json
    """What the head's reward was measured against; empty when nothing was yet."""
    base: str | None
    """Id of the release in force; None for an agent that is skipped before anything is kept."""
    in_files: bool
    """Whether the project's files declare it, rather than the request."""
    source_hash: str
    """Content hash of what they, or the request, hold."""
    tools: list[str]
    traces: int
    set_aside: int
    digest: str
    """Stands for the content of the traces."""
    learner: str
    """The model that decides, or `rules`."""
    skip: str
    """Why the cycle learns nothing for it; empty when it does."""
    detail: str


class Ingested(TypedDict):
    """Written by `ingest_traces`."""

    request: Json
    """The whole input, to read the traces again where a cycle resumes in another process."""
    project_name: str
    settings: Json
    """The settings in force: what the run asked for, over the project's, over the defaults."""
    subjects: dict[str, Subject]
    """By agent, in the project's order."""
    notes: Annotated[list[str], operator.add]
    """What a reader of the report should know, in the order it was noticed."""


class Measures(TypedDict):
    """What the runs of one agent say; its size does not grow with their number."""

    metrics: Json
    patterns: list[Json]
    """Strongest evidence first."""
    blames: list[Json]
    """What the rules hold against each prompt, highest first."""
    proposals: list[Json]
    """What the rules would do with each parameter that the runs can judge."""
    runs: list[str]
    """A few runs as fenced text, failures first."""
    feedback: list[str]


class Measured(TypedDict):
    """Written by `compute_metrics`, for the agents that have traces."""

    measured: dict[str, Measures]


class Evidenced(Ingested, Measured):
    """What the classifiers read."""


class Choice(TypedDict):
    """One prompt to update."""

    agent: str
    prompt: str
    why: str


class Classified(TypedDict):
    """Written by `classify_prompts` or `classify_by_rules`."""

    chosen: list[Choice]


class PromptTask(TypedDict):
    """What one `generate_update` branch is sent."""

    choice: Choice
    settings: Json
    subject: Subject
    measures: Measures


class ConfigTask(TypedDict):
    """What one `optimize_config` branch is sent."""

    agent: str
    settings: Json
    subject: Subject
    measures: Measures


class PromptDraft(TypedDict):
    """The guidelines that one branch wants a prompt to hold."""

    agent: str
    prompt: str
    origin: Literal["llm", "rules"]
    guidelines: list[Json]
    """All of them, in order; each {id, prompt, text, evidence, origin}."""
    why: list[str]
    """One sentence per difference."""
    dropped: list[str]
    """What was proposed and not taken, with the reason."""


class ConfigDraft(TypedDict):
    """The config values that one branch wants an agent to have."""

    agent: str
    origin: Literal["llm", "rules"]
    proposals: list[Json]
    """Each a `ConfigProposal` that changes something."""
    dropped: list[str]
    """What was proposed and not taken, with the reason."""


class Fallback(TypedDict):
    """One branch whose LLM call failed."""

    branch: str
    agent: str
    """The agent it worked for; empty for a branch that works for all."""
    error: str
    """What failed, without anything the model or the provider said."""
    attempts: int
    used: str
    """The node that took over."""


class ModelCall(TypedDict):
    """One call of the model that answered."""

    branch: str
    agent: str
    """As in `Fallback`."""
    model: str
    tokens_in: int | None
    tokens_out: int | None
    seconds: float


class Branches(TypedDict):
    """Written by the branches side by side, in any order; emptied by `ingest_traces`."""

    prompt_drafts: Annotated[list[PromptDraft], operator.add]
    config_drafts: Annotated[list[ConfigDraft], operator.add]
    fallbacks: Annotated[list[Fallback], operator.add]
    calls: Annotated[list[ModelCall], operator.add]


class Candidate(TypedDict):
    """One agent's bundle as it would be released."""

    prompts: dict[str, str]
    config: Json
    guidelines: list[Json]
    changes: list[Json]
    """Each a `Change`."""
    dropped: list[str]


class Proposed(TypedDict):
    """Written by `assemble_candidates`."""

    candidates: dict[str, Candidate]
    """By agent, for all that were not skipped; `changes` is empty where nothing would change."""


class Judged(TypedDict):
    """Written by `validate_candidates`."""

    verdicts: dict[str, Json]
    """Agent -> the verdict, with `survives` and the violations found."""


class Candidates(Ingested, Branches):
    """What `assemble_candidates` reads."""


class Judgeable(Ingested, Measured, Proposed):
    """What `validate_candidates` reads."""


class Reviewable(Ingested, Proposed, Judged):
    """What `review` reads."""


class ReviewAnswer(BaseModel):
    """A person's answer to the review."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    approve: bool = Field(description="Release what is shown.")
    only: list[str] = Field(
        default_factory=list, description="Agents the approval is limited to; none named means all."
    )
    comment: str = Field(default="", description="Why; kept in the journal.")


class Reviewed(TypedDict):
    """Written by `review`."""

    approved: list[str]
    comment: str
    """What the person said; empty when nobody was asked."""


class Shipped(TypedDict):
    """Written by `checkpoint_versions`."""

    releases: dict[str, Json]
    """Agent -> {id, parent, files, mirrored, error}."""


class Shippable(Ingested, Measured, Proposed, Judged, Reviewed, Branches):
    """What `checkpoint_versions` reads."""


class Change(BaseModel):
    """One prompt or parameter that differs between the base and the candidate."""

    kind: Literal["prompt", "config"]
    name: str
    before: Any
    after: Any
    why: list[str]
    origin: Literal["llm", "rules"]


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
    metrics: Json | None = None
    patterns: list[Json] = []
    """The strongest, strongest first."""
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


class CycleReport(BaseModel):
    """What a cycle found, changed and kept."""

    status: Literal["released", "no change", "failed"]
    summary: str
    """One paragraph."""
    results: list[AgentResult]
    notes: list[str]
    fallbacks: list[Fallback]
    calls: list[ModelCall]


class CycleState(
    Asked, Ingested, Measured, Classified, Branches, Proposed, Judged, Reviewed, Shipped
):
    """All that flows through the graph, in the order it is written."""

    status: str
    summary: str
    results: list[Json]
