"""The guards, told what a cycle knows of the prompt they guard."""

from __future__ import annotations

from collections.abc import Iterable

from tracetune.graph.state import Measures, Subject
from tracetune.nodes.guarding.guards import Violation, check_prompt
from tracetune.nodes.guidelines import outside, read_examples, without_examples
from tracetune.stores.release import Release

__all__ = ["sizes_by_hand", "violations_in"]


def violations_in(after: str, prompt: str, subject: Subject, measures: Measures) -> list[Violation]:
    """Return every rule that `after` breaks as the agent's next text of that prompt.

    Examples are copies of runs by design, checked when they are chosen: here each must be one of
    those, or stand there already.
    """
    before = subject["prompts"][prompt]
    patterns, feedback = measures["patterns"], measures["feedback"]
    examples = {*read_examples(before), *measures.get("demonstrations", ())}
    if not examples.issuperset(read_examples(after)):
        return [Violation("section", "an example that is no record of a run")]
    return check_prompt(
        without_examples(before),
        without_examples(after),
        template_format=subject["prompt_specs"].get(prompt, {}).get("template_format", "auto"),
        tools=subject["tools"],
        quotes=[*measures["runs"], *feedback],
        named=[*feedback, *(str(pattern["text"]) for pattern in patterns)],
        first_size=subject["first_sizes"].get(prompt),
    )


def sizes_by_hand(releases: Iterable[Release]) -> dict[str, int]:
    """Characters of each prompt, outside its section, as a person last wrote it.

    What tracetune wrote since does not count, so that a budget made from it does not creep. Of a
    prompt that no person's release holds any more, the oldest text there is counts.
    """
    known = {release.id: release for release in releases}
    sizes: dict[str, int] = {}
    for _, release in sorted(known.items()):  # ids sort by time
        base = known.get(release.parent) if release.parent else None
        for name, text in release.prompts.items():
            old = base.prompts.get(name) if base is not None else None
            by_hand = release.origin in ("import", "human")
            if by_hand and (old is None or outside(old) != outside(text)):
                sizes[name] = len(outside(text))
            sizes.setdefault(name, len(outside(text)))
    return sizes
