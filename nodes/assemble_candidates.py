"""assemble_candidates: join what the branches drafted into one bundle per agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracetune.graph.state import Candidate, Candidates, Change, Draft, Proposed, Subject
from tracetune.nodes.generate_update import current_guidelines
from tracetune.nodes.guidelines import with_section
from tracetune.nodes.workplace import progress

__all__ = ["assemble", "assemble_candidates"]


async def assemble_candidates(state: Candidates) -> Proposed:
    """Put every agent's drafts together."""
    candidates = {
        agent: assemble(subject, [d for d in state["drafts"] if d["agent"] == agent])
        for agent, subject in state["subjects"].items()
        if not subject["skip"]
    }
    changed = sum(1 for candidate in candidates.values() if candidate["changes"])
    progress("assemble_candidates", f"{changed} of {len(candidates)} agents would change")
    return {"candidates": candidates}


def assemble(subject: Subject, drafts: Sequence[Draft]) -> Candidate:
    """The agent's bundle with its drafts applied.

    What no draft names stays byte for byte as it was; `changes` is empty when nothing differs.
    """
    prompts, config = dict(subject["prompts"]), dict(subject["config"])
    guidelines = {name: current_guidelines(subject, name) for name in prompts}
    changes: list[Change] = []
    # Sorted, because branches end in any order: the same drafts must make the same release.
    for draft in sorted(drafts, key=lambda d: (d["kind"], d["name"])):
        if draft["kind"] == "prompt":
            name = draft["name"]
            before = prompts[name]
            prompts[name] = with_section(before, [g["text"] for g in draft["guidelines"]])
            if prompts[name] != before:
                guidelines[name] = draft["guidelines"]
                changes.append(_change(draft, name, before, prompts[name], draft["why"]))
            continue
        for proposal in draft["proposals"]:
            name, before, after = proposal["parameter"], proposal["before"], proposal["after"]
            config[name] = after
            changes.append(_change(draft, name, before, after, [proposal["why"]]))
    return Candidate(
        prompts=prompts,
        config=config,
        guidelines=[g for name in prompts for g in guidelines[name]],
        changes=[change.model_dump() for change in changes],
        dropped=[text for draft in drafts for text in draft["dropped"]],
    )


def _change(draft: Draft, name: str, before: Any, after: Any, why: list[str]) -> Change:
    kind, origin = draft["kind"], draft["origin"]
    return Change(kind=kind, name=name, before=before, after=after, why=why, origin=origin)
