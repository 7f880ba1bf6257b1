"""The chat model: found by its name, set up so that only `calls.ask` tries again."""

from __future__ import annotations

import functools
import inspect
from os import environ
from typing import TYPE_CHECKING, Any

from tracetune.errors import ModelError, NoModelError
from tracetune.graph.context import DEFAULT_MODEL

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["RULES_ONLY", "name_of", "resolve_model", "without_retries"]

RULES_ONLY = "rules"
ALIASES = {"gemini-pro-flash": DEFAULT_MODEL}
"""Names that older projects use."""


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
        return init_chat_model(model, model_provider=provider, max_retries=_once(provider))
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


def without_retries(model: BaseChatModel) -> BaseChatModel:
    """The model with its own retries off: `ask` tries again, and two layers would multiply."""
    if "max_retries" not in type(model).model_fields:
        return model
    provider = "google" if "google" in model._llm_type else ""
    once = model.model_copy(update={"max_retries": _once(provider), **_clients_once(model)})
    # A client that is made when it is first asked for (Anthropic's) is made anew.
    for name in list(vars(once)):
        if isinstance(inspect.getattr_static(type(once), name, None), functools.cached_property):
            del vars(once)[name]
    return once


def _clients_once(model: BaseChatModel) -> dict[str, Any]:
    """OpenAI's clients, which keep to the retries they were made with, as ones that make none.

    They go by the model's own names for them, and share the connections.
    """
    found: dict[str, Any] = {}
    for root, resource in (("root_client", "client"), ("root_async_client", "async_client")):
        client = getattr(model, root, None)
        if client is not None and hasattr(client, "with_options"):
            found[root] = client.with_options(max_retries=0)
            found[resource] = found[root].chat.completions
    return found


def _once(provider: str) -> int:
    # Google's clients count tries, and take 0 for their default of 5; others count retries.
    return 1 if provider.startswith("google") else 0


def name_of(model: BaseChatModel) -> str:
    """The model's own name, without its provider's."""
    return str(
        getattr(model, "model_name", None) or getattr(model, "model", None) or model._llm_type
    )
