"""classify_by_rules: the prompts that patterns and feedback point at, with no model."""

from __future__ import annotations

from tracetune.graph.state import Choice, Classified, Evidenced, Measures, Subject
from tracetune.nodes.blaming.following import with_followers
from tracetune.nodes.subjects import conditions, learning, open_to_rules
from tracetune.nodes.workplace import progress

__all__ = ["choose_by_rules", "classify_by_rules"]


async def classify_by_rules(state: Evidenced) -> Classified:
    """Choose, for each agent, the prompt that the evidence points at most, if it does at all."""
    progress("classify_by_rules", "choosing prompts by rules")
    chosen = [
        choice
        for agent, subject in learning(state["subjects"]).items()
        if (choice := choose_by_rules(subject, state["measured"][agent])) is not None
    ]
    return {"chosen": chosen}


def choose_by_rules(subject: Subject, measures: Measures) -> Choice | None:
    """The most blamed prompt that may be updated without another one; None where none is."""
    may_change = open_to_rules(subject)
    for blame in measures["blames"]:
        # The rules change one prompt: one that waits for another is never alone.
        alone = with_followers([blame["name"]], conditions(subject))
        if blame["score"] > 0 and blame["name"] in may_change and alone:
            why = "; ".join(blame["evidence"][:3])
            return Choice(agent=subject["agent"], prompt=blame["name"], why=why)
    return None
