"""classify_prompts: one call of the model decides which prompts to update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

from pydantic import BaseModel, Field

from tracetune.graph.state import Choice, Evidenced, Measures, Subject
from tracetune.nodes.models import Branch, ask
from tracetune.nodes.showing import shorten, show_metrics, show_patterns
from tracetune.nodes.subjects import learning, updatable
from tracetune.nodes.workplace import Workplace, progress
from tracetune.prompts.loader import fence, render

__all__ = ["Classification", "PromptToUpdate", "classify_prompts", "known_choices"]

Json = dict[str, Any]


class PromptToUpdate(BaseModel):
    """One prompt that should be updated."""

    agent: str = Field(description="The agent's name.")
    prompt: str = Field(description="The prompt's name, exactly as shown.")
    why: str = Field(description="One sentence that names the evidence.")


class Classification(BaseModel):
    """The prompts to update; none when the evidence supports none."""

    updates: list[PromptToUpdate] = Field(default_factory=list)


async def classify_prompts(state: Evidenced, place: Workplace) -> Json:
    """Ask the model which prompts the evidence speaks against."""
    settings = state["settings"]
    model = await place.model(settings["model"])
    progress("classify_prompts", "asking the model which prompts to update")
    shown = [
        _show_agent(agent, subject, state["measured"][agent])
        for agent, subject in learning(state["subjects"]).items()
    ]
    answer, call = await ask(
        model,
        Classification,
        render("classify_prompts", agents="\n".join(shown)),
        branch=Branch("classify_prompts"),
        timeout_s=settings["call_timeout_s"],
    )
    chosen, notes = known_choices(answer, learning(state["subjects"]))
    return {"chosen": chosen, "notes": notes, "calls": [call]}


def known_choices(
    answer: Classification, subjects: Mapping[str, Subject]
) -> tuple[list[Choice], list[str]]:
    """The model's choices that exist and may be updated, each once, and notes on the others."""
    chosen: dict[tuple[str, str], Choice] = {}
    notes: list[str] = []
    for update in answer.updates:
        agent, prompt = update.agent, update.prompt
        if agent not in subjects or prompt not in updatable(subjects[agent]):
            notes.append(
                f"The model chose a prompt that does not exist or must not change: "
                f"{shorten(agent, 40)!r} {shorten(prompt, 40)!r}."
            )
            continue
        why = shorten(" ".join(update.why.split()), 300)
        chosen.setdefault((agent, prompt), Choice(agent=agent, prompt=prompt, why=why))
    return list(chosen.values()), notes


def _show_agent(agent: str, subject: Subject, measures: Measures) -> str:
    specs = subject["prompt_specs"]
    prompts = []
    for name in updatable(subject):
        spec = specs.get(name, {})
        prompts.append(
            fence(
                "prompt",
                shorten(subject["prompts"][name], 1200),
                name=name,
                when_to_update=spec.get("when_to_update", ""),
                update_instructions=spec.get("update_instructions", ""),
            )
        )
    told = [
        show_metrics(measures["metrics"]),
        show_patterns(measures["patterns"]),
        *(f"the rules blame {b['name']}: {b['score']}" for b in measures["blames"]),
        *(f"feedback: {text}" for text in measures["feedback"]),
    ]
    evidence = fence("evidence", "\n".join(told))
    return "\n".join([f"<agent name={quoteattr(agent)}>", *prompts, evidence, "</agent>"])
