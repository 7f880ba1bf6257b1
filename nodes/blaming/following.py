"""Prompts that may change only together with others: `when_to_update: after NAME is updated`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracetune.nodes.blaming.when_to_update import Leaders, leaders_of

__all__ = ["with_followers"]


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
