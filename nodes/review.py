"""review: ask a person before anything is released, when the settings say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.config import get_config
from langgraph.constants import CONFIG_KEY_CHECKPOINTER
from langgraph.types import interrupt

from tracetune.graph.schemas import ReviewAnswer
from tracetune.graph.state import Reviewable, Reviewed
from tracetune.nodes.edited import as_they_are

__all__ = ["can_wait", "review", "survivors"]

Json = dict[str, Any]


async def review(state: Reviewable) -> Reviewed:
    """Let every surviving candidate through, or those that a person approves.

    The run stops here with `{"question", "candidates"}` and goes on when it is resumed with a
    `ReviewAnswer`. An answer of another shape is refused, and one that names an agent that is not
    under review is asked for again.

    Raises:
        InputError: As `as_they_are`.
    """
    candidates, verdicts = as_they_are(state)
    names = survivors(verdicts)
    if not state["settings"]["review"] or not names:
        return {"approved": names, "comment": "", "turned_down": ""}
    shown = {
        name: {
            "changes": candidates[name]["changes"],
            "verdict": verdicts[name],
            "base": state["subjects"][name]["base"],
        }
        for name in names
    }
    question = f"Release {', '.join(names)}?"
    while True:
        asked = {"question": question, "candidates": shown}
        answer = ReviewAnswer.model_validate(interrupt(asked, response_schema=ReviewAnswer))
        wanted = names if answer.only is None else answer.only
        if not (unknown := sorted(set(wanted) - set(names))):
            break
        question = f"No {unknown[0][:60]!r} is under review. Release {', '.join(names)}?"
    return {
        "approved": [name for name in names if answer.approve and name in wanted],
        "comment": answer.comment,
        "turned_down": "not among those approved" if answer.approve else answer.comment,
    }


def survivors(verdicts: Mapping[str, Json]) -> list[str]:
    """The agents whose candidate may be released, in the cycle's order."""
    return [agent for agent, verdict in verdicts.items() if verdict["survives"]]


def can_wait() -> bool:
    """Whether this run can be resumed: it has a thread, and a checkpointer to keep it.

    On a server, a run without a thread of its own is given one that ends with it, and no
    checkpointer.
    """
    known = get_config().get("configurable", {})
    return bool(known.get("thread_id")) and known.get(CONFIG_KEY_CHECKPOINTER) is not None
