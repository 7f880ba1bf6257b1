"""assemble_candidates: join what the branches drafted into one bundle per agent."""

from __future__ import annotations

from collections.abc import Sequence

from tracetune.graph.state import (
    Candidate,
    Candidates,
    Change,
    ConfigDraft,
    PromptDraft,
    Proposed,
    Subject,
)
from tracetune.nodes.generate_update import current_guidelines
from tracetune.nodes.guidelines import with_section
from tracetune.nodes.subjects import learning
from tracetune.nodes.workplace import progress

__all__ = ["assemble", "assemble_candidates"]


async def assemble_candidates(state: Candidates) -> Proposed:
    """Put every agent's drafts together."""
    prompt_drafts, config_drafts = state["prompt_drafts"], state["config_drafts"]
    candidates = {
        agent: assemble(
            subject,
            [draft for draft in prompt_drafts if draft["agent"] == agent],
            [draft for draft in config_drafts if draft["agent"] == agent],
        )
        for agent, subject in learning(state["subjects"]).items()
    }
    changed = sum(1 for candidate in candidates.values() if candidate["changes"])
    progress("assemble_candidates", f"{changed} of {len(candidates)} agents would change")
    return {"candidates": candidates}


def assemble(
    subject: Subject,
    prompt_drafts: Sequence[PromptDraft],
    config_drafts: Sequence[ConfigDraft],
) -> Candidate:
    """The agent's bundle with its drafts applied.

    What no draft names stays byte for byte as it was; `changes` is empty when nothing differs.
    """
    prompts, config = dict(subject["prompts"]), dict(subject["config"])
    guidelines = {name: current_guidelines(subject, name) for name in prompts}
    changes: list[Change] = []
    for draft in config_drafts:
        for row in draft["proposals"]:
            name = row["parameter"]
            config[name] = row["after"]
            change = Change(
                kind="config",
                name=name,
                before=row["before"],
                after=row["after"],
                why=[row["why"]],
                origin=draft["origin"],
            )
            changes.append(change)
    # Sorted, because branches end in any order: the same drafts must make the same release.
    for text in sorted(prompt_drafts, key=lambda draft: draft["prompt"]):
        name, before = text["prompt"], prompts[text["prompt"]]
        after = with_section(before, [line["text"] for line in text["guidelines"]])
        if after == before:
            continue
        prompts[name], guidelines[name] = after, text["guidelines"]
        change = Change(
            kind="prompt",
            name=name,
            before=before,
            after=after,
            why=text["why"],
            origin=text["origin"],
        )
        changes.append(change)
    return Candidate(
        prompts=prompts,
        config=config,
        guidelines=[line for name in prompts for line in guidelines[name]],
        changes=[change.model_dump() for change in changes],
        dropped=[text for draft in [*config_drafts, *prompt_drafts] for text in draft["dropped"]],
    )
