"""Ways to ask for an answer of a schema, and what is known of which model takes which."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["FORMS", "SAID_BY_PROMPT", "TOOL_FORMS", "Forms", "asked_in"]

FORMS = ("structured", "json_schema", "json_mode", "text")
"""The surest first: the provider's own way, then its JSON modes, then plain text."""
SAID_BY_PROMPT = ("json_mode", "text")
"""Forms in which the prompt itself says the schema."""
TOOL_FORMS = ("tools", "tools_required", "tools_offered", "text")
"""For a call of one of many tools: the choice as asked for, any one at all, free, plain text."""

REMEMBERED_S = 3600.0
"""Providers and local servers change what they take: later it is tried again."""
IN_A_ROW = 2
"""Questions that a model leaves unanswered in a form before that is taken for its habit."""


class Forms:
    """The forms that did not work of late, by model; shared by the branches of a graph."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet; `clock` tells seconds."""
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}
        self._unanswered: dict[tuple[str, str], int] = {}

    def unfit(self, model: str) -> set[str]:
        """The forms that are not to be tried on this model now."""
        now = self._clock()
        return {form for (of, form), until in self._until.items() if of == model and now < until}

    def learn(
        self, model: str, worked: str, refused: Iterable[str], unanswered: Iterable[str]
    ) -> None:
        """Remember how one question fared that was answered in the form that worked.

        Args:
            refused: Forms that the provider or its client does not know.
            unanswered: Forms in which the model said something else. Once may be a whim.
        """
        self._unanswered.pop((model, worked), None)
        until = self._clock() + REMEMBERED_S
        for form in refused:
            self._until[model, form] = until
        for form in unanswered:
            times = self._unanswered.get((model, form), 0) + 1
            self._unanswered[model, form] = times
            if times >= IN_A_ROW:
                self._until[model, form] = until


def asked_in(model: BaseChatModel, schema: type[BaseModel], form: str) -> Any:
    """The model as it is asked in this one of `FORMS`, or None where it has no such form."""
    if form == "text":
        return model
    options: dict[str, Any] = {}
    try:
        if form != "structured":
            method = inspect.signature(model.with_structured_output).parameters.get("method")
            if method is None or method.default == form:
                return None
            options["method"] = form
        bound = model.with_structured_output(schema, **options)
    except (NotImplementedError, AttributeError, TypeError, ValueError):
        return None
    # Without the parser behind it: `read_reply` says why.
    return getattr(bound, "first", bound)
