"""Prompts that may change only together with others: `when_to_update: after NAME is updated`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Leaders", "leaders_of", "with_followers"]

_CONDITION = re.compile(
    r"\b(?:after|when(?:ever)?|once|if)\s+(?P<who>[^.;]+?)\s+"
    r"(?:is|are|was|were|has\s+been|have\s+been|gets?)\s+(?:also\s+)?"
    r"(?:updated|changed|rewritten|revised)\b",
    re.IGNORECASE,
)
_BARE = re.compile(r"^\W*only\s+after\s+(?P<who>[^.;]+?)\W*$", re.IGNORECASE)
"""`only after NAME` and nothing else: the verb goes without saying."""
_BETWEEN = re.compile(r"\s*(?:,|\band\b|\bor\b|&)\s*(?:and\b|or\b)?\s*", re.IGNORECASE)
_AROUND = re.compile(
    r"^(?:the\s+)?(?:prompts?\s+)?[`'\"]?(.*?)[`'\"]?(?:\s+prompts?)?$", re.IGNORECASE
)


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


def leaders_of(when_to_update: str, names: Iterable[str]) -> Leaders | None:
    """Return the prompts that a `when_to_update` waits for, or None where it names none.

    Understood are `after NAME is updated`, `when NAME is updated`, `only after NAME` and the like,
    with one name or several; `-`, `_`, blanks and case are all one in a name. Any other text is a
    condition for the reader: it names a prompt without waiting for it.

    Args:
        names: All of the agent's prompts, those that never change too.
    """
    known = {_plain(name): name for name in names}
    for found in (_CONDITION.search(when_to_update), _BARE.match(when_to_update)):
        if found is None:
            continue
        parts = [_plain(_AROUND.sub(r"\1", p)) for p in _BETWEEN.split(found["who"].strip())]
        # A name may itself hold "and": "search and replace".
        whole = _plain(_AROUND.sub(r"\1", found["who"].strip()))
        if whole in known:
            return Leaders((known[whole],))
        if all(part in known for part in parts):
            some = re.search(r"\bor\b", found["who"], re.IGNORECASE) is not None
            return Leaders(tuple(dict.fromkeys(known[part] for part in parts)), some)
    return None


def with_followers(chosen: Sequence[str], prompts: Mapping[str, str]) -> list[str]:
    """Return the chosen prompts that may be updated, each behind those it waits for.

    One that waits for a prompt that is not chosen is left out, and so is what waits for that one;
    prompts that wait for each other stay where both are chosen. Otherwise the order is kept.

    Args:
        chosen: Names, each once.
        prompts: All of the agent's prompts: name -> `when_to_update`, empty where there is none.
    """
    waits = {name: leaders_of(prompts.get(name, ""), prompts) for name in chosen}
    kept = list(chosen)
    while gone := [n for n in kept if (leaders := waits[n]) and not leaders.chosen(kept)]:
        kept = [name for name in kept if name not in gone]
    ordered: list[str] = []
    for name in kept:
        _place(name, kept, waits, ordered, frozenset())
    return ordered


def _place(
    name: str,
    kept: Sequence[str],
    waits: Mapping[str, Leaders | None],
    ordered: list[str],
    above: frozenset[str],
) -> None:
    if name in ordered or name in above:
        return
    leaders = waits[name]
    for leader in leaders.names if leaders else ():
        if leader in kept:
            _place(leader, kept, waits, ordered, above | {name})
    ordered.append(name)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
