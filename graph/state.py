"""The state, in slices: each says what it holds and which node writes it.

Everything in it is JSON, so that any checkpointer keeps it and Studio shows it as it is.
"""

from __future__ import annotations

import operator
from typing import Annotated, Any, Literal, NotRequired

from langgraph.channels import EphemeralValue
from typing_extensions import TypedDict

__all__ = [
    "Asked",
    "BranchTask",
    "Branches",
    "Candidate",
    "Candidates",
    "Choice",
    "Classified",
    "ConfigDraft",
    "ConfigTask",
    "CycleState",
    "Evidenced",
    "Fallback",
    "Ingested",
    "Judgeable",
    "Judged",
    "Left",
    "Leftover",
    "Measured",
    "Measures",
    "ModelCall",
    "PromptDraft",
    "PromptTask",
    "Proposed",
    "Reviewable",
    "Reviewed",
    "Shippable",
    "Shipped",
    "Subject",
]

Json = dict[str, Any]


class Asked(TypedDict, total=False):
    """The input, written by the caller; gone once `ingest_traces` has read it.

    Were it kept, what one cycle of a thread leaves out would be what an earlier one had asked for.
    """

    project: Annotated[str, EphemeralValue]
    agents: Annotated[list[str], EphemeralValue]
    inline: Annotated[Json, EphemeralValue]
    traces: Annotated[list[Json], EphemeralValue]
    strict: Annotated[bool, EphemeralValue]


class Subject(TypedDict):
    """One agent as the cycle found it."""

    agent: str
    prompts: dict[str, str]
    config: Json
    prompt_specs: dict[str, Json]
    parameters: dict[str, Json]
    guidelines: list[Json]
    """Those of the head; what stands in the prompts is what counts."""
    first_sizes: dict[str, int]
    """Characters of each prompt, outside its section, as a person last wrote it."""
    refs: Json
    """What the head's reward was measured against; empty when nothing was yet."""
    base: str | None
    """Id of the release in force; None for an agent that is skipped before anything is kept."""
    in_files: bool
    """Whether the project's files declare it, rather than the request."""
    source_hash: str
    """Content hash of what they, or the request, hold."""
    tools: list[str]
    other_tools: NotRequired[list[str]]
    """Tools that only other agents of this cycle have called."""
    traces: int
    set_aside: int
    redacted: NotRequired[dict[str, int]]
    """Kind of secret -> how many were taken out of the sources, which agents may share."""
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
    """The whole input, to read the traces again where a cycle resumes in another process.

    They hold no credentials here, and are gone when the cycle has ended."""
    project_name: str
    settings: Json
    """The settings in force: what the run asked for, over the project's, over the defaults."""
    cycle: str
    """Stands for this cycle: its branches share one budget."""
    subjects: dict[str, Subject]
    """By agent, in the project's order."""
    notes: Annotated[list[str], operator.add]
    """What a reader of the report should know, in the order it was noticed."""


class Measures(TypedDict):
    """What the runs of one agent say; its size does not grow with their number."""

    metrics: Json
    judged: NotRequired[int]
    """Runs of known outcome that patterns are found in: none that the user's doing or the
    infrastructure's made fail."""
    patterns: list[Json]
    """Strongest evidence first."""
    blames: list[Json]
    """What the rules hold against each prompt, highest first."""
    proposals: list[Json]
    """What the rules would do with each parameter that the runs can judge."""
    habits: NotRequired[list[Json]]
    """Each a `Habit`, strongest evidence first."""
    demonstrations: NotRequired[list[str]]
    """Records of runs that succeeded, best first; none where no prompt may show any."""
    runs: list[str]
    """A few runs as fenced text, in the order in which they are to be shown."""
    coverage: NotRequired[Json]
    """What those stand for: `failures` of the agent in all runs, those `sampled`, `clusters` of
    these, and for each of `runs` how many failures it shows, and the number of its cluster."""
    feedback: list[str]
    remarks: NotRequired[list[str]]
    """Feedback that stands beside the run it is about in `runs`, as it is shown there."""
    why_no_patterns: NotRequired[str]
    """One sentence where there are none."""


class Measured(TypedDict):
    """Written by `compute_metrics`, for the agents that have traces."""

    measured: dict[str, Measures]


class ModelCall(TypedDict):
    """One call of the model, answered or not."""

    branch: str
    agent: str
    """The agent it was made for; empty for one made for all."""
    model: str
    tokens_in: int | None
    tokens_out: int | None
    """None where nobody said how many; 0 where the server ended the call with an error."""
    seconds: float
    usd: float | None
    """What it cost; None where the model's price or the number of tokens is not known."""
    attempt: int
    """1 for the first call of a question, more for its retries."""
    error: str
    """Why it gave nothing usable; empty where it did."""


class Evidenced(Ingested, Measured):
    """What the classifiers read."""

    calls: Annotated[list[ModelCall], operator.add]


class Choice(TypedDict):
    """One prompt to update."""

    agent: str
    prompt: str
    why: str


class Classified(TypedDict):
    """Written by `classify_prompts` or `classify_by_rules`."""

    chosen: list[Choice]
    shown: NotRequired[dict[str, str]]
    """Agent -> how much of what failed the model was shown; without an entry, none was asked."""


class Fallback(TypedDict):
    """One branch in which asking the model gave nothing usable."""

    branch: str
    agent: str
    """The agent it worked for; empty for a branch that works for all."""
    error: str
    """What failed last, without anything the model or the provider said."""
    attempts: int
    """Calls the branch made; 0 where the budget allowed none."""
    used: str
    """The node that took over."""
    refused: NotRequired[list[str]]
    """What broke a rule in the answers, where that is why."""


class BranchTask(TypedDict):
    """What every branch is sent."""

    settings: Json
    cycle: str
    calls: list[ModelCall]
    """Those made before this branch began."""
    subject: Subject
    measures: Measures


class PromptTask(BranchTask):
    """What one `generate_update` branch is sent."""

    choice: Choice


class ConfigTask(BranchTask):
    """What one `optimize_config` branch is sent."""

    agent: str


class PromptDraft(TypedDict):
    """What one branch wants a prompt to hold."""

    agent: str
    prompt: str
    origin: Literal["llm", "rules"]
    text: NotRequired[str]
    """The whole prompt but for its section, rewritten; without it, that stays as it is."""
    style: NotRequired[str]
    """How a model was asked for it."""
    coverage: NotRequired[str]
    """How much of what failed the model was shown."""
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


class Branches(TypedDict):
    """Written by the branches side by side, in any order; emptied by `ingest_traces`."""

    prompt_drafts: Annotated[list[PromptDraft], operator.add]
    config_drafts: Annotated[list[ConfigDraft], operator.add]
    fallbacks: Annotated[list[Fallback], operator.add]
    calls: Annotated[list[ModelCall], operator.add]


class Left(TypedDict):
    """What is left to the rules, written where a branch fails; emptied by `ingest_traces`."""

    prompts_left: Annotated[list[Choice], operator.add]
    configs_left: Annotated[list[str], operator.add]
    """Agents whose config it is."""


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


class Candidates(Ingested, Measured, Branches):
    """What `assemble_candidates` reads."""


class Leftover(Ingested, Measured, Left):
    """What the rules read that take over from the branches."""

    calls: Annotated[list[ModelCall], operator.add]


class Judgeable(Ingested, Measured, Proposed):
    """What `validate_candidates` reads."""


class Reviewable(Ingested, Measured, Proposed, Judged):
    """What `review` reads."""


class Reviewed(TypedDict):
    """Written by `review`."""

    approved: list[str]
    comment: str
    """What the person said; empty when nobody was asked."""
    turned_down: str
    """Why the others are not approved; empty when nobody said."""


class Shipped(TypedDict):
    """Written by `checkpoint_versions`."""

    candidates: dict[str, Candidate]
    """As they were when they were released: a person may have edited them since."""
    verdicts: dict[str, Json]
    releases: dict[str, Json]
    """Agent -> {id, parent, files, mirrored, error}."""
    notes: Annotated[list[str], operator.add]


class Shippable(Ingested, Measured, Proposed, Judged, Reviewed, Branches):
    """What `checkpoint_versions` reads."""


class CycleState(
    Asked, Ingested, Measured, Classified, Branches, Left, Proposed, Judged, Reviewed, Shipped
):
    """All that flows through the graph, in the order it is written."""

    status: str
    summary: str
    results: list[Json]
    spent: Json
