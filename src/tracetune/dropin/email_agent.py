"""Saving optimized prompts where an e-mail agent of langmem's course reads them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.store.base import BaseStore, GetOp, Item, Op, PutOp

from tracetune.errors import ConflictError, InputError
from tracetune.stores.arguments import check_argument
from tracetune.stores.backends import describe, store_errors
from tracetune.stores.memory import NO_HEAD, AgentMemory, ProceduralMemory
from tracetune.stores.project_file import RESERVED
from tracetune.stores.release import Release

__all__ = ["KEYS", "aupdate_prompts_in_store", "update_prompts_in_store"]

KEYS: Mapping[str, str] = {
    "main_agent": "agent_instructions",
    "triage-ignore": "triage_ignore",
    "triage-notify": "triage_notify",
    "triage-respond": "triage_respond",
}
"""Where the agent keeps the prompts that the optimizer knows by these names."""

FIELD = "prompt"
BY = "update_prompts_in_store"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Save:
    """One prompt to be saved."""

    name: str
    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be saved of one user's prompts."""

    user_id: str
    saves: list[_Save]
    given: Mapping[str, str]
    """Every prompt's text as the caller read it, by name."""
    keys: Mapping[str, str]
    """Where each of them is kept; those of which nobody said it are left out."""

    def gets(self) -> list[Op]:
        return [GetOp((self.user_id,), key) for key in self.keys.values()]


@dataclass(frozen=True, slots=True)
class _Held:
    """What the store holds of them, and what of it is to change."""

    asked: _Asked
    values: Mapping[str, Mapping[str, Any]]
    """By prompt's name; empty where there is nothing yet."""
    saves: list[_Save]
    """Those that are not there already."""

    @classmethod
    def of(cls, asked: _Asked, items: Sequence[Any]) -> _Held:
        """Read what `gets` got.

        Raises:
            ConflictError: A prompt that is to be saved is neither as it was nor as it is to be.
        """
        found = dict(zip(asked.keys, items, strict=True))
        values = {n: item.value if isinstance(item, Item) else {} for n, item in found.items()}
        for save in asked.saves:
            if values[save.name].get(FIELD, save.before) not in (save.before, save.after):
                raise ConflictError(
                    f"Prompt {save.name!r} of {asked.user_id!r} was saved by someone else since it "
                    "was read: read the prompts again.",
                    None,
                    None,
                )
        return cls(asked, values, [s for s in asked.saves if values[s.name].get(FIELD) != s.after])

    def texts(self) -> dict[str, str]:
        """Every prompt as it is kept; as it was given where it is kept nowhere."""
        texts = dict(self.asked.given)
        for name, value in self.values.items():
            if isinstance(text := value.get(FIELD), str):
                texts[name] = text
        return texts

    def puts(self) -> list[Op]:
        # Other fields belong to whoever put them there. The agent gets these by their key:
        # embedding them would cost calls and find nothing.
        space, values = (self.asked.user_id,), self.values
        return [
            PutOp(space, save.key, {**values[save.name], FIELD: save.after}, index=False)
            for save in self.saves
        ]

    def names(self) -> list[str]:
        return [save.name for save in self.saves]


def update_prompts_in_store(
    store: BaseStore,
    user_id: str,
    updated: Iterable[Mapping[str, Any]],
    prompts: Iterable[Mapping[str, Any]],
    keys: Mapping[str, str] | None = None,
    *,
    project: str | None = "email",
    why: Sequence[str] = (),
) -> list[str]:
    """Save what the optimizer changed; return the names of those prompts, in their order.

    Each lies under the namespace `(user_id,)` and its key, as {"prompt": text}; other fields of a
    value stay. A blank text is never saved, and one that is there already is not saved again. The
    prompts, as the store holds them, become a release of the user's, so that
    `ProceduralMemory(store, project).agent(user_id)` has their history.

    Args:
        updated: What the optimizer returned; compared with `prompts` by name, in any order.
        prompts: What the optimizer was given.
        keys: Name -> key, over the e-mail agent's own.
        project: What the releases are kept under; None keeps none.
        why: A sentence for each change, for the release.

    Raises:
        InputError: A prompt without name or text, a name that comes twice, that was not given, or
            whose key is not known, two with one key, or a `why` that is no text; nothing was saved.
        ConflictError: The store holds another text than `prompts`: someone saved one since they
            were read; nothing was saved.
        StoreError: The store fails.
    """
    asked = _asked(user_id, updated, prompts, keys, why)
    if not asked.saves:
        return []
    with store_errors(describe(store), f"saving prompts of {user_id!r}"):
        held = _Held.of(asked, store.batch(asked.gets()))
        if not held.saves:
            return []
        if project is not None:
            _release(ProceduralMemory(store, project).agent(user_id), held, why)
        store.batch(held.puts())
    return held.names()


async def aupdate_prompts_in_store(
    store: BaseStore,
    user_id: str,
    updated: Iterable[Mapping[str, Any]],
    prompts: Iterable[Mapping[str, Any]],
    keys: Mapping[str, str] | None = None,
    *,
    project: str | None = "email",
    why: Sequence[str] = (),
) -> list[str]:
    """`update_prompts_in_store`, awaited; with a store that is sync only, in a thread."""
    updated, prompts = _listed(updated, "updated"), _listed(prompts, "prompts")
    asked = _asked(user_id, updated, prompts, keys, why)
    if not asked.saves:
        return []
    with store_errors(describe(store), f"saving prompts of {user_id!r}"):
        try:
            items = await store.abatch(asked.gets())
        except NotImplementedError:
            return await asyncio.to_thread(
                update_prompts_in_store,
                store,
                user_id,
                updated,
                prompts,
                keys,
                project=project,
                why=why,
            )
        held = _Held.of(asked, items)
        if not held.saves:
            return []
        if project is not None:
            await _arelease(ProceduralMemory(store, project).agent(user_id), held, why)
        await store.abatch(held.puts())
    return held.names()


def _asked(
    user_id: str,
    updated: Iterable[Mapping[str, Any]],
    prompts: Iterable[Mapping[str, Any]],
    keys: Mapping[str, str] | None,
    why: Sequence[str],
) -> _Asked:
    check_argument("why", why, Sequence[str])
    before, after = _by_name(prompts, "prompts"), _by_name(updated, "updated")
    if unknown := [name for name in after if name not in before]:
        raise InputError(f"updated holds {unknown[0]!r}, which is not among the prompts given.")
    known = {**KEYS, **(keys or {})}
    own = {name: known[name] for name in before if name in known}
    _check_keys(own)
    saves = []
    for name, text in before.items():
        new = after.get(name, text)
        if new == text:
            continue
        if not new.strip():
            _log.warning("Prompt %r came back blank: it is kept as it was.", name)
            continue
        if name not in own:
            raise InputError(f"keys must say where prompt {name!r} is kept, but does not name it.")
        saves.append(_Save(name, own[name], text, new))
    if saves:
        _check_user(user_id)
    return _Asked(user_id, saves, before, own)


def _check_keys(keys: Mapping[str, str]) -> None:
    first: dict[str, str] = {}
    for name, key in keys.items():
        if (other := first.setdefault(key, name)) != name:
            raise InputError(
                f"keys must keep each prompt apart, but {other!r} and {name!r} both go to {key!r}."
            )


def _by_name(prompts: Iterable[Mapping[str, Any]], what: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for index, prompt in enumerate(_listed(prompts, what)):
        named = isinstance(prompt, Mapping)
        name, text = (prompt.get("name"), prompt.get("prompt")) if named else (None, None)
        if not isinstance(name, str) or not isinstance(text, str):
            raise InputError(f"{what}[{index}] must have a name and a prompt (texts).")
        if name in texts:
            raise InputError(f"{what} must hold each name once, but holds {name!r} twice.")
        texts[name] = text
    return texts


def _listed(prompts: Any, what: str) -> list[Any]:
    if isinstance(prompts, str | Mapping) or not isinstance(prompts, Iterable):
        raise InputError(f"{what} must be a list of prompts, but got {type(prompts).__name__}.")
    return list(prompts)


def _check_user(user_id: str) -> None:
    if not isinstance(user_id, str) or not user_id or "." in user_id or user_id in RESERVED:
        raise InputError(
            f"user_id must be a text that can be a store's namespace (no dots, not "
            f"{' or '.join(RESERVED)}), but got {user_id!r}."
        )


def _bundles(head: Release | None, held: _Held) -> tuple[dict[str, str], dict[str, str]]:
    """The prompts as they are, and as they are to be."""
    before = {**(head.prompts if head is not None else {}), **held.texts()}
    return before, {**before, **{save.name: save.after for save in held.saves}}


def _release(memory: AgentMemory, held: _Held, why: Sequence[str]) -> None:
    head = memory.head()
    before, after = _bundles(head, held)
    if head is not None and dict(head.prompts) == after:
        return  # An earlier save came to its release, and not to the store.
    if head is None or dict(head.prompts) != before:
        head = memory.commit(prompts=before, **_found(head))
    memory.commit(prompts=after, **_made(head, held.saves, why))


async def _arelease(memory: AgentMemory, held: _Held, why: Sequence[str]) -> None:
    head = await memory.ahead()
    before, after = _bundles(head, held)
    if head is not None and dict(head.prompts) == after:
        return
    if head is None or dict(head.prompts) != before:
        head = await memory.acommit(prompts=before, **_found(head))
    await memory.acommit(prompts=after, **_made(head, held.saves, why))


def _found(head: Release | None) -> dict[str, Any]:
    return {
        "base": head.id if head else NO_HEAD,
        "origin": "human" if head else "import",
        "why": ["edited by hand" if head else "as first seen"],
        "promote": True,
        "by": BY,
    }


def _made(head: Release, saves: Sequence[_Save], why: Sequence[str]) -> dict[str, Any]:
    told = [why] if isinstance(why, str) else list(why)
    return {
        "base": head.id,
        "origin": "llm",
        "why": told or [f"{save.name}: updated by the optimizer" for save in saves],
        "promote": True,
        "by": BY,
    }
