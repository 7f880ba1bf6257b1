"""review: ask a person before anything is released, when the settings say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.types import interrupt

from tracetune.graph.schemas import ReviewAnswer
from tracetune.graph.state import Reviewable, Reviewed

__all__ = ["review", "survivors"]

Json = dict[str, Any]


async def review(state: Reviewable) -> Reviewed:
    """Let every surviving candidate through, or those that a person approves.

    The run stops here with `{"question", "candidates"}` and goes on when it is resumed with a
    `ReviewAnswer`. An answer of another shape is refused, and one that names an agent that is not
    under review is asked for again.
    """
    names = survivors(state["verdicts"])
    if not state["settings"]["review"]:
        return {"approved": names, "comment": ""}
    shown = {
        name: {
            "changes": state["candidates"][name]["changes"],
            "verdict": state["verdicts"][name],
            "base": state["subjects"][name]["base"],
        }
        for name in names
    }
    question = f"Release {', '.join(names)}?"
    while True:
        asked = {"question": question, "candidates": shown}
        answer = ReviewAnswer.model_validate(interrupt(asked, response_schema=ReviewAnswer))
        wanted = answer.only or names
        if not (unknown := sorted(set(wanted) - set(names))):
            break
        question = f"No {unknown[0][:60]!r} is under review. Release {', '.join(names)}?"
    return {
        "approved": [name for name in names if answer.approve and name in wanted],
        "comment": answer.comment,
    }


def survivors(verdicts: Mapping[str, Json]) -> list[str]:
    """The agents whose candidate may be released, in the cycle's order."""
    return [agent for agent, verdict in verdicts.items() if verdict["survives"]]
