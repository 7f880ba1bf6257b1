"""assemble_candidates: join what the branches drafted into one bundle per agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracetune.graph.schemas import Change
from tracetune.graph.state import (
    Candidate,
    Candidates,
    ConfigDraft,
    Measures,
    PromptDraft,
    Proposed,
    Subject,
)
from tracetune.nodes.blaming.following import with_followers
from tracetune.nodes.guarding.guarded import let_in
from tracetune.nodes.guarding.untouched import diff_size
from tracetune.nodes.guidelines import current_guidelines
from tracetune.nodes.subjects import conditions, learning, open_to_rules
from tracetune.nodes.workplace import progress
from tracetune.nodes.writing.settling import NextText, next_text

__all__ = ["assemble", "assemble_candidates"]


async def assemble_candidates(state: Candidates) -> Proposed:
    """Put every agent's drafts together."""
    prompt_drafts, config_drafts = state["prompt_drafts"], state["config_drafts"]
    candidates = {
        agent: assemble(
            subject,
            [draft for draft in prompt_drafts if draft["agent"] == agent],
            [draft for draft in config_drafts if draft["agent"] == agent],
            state["measured"][agent],
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
    measures: Measures | None = None,
) -> Candidate:
    """The agent's bundle with its drafts applied.

    What no draft names stays byte for byte as it was, but for guidelines that the runs speak
    against and examples; `changes` is empty when nothing differs.
    """
    prompts, config = dict(subject["prompts"]), dict(subject["config"])
    guidelines = {name: current_guidelines(subject, name) for name in prompts}
    changes = [change for tuned in config_drafts for change in _config_changes(tuned)]
    config.update({change.name: change.after for change in changes})
    dropped = [text for tuned in config_drafts for text in tuned["dropped"]]
    drafts = {draft["prompt"]: draft for draft in prompt_drafts}
    texts, alone = _next_texts(subject, drafts, measures or {})
    dropped += alone
    for name, after in texts.items():
        before = prompts[name]
        dropped += after.dropped
        if after.text != before:
            prompts[name], guidelines[name] = after.text, after.guidelines
            change = _prompt_change(name, before, after, drafts.get(name))
            found = let_in(after.text, name, subject)
            change.why.extend(f"Brought in, as feedback has it so: {link}" for link in found)
            changes.append(change)
    return Candidate(
        prompts=prompts,
        config=config,
        guidelines=[line for name in prompts for line in guidelines[name]],
        changes=[change.model_dump() for change in changes],
        dropped=dropped,
    )


def _next_texts(
    subject: Subject, drafts: dict[str, PromptDraft], measures: Mapping[str, Any]
) -> tuple[dict[str, NextText], list[str]]:
    """What each prompt is to hold, and a line on each draft that waits in vain for another.

    A prompt may follow others that were chosen too and then stay as they were: its draft is taken
    out of `drafts`.
    """
    before, alone = subject["prompts"], list[str]()
    # Sorted, because branches end in any order: the same drafts must make the same release.
    names = sorted({*drafts, *open_to_rules(subject)})
    texts = {name: next_text(name, drafts.get(name), subject, measures) for name in names}
    while True:
        changed = [name for name in names if texts[name].text != before[name]]
        kept = with_followers(changed, conditions(subject))
        left = [name for name in changed if name in drafts and name not in kept]
        for name in left:
            del drafts[name]
            texts[name] = next_text(name, None, subject, measures)
            alone.append(f"{name}: its update, as what it is to follow was not updated")
        if not left:
            return texts, alone


def _config_changes(tuned: ConfigDraft) -> list[Change]:
    return [
        Change(
            kind="config",
            name=row["parameter"],
            before=row["before"],
            after=row["after"],
            why=[row["why"]],
            origin=tuned["origin"],
        )
        for row in tuned["proposals"]
    ]


def _prompt_change(name: str, before: str, after: NextText, draft: PromptDraft | None) -> Change:
    size = diff_size(before, after.text)
    return Change(
        kind="prompt",
        name=name,
        before=before,
        after=after.text,
        why=after.why,
        origin=draft["origin"] if draft else "rules",
        style=draft.get("style", "") if draft else "",
        characters=size.characters,
        share=size.share,
    )
