"""What a prompt's `when_to_update` says in words that are rules: never, and after other prompts.

All else is a sentence for the model that classifies. The grammar is English and small on purpose:
what is misread as a rule would lock a prompt, and nobody would see why.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["Leaders", "Permission", "leaders_of", "permission_of"]

Permission = Literal["never", "judged", "open"]

_CHANGES = (
    r"(?:updat|chang|touch|edit|modif|rewrit|re-writ|revis|alter|adapt|tun|optimi[sz]|improv)"
)
_WHEN = r"(?:when(?:ever)?|once|if|after|as[ ]soon[ ]as)"
_NEVER = re.compile(
    rf"""\W*(?:please\s+)?(?:
    (?:updated?\W+)?never(?![\w-])
    | (?:do\s+not|don't|dont)\s*(?:$|[.!,;:]|(?:ever\s+|\w+ly\s+)?{_CHANGES})
    | (?:(?:this|that|the|it|its|prompts?|texts?|wording|instructions?)\s+){{0,4}}
      (?:
        (?:(?:must|should|shall|may|can|will|is|are)\s+)?(?:not|never)
      | cannot
      | (?:must|should|can|wo|is|are)n't
      )\s+(?:ever\s+)?(?:to\s+)?(?:be\s+|being\s+)?{_CHANGES}
    | no\s+(?:more\s+)?(?:updates?|changes?|edits?)\b
    | no\W*$
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_YET = re.compile(
    rf"""\b(?:unless|except(?:ing)?|other\s+than|apart\s+from)\b
    | \b(?:but|only)\s+(?:only\s+)?{_WHEN}\b
    | [.;,!]\s*(?:please\s+|but\s+|otherwise\s+)?(?:update|change|rewrite|revise)\s+
      (?:(?:it|this|only)\s+){{0,2}}(?:{_WHEN}|for|on)\b""",
    re.IGNORECASE | re.VERBOSE,
)
"""What may follow a "never" and take some of it back."""

_DONE = r"(?:updated|changed|edited|modified|rewritten|re-written|revised|improved)"
_DOING = r"(?:updating|changing|editing|modifying|rewriting|re-writing|revising|improving)"
_CHANGE = r"(?:updates?|changes?|edits?|rewrites?|revisions?)"
_BETWEEN = r" ?(?:, ?(?:and/or |and |or |& ?)?|/ ?|& ?|and/or |and |or )"
_ENDS = (
    r"(?= ?(?:first|too|as well)? ?(?:$|[.;:!?)]|,? ?\bor\b"
    rf"|,? ?(?:\b(?:and|but) )?(?:\b(?:only|also) )?\b{_WHEN}\b))"
)
_NOT = re.compile(
    r"\b(?:not|never|no|nor|neither|cannot|without|unless|except|even|regardless|instead|rather)\b"
    r"|n't\b",
    re.IGNORECASE,
)
_NOT_BEFORE = re.compile(r",? ?\b(?:(?:and|but) )?not (?:before|earlier|sooner)\b", re.IGNORECASE)
_REASON = re.compile(r"\b(?:so that|because|since|in order to)\b[^.;!?]*", re.IGNORECASE)
_OR = re.compile(
    rf"\b(?:and/or|or)\b|\b(?:also|additionally)\b(?=(?: \w+){{0,2}} {_WHEN}\b)", re.IGNORECASE
)
_SOME = re.compile(r"\b(?:or|either|any)\b|/", re.IGNORECASE)
_LEADER = "\0"
"""What stands for a condition that was understood."""


@dataclass(frozen=True, slots=True)
class Leaders:
    """The prompts that another one waits for."""

    names: tuple[str, ...]
    any_will_do: bool = False
    """Whether one of them is enough ("after a or b is updated")."""

    def chosen(self, chosen: Iterable[str]) -> bool:
        """Whether those that are waited for are among the chosen."""
        found = [name in set(chosen) for name in self.names]
        return any(found) if self.any_will_do else all(found)


def permission_of(when_to_update: str) -> Permission:
    """Return who may update a prompt on this condition.

    `never`: nobody; the text begins with never, or with a form of "do not update". `judged`: it
    begins so and goes on with "unless", "except" or the like, which only a model can judge.
    `open`: anything else.
    """
    text = _straight(when_to_update)
    if (found := _NEVER.match(text)) is None:
        return "open"
    return "judged" if _YET.search(text, found.end()) else "never"


def leaders_of(when_to_update: str, names: Iterable[str]) -> Leaders | None:
    """Return the prompts that a `when_to_update` waits for, or None where it waits for none.

    Understood are `after NAME is updated`, `when NAME changes`, `after updating NAME`, `after
    NAME` and the like, with one name or several; `-`, `_`, blanks and case are all one in a name.
    A condition that is denied ("unless", "not"), and one of several alternatives that are not all
    of this kind ("…, or when users complain"), make it wait for nothing: any such text is for the
    model that reads it.

    Args:
        names: All of the agent's prompts, those that never change too.
    """
    text = _REASON.sub("", _NOT_BEFORE.sub("", _straight(when_to_update)))
    plain = _plain(text)
    said = tuple(sorted(name for name in names if (key := _plain(name)) and key in plain))
    if not said or permission_of(text) != "open":
        return None
    grammar = _grammar(said)
    found: list[Leaders] = []
    told: list[str] = []
    for sentence in re.split(r"[.;!?](?=\s|$)", text):
        mine = list(grammar.leaders(sentence))
        rest = grammar.condition.sub(_LEADER, sentence)
        if mine and _NOT.search(rest):
            return None
        found += mine
        told.append(rest)
    return _joined(found, ". ".join(told))


def _joined(found: list[Leaders], rest: str) -> Leaders | None:
    """One condition of several, by how they are joined in the text that is left of them."""
    ways = [way for way in _OR.split(rest) if re.search(rf"\w|{_LEADER}", way)]
    either = len(ways) > 1
    if not found or (either and not all(_LEADER in way for way in ways)):
        return None
    names = tuple(dict.fromkeys(name for one in found for name in one.names))
    if len(found) == 1:
        return found[0]
    alike = all(len(one.names) == 1 or one.any_will_do == either for one in found)
    return Leaders(names, either) if alike else None


def _straight(text: str) -> str:
    """The text with plain quotes, and one blank wherever there are any."""
    return " ".join(re.sub("[\u2018\u2019]", "'", text.replace(_LEADER, " ")).split())


@dataclass(frozen=True, slots=True)
class _Grammar:
    """How conditions on the prompts of one agent are put."""

    condition: re.Pattern[str]
    name: re.Pattern[str]
    known: dict[str, str]
    """Names, by how they are compared."""

    def leaders(self, text: str) -> Iterator[Leaders]:
        """Those of each condition in the text."""
        for found in self.condition.finditer(text):
            who = next(filter(None, found.groups()))
            spelled = [_plain(one[1]) for one in self.name.finditer(who)]
            names = tuple(dict.fromkeys(self.known[one] for one in spelled if one in self.known))
            some = _SOME.search(self.name.sub(_LEADER, who)) is not None
            if names:
                yield Leaders(names, some and len(names) > 1)


@functools.lru_cache(maxsize=64)
def _grammar(names: tuple[str, ...]) -> _Grammar:
    known = {_plain(name): name for name in names}
    longest = sorted(known, key=len, reverse=True)
    spelled = "|".join(r"[\s_-]+".join(map(re.escape, plain.split())) for plain in longest)
    quote = "[`'\"\u201c\u201d]?"
    one = rf"(?:the )?(?:prompts? )?{quote}(?<!\w)(?:{spelled})(?!\w){quote}(?: prompts?\b)?"
    who = rf"((?:(?:both|either|any of|all of) )?{one}(?:{_BETWEEN}{one})*)"
    is_done = (
        rf"(?:is|are|was|were|gets?|got|(?:has|have|had) been) "
        rf"(?:(?:also|first|just|both|all) )?{_DONE}\b"
    )
    forms = (
        rf"(?:only )?{_WHEN} {who} {is_done}",
        rf"(?:only )?{_WHEN} {who} (?:{_CHANGE}|(?:has|have|had) {_DONE}){_ENDS}",
        rf"(?:only )?(?:after|when|upon|following) {_DOING} {who}{_ENDS}",
        rf"(?:only )?(?:after|upon|following) (?:(?:an?|the|any) )?{_CHANGE} (?:of|to|in) "
        rf"{who}{_ENDS}",
        rf"(?:only )?after {who}{_ENDS}",
    )
    condition = "|".join(rf"\b(?:{form})" for form in forms)
    return _Grammar(
        re.compile(condition, re.IGNORECASE),
        re.compile(rf"(?<!\w)({spelled})(?!\w)", re.IGNORECASE),
        known,
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
