"""classify_prompts: one call of the model decides which prompts to update."""

from __future__ import annotations

import functools
import html
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

from pydantic import BaseModel, ConfigDict, Field

from tracetune.graph.context import PROMPT_TOKENS
from tracetune.graph.state import Choice, Evidenced, Measures, Subject
from tracetune.nodes.blaming.following import with_followers
from tracetune.nodes.blaming.when_to_update import leaders_of
from tracetune.nodes.calling.calls import Branch, ask
from tracetune.nodes.evidence.shortening import shorten, tokens_of
from tracetune.nodes.evidence.showing import cut_evenly, fit_evidence
from tracetune.nodes.subjects import conditions, learning, updatable
from tracetune.nodes.workplace import Workplace, progress
from tracetune.prompts.loader import fence, render

__all__ = ["Classification", "PromptToUpdate", "classify_prompts", "known_choices"]

Json = dict[str, Any]

SCHEMA_TOKENS = 500
"""Kept for the schema of the answer."""
AGENT_TOKENS = 40
"""Kept for each agent's name and tags."""
PROMPT_TOKENS_LEAST = 50
"""Of each prompt: with less room than that for each, only the most blamed ones are shown."""
PROMPT_SHOWN, SAID_SHOWN = 1_200, 300
"""Most characters of a prompt, and of what its owner says of it."""
BLAMES_SHOWN = 8
UNKNOWN_TOLD = 3
"""Choices that name no prompt: so many are told one by one, of the others only how many."""
CUTS = 4
_QUOTES = " \t\r\n`'\"*“”«»\u2018\u2019"


class PromptToUpdate(BaseModel):
    """One prompt that should be updated."""

    # Always asked for: with a default alone, models would leave the agent out.
    model_config = ConfigDict(json_schema_extra={"required": ["agent", "prompt", "why"]})

    agent: str = Field(default_factory=str, description="The agent's name.")
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
    subjects = learning(state["subjects"])
    shown, notes = _show_agents(subjects, state["measured"], settings)
    answer, call = await ask(
        model,
        Classification,
        render("classify_prompts", agents="\n".join(one.text for one in shown.values())),
        branch=Branch("classify_prompts"),
        timeout_s=settings["call_timeout_s"],
    )
    chosen, told = known_choices(answer, subjects)
    coverage = {agent: one.coverage for agent, one in shown.items()}
    return {"chosen": chosen, "shown": coverage, "notes": [*notes, *told], "calls": [call]}


def _show_agents(
    subjects: Mapping[str, Subject], measured: Mapping[str, Measures], settings: Mapping[str, Any]
) -> tuple[dict[str, _ShownAgent], list[str]]:
    """The agents as they are shown, each in its part of the room, and what there was none for."""
    most = int(settings.get("max_prompt_tokens", PROMPT_TOKENS))
    room = most - tokens_of(render("classify_prompts", agents="")) - SCHEMA_TOKENS
    shown = {
        agent: _show_agent(agent, subject, measured[agent], room // len(subjects) - AGENT_TOKENS)
        for agent, subject in subjects.items()
    }
    notes = [
        f"{agent}: {one.left_out} prompts that the rules blame least were not shown to the model: "
        f"max_prompt_tokens is {most:,}."
        for agent, one in shown.items()
        if one.left_out
    ]
    return shown, notes


def known_choices(
    answer: Classification, subjects: Mapping[str, Subject]
) -> tuple[list[Choice], list[str]]:
    """The model's choices that may be followed, each once, and notes on the others.

    Left out are prompts that do not exist, never change, or wait for one that was not chosen. What
    waits for another comes behind it, and its reason says so.
    """
    chosen: dict[tuple[str, str], Choice] = {}
    unknown: dict[tuple[str, str], None] = {}
    known = {agent: updatable(subject) for agent, subject in subjects.items()}
    for update in answer.updates:
        if (meant := _meant(update, known)) is None:
            unknown[update.agent, update.prompt] = None
            continue
        why = shorten(" ".join(update.why.split()), 300)
        chosen.setdefault(meant, Choice(agent=meant[0], prompt=meant[1], why=why))
    notes = _tell_unknown(list(unknown))
    return _in_order(chosen, subjects, notes), notes


def _meant(update: PromptToUpdate, known: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """The agent and the prompt that a choice names, where it can only mean that one."""
    agent = _named(update.agent, known)
    agents = [] if agent is None else [agent]
    if agent is None and (len(known) == 1 or not _bare(update.agent)):
        agents = list(known)  # it names none, and may mean any
    found = [(one, _named(update.prompt, known[one])) for one in agents]
    meant = [(one, prompt) for one, prompt in found if prompt is not None]
    return meant[0] if len(meant) == 1 else None


def _named(said: str, names: Collection[str]) -> str | None:
    """The name that is said exactly or else, as the only one, but for its case and quotes."""
    if said in names:
        return said
    alike = [name for name in names if _bare(name) == _bare(said)]
    return alike[0] if len(alike) == 1 else None


@functools.lru_cache(maxsize=4096)
def _bare(name: str) -> str:
    return html.unescape(name).strip(_QUOTES).casefold()


def _tell_unknown(unknown: Sequence[tuple[str, str]]) -> list[str]:
    notes = [
        f"The model chose a prompt that does not exist or must not change: "
        f"{shorten(agent, 40)!r} {shorten(prompt, 40)!r}."
        for agent, prompt in unknown[:UNKNOWN_TOLD]
    ]
    if more := len(unknown) - len(notes):
        notes.append(f"The model chose {more:,} more prompts of that kind.")
    return notes


def _in_order(
    chosen: Mapping[tuple[str, str], Choice], subjects: Mapping[str, Subject], notes: list[str]
) -> list[Choice]:
    ordered: list[Choice] = []
    for agent in dict.fromkeys(agent for agent, _ in chosen):
        names = [prompt for of, prompt in chosen if of == agent]
        when = conditions(subjects[agent])
        kept = with_followers(names, when)
        for name in kept:
            choice = chosen[agent, name]
            if leaders := leaders_of(when[name], when):
                others = ", ".join(leaders.names)
                choice["why"] += f" (It follows {others}, which is updated at the same time.)"
            ordered.append(choice)
        notes += [
            f"{agent}/{name} was chosen and left as it is: it may be updated only after a prompt "
            f"that was not chosen."
            for name in names
            if name not in kept
        ]
    return ordered


@dataclass(frozen=True, slots=True)
class _ShownAgent:
    """One agent as the model is shown it."""

    text: str
    coverage: str
    left_out: int
    """How many of its prompts there was no room for."""


def _show_agent(agent: str, subject: Subject, measures: Measures, room: int) -> _ShownAgent:
    """The agent's prompts, in up to half of the room (tokens), and its evidence in the rest."""
    names = updatable(subject)
    blamed = [blame["name"] for blame in measures["blames"]]
    kept = sorted(names, key=lambda n: blamed.index(n) if n in blamed else len(blamed))
    kept = kept[: max(1, room // 2 // PROMPT_TOKENS_LEAST)]
    names = [name for name in names if name in kept]
    prompts = _show_prompts(names, subject, room // 2)
    blames = [_show_blame(blame) for blame in measures["blames"][:BLAMES_SHOWN]]
    shown = fit_evidence(measures, max(0, room - tokens_of(prompts)), blames)
    evidence = fence("evidence", shown.evidence)
    parts = [f"<agent name={quoteattr(agent)}>", prompts, evidence, shown.runs, "</agent>"]
    return _ShownAgent(
        "\n".join(filter(None, parts)), shown.coverage, len(updatable(subject)) - len(names)
    )


def _show_prompts(names: Sequence[str], subject: Subject, room: int) -> str:
    """The prompts with what their owner says of each; all cut evenly until they fit."""
    specs = [subject["prompt_specs"].get(name, {}) for name in names]
    characters, text = 3 * room, ""
    for _ in range(CUTS):
        whens, hows = (
            cut_evenly([str(spec.get(key) or "") for spec in specs], characters // 5, SAID_SHOWN)
            for key in ("when_to_update", "update_instructions")
        )
        taken = sum(map(len, [*names, *whens, *hows])) + 80 * len(names)
        texts = [subject["prompts"][name] for name in names]
        texts = cut_evenly(texts, max(0, characters - taken), PROMPT_SHOWN)
        rows = zip(names, texts, whens, hows, strict=True)
        text = "\n".join(
            fence("prompt", body, name=name, when_to_update=when, update_instructions=how)
            for name, body, when, how in rows
        )
        if (size := tokens_of(text)) <= room:
            break
        # Characters that are escaped, or not ASCII, take more than was reckoned.
        characters = characters * room // size * 9 // 10
    return text


def _show_blame(blame: Mapping[str, Any]) -> str:
    why = shorten("; ".join(blame["evidence"][:2]), 300) or "nothing points at it"
    return f"the rules blame {blame['name']}: {blame['score']} ({why})"
