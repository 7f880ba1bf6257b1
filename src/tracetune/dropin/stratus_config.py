"""The settings of a Stratus meta-agent, and what they mean here."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, fields
from typing import Any

from tracetune.errors import InputError
from tracetune.traces.reward import RewardSpec

__all__ = ["LLMMetaAgentConfig", "model_name", "reward_of"]

_PROVIDERS = {
    "anthropic": "anthropic",
    "azure": "azure_openai",
    "bedrock": "bedrock_converse",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks_ai": "fireworks",
    "gemini": "google_genai",
    "groq": "groq",
    "huggingface": "huggingface",
    "mistral": "mistralai",
    "ollama": "ollama",
    "ollama_chat": "ollama",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together_ai": "together",
    "vertex_ai": "google_vertexai",
    "xai": "xai",
}
"""LiteLLM's name of a provider -> LangChain's."""

_FAMILIES = {
    "gemini-pro-flash": "",  # an alias that the models know themselves
    "gemini": "google_genai",
    "claude": "anthropic",
    "gpt": "openai",
}
"""How a model's name begins that comes without its provider -> LangChain's name of that."""

_NO_MEANING = ("confidence_threshold", "use_point_based_prompts", "points_storage_path")
_WEIGHTS = ("success_weight", "latency_weight", "attempts_weight")
_STRATUS_REWARD = RewardSpec(success_weight=2.0, latency_weight=-0.3, attempts_weight=-0.2)


@dataclass(slots=True)  # not frozen: Stratus' own is changed after it was made
class LLMMetaAgentConfig:
    """Stratus' own settings under their own names, in their own order.

    What has no meaning here is taken, and a warning says so when it is not left as it is.

    Raises:
        InputError: A number of traces is none, or a weight is no number.
        TypeError: There is no setting of that name.
    """

    learning_interval: int = 3600
    """Seconds between two cycles, for `should_start_learning_cycle`."""
    min_traces_for_analysis: int = 10
    """Runs there must be, of all agents together, for a cycle to begin."""
    confidence_threshold: float = 0.7
    """No meaning: a pattern is acted on when its q-value is at most 0.1."""
    enable_auto_updates: bool = True
    """Whether updates are applied; else they are only proposed."""
    backup_original_prompts: bool = True
    """Whether `configs/backups/` gets a copy of each file before the first cycle."""
    use_point_based_prompts: bool = True
    """No meaning: what was learned stands in a managed section of the prompt."""
    points_storage_path: str | None = None
    """No meaning: what is known of each guideline is kept with the releases."""
    llm_model: str = "gemini/gemini-2.5-flash"
    """`provider/name` as LiteLLM has it, `provider:name`, or `rules`."""
    use_llm_optimization: bool = True
    """Whether a model is asked; else the rules decide."""
    reward_spec: Any = None
    """Anything with the three weights: ours, Stratus' own. None: its default, 2.0, -0.3, -0.2."""
    optimize_prompts: bool = True
    """Whether prompts may change."""
    optimize_configs: bool = True
    """Whether configs may change."""
    min_traces_for_llm_optimization: int = 5
    """Runs an agent needs for a model to be asked about it; with fewer, the rules decide."""

    def __post_init__(self) -> None:
        for name in ("min_traces_for_analysis", "min_traces_for_llm_optimization"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number from 1 on, but is {value!r:.40}.")
        reward_of(self)
        usual = {field.name: field.default for field in fields(self)}
        idle = [name for name in _NO_MEANING if getattr(self, name) != usual[name]]
        if idle:
            told = f"{' and '.join(idle)} of LLMMetaAgentConfig: no effect here."
            warnings.warn(told, UserWarning, stacklevel=3)


def reward_of(config: LLMMetaAgentConfig) -> RewardSpec:
    """Return the reward with the same weights, on terms that lie in [0, 1].

    Stratus adds up seconds / 1000 and tool calls as they are, so that twenty calls at -0.2 weigh
    twice as much as success at 2.0. Here each term is a share of what is usual for the agent
    first: its weight is the most that it can cost.

    Raises:
        InputError: A weight is missing, or is no number.
    """
    given = config.reward_spec
    if given is None:
        return _STRATUS_REWARD
    if isinstance(given, RewardSpec):
        return given
    weights: dict[str, Any] = {name: getattr(given, name, None) for name in _WEIGHTS}
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise InputError(f"reward_spec.{name} must be a number, but is {weight!r:.40}.")
        if not math.isfinite(weight):
            raise InputError(f"reward_spec.{name} must be a finite number, but is {weight}.")
    return RewardSpec(**weights)


def model_name(name: str) -> str:
    """Return LangChain's `provider:name` of a model that LiteLLM calls `provider/name`.

    A name without a provider gets that of its family, where that is known. All else stays as it
    is: what no provider has is told when the model is set up.
    """
    provider, slash, model = name.partition("/")
    if slash and provider in _PROVIDERS:
        return f"{_PROVIDERS[provider]}:{model}"
    if slash and ":" not in provider:
        return f"{provider}:{model}"
    if ":" not in name:
        family = next((family for family in _FAMILIES if name.startswith(family)), "")
        if found := _FAMILIES.get(family):
            return f"{found}:{name}"
    return name
