"""generate_update: one call of the model per chosen prompt, for guidelines that would help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from tracetune.graph.state import PromptDraft, PromptTask, Subject
from tracetune.nodes.guards import check_prompt, check_sentence, check_text
from tracetune.nodes.guidelines import MAX_GUIDELINE, guideline, read_section, with_section
from tracetune.nodes.models import Branch, ask, unusable
from tracetune.nodes.showing import shorten, show_metrics, show_patterns
from tracetune.nodes.workplace import Workplace, progress
from tracetune.prompts.loader import fence, render

__all__ = ["Edits", "NewGuideline", "generate_update", "take_edits"]

Json = dict[str, Any]

MOST_NEW = 5
PROMPT_SHOWN = 12_000


class NewGuideline(BaseModel):
    """One guideline to add."""

    text: str = Field(description="One plain imperative sentence.")
    why: str = Field(description="One sentence that names the evidence.")
    patterns: list[int] = Field(
        default_factory=list, description="Numbers of the patterns behind it."
    )


class Edits(BaseModel):
    """What to add to and retire from a prompt's guidelines; nothing where nothing is supported."""

    add: list[NewGuideline] = Field(default_factory=list)
    retire: list[str] = Field(default_factory=list, description="Ids of guidelines to take out.")


async def generate_update(task: PromptTask, place: Workplace) -> Json:
    """Ask the model for guidelines; keep those that break no rule."""
    choice, subject, settings = task["choice"], task["subject"], task["settings"]
    model = await place.model(settings["model"])
    branch = Branch("generate_update", choice["agent"], choice["prompt"])
    progress("generate_update", f"{choice['agent']}/{choice['prompt']}, by the model")
    answer, call = await ask(
        model, Edits, _prompt(task), branch=branch, timeout_s=settings["call_timeout_s"]
    )
    draft = take_edits(
        answer, choice["agent"], choice["prompt"], subject, task["measures"]["patterns"]
    )
    if answer.add and draft["dropped"] and not draft["why"]:
        raise unusable(f"every proposed guideline broke a rule ({len(answer.add)} proposed)")
    return {"prompt_drafts": [draft], "calls": [call]}


def _prompt(task: PromptTask) -> str:
    choice, subject = task["choice"], task["subject"]
    name = choice["prompt"]
    spec = subject["prompt_specs"].get(name, {})
    text = subject["prompts"][name]
    known = current_guidelines(subject, name)
    measures = task["measures"]
    told = [show_metrics(measures["metrics"]), show_patterns(measures["patterns"])]
    told += [f"feedback: {text}" for text in measures["feedback"]]
    return render(
        "generate_update",
        agent=choice["agent"],
        name=name,
        why=fence("data", choice["why"]),
        instructions=spec.get("update_instructions") or "as seems best",
        prompt=fence("text", shorten(text, PROMPT_SHOWN)),
        guidelines=fence("data", "\n".join(f"{g['id']}: {g['text']}" for g in known) or "none yet"),
        evidence=fence("data", "\n".join(told)),
        runs="\n".join(measures["runs"]),
        most=str(MOST_NEW),
        tools=fence(
            "data", ", ".join(f"`{tool}`" for tool in subject["tools"]) or "none were seen"
        ),
    )


def current_guidelines(subject: Subject, prompt: str) -> list[Json]:
    """The guidelines in the prompt's section as it is, with what the head knows of each."""
    known = {g["id"]: g for g in subject["guidelines"] if g["prompt"] == prompt}
    fresh = [
        guideline(prompt, text, "human", {}) for text in read_section(subject["prompts"][prompt])
    ]
    return [known.get(g["id"], g) for g in fresh]


def take_edits(
    edits: Edits, agent: str, prompt: str, subject: Subject, patterns: Sequence[Json]
) -> PromptDraft:
    """The draft that the edits make: guidelines that break a rule are dropped with the reason."""
    before = subject["prompts"][prompt]
    spec = subject["prompt_specs"].get(prompt, {})
    kept = current_guidelines(subject, prompt)
    retired = [g for g in kept if g["id"] in set(edits.retire)]
    kept = [g for g in kept if g not in retired]
    why = [f"Retired: {g['text']}" for g in retired]
    dropped: list[str] = []
    for new in edits.add[:MOST_NEW]:
        shown = [patterns[n - 1] for n in new.patterns if 1 <= n <= len(patterns)]
        line = guideline(prompt, new.text, "llm", {"patterns": [evidence_row(p) for p in shown]})
        if line["id"] in {g["id"] for g in kept}:
            continue
        violations = check_sentence(line["text"], MAX_GUIDELINE) or check_prompt(
            before,
            with_section(before, [g["text"] for g in [*kept, line]]),
            template_format=spec.get("template_format", "auto"),
            tools=subject["tools"],
        )
        if violations:
            dropped.append(
                f"{prompt}: a guideline with {violations[0].text} ({violations[0].rule})"
            )
            continue
        kept.append(line)
        why.append(said(new.why))
    return PromptDraft(
        agent=agent,
        prompt=prompt,
        origin="llm",
        guidelines=kept,
        why=why,
        dropped=dropped,
    )


def said(why: str) -> str:
    """A reason the model gave, on one line; not the words themselves where they break a rule."""
    line = shorten(" ".join(why.split()), MAX_GUIDELINE)
    return "The model's reason was not kept." if check_text(line) else line


def evidence_row(pattern: Mapping[str, Any]) -> Json:
    """What a guideline keeps of a pattern it rests on."""
    fields = ("id", "text", "support", "success_with", "success_without", "interval", "q_value")
    return {name: pattern[name] for name in fields} | {"traces": list(pattern["failing_ids"])}
