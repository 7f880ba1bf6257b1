"""One more chance: what an answer broke is named to the model, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tracetune.nodes.calling.calls import CallError, unusable
from tracetune.nodes.evidence.showing import shorten
from tracetune.nodes.guarding.guards import Violation, check_text
from tracetune.nodes.guidelines import MAX_GUIDELINE
from tracetune.prompts.loader import fence, render

__all__ = ["asked_again", "broken", "said", "told_of"]

ANSWER_SHOWN = 12_000
"""Characters of one refused text that the model gets to see again."""
RULES_SHOWN = 1_500


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
        refused=fence("refused", shorten(broken_rules, RULES_SHOWN)),
        wanted=wanted,
    )


def broken(violations: Iterable[Violation]) -> CallError:
    """The error of a branch whose model broke rules twice: it names the rules, never a text."""
    rules = ", ".join(sorted({violation.rule for violation in violations}))
    return unusable(f"what the model proposed broke a rule twice ({rules})")


def said(why: str) -> str:
    """A reason the model gave, on one line; not the words themselves where they break a rule."""
    line = shorten(" ".join(why.split()), MAX_GUIDELINE)
    return "The model's reason was not kept." if check_text(line) else line


def told_of(prompt: str, what: str, violation: Violation) -> str:
    """One line for the report on what was proposed and not taken."""
    return f"{prompt}: {what} with {violation.text} ({violation.rule})"
