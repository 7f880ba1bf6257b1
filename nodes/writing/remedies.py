"""What a finding asks of an agent, in words of ours: nothing a trace says comes into a sentence.

Of a trace only the names of tools come in, where they are names: the guards check the sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tracetune.nodes.guarding.foreign import is_name, words_in
from tracetune.nodes.guarding.guards import Violation, check_text

__all__ = ["bad_name", "habit_sentence", "pattern_sentence"]

_AGAIN = "Do not call `{0}` again with the same arguments: use what it already answered."
_CHECK = "Before calling `{0}`, check every argument against what the tools returned."

_TELLING = (
    (
        r"(?:unknown|no such|invalid) column|column .{0,80}(?:does not|doesn['\u2019]t) exist",
        "In calls of `{0}`, name only columns that the schema shows.",
    ),
    (
        r"(?:unknown|no such) table|table .{0,80}(?:does not|doesn['\u2019]t) exist",
        "In calls of `{0}`, name only tables that exist: list them first.",
    ),
    (
        r"syntax error|error in your sql syntax|parse error|invalid json|jsondecodeerror",
        "Check the syntax of what you pass to `{0}` before you call it.",
    ),
    (
        r"missing (?:\d+ |<n> )?(?:required|argument|parameter)"
        r"|(?:field|argument|parameter) required|is (?:a )?required",
        "Give `{0}` every argument that it requires.",
    ),
    (
        r"not found|no such|does not exist|doesn['\u2019]t exist|unknown (?:id|user|order|item)",
        "Pass to `{0}` only ids and names that the user or a tool has given, exactly as given.",
    ),
    (
        r"permission|forbidden|unauthori[sz]ed|access denied|not allowed|not permitted",
        "When `{0}` refuses what you ask, do not ask it again in the same way.",
    ),
)
"""What an error's text tells, from the most special on, and the sentence it asks for."""
_NO_REMEDY = re.compile(r"time[d ]?.?out|rate.?limit|too many requests|unavailable|connection")
_TELLING_RES = tuple((re.compile(pattern), sentence) for pattern, sentence in _TELLING)


def bad_name(finding: Mapping[str, Any]) -> Violation | None:
    """Why no sentence may name the finding's tools: whoever made a trace chose their names.

    A name is 1 to 64 letters, digits and `_.:/-`, and its words break no rule that sentences have
    to keep.
    """
    for tool in finding["subject"]:
        if not is_name(tool):
            return Violation("tool", "a tool whose name is more than letters, digits and `_.:/-`")
        if broken := check_text(words_in(tool)):
            return broken[0]
    return None


def pattern_sentence(pattern: Mapping[str, Any]) -> str | None:
    """What a harmful pattern asks for, or None where following it would be no remedy.

    Only wasted calls are: to use a tool at all, to be long or to run into the step limit goes along
    with harder tasks, and a word that failing runs write is nothing to do or leave.
    """
    if not pattern["subject"]:
        return None
    tool = pattern["subject"][-1]
    if pattern["kind"] == "loop":
        return _AGAIN.format(tool)
    if pattern["kind"] == "tool_error":
        return _error_sentence(tool, _error_of(pattern["text"]))
    return None


def _error_of(text: str) -> str:
    """The error's text in the words of its pattern; empty where that is about any error."""
    return text.partition(' the error "')[2].removesuffix('"').casefold()


def _error_sentence(tool: str, error: str) -> str | None:
    if _NO_REMEDY.search(error):
        return None
    told = (sentence for pattern, sentence in _TELLING_RES if pattern.search(error))
    return next(told, _CHECK).format(tool)


_HABITS = {
    "tool_order": "Call `{0}` before `{1}`.",
    "first_tool": "Start with `{0}`.",
    "tool_used": "Use `{0}`.",
}


def habit_sentence(habit: Mapping[str, Any]) -> str:
    """What a helpful habit asks for."""
    return _HABITS[habit["kind"]].format(*habit["subject"])
