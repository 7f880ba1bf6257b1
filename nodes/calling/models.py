"""The chat model: found by its name, set up so that only `calls.ask` tries again."""

from __future__ import annotations

import functools
import inspect
from importlib import import_module
from os import environ
from typing import TYPE_CHECKING, Any, cast

from tracetune.errors import ModelError, NoModelError
from tracetune.graph.context import DEFAULT_MODEL

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["RULES_ONLY", "name_of", "resolve_model", "with_own_clients"]

RULES_ONLY = "rules"
ALIASES = {"gemini-pro-flash": DEFAULT_MODEL}
"""Names that older projects use."""
_CLOSED = {"Connection": "close"}


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


def with_own_clients(model: BaseChatModel) -> BaseChatModel:
    """The model with clients of its own, which ask once and keep no connection.

    `ask` tries again, and two layers of that would multiply. A connection that is kept fails in
    every event loop but the one that opened it, after the question was sent.
    """
    if "max_retries" not in type(model).model_fields:
        return model
    if "google" in model._llm_type:
        return _made_anew(model)
    once: Any = model.model_copy(update={"max_retries": 0})
    for root, resource in (("root_client", "client"), ("root_async_client", "async_client")):
        if (client := getattr(model, root, None)) is not None and hasattr(client, "with_options"):
            own = _own_client(model, client)
            vars(once).update({root: own, resource: own.chat.completions})
    # Clients that are made when they are first asked for (Anthropic's) are made anew.
    for name in list(vars(once)):
        if isinstance(inspect.getattr_static(type(once), name, None), functools.cached_property):
            del vars(once)[name]
    if "anthropic" in model._llm_type:
        vars(once)["_async_client"] = _own_client(model, once._async_client)
    return cast("BaseChatModel", once)


def _own_client(model: BaseChatModel, client: Any) -> Any:
    """An SDK's client that does not retry; one for async calls shares no connection.

    LangChain's models share theirs with all others in the process; one that the user made stays.
    """
    options: dict[str, Any] = {"max_retries": 0}
    if type(client).__name__.startswith("Async") and not getattr(model, "http_async_client", None):
        sdk = import_module(type(client).__module__.partition(".")[0])
        proxies = (getattr(model, name, None) for name in ("openai_proxy", "anthropic_proxy"))
        options["http_client"] = sdk.DefaultAsyncHttpxClient(
            base_url=client.base_url,
            timeout=client.timeout,
            proxy=next(filter(None, proxies), None),
        )
        options["default_headers"] = _CLOSED
    return client.with_options(**options)


def _made_anew(model: BaseChatModel) -> BaseChatModel:
    # Google's client cannot be copied, and a copy of the model would share it.
    given = {name: getattr(model, name) for name in model.model_fields_set - {"client"}}
    headers = {**(given.get("additional_headers") or {}), **_CLOSED}
    changed = {"max_retries": _once("google")}
    try:
        return type(model)(**{**given, **changed, "additional_headers": headers})
    except Exception:
        # A subclass that is not made of its fields: it is as good as its own clients.
        return model.model_copy(update=changed)


def _once(provider: str) -> int:
    # Google's clients count tries, and take 0 for their default of 5; others count retries.
    return 1 if provider.startswith("google") else 0


def name_of(model: BaseChatModel) -> str:
    """The model's own name, without its provider's."""
    return str(
        getattr(model, "model_name", None) or getattr(model, "model", None) or model._llm_type
    )
