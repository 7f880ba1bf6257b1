"""Agents that run under a release: a middleware for `create_agent`, and two plain functions."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, cast

from langchain.agents.middleware import hook_config
from langchain.agents.middleware.types import (
    AgentMiddleware,
    AgentState,
    ModelRequest,
    ModelResponse,
    PrivateStateAttr,
)
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import (
    ensure_config,
    merge_configs,
    var_child_runnable_config,
)
from langgraph.runtime import Runtime
from typing_extensions import TypedDict, override

from tracetune.errors import InputError, NotFoundError
from tracetune.stores.memory import AgentMemory
from tracetune.stores.project_file import nearest
from tracetune.stores.release import Release
from tracetune.stores.templates import TemplateFormat, check_format, filled

__all__ = ["AGENT_KEY", "RELEASE_KEY", "TunedPrompt", "atuned", "stamp", "tuned"]

AGENT_KEY = "tracetune_agent"
RELEASE_KEY = "tracetune_release"
"""In the metadata of runs and of the model's messages: what they ran under."""

ENDED_BY = "max_steps"
"""As traces call it when a step limit ended the run."""

Memory = AgentMemory | Callable[[Runtime[Any]], AgentMemory]


class Tuned(TypedDict):
    """What one run takes from its release; it stays when the head moves or the run is resumed."""

    agent: str
    release: str
    prompt: str
    step_limit: int | None
    """Model calls the run may make."""
    model_settings: dict[str, Any]


class TunedState(AgentState[Any]):
    """The agent's state, with what `TunedPrompt` keeps in it between the steps of a run."""

    tracetune: NotRequired[Annotated[Tuned | None, PrivateStateAttr]]
    tracetune_calls: NotRequired[Annotated[int, PrivateStateAttr]]


def tuned(memory: AgentMemory, *, label: str | None = None) -> Release:
    """Return the release in force, or the one that bears the label.

    Raises:
        NotFoundError: No release is in force, or none bears the label.
    """
    return memory.release if label is None else memory.labelled(label)


async def atuned(memory: AgentMemory, *, label: str | None = None) -> Release:
    """Return what `tuned` does, without blocking the event loop."""
    return await (memory.arelease() if label is None else memory.alabelled(label))


def stamp(config: RunnableConfig | None, release: Release) -> RunnableConfig:
    """Return a copy of the config whose metadata tell tracers the release that the run is under."""
    before = config or RunnableConfig()
    metadata = {**(before.get("metadata") or {}), **_mark(release.agent, release.id)}
    return cast(RunnableConfig, {**before, "metadata": metadata})


class TunedPrompt(AgentMiddleware[TunedState, Any, Any]):
    """Runs an agent made by `create_agent` under the release in force.

    The release is read once per run, so a promotion in between waits for the next run. Its
    prompt takes the place of the agent's own system prompt; put this middleware first in the
    list, or it also replaces what others added. The release's id stands in the metadata of
    every model call and in the `response_metadata` of every message of the model, under
    `tracetune_release`. While no release is in force, the agent's own system prompt is used and
    nothing is stamped.

    Args:
        memory: The agent's memory; or a function from the runtime to it, for a memory per user.
        prompt: Name of the prompt.
        label: Run under the release that bears it, not under the head.
        template_format: How to fill the prompt in, from the state and from the run's context
            (which goes first): the text, numbers, booleans, lists and mappings in them. `none`
            sends the text as it is.
        step_limit: Name of the config value that limits the model calls of a run. The call
            after the last is not made: the run ends with a message that says so.
        model_settings: Names of config values to send with each model call: `temperature`.

    Raises:
        InputError: The memory is no agent's; or the template format is unknown, or needs a package
            that is not installed. In a run: the limit is no whole number from 1, or a variable of
            the prompt has no value.
        NotFoundError: In a run: no release bears the label or has the prompt or the config value;
            or none is in force and the agent has no system prompt of its own.
    """

    state_schema = TunedState

    def __init__(
        self,
        memory: Memory,
        prompt: str = "main",
        *,
        label: str | None = None,
        template_format: TemplateFormat = "none",
        step_limit: str | None = None,
        model_settings: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if not isinstance(memory, AgentMemory) and not callable(memory):
            raise InputError(f"memory must be an agent's (`.agent(name)`), but got {memory!r:.60}.")
        check_format(template_format)
        self._memory = memory
        self._prompt = prompt
        self._label = label
        self._format = template_format
        self._step_limit = step_limit
        self._model_settings = tuple(model_settings)

    @override
    def before_agent(self, state: TunedState, runtime: Runtime[Any]) -> dict[str, Any]:
        memory = self._memory(runtime) if callable(self._memory) else self._memory
        if self._label is not None:
            return self._begin(memory.labelled(self._label))
        release: Release | None = None
        with contextlib.suppress(NotFoundError):
            release = memory.release
        return self._begin(release)

    @override
    async def abefore_agent(self, state: TunedState, runtime: Runtime[Any]) -> dict[str, Any]:
        memory = self._memory(runtime) if callable(self._memory) else self._memory
        if self._label is not None:
            return self._begin(await memory.alabelled(self._label))
        release: Release | None = None
        with contextlib.suppress(NotFoundError):
            release = await memory.arelease()
        return self._begin(release)

    @hook_config(can_jump_to=["end"])
    @override
    def before_model(self, state: TunedState, runtime: Runtime[Any]) -> dict[str, Any]:
        run, calls = state.get("tracetune"), state.get("tracetune_calls", 0)
        limit = run and run["step_limit"]
        if not run or limit is None or calls < limit:
            return {"tracetune_calls": calls + 1}
        said = f"Stopped: this run has made the {limit} model calls that {self._step_limit} allows."
        mark = _mark(run["agent"], run["release"]) | {"ended_by": ENDED_BY}
        return {"jump_to": "end", "messages": [AIMessage(said, response_metadata=mark)]}

    @hook_config(can_jump_to=["end"])
    @override
    async def abefore_model(self, state: TunedState, runtime: Runtime[Any]) -> dict[str, Any]:
        return self.before_model(state, runtime)

    @override
    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        if (run := self._run(request)) is None:
            return handler(request)
        mark = _mark(run["agent"], run["release"])
        with _in_metadata(mark):
            return _marked(handler(self._tuned(request, run)), mark)

    @override
    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        if (run := self._run(request)) is None:
            return await handler(request)
        mark = _mark(run["agent"], run["release"])
        with _in_metadata(mark):
            return _marked(await handler(self._tuned(request, run)), mark)

    def _begin(self, release: Release | None) -> dict[str, Any]:
        run = None if release is None else self._taken(release)
        return {"tracetune": run, "tracetune_calls": 0}

    def _taken(self, release: Release) -> Tuned:
        settings = {name: _value(release, "config", name) for name in self._model_settings}
        return Tuned(
            agent=release.agent,
            release=release.id,
            prompt=_value(release, "prompts", self._prompt),
            step_limit=_limit(release, self._step_limit) if self._step_limit else None,
            model_settings=settings,
        )

    def _run(self, request: ModelRequest[Any]) -> Tuned | None:
        run = cast(TunedState, request.state).get("tracetune")
        if run is None and request.system_message is None:
            raise NotFoundError(
                f"Memory has no release in force to take the prompt {self._prompt!r} from, and the"
                " agent has no system_prompt of its own to begin with."
            )
        return run

    def _tuned(self, request: ModelRequest[Any], run: Tuned) -> ModelRequest[Any]:
        text = run["prompt"]
        if self._format != "none":
            where = f"Prompt {self._prompt!r} of release {run['release']}"
            text = filled(text, self._format, _variables(request), where)
        return request.override(
            system_message=SystemMessage(text),
            model_settings={**request.model_settings, **run["model_settings"]},
        )


def _value(release: Release, half: Literal["prompts", "config"], name: str) -> Any:
    values: Mapping[str, Any] = getattr(release, half)
    if name not in values:
        raise NotFoundError(
            f"Release {release.id} of agent {release.agent!r} has no {name!r} in its {half}"
            f" ({nearest(name, list(values))})."
        )
    return values[name]


def _limit(release: Release, name: str) -> int:
    limit = _value(release, "config", name)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InputError(
            f"{name} of release {release.id} of agent {release.agent!r} must be a whole number"
            f" from 1 to limit model calls, but is {limit!r:.40}."
        )
    return limit


def _mark(agent: str, release: str) -> dict[str, str]:
    return {AGENT_KEY: agent, RELEASE_KEY: release}


@contextlib.contextmanager
def _in_metadata(mark: dict[str, str]) -> Iterator[None]:
    """Put the mark into the metadata of every run that starts within."""
    config = merge_configs(ensure_config(), {"metadata": dict(mark)})
    token = var_child_runnable_config.set(config)
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


def _marked(response: ModelResponse[Any], mark: dict[str, str]) -> ModelResponse[Any]:
    def marked(message: BaseMessage) -> BaseMessage:
        if not isinstance(message, AIMessage):
            return message
        metadata = message.response_metadata | mark
        return message.model_copy(update={"response_metadata": metadata})

    return dataclasses.replace(response, result=[marked(message) for message in response.result])


def _variables(request: ModelRequest[Any]) -> dict[str, Any]:
    state = {k: v for k, v in request.state.items() if k not in TunedState.__annotations__}
    context = getattr(request.runtime, "context", None)
    if context is None or isinstance(context, Mapping):
        return {**state, **(context or {})}
    kind = type(context)  # a dataclass or a pydantic model, as LangGraph has it
    names = getattr(kind, "__dataclass_fields__", None) or getattr(kind, "model_fields", {})
    return {**state, **{name: getattr(context, name) for name in names}}
