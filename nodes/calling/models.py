"""The chat model: found by its name, set up so that only `calls.ask` tries again."""

from __future__ import annotations

from os import environ
from typing import TYPE_CHECKING, Any

from tracetune.errors import ModelError, NoModelError
from tracetune.graph.context import DEFAULT_MODEL
from tracetune.nodes.calling.clients import with_own_clients

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["RULES_ONLY", "guessed_model", "name_of", "resolve_model"]

RULES_ONLY = "rules"
ALIASES = {"gemini-pro-flash": DEFAULT_MODEL}
"""Names that older projects use."""


def resolve_model(name: str) -> BaseChatModel:
    """Return the chat model that `init_chat_model` makes of `provider:name`, with own clients.

    Raises:
        ModelError: The provider is unknown, its package is not installed, or it cannot be set up.
        NoModelError: There is no key for it, or none is wanted (`rules`).
    """
    if name == RULES_ONLY:
        raise NoModelError("No model is wanted (model: rules).")
    provider, _, model = ALIASES.get(name, name).partition(":")
    if not (provider and model):
        raise ModelError(f"model must be provider:name (like {DEFAULT_MODEL}), but got {name!r}.")
    if provider == "google_genai" and not any(
        n.startswith(("GOOGLE_", "GEMINI_")) for n in environ
    ):
        # Said before its client is loaded: that takes longer than a cycle on rules.
        raise NoModelError(f"No API key for {provider}: {_key_hint(provider)}")
    return _set_up(name, model, model_provider=provider, max_retries=_once(provider))


def guessed_model(name: str) -> BaseChatModel:
    """Return the chat model of a name without its provider: LangChain knows the well-known ones.

    Raises:
        ModelError, NoModelError: As `resolve_model`.
    """
    if not name:
        raise ModelError("model must be a chat model or provider:name, but got ''.")
    return _set_up(name, name)


def _set_up(name: str, model: str, **options: Any) -> BaseChatModel:
    from langchain.chat_models import init_chat_model

    provider = options.get("model_provider", "")
    try:
        return with_own_clients(init_chat_model(model, **options))
    except ModelError:
        raise
    except ImportError as error:
        raise ModelError(f"model {name!r} {_missing(error)}.") from None
    except Exception as error:
        # What the provider's package says may hold a key: it is read here and never shown.
        told, kind = str(error).casefold(), type(error).__name__
    if "unsupported provider" in told:
        raise ModelError(
            f"model must name a provider LangChain knows, but got {provider!r} in {name!r}."
        )
    if "unable to infer model provider" in told:
        raise ModelError(f"model must be a chat model or provider:name, but got {name!r}.")
    if any(word in told for word in ("key", "credential", "token")):
        raise NoModelError(f"No API key for {provider or name}: {_key_hint(provider)}")
    raise ModelError(f"model {name!r} cannot be set up ({kind}).")


def _missing(error: ImportError) -> str:
    """What is not installed: the provider's package, one that it names, or one it does not."""
    words = [word.strip("`.") for word in str(error).split()]
    package = next((word for word in words if word.startswith("langchain-")), None)
    if package is not None:
        return f"needs its package ({package}), which is not installed"
    if (module := getattr(error, "name", None)) is not None:
        return f"needs {module}, which is not installed"
    return "cannot be set up: a package that its client asks for is not installed (ImportError)"


def _key_hint(provider: str) -> str:
    if provider == "google_genai":
        return "set GOOGLE_API_KEY or GEMINI_API_KEY to use it."
    return "set the provider's key to use it."


def _once(provider: str) -> int:
    # Google's clients count tries, and take 0 for their default of 5; others count retries.
    return 1 if provider.startswith("google") else 0


def name_of(model: BaseChatModel) -> str:
    """The model's own name, without its provider's."""
    return str(
        getattr(model, "model_name", None) or getattr(model, "model", None) or model._llm_type
    )
