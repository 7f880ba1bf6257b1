"""The chat model: found by name, asked for structured answers, its failures told apart."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from os import environ
from typing import TYPE_CHECKING, Any, TypeVar

from langgraph.runtime import get_runtime
from pydantic import BaseModel

from tracetune.errors import ModelError, NoModelError, ReplyError, TraceTuneError
from tracetune.graph.context import DEFAULT_MODEL
from tracetune.graph.state import ModelCall

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = [
    "RULES_ONLY",
    "Branch",
    "CallError",
    "ask",
    "describe",
    "name_of",
    "resolve_model",
    "unusable",
    "worth_retrying",
]

RULES_ONLY = "rules"
ALIASES = {"gemini-pro-flash": DEFAULT_MODEL}
"""Names that older projects use."""

Answer = TypeVar("Answer", bound=BaseModel)


class CallError(TraceTuneError):
    """A call of the model gave nothing usable.

    The message says what failed and quotes neither the provider nor the model: their words may
    hold a key or a prompt.
    """

    def __init__(self, message: str, attempts: int = 1, again: bool = False) -> None:
        super().__init__(message, attempts, again)
        self.attempts = attempts
        self.again = again
        """Whether another try may help."""

    def __str__(self) -> str:
        return str(self.args[0])


def resolve_model(name: str) -> BaseChatModel:
    """Return the chat model that `init_chat_model` makes of `provider:name`.

    Raises:
        ModelError: The provider is unknown or its package is not installed.
        NoModelError: There is no key for it, or none is wanted (`rules`).
    """
    if name == RULES_ONLY:
        raise NoModelError("No model is wanted (model: rules).")
    full = ALIASES.get(name, name)
    provider, _, model = full.partition(":")
    if not (provider and model):
        raise ModelError(f"model must be provider:name (like {DEFAULT_MODEL}), but got {name!r}.")
    if provider == "google_genai" and not any(
        n.startswith(("GOOGLE_", "GEMINI_")) for n in environ
    ):
        # Said before its client is loaded: that takes longer than a cycle on rules.
        raise NoModelError(f"No API key for {provider}: {_key_hint(provider)}")
    from langchain.chat_models import init_chat_model

    try:
        # Retries are the graph's: two layers of them would multiply.
        return init_chat_model(model, model_provider=provider, max_retries=1)
    except ImportError as error:
        missing = getattr(error, "name", None) or f"its package ({_package(error)})"
        raise ModelError(f"model {name!r} needs {missing}, which is not installed.") from None
    except Exception as error:
        # What the provider's package says may hold a key: it is read here and never shown.
        told = str(error).casefold()
        if "unsupported provider" in told:
            raise ModelError(
                f"model must name a provider LangChain knows, but got {provider!r} in {name!r}."
            ) from None
        if any(word in told for word in ("key", "credential", "token")):
            raise NoModelError(f"No API key for {provider}: {_key_hint(provider)}") from None
        raise ModelError(f"model {name!r} cannot be set up ({type(error).__name__}).") from None


def _package(error: ImportError) -> str:
    words = [word.strip("`.") for word in str(error).split()]
    return next((word for word in words if word.startswith("langchain-")), "unknown")


def _key_hint(provider: str) -> str:
    if provider == "google_genai":
        return "set GOOGLE_API_KEY or GEMINI_API_KEY to use it."
    return "set the provider's key to use it."


async def ask(
    model: BaseChatModel, schema: type[Answer], prompt: str, *, branch: Branch, timeout_s: float
) -> tuple[Answer, ModelCall]:
    """Return the model's answer in the schema, and what the call cost.

    Raises:
        CallError: No answer in time, an error of the provider, or an answer that does not fit.
    """
    started = time.perf_counter()
    try:
        structured = model.with_structured_output(schema, include_raw=True)
        async with asyncio.timeout(timeout_s):
            reply: Any = await structured.ainvoke(prompt)
        answer = _parsed(reply, schema)
    except Exception as error:
        again = _may_go_otherwise(error)
        raise CallError(describe(error, timeout_s), _attempt(), again) from error
    usage = getattr(reply["raw"], "usage_metadata", None) or {}
    call = ModelCall(
        branch=str(branch),
        agent=branch.agent,
        model=name_of(model),
        tokens_in=usage.get("input_tokens"),
        tokens_out=usage.get("output_tokens"),
        seconds=round(time.perf_counter() - started, 3),
    )
    return answer, call


def unusable(what: str) -> CallError:
    """The error for an answer that fits its form and still cannot be used; `what` says why."""
    return CallError(what, _attempt(), again=True)


def _attempt() -> int:
    info = get_runtime().execution_info
    return info.node_attempt if info else 1


def _parsed(reply: Any, schema: type[Answer]) -> Answer:
    parsed = reply["parsed"]
    if parsed is None:
        error = reply.get("parsing_error")
        raise ReplyError("no answer in the asked form") from error
    return parsed if isinstance(parsed, schema) else schema.model_validate(parsed)


def name_of(model: BaseChatModel) -> str:
    """The model's own name, without its provider's."""
    return str(
        getattr(model, "model_name", None) or getattr(model, "model", None) or model._llm_type
    )


@dataclass(frozen=True, slots=True)
class Branch:
    """One part of the cycle that calls the model."""

    node: str
    agent: str = ""
    """Empty for a branch that works for all agents."""
    prompt: str = ""

    def __str__(self) -> str:
        return f"{self.node} {self.agent}/{self.prompt}".rstrip("/ ")


def worth_retrying(error: BaseException) -> bool:
    """Whether the graph should try a node again: only a call of the model may go otherwise."""
    return isinstance(error, CallError) and error.again


def _may_go_otherwise(error: BaseException) -> bool:
    if isinstance(error, NotImplementedError):
        return False
    status = status_of(error)
    # Answers that do not fit are worth another try: models are not deterministic.
    return status is None or status in (408, 409, 425, 429) or status >= 500


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status that an error of any provider's client carries, or None."""
    while error is not None:
        for name in ("status_code", "code", "http_status"):
            value = getattr(error, name, None)
            if isinstance(value, int) and 100 <= value < 600:
                return value
        error = error.__cause__ or error.__context__
    return None


_STATUSES = {401: "key refused", 403: "key refused", 404: "unknown model", 429: "rate limited"}


def describe(error: BaseException, timeout_s: float) -> str:
    """Say what failed in a few words, quoting nothing that came from outside."""
    if isinstance(error, NoModelError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if (status := status_of(error)) is not None:
        other = "refused" if status < 500 else "provider failed"
        return f"{_STATUSES.get(status, other)} (HTTP {status})"
    if isinstance(error, ReplyError | ValueError):
        return "the answer did not fit the asked form"
    kind = type(error).__name__
    if "Timeout" in kind:
        return f"no answer within the time its client allows ({kind})"
    return f"{'provider not reached' if 'Connect' in kind else 'the call failed'} ({kind})"
