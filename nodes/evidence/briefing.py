"""What the model is told before it writes a prompt's update, whatever the style."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracetune.graph.context import PROMPT_TOKENS
from tracetune.graph.state import PromptTask
from tracetune.nodes.evidence.shortening import shorten, shorten_to, tokens_of
from tracetune.nodes.evidence.showing import FittedEvidence, fit, fit_evidence
from tracetune.nodes.guidelines import current_guidelines, outside
from tracetune.prompts.loader import fence

__all__ = [
    "SAID_AGAIN",
    "answer_room",
    "brief",
    "instructions_of",
    "shown_evidence",
    "text_room",
    "trajectories",
]

Json = dict[str, Any]

RESERVED = 2_000
"""Tokens of every call that are kept for the words around the evidence: ours with the schema of
the answer, or langmem's."""
SAID_AGAIN = 500
"""Tokens of what is said besides when asking again."""
WHY_SHOWN, INSTRUCTIONS_SHOWN = 600, 1_200
"""Characters."""


def text_room(settings: Mapping[str, Any]) -> int:
    """Tokens that a prompt's own text may take in a call: what it leaves is for the evidence."""
    return (_most(settings) - RESERVED) * 2 // 3


def answer_room(settings: Mapping[str, Any], text: str) -> int:
    """Tokens that a refused answer may take in the call that asks again, beside the text."""
    return max(0, _most(settings) - RESERVED - tokens_of(text) - SAID_AGAIN)


def brief(task: PromptTask, text: str = "", again: int = 0) -> dict[str, str]:
    """The inputs that every prompt for an update takes, with all that strangers wrote fenced.

    Args:
        text: What is shown of the prompt itself.
        again: Tokens that what is said besides takes.
    """
    choice = task["choice"]
    shown = shown_evidence(task, text, again)
    return {
        "agent": choice["agent"],
        "name": choice["prompt"],
        "why": fence("data", shorten(choice["why"], WHY_SHOWN)),
        "instructions": shorten(instructions_of(task), INSTRUCTIONS_SHOWN) or "as seems best",
        "guidelines": fence("data", _guidelines(task)),
        "evidence": fence("data", shown.evidence),
        "runs": shown.runs,
        "tools": fence("data", _tools(task)),
    }


def instructions_of(task: PromptTask) -> str:
    """How the prompt's owner wants it updated; empty where nothing is said."""
    spec = task["subject"]["prompt_specs"].get(task["choice"]["prompt"], {})
    return str(spec.get("update_instructions") or "")


def trajectories(task: PromptTask) -> str:
    """The same evidence as one text, for optimizers that take their runs so."""
    shown = shown_evidence(task, outside(task["subject"]["prompts"][task["choice"]["prompt"]]))
    return "\n".join([fence("evidence", shown.evidence), shown.runs])


def shown_evidence(task: PromptTask, text: str, again: int = 0) -> FittedEvidence:
    """The evidence that a call has room for beside the text, its guidelines and the tools."""
    taken = tokens_of(text) + tokens_of(_guidelines(task)) + tokens_of(_tools(task)) + again
    room = _most(task["settings"]) - RESERVED - taken
    return fit_evidence(task["measures"], max(0, room))


def _most(settings: Mapping[str, Any]) -> int:
    return int(settings.get("max_prompt_tokens", PROMPT_TOKENS))


def _guidelines(task: PromptTask) -> str:
    """The prompt's guidelines, in up to a sixth of the room; those that say most come first."""
    known = current_guidelines(task["subject"], task["choice"]["prompt"])
    room = (_most(task["settings"]) - RESERVED) // 6
    lines, _ = fit([f"{g['id']}: {g['text']}" for g in known], room)
    if left_out := len(known) - len(lines):
        lines.append(f"and {left_out} more")
    return "\n".join(lines) or "none"


def _tools(task: PromptTask) -> str:
    """The names of the agent's tools, in up to a twelfth of the room."""
    room = (_most(task["settings"]) - RESERVED) // 12
    names, _ = fit([f"`{tool}`" for tool in task["subject"]["tools"]], room)
    return shorten_to(", ".join(names), room) or "none known"
