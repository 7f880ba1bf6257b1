"""langmem's prompt optimizers by their own names and arguments, with tracetune behind them.

https://langchain-ai.github.io/langmem/reference/prompt_optimization/ describes the originals.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable, RunnableConfig

from tracetune.dropin.engine import Engine, Kind
from tracetune.dropin.optimizing import Outcome, Task
from tracetune.dropin.trajectories import read_trajectories
from tracetune.errors import InputError
from tracetune.graph.context import Settings

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = [
    "MultiPromptOptimizer",
    "Optimized",
    "PromptOptimizer",
    "create_multi_prompt_optimizer",
    "create_prompt_optimizer",
]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Optimized:
    """The prompts, and what was done to get them."""

    prompts: list[Json]
    """In the order they came, with all the keys they came with."""
    outcome: Outcome
    """Changes with their reasons, what was refused, what fell back to rules, every call."""


def create_multi_prompt_optimizer(
    model: str | BaseChatModel,
    /,
    *,
    kind: Kind = "gradient",
    config: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
) -> MultiPromptOptimizer:
    """Return an optimizer of several prompts: trajectories and prompts in, the same prompts out.

    One call of the model decides which prompts to update, and they are updated side by side. A
    prompt whose update fails or breaks a guard stays as it is, or gets what the rules can say; the
    others keep theirs.

    Args:
        model: A chat model, or its name as LangChain's `init_chat_model` knows it. Where it has no
            key, the rules do what they can, and the log says so.
        kind: How an update is written.
        config: For `gradient` and `metaprompt`, as langmem's: `max_reflection_steps`,
            `min_reflection_steps`, `metaprompt`, `gradient_prompt`.
        settings: Limits on time, calls, tokens and money, for each `invoke`.

    Raises:
        InputError: `kind` or `config` is wrong.
        ModelError: The model's name is wrong, or its provider's package is not installed.
    """
    return MultiPromptOptimizer(Engine.of(model, kind, config, settings))


def create_prompt_optimizer(
    model: str | BaseChatModel,
    /,
    *,
    kind: Kind = "gradient",
    config: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
) -> PromptOptimizer:
    """Return an optimizer of one prompt: trajectories and a prompt in, its text out.

    Arguments and errors are those of `create_multi_prompt_optimizer`; nothing is chosen, so that
    a `when_to_update` counts only where it is `never`.
    """
    return PromptOptimizer(Engine.of(model, kind, config, settings))


class _Optimizer:
    """What both optimizers do alike."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, input: Mapping[str, Any], config: RunnableConfig | None = None) -> Optimized:
        """What `invoke` works with: the prompts, and what was done to get them.

        Raises:
            InputError: The input lacks a key, or holds something that cannot be read.
        """
        prompts, task = self._read(input)
        return _optimized(prompts, self._engine.run(task, config))

    async def arun(
        self, input: Mapping[str, Any], config: RunnableConfig | None = None
    ) -> Optimized:
        """`run`, awaited."""
        prompts, task = await asyncio.to_thread(self._read, input)
        return _optimized(prompts, await self._engine.arun(task, config))

    def _read(self, given: Mapping[str, Any]) -> tuple[dict[str, Json], Task]:
        prompts = _named(self._prompts(given))
        traces = read_trajectories(_part(given, "trajectories"))
        texts = {name: prompt["prompt"] for name, prompt in prompts.items()}
        specs = {name: self._engine.spec(prompt) for name, prompt in prompts.items()}
        return prompts, Task(traces, texts, specs, self._choose(prompts))

    @abstractmethod
    def _prompts(self, given: Mapping[str, Any]) -> Any: ...

    @abstractmethod
    def _choose(self, prompts: Mapping[str, Json]) -> bool: ...


class MultiPromptOptimizer(_Optimizer, Runnable[dict[str, Any], list[dict[str, Any]]]):
    """What `create_multi_prompt_optimizer` returns.

    Takes {"trajectories", "prompts"}; each prompt is {name, prompt} and, where there are any,
    when_to_update, update_instructions and template_format. Other keys are handed back as they
    came.
    """

    def invoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[dict[str, Any]]:
        """Return the prompts in their order, those with evidence against them updated.

        Raises:
            InputError: The input lacks a key, or holds something that cannot be read.
        """
        return self.run(input, config).prompts

    async def ainvoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[dict[str, Any]]:
        """`invoke`, awaited."""
        return (await self.arun(input, config)).prompts

    async def __call__(
        self, trajectories: Any, prompts: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """`await optimizer(trajectories, prompts)`."""
        return await self.ainvoke({"trajectories": trajectories, "prompts": prompts})

    def _prompts(self, given: Mapping[str, Any]) -> Any:
        return _part(given, "prompts")

    def _choose(self, prompts: Mapping[str, Json]) -> bool:
        return len(prompts) > 1 or any(p.get("when_to_update") for p in prompts.values())


class PromptOptimizer(_Optimizer, Runnable[dict[str, Any], str]):
    """What `create_prompt_optimizer` returns: takes {"trajectories", "prompt"}.

    The prompt is a text, or a dict as a `MultiPromptOptimizer` takes them.
    """

    def invoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> str:
        """Return the prompt's text, updated where the evidence speaks against it.

        Raises:
            InputError: The input lacks a key, or holds something that cannot be read.
        """
        return str(self.run(input, config).prompts[0]["prompt"])

    async def ainvoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> str:
        """`invoke`, awaited."""
        return str((await self.arun(input, config)).prompts[0]["prompt"])

    async def __call__(self, trajectories: Any, prompt: str | Mapping[str, Any]) -> str:
        """`await optimizer(trajectories, prompt)`."""
        return await self.ainvoke({"trajectories": trajectories, "prompt": prompt})

    def _prompts(self, given: Mapping[str, Any]) -> Any:
        prompt = _part(given, "prompt")
        if isinstance(prompt, str):
            return [{"name": "prompt", "prompt": prompt}]
        return [{"name": "prompt", **prompt} if isinstance(prompt, Mapping) else prompt]

    def _choose(self, prompts: Mapping[str, Json]) -> bool:
        return False


def _part(given: Any, key: str) -> Any:
    if not isinstance(given, Mapping) or key not in given:
        raise InputError(f"The optimizer's input must hold {key!r}.")
    return given[key]


def _named(prompts: Any) -> dict[str, Json]:
    """The prompts by name; the second of a name is told apart by its number."""
    if isinstance(prompts, str | Mapping) or not isinstance(prompts, Sequence):
        raise InputError(f"prompts must be a list, but got {type(prompts).__name__}.")
    named: dict[str, Json] = {}
    for number, prompt in enumerate(prompts, start=1):
        record: Json = prompt if isinstance(prompt, dict) else {}
        name, text = record.get("name"), record.get("prompt")
        if not isinstance(name, str) or not isinstance(text, str):
            raise InputError(
                f"prompts[{number - 1}] must have a name and a prompt (texts), but got "
                f"{sorted(map(str, record)) if record else type(prompt).__name__}."
            )
        while name in named:
            name = f"{name} ({number})"
        named[name] = record
    return named


def _optimized(prompts: Mapping[str, Json], outcome: Outcome) -> Optimized:
    new = outcome.prompts
    return Optimized(
        [
            prompt if new[name] == prompt["prompt"] else {**prompt, "prompt": new[name]}
            for name, prompt in prompts.items()
        ],
        outcome,
    )
