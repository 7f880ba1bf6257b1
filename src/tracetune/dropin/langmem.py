"""langmem's prompt optimizers by their own names and arguments, with tracetune behind them.

https://langchain-ai.github.io/langmem/reference/prompt_optimization/ describes the originals.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable, RunnableConfig

from tracetune.dropin.engine import Engine, Kind
from tracetune.dropin.first_sizes import MADE
from tracetune.dropin.optimizing import Outcome, Task
from tracetune.dropin.trajectories import read_trajectories
from tracetune.errors import InputError
from tracetune.graph.context import Settings
from tracetune.nodes.guidelines import outside

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
    tools: Iterable[Any] = (),
    trusted_feedback: bool = True,
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
        tools: The agent's tools or their names: an update may name these, and those that the
            trajectories call.
        trusted_feedback: Whether an update may bring in links, addresses and names of tools that
            stand word for word in feedback, as where it is your own; False where strangers give it.

    Raises:
        InputError: `kind`, `config` or a tool is wrong.
        ModelError: The model's name is wrong, or its provider's package is not installed.
    """
    engine = Engine.of(model, kind, config, settings, tools, trusted_feedback=trusted_feedback)
    return MultiPromptOptimizer(engine)


def create_prompt_optimizer(
    model: str | BaseChatModel,
    /,
    *,
    kind: Kind = "gradient",
    config: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
    tools: Iterable[Any] = (),
    trusted_feedback: bool = True,
) -> PromptOptimizer:
    """Return an optimizer of one prompt: trajectories and a prompt in, its text out.

    Arguments and errors are those of `create_multi_prompt_optimizer`; nothing is chosen, so that
    a `when_to_update` counts only where it is `never`.
    """
    engine = Engine.of(model, kind, config, settings, tools, trusted_feedback=trusted_feedback)
    return PromptOptimizer(engine)


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
        return _optimized(prompts, task, self._engine.run(task, config))

    async def arun(
        self, input: Mapping[str, Any], config: RunnableConfig | None = None
    ) -> Optimized:
        """`run`, awaited."""
        prompts, task = await asyncio.to_thread(self._read, input)
        return _optimized(prompts, task, await self._engine.arun(task, config))

    def _read(self, given: Mapping[str, Any]) -> tuple[dict[str, Json], Task]:
        prompts = _named(self._prompts(given))
        traces = read_trajectories(_part(given, "trajectories"))
        texts = {name: prompt["prompt"] for name, prompt in prompts.items()}
        specs = {name: self._engine.spec(prompt) for name, prompt in prompts.items()}
        sizes = {name: _first_size(name, prompt) for name, prompt in prompts.items()}
        choose, tools = self._choose(prompts), self._engine.tools
        return prompts, Task(traces, texts, specs, choose, sizes, tools)

    @abstractmethod
    def _prompts(self, given: Mapping[str, Any]) -> Any: ...

    @abstractmethod
    def _choose(self, prompts: Mapping[str, Json]) -> bool: ...


class MultiPromptOptimizer(_Optimizer, Runnable[dict[str, Any], list[dict[str, Any]]]):
    """What `create_multi_prompt_optimizer` returns.

    Takes {"trajectories", "prompts"}; each prompt is {name, prompt} and, where there are any,
    when_to_update, update_instructions, template_format and first_size, the characters that it had
    at first. These and other keys are handed back as they came.
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
        return [prompt]

    def _choose(self, prompts: Mapping[str, Json]) -> bool:
        return False


def _part(given: Any, key: str) -> Any:
    if not isinstance(given, Mapping) or key not in given:
        raise InputError(f"The optimizer's input must hold {key!r}.")
    return given[key]


def _named(prompts: Any) -> dict[str, Json]:
    """The prompts by name; the second of a name is told apart by its number."""
    if isinstance(prompts, str | Mapping) or not isinstance(prompts, Iterable):
        raise InputError(f"prompts must be a list, but got {type(prompts).__name__}.")
    named: dict[str, Json] = {}
    given = list(prompts)
    for number, prompt in enumerate(given, start=1):
        record: Json = prompt if isinstance(prompt, dict) else {}
        name, text = record.get("name"), record.get("prompt")
        if name is None and len(given) == 1:
            name = "prompt"
        if not isinstance(name, str) or not isinstance(text, str):
            raise InputError(
                f"prompts[{number - 1}] must have a name and a prompt (texts), but got "
                f"{sorted(map(str, record)) if record else type(prompt).__name__}."
            )
        while name in named:
            name = f"{name} ({number})"
        named[name] = record
    return named


def _first_size(name: str, prompt: Mapping[str, Any]) -> int:
    size = prompt.get("first_size")
    if size is None:
        size = MADE.of(prompt["prompt"])
    if size is None:
        return len(outside(prompt["prompt"]))
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InputError(f"first_size of prompt {name!r} must be characters, but got {size!r:.40}.")
    return size


def _optimized(prompts: Mapping[str, Json], task: Task, outcome: Outcome) -> Optimized:
    new = outcome.prompts
    for name, text in new.items():
        if text != task.prompts[name]:
            MADE.note(text, task.first_sizes[name])
    return Optimized(
        [
            prompt if new[name] == prompt["prompt"] else {**prompt, "prompt": new[name]}
            for name, prompt in prompts.items()
        ],
        outcome,
    )
