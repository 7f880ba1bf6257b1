"""What the model is told before it writes a prompt's update, whatever the style."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracetune.graph.context import PROMPT_TOKENS
from tracetune.graph.state import PromptTask
from tracetune.nodes.calling.calls import unusable
from tracetune.nodes.evidence.shortening import shorten_to, tokens_of
from tracetune.nodes.evidence.showing import FittedEvidence, fit, fit_evidence
from tracetune.nodes.guidelines import current_guidelines
from tracetune.prompts.loader import fence, render

__all__ = [
    "ANSWER_TOKENS",
    "Briefing",
    "answer_room",
    "brief",
    "evidence_beside",
    "instructions_of",
    "most_tokens",
    "text_room",
]

ANSWER_TOKENS = 350
"""Of every call, for the schema of the answer: in some forms it is a part of what is sent."""
WORDS = 1_200
"""Tokens that the longest of our prompts takes without what is put into it, with that schema and
the reason why the prompt was chosen."""
WHY_TOKENS = 200
SAID_AGAIN = 600
"""Tokens of what is said besides the refused answer when asking again."""


@dataclass(frozen=True, slots=True)
class Briefing:
    """What a model is asked."""

    text: str
    coverage: str
    """How much of what failed it is shown; empty where nothing failed."""


def brief(stem: str, task: PromptTask, prompt: str, again: int = 0, **more: str) -> Briefing:
    """The prompt `<stem>.md` for an update, with all that strangers wrote fenced.

    Everything is counted as it is sent; the evidence gets the room that is left.

    Args:
        prompt: How the prompt itself is shown.
        again: Tokens that what is said besides takes.
        more: Inputs of this prompt alone.

    Raises:
        CallError: Even without any evidence it is more than `max_prompt_tokens`.
    """
    choice, most = task["choice"], most_tokens(task["settings"])
    given = {
        "agent": choice["agent"],
        "name": choice["prompt"],
        "prompt": prompt,
        "why": fence("data", shorten_to(choice["why"], WHY_TOKENS, fenced=True)),
        "instructions": instructions_of(task) or "as seems best",
    } | more
    blank = dict.fromkeys(("guidelines", "tools", "evidence"), fence("data", "")) | {"runs": ""}
    most -= ANSWER_TOKENS + again
    room = max(0, most - tokens_of(render(stem, **given, **blank)))
    given["guidelines"] = fence("data", _guidelines(task, room // 4))
    given["tools"] = fence("data", _tools(task, room // 8))
    blank = {"evidence": fence("data", ""), "runs": ""}
    room = most - tokens_of(render(stem, **given, **blank))
    if room < 0:
        raise unusable(
            f"what must be sent takes {most_tokens(task['settings']) - room:,} tokens, more than "
            f"max_prompt_tokens ({most_tokens(task['settings']):,})"
        )
    shown = fit_evidence(task["measures"], room)
    text = render(stem, **given, evidence=fence("data", shown.evidence), runs=shown.runs)
    return Briefing(text, shown.coverage)


def evidence_beside(task: PromptTask, taken: int) -> FittedEvidence:
    """The evidence that a call has room for in which so many tokens are taken."""
    return fit_evidence(task["measures"], most_tokens(task["settings"]) - taken)


def instructions_of(task: PromptTask) -> str:
    """How the prompt's owner wants it updated, in a sixth of the room; empty where not said."""
    spec = task["subject"]["prompt_specs"].get(task["choice"]["prompt"], {})
    room = (most_tokens(task["settings"]) - WORDS) // 6
    return shorten_to(str(spec.get("update_instructions") or ""), room)


def text_room(settings: Mapping[str, Any], again: int = 0) -> int:
    """Tokens that a prompt's own text may take in a call: three fifths of what others leave.

    Args:
        again: Tokens that what is said besides takes.
    """
    return max(0, most_tokens(settings) - WORDS - again) * 3 // 5


def answer_room(task: PromptTask, text: str) -> int:
    """Tokens that a refused answer may take in the call that asks again, beside the text."""
    taken = WORDS + tokens_of(text) + tokens_of(instructions_of(task)) + SAID_AGAIN
    return max(0, most_tokens(task["settings"]) - taken) * 2 // 3


def most_tokens(settings: Mapping[str, Any]) -> int:
    """Tokens that a call may be sent."""
    return int(settings.get("max_prompt_tokens", PROMPT_TOKENS))


def _guidelines(task: PromptTask, room: int) -> str:
    """The prompt's guidelines that fit; those that say most come first."""
    known = current_guidelines(task["subject"], task["choice"]["prompt"])
    lines, _ = fit([f"{g['id']}: {g['text']}" for g in known], room)
    if left_out := len(known) - len(lines):
        lines.append(f"and {left_out} more")
    return "\n".join(lines) or "none"


def _tools(task: PromptTask, room: int) -> str:
    """The names of the agent's tools that fit."""
    names, _ = fit([f"`{tool}`" for tool in task["subject"]["tools"]], room)
    return ", ".join(names) or "none known"
