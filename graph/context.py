"""A cycle's settings: the context schema, names and numbers only."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tracetune.traces.reward import RewardSpec

__all__ = ["DEFAULT_MODEL", "Settings"]

DEFAULT_MODEL = "google_genai:gemini-flash-latest"


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
    success_weight: float = Field(
        default=1.0, allow_inf_nan=False, description="Weight of success in the reward."
    )
    latency_weight: float = Field(
        default=-0.5,
        allow_inf_nan=False,
        description="Weight of latency in the reward; negative: faster.",
    )
    attempts_weight: float = Field(
        default=-0.3, allow_inf_nan=False, description="Weight of tool calls in the reward."
    )
    reward_cap: float = Field(
        default=3.0, gt=0, description="Multiple of the usual at which a run stops getting worse."
    )
    min_traces: int = Field(
        default=5, ge=1, description="Fewest traces an agent needs to be tuned."
    )
    review: bool = Field(default=False, description="Stop before releasing and ask a person.")
    relearn: bool = Field(
        default=False, description="Learn again from traces that a release was already made from."
    )
    call_timeout_s: float = Field(
        default=90.0, gt=0, le=3600, description="Seconds one call of the model may take."
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
