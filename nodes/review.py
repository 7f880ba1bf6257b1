"""review: ask a person before anything is released, when the settings say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.types import interrupt

from tracetune.graph.state import Reviewable, ReviewAnswer, Reviewed

__all__ = ["review", "survivors"]

Json = dict[str, Any]


async def review(state: Reviewable) -> Reviewed:
    """Let every surviving candidate through, or those that a person approves.

    The run stops here with `{"question", "candidates"}` and goes on when it is resumed with a
    `ReviewAnswer`; an answer of another shape is refused and may be given again.
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
    given = interrupt({"question": question, "candidates": shown}, response_schema=ReviewAnswer)
    answer = ReviewAnswer.model_validate(given)
    wanted = answer.only or names
    return {
        "approved": [name for name in names if answer.approve and name in wanted],
        "comment": answer.comment,
    }


def survivors(verdicts: Mapping[str, Json]) -> list[str]:
    """The agents whose candidate may be released, in the cycle's order."""
    return [agent for agent, verdict in verdicts.items() if verdict["survives"]]
