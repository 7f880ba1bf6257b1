"""A cycle's settings: the context schema, names and numbers only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tracetune.traces.reward import LARGEST_WEIGHT, RewardSpec

__all__ = ["DEFAULT_MODEL", "PROMPT_TOKENS", "Settings"]

DEFAULT_MODEL = "google_genai:gemini-flash-latest"
PROMPT_TOKENS = 8_000

Weight = Annotated[float, Field(ge=-LARGEST_WEIGHT, le=LARGEST_WEIGHT, allow_inf_nan=False)]


class Settings(BaseModel):
    """How a cycle runs. What is set here goes before what the project file says."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = Field(
        default=DEFAULT_MODEL,
        min_length=1,
        max_length=200,
        description="Chat model as provider:name, as LangChain's init_chat_model knows it; "
        "'rules' uses none.",
    )
    success_weight: Weight = Field(default=1.0, description="Weight of success in the reward.")
    latency_weight: Weight = Field(
        default=-0.5, description="Weight of latency in the reward; negative: faster."
    )
    attempts_weight: Weight = Field(default=-0.3, description="Weight of tool calls in the reward.")
    reward_cap: float = Field(
        default=3.0,
        gt=0,
        le=LARGEST_WEIGHT,
        allow_inf_nan=False,
        description="Multiple of the usual at which a run stops getting worse.",
    )
    min_traces: int = Field(
        default=5, ge=1, description="Fewest traces an agent needs to be tuned."
    )
    review: bool = Field(default=False, description="Stop before releasing and ask a person.")
    relearn: bool = Field(
        default=False, description="Learn again from traces that a release was already made from."
    )
    style: Literal["auto", "rewrite", "guidelines", "prompt_memory", "metaprompt", "gradient"] = (
        Field(
            default="auto",
            description="How a model writes updates of prompts that name no style of their own.",
        )
    )
    optimizer_calls: int = Field(
        default=4,
        ge=3,
        le=100,
        description="Most calls of the model for one prompt in langmem's styles.",
    )
    call_timeout_s: float = Field(
        default=90.0, gt=0, le=3600, description="Seconds one call of the model may take."
    )
    retries: int = Field(
        default=2, ge=0, le=10, description="How often a failed call of the model is tried again."
    )
    max_prompt_tokens: int = Field(
        default=PROMPT_TOKENS,
        ge=3000,
        le=1_000_000,
        description="Most tokens of what a call of the model is sent, however many the traces.",
    )
    deadline_s: float = Field(
        default=600.0,
        gt=0,
        le=86400,
        description="Seconds after which a cycle does not ask the model any more.",
    )
    max_calls: int | None = Field(
        default=None, ge=0, description="Most calls of the model per cycle; none means no limit."
    )
    max_tokens: int | None = Field(
        default=None, ge=0, description="Most tokens per cycle, of prompts and answers."
    )
    max_usd: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Most a cycle may cost, in USD; only models with a known price are asked then.",
    )

    @property
    def reward(self) -> RewardSpec:
        """The reward's weights."""
        return RewardSpec(
            self.success_weight, self.latency_weight, self.attempts_weight, self.reward_cap
        )

    def over(self, project: dict[str, Any]) -> Settings:
        """These settings, with the project's values wherever none was set explicitly."""
        chosen = {name: getattr(self, name) for name in self.model_fields_set}
        return Settings(**{**project, **chosen})
