"""What all tasks of one optimizer share: its machine, its model, its style and its limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from langchain_core.runnables import RunnableConfig

from tracetune.dropin.optimizer_config import checked_config
from tracetune.dropin.optimizing import Outcome, Task, outcome_of, state_for
from tracetune.dropin.small_machine import Machine, build_machine
from tracetune.dropin.tool_names import tool_names
from tracetune.errors import InputError, NoModelError
from tracetune.graph.context import Settings
from tracetune.nodes.calling.models import RULES_ONLY, guessed_model, name_of, resolve_model

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["Engine", "Kind"]

Json = dict[str, Any]
Kind = Literal["gradient", "metaprompt", "prompt_memory", "rewrite", "guidelines"]
"""The first three are langmem's own optimizers, the last two are tracetune's."""

_FORMATS = ("auto", "none", "f-string", "mustache", "jinja2")
_log = logging.getLogger("tracetune.dropin")


@dataclass(frozen=True, slots=True)
class Engine:
    """The machine with all that is the same for every task."""

    machine: Machine
    settings: Settings
    kind: Kind
    config: Mapping[str, Any]
    """langmem's own for the kind."""
    learner: str
    """Name of the model, or `rules`."""
    tools: tuple[str, ...]
    """Names of tools that the agent has, called or not."""
    trusted_feedback: bool

    @classmethod
    def of(
        cls,
        model: str | BaseChatModel,
        kind: str,
        config: Mapping[str, Any] | None,
        settings: Settings | None,
        tools: Iterable[Any] = (),
        *,
        trusted_feedback: bool = True,
    ) -> Engine:
        """Build it.

        Raises:
            InputError: The kind, the config or a tool is wrong.
            ModelError: The model's name is wrong, or its provider's package is not installed.
        """
        if kind not in get_args(Kind):
            raise InputError(f"kind must be one of {', '.join(get_args(Kind))}, but got {kind!r}.")
        found, settings = _model(model, settings or Settings())
        optimizer, calls = checked_config(kind, config)
        if calls is not None:
            settings = settings.model_copy(update={"optimizer_calls": calls})
        learner = name_of(found) if found is not None else settings.model
        names = tool_names(tools)
        machine = build_machine(found, settings)
        own = cast(Kind, kind)
        return cls(machine, settings, own, optimizer, learner, names, trusted_feedback)

    def spec(self, prompt: Mapping[str, Any]) -> Json:
        """How this prompt is to be updated, as nodes take it."""
        form = prompt.get("template_format")
        return {
            "when_to_update": str(prompt.get("when_to_update") or ""),
            "update_instructions": str(prompt.get("update_instructions") or ""),
            "template_format": form if form in _FORMATS else "auto",
            "style": self.kind,
            "optimizer": dict(self.config),
            "trusted_feedback": self.trusted_feedback,
        }

    def run(self, task: Task, config: RunnableConfig | None) -> Outcome:
        """Carry the task out; every call of the model has the config's callbacks and tags."""
        if (nothing := _nothing_to_do(task)) is not None:
            return _told(nothing)
        state = state_for(task, self.settings, self.learner)
        # Without a number, LangGraph takes as many threads as the machine has cores, and some.
        side_by_side: RunnableConfig = {"max_concurrency": len(task.prompts) + 1}
        done = self.machine.invoke(state, {**side_by_side, **(config or {})})
        return _told(outcome_of(task, done))

    async def arun(self, task: Task, config: RunnableConfig | None) -> Outcome:
        """`run`, awaited."""
        if (nothing := _nothing_to_do(task)) is not None:
            return _told(nothing)
        state = await asyncio.to_thread(state_for, task, self.settings, self.learner)
        return _told(outcome_of(task, await self.machine.ainvoke(state, config)))


def _model(model: str | BaseChatModel, settings: Settings) -> tuple[BaseChatModel | None, Settings]:
    """The model itself, or the settings with its name: its client belongs to one event loop."""
    from langchain_core.language_models import BaseChatModel

    if isinstance(model, BaseChatModel):
        return model, settings
    if not isinstance(model, str):
        # Of what wraps a model (bind, with_fallbacks), langmem asks too little to be taken over.
        kind = type(model).__name__
        raise InputError(f"model must be a chat model itself or a name, but got {kind}.")
    named = model == RULES_ONLY or ":" in model
    try:
        found = resolve_model(model) if named else guessed_model(model)
    except NoModelError as error:
        _log.warning("%s The rules alone will optimize prompts.", error)
        return None, settings.model_copy(update={"model": RULES_ONLY})
    return (None, settings.model_copy(update={"model": model})) if named else (found, settings)


def _nothing_to_do(task: Task) -> Outcome | None:
    if task.prompts and task.traces:
        return None
    told = "There is nothing in the trajectories to learn from."
    return Outcome(
        task.prompts, [], [], [told if task.prompts else "There are no prompts."], [], []
    )


def _told(outcome: Outcome) -> Outcome:
    """The outcome, once its caller can find in the log what they should not miss."""
    for fallback in outcome.fallbacks:
        used, error = fallback["used"], fallback["error"]
        if refused := fallback.get("refused"):
            error += f": {'; '.join(refused)}"
        _log.warning("%s: %s; %s was used instead.", fallback["branch"], error, used)
    for line in outcome.dropped:
        _log.warning("Not taken: %s", line)
    for line in outcome.notes:
        _log.info("%s", line)
    return outcome
