"""What a trace's scores say of its outcome."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracetune.traces.readers.base import number

__all__ = ["Score", "outcome_of"]

# Names that say by themselves that more is better; the first one found decides.
_OUTCOMES = (
    "success",
    "successful",
    "task_success",
    "passed",
    "pass",
    "resolved",
    "reward",
    "correct",
    "correctness",
    "task_completion",
    "goal_completion",
    "goal_accuracy",
    "accuracy",
    "score",
    "user_score",
    "user_feedback",
    "feedback",
    "thumbs",
    "thumbs_up",
    "helpfulness",
    "quality",
)
_WORDS = {
    **dict.fromkeys(("true", "pass", "passed", "yes", "success", "correct", "resolved"), True),
    **dict.fromkeys(("false", "fail", "failed", "no", "failure", "incorrect", "unresolved"), False),
}
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Score:
    """One score, whoever gave it."""

    value: bool | float | str | None
    comment: str | None = None


def outcome_of(
    scores: Mapping[str, Score],
) -> tuple[bool | None, float | None, dict[str, Any] | None]:
    """Return the success, the score and the feedback that scores amount to.

    The score whose name says that more is better decides: true or false as they are, words such
    as "pass" and "fail", a number in [0, 1] from 0.5 up, also as text. Numbers on other scales are
    scores, and tell of no success. Other names, such as "toxicity", are feedback and nothing else.
    """
    by_name = {
        re.sub(r"[^a-z]+", "_", name.lower()).strip("_"): score for name, score in scores.items()
    }
    # A judge that failed leaves a score without a value: it decides nothing.
    given = (by_name[name].value for name in _OUTCOMES if name in by_name)
    chosen = next((value for value in given if value is not None), None)
    success: bool | None = None
    score: float | None = None
    if isinstance(chosen, str):
        word = chosen.strip().lower()
        chosen = _WORDS[word] if word in _WORDS else _number(word)
    if isinstance(chosen, bool):
        success = chosen
    elif chosen is not None:
        score = chosen
        success = score >= _HALF if 0 <= score <= 1 else None
    return success, score, _feedback(scores) or None


def _number(word: str) -> float | None:
    try:
        return number(word, "score")
    except TypeError:
        return None


def _feedback(scores: Mapping[str, Score]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, score in scores.items():
        if score.value is not None:
            told[name] = score.value
        if score.comment:
            told[f"{name}.comment" if score.value is not None else name] = score.comment
    return told
