"""The guards, told what a cycle knows of the prompt they guard."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from tracetune.graph.state import Measures, Subject
from tracetune.nodes.guarding.foreign import names
from tracetune.nodes.guarding.guards import Violation, check_prompt
from tracetune.nodes.guarding.links import links
from tracetune.nodes.guarding.untouched import diff_size
from tracetune.nodes.guidelines import outside, read_examples, without_examples
from tracetune.stores.release import Release

__all__ = ["BY_HAND", "let_in", "sizes_by_hand", "trusted_words", "violations_in"]

BY_HAND = "by hand"
"""The style of a text that a person edited before it was released."""
FREE = frozenset((BY_HAND, "gradient", "metaprompt", "prompt_memory"))
"""Styles of langmem, and a person's."""
LINK_SHOWN = 200
"""Characters of a link that a report tells."""
REWRITTEN = 0.5
"""Share of both texts that a person's diff takes out and puts in, from which it is a rewrite."""


def violations_in(
    after: str, prompt: str, subject: Subject, measures: Measures, style: str = ""
) -> list[Violation]:
    """Return every rule that `after` breaks as the agent's next text of that prompt.

    langmem's styles write the whole text anew by design: they may put all in other words, as a
    person may.

    Examples are copies of runs by design, checked when they are chosen: here each must be one of
    those, or stand there already.
    """
    before, tools = subject["prompts"][prompt], {*subject["tools"]}
    for name, text in subject["prompts"].items():
        # Whoever wrote the agent's other prompts knows its tools.
        tools |= _names(text) if name != prompt else set()
    patterns, feedback = measures["patterns"], measures["feedback"]
    examples = {*read_examples(before), *measures.get("demonstrations", ())}
    if not examples.issuperset(read_examples(after)):
        return [Violation("section", "an example that is no record of a run")]
    found = _checked(
        without_examples(before),
        without_examples(after),
        template_format=subject["prompt_specs"].get(prompt, {}).get("template_format", "auto"),
        tools=tuple(sorted(tools)),
        other_tools=tuple(subject.get("other_tools", ())),
        quotes=(*measures["runs"], *feedback),
        named=(*feedback, *(str(pattern["text"]) for pattern in patterns)),
        trusted=trusted_words(prompt, subject, measures),
        first_size=subject["first_sizes"].get(prompt),
        freely=style in FREE,
    )
    return list(found)


_names = functools.lru_cache(maxsize=64)(names)


def trusted_words(prompt: str, subject: Subject, measures: Measures) -> tuple[str, ...]:
    """How the prompt's owner wants it updated, and, where they answer for who gave it, feedback."""
    own = str(subject["prompt_specs"].get(prompt, {}).get("update_instructions") or "")
    if not _is_trusting(prompt, subject):
        return (own,) if own else ()
    return (own, *measures["feedback"], *measures.get("remarks", ()))


def let_in(after: str, prompt: str, subject: Subject) -> list[str]:
    """Links and addresses that `after`, which breaks no rule, brings in: feedback has them so."""
    if not _is_trusting(prompt, subject):
        return []
    before = without_examples(subject["prompts"][prompt])
    return sorted(link[:LINK_SHOWN] for link in links(without_examples(after)) - links(before))


def _is_trusting(prompt: str, subject: Subject) -> bool:
    return bool(subject["prompt_specs"].get(prompt, {}).get("trusted_feedback"))


@functools.lru_cache(maxsize=32)
def _checked(before: str, after: str, **told: Any) -> tuple[Violation, ...]:
    # A text that its branch has checked is checked again where the branches join.
    return tuple(check_prompt(before, after, **told))


def sizes_by_hand(releases: Iterable[Release]) -> dict[str, int]:
    """Characters of each prompt that its budget follows: what people wrote of it.

    A prompt starts with its first text. Who rewrites it by hand, so that at least half of it is
    new, starts it anew. Who edits it makes it larger by what they add: a comma put into a text that
    tracetune has grown does not raise its budget by all that growth. What is shorter now counts as
    it is. Sections do not count, nor does what tracetune wrote.
    """
    known = {release.id: release for release in releases}
    sizes: dict[str, int] = {}
    for _, release in sorted(known.items()):  # ids sort by time
        base = known.get(release.parent) if release.parent else None
        for name, text in release.prompts.items():
            new = outside(text)
            old = base.prompts.get(name) if base is not None else None
            if release.origin in ("import", "human") and (old is None or outside(old) != new):
                sizes[name] = _size_by_hand(sizes.get(name), old, new)
            sizes.setdefault(name, len(new))
    return sizes


def _size_by_hand(size: int | None, old: str | None, new: str) -> int:
    if size is None or old is None or diff_size(outside(old), new).share >= REWRITTEN:
        return len(new)
    return min(len(new), size + max(0, len(new) - len(outside(old))))
