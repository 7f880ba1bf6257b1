"""One more chance: what an answer broke is named to the model, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tracetune.nodes.calling.calls import CallError, unusable
from tracetune.nodes.evidence.shortening import shorten, shorten_to
from tracetune.nodes.guarding.guards import Violation, check_text
from tracetune.nodes.guidelines import MAX_GUIDELINE
from tracetune.prompts.loader import fence, render

__all__ = ["asked_again", "broken", "said", "told_of"]

ANSWER_SHOWN = 12_000
"""Characters of one refused text that the model gets to see again."""
RULES_SHOWN = 450
"""Tokens of what was refused, and why."""
MOST_REFUSED = 5
"""Findings of a refused answer that are told."""


def asked_again(prompt: str, refused: Sequence[tuple[str, Violation]], wanted: str) -> str:
    """The first prompt, what came back for it and why that is refused, and what is wanted now.

    Args:
        refused: What was proposed, and a rule that it breaks.
    """
    texts = dict.fromkeys(shorten(text, ANSWER_SHOWN) for text, _ in refused)
    broken_rules = "\n".join(f"{v.rule}: {v.text}" for v in dict.fromkeys(v for _, v in refused))
    return render(
        "repair",
        task=prompt,
        answer="\n".join(fence("answer", text) for text in texts),
        refused=fence("refused", shorten_to(broken_rules, RULES_SHOWN, fenced=True)),
        wanted=wanted,
    )


def broken(violations: Iterable[Violation]) -> CallError:
    """The error of a branch whose model broke rules twice: it names the rules, never a text.

    What was found stands apart, in `refused`.
    """
    found = list(dict.fromkeys(violations))
    rules = ", ".join(sorted({violation.rule for violation in found}))
    told = f"what the model proposed broke a rule twice ({rules})"
    return unusable(told, tuple(f"{v.text} ({v.rule})" for v in found[:MOST_REFUSED]))


def said(why: str, trusted: Sequence[str] = ()) -> str:
    """A reason the model gave, on one line; not the words themselves where they break a rule.

    Args:
        trusted: As `check_prompt` has it.
    """
    line = shorten(" ".join(why.split()), MAX_GUIDELINE)
    return "The model's reason was not kept." if check_text(line, trusted) else line


def told_of(prompt: str, what: str, violation: Violation) -> str:
    """One line for the report on what was proposed and not taken."""
    return f"{prompt}: {what} with {violation.text} ({violation.rule})"
