"""generate_update: the model writes the update of one chosen prompt, in the style that suits it."""

from __future__ import annotations

import re
from typing import Any, Literal, cast

from tracetune.graph.state import PromptTask
from tracetune.nodes.blaming.feedback_match import match_feedback
from tracetune.nodes.calling.calls import Branch
from tracetune.nodes.evidence.briefing import text_room
from tracetune.nodes.evidence.shortening import tokens_of
from tracetune.nodes.guidelines import outside
from tracetune.nodes.subjects import updatable
from tracetune.nodes.workplace import Workplace, progress
from tracetune.nodes.writing.guideline_edits import by_guidelines
from tracetune.nodes.writing.langmem_styles import by_langmem
from tracetune.nodes.writing.rewriting import LONGEST, by_rewriting, fits

__all__ = ["Style", "generate_update", "style_of"]

Style = Literal["rewrite", "guidelines", "prompt_memory", "metaprompt", "gradient"]

_WORD = r"[^\W\d_]+[,.;:!?]*"
_SAYS_SOMETHING = re.compile(rf"{_WORD}\s+{_WORD}\s+{_WORD}|[\u3040-\u30ff\u4e00-\u9fff]{{5}}")
"""Three words in a row, or as much in Chinese or Japanese: less, or keys and values, is a grade."""


async def generate_update(task: PromptTask, place: Workplace) -> dict[str, Any]:
    """Ask the model for the prompt's update; what breaks a rule twice is left to the rules."""
    choice, name = task["choice"], task["choice"]["prompt"]
    model = await place.model(task["settings"]["model"])
    branch = Branch("generate_update", choice["agent"], name)
    style, note = style_of(task)
    progress("generate_update", f"{choice['agent']}/{name}, by the model: {style}")
    if style == "guidelines":
        draft = await by_guidelines(model, task, branch)
    elif style == "rewrite":
        draft = await by_rewriting(model, task, branch)
    else:
        draft = await by_langmem(model, task, branch, style)
    if note:
        draft["dropped"] = [*draft["dropped"], note]
    return {"prompt_drafts": [draft]}


def style_of(task: PromptTask) -> tuple[Style, str]:
    """How the update is to be written, and a note where that is not how it was asked for.

    The prompt's own style goes before the settings'. With `auto`, the text is rewritten where
    feedback says what is to change in it, and gets guidelines where only the runs do. A text too
    long to be written anew gets guidelines in any case.
    """
    name, settings = task["choice"]["prompt"], task["settings"]
    own = task["subject"]["prompt_specs"].get(name, {}).get("style", "auto")
    asked = own if own != "auto" else settings["style"]
    style = asked if asked != "auto" else ("rewrite" if _told(task) else "guidelines")
    text = outside(task["subject"]["prompts"][name])
    if style != "guidelines" and not fits(text, settings):
        size = f"{len(text):,} characters or {tokens_of(text):,} tokens"
        most = f"{LONGEST:,} and {text_room(settings):,}"
        note = f"{name}: {style}, as {size} are too many (at most {most})"
        return "guidelines", f"{note}; guidelines were asked for instead"
    return cast(Style, style), ""


def _told(task: PromptTask) -> bool:
    """Whether a text of feedback is about this prompt more than any other, or about none."""
    subject, name = task["subject"], task["choice"]["prompt"]
    texts = [t for t in task["measures"]["feedback"] if _SAYS_SOMETHING.search(t)]
    names = updatable(subject)
    if not texts or name not in names:
        return False
    specs = subject["prompt_specs"]
    documents = [
        f"{n}\n{specs.get(n, {}).get('when_to_update', '')}\n{subject['prompts'][n]}" for n in names
    ]
    at = names.index(name)
    rows = match_feedback(texts, documents, names=names)
    return any(row[at] == max(row) for row in rows)
