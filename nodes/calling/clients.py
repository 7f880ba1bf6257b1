"""A model's clients made our own: they ask once, and share no connection with anybody."""

from __future__ import annotations

import functools
import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from tracetune.errors import ModelError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["with_own_clients"]

_CLOSED = {"Connection": "close"}
_MADE = {"_AsyncHttpxClientWrapper", "AsyncHttpxClientWrapper"}
_RESOURCES = (("root_client", "client"), ("root_async_client", "async_client"))
"""OpenAI's clients, by the model's names for them, and for what of them it asks."""


def with_own_clients(model: BaseChatModel) -> BaseChatModel:
    """The model with clients of its own, which ask once and keep no connection.

    `ask` tries again, and two layers of that would multiply. A connection that is kept fails in
    every event loop but the one that opened it, after the question was sent.

    Raises:
        ModelError: They cannot be made: a proxy or certificates of the environment are no use.
    """
    if "max_retries" not in type(model).model_fields:
        return model
    try:
        return _made_anew(model) if _is_googles(model) else _copied(model)
    except Exception as error:
        # What a client says may hold a key: only the error's kind is told.
        kind = type(error).__name__
    raise ModelError(f"The client of {type(model).__name__} cannot be made ({kind}).")


def _copied(model: BaseChatModel) -> BaseChatModel:
    # Google's clients count tries, and take 0 for their default of 5; others count retries.
    retries = 1 if "google" in model._llm_type else 0
    once: Any = model.model_copy(update={"max_retries": retries})
    for root, resource in _RESOURCES:
        if (client := getattr(model, root, None)) is not None and hasattr(client, "with_options"):
            own = _own_client(model, client)
            vars(once).update({root: own, resource: own.chat.completions})
    # Clients that are made when they are first asked for (Anthropic's) are made anew.
    lazy = [name for name in vars(once) if _is_lazy(once, name)]
    for name in lazy:
        del vars(once)[name]
    if _is_lazy(once, "_async_client"):
        vars(once)["_async_client"] = _own_client(model, once._async_client)
    return cast("BaseChatModel", once)


def _is_lazy(model: Any, name: str) -> bool:
    return isinstance(inspect.getattr_static(type(model), name, None), functools.cached_property)


def _own_client(model: BaseChatModel, client: Any) -> Any:
    """An SDK's client that does not retry; one for async calls shares no connection.

    LangChain's models share theirs with all others in the process; one that the user made stays.
    """
    if not hasattr(client, "with_options"):
        return client
    options: dict[str, Any] = {"max_retries": 0}
    proxy = getattr(model, "openai_proxy", None) or getattr(model, "anthropic_proxy", None)
    # With a proxy LangChain makes a plain one; else a client of httpx itself is the user's.
    http = getattr(client, "_client", None)
    made = type(http).__name__ in _MADE or (
        proxy and http is getattr(model, "http_async_client", None)
    )
    if made and type(client).__name__.startswith("Async"):
        sdk = import_module(type(client).__module__.partition(".")[0])
        options["http_client"] = sdk.DefaultAsyncHttpxClient(
            base_url=client.base_url, timeout=client.timeout, proxy=proxy
        )
        options["default_headers"] = _CLOSED
    return client.with_options(**options)


def _is_googles(model: BaseChatModel) -> bool:
    """Whether it is Google's own class with its own client: a subclass may hold more."""
    made = getattr(getattr(model, "_client_cleanup", None), "_client", None)
    own = type(model).__name__ == "ChatGoogleGenerativeAI"
    return (
        own
        and type(model).__module__.startswith("langchain_google_genai")
        and (made is None or made is getattr(model, "client", None))
    )


def _made_anew(model: BaseChatModel) -> BaseChatModel:
    # Google's client cannot be copied, and a copy of the model would share it.
    given = {name: getattr(model, name) for name in model.model_fields_set - {"client"}}
    headers = {**(given.get("additional_headers") or {}), **_CLOSED}
    return type(model)(**{**given, "max_retries": 1, "additional_headers": headers})
