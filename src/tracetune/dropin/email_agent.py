"""Saving optimized prompts where an e-mail agent of langmem's course reads them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.store.base import BaseStore, Item, Op, PutOp

from tracetune.errors import ConflictError, InputError
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


def update_prompts_in_store(
    store: BaseStore,
    user_id: str,
    updated: Sequence[Mapping[str, Any]],
    prompts: Sequence[Mapping[str, Any]],
    keys: Mapping[str, str] | None = None,
    *,
    project: str | None = "email",
    why: Sequence[str] = (),
) -> list[str]:
    """Save what the optimizer changed; return the names of those prompts, in their order.

    Each lies under the namespace `(user_id,)` and its key, as {"prompt": text}; other fields of a
    value stay. A blank text is never saved. The prompts become a release of the user's, so that
    `ProceduralMemory(store, project).agent(user_id)` has their history.

    Args:
        updated: What the optimizer returned; compared with `prompts` by name, in any order.
        prompts: What the optimizer was given.
        keys: Name -> key, over the e-mail agent's own.
        project: What the releases are kept under; None keeps none.
        why: A sentence for each change, for the release.

    Raises:
        InputError: A prompt without name or text, a name that comes twice, that was not given, or
            whose key is not known; nothing was saved.
        ConflictError: The store holds another text than `prompts`: someone saved one since they
            were read; nothing was saved.
        StoreError: The store fails.
    """
    saves = _saves(updated, prompts, keys)
    if not saves:
        return []
    space = _namespace(user_id)
    with store_errors(describe(store), f"saving prompts of {user_id!r}"):
        held = {save.name: store.get(space, save.key) for save in saves}
        _check_held(saves, held, user_id)
        if project is not None:
            _release(ProceduralMemory(store, project).agent(user_id), saves, prompts, why)
        store.batch(_puts(space, saves, held))
    return [save.name for save in saves]


async def aupdate_prompts_in_store(
    store: BaseStore,
    user_id: str,
    updated: Sequence[Mapping[str, Any]],
    prompts: Sequence[Mapping[str, Any]],
    keys: Mapping[str, str] | None = None,
    *,
    project: str | None = "email",
    why: Sequence[str] = (),
) -> list[str]:
    """`update_prompts_in_store`, awaited; with a store that is sync only, in a thread."""
    saves = _saves(updated, prompts, keys)
    if not saves:
        return []
    space = _namespace(user_id)
    with store_errors(describe(store), f"saving prompts of {user_id!r}"):
        try:
            held = {save.name: await store.aget(space, save.key) for save in saves}
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
        _check_held(saves, held, user_id)
        if project is not None:
            await _arelease(ProceduralMemory(store, project).agent(user_id), saves, prompts, why)
        await store.abatch(_puts(space, saves, held))
    return [save.name for save in saves]


def _saves(
    updated: Sequence[Mapping[str, Any]],
    prompts: Sequence[Mapping[str, Any]],
    keys: Mapping[str, str] | None,
) -> list[_Save]:
    before, after = _by_name(prompts, "prompts"), _by_name(updated, "updated")
    if unknown := [name for name in after if name not in before]:
        raise InputError(f"updated holds {unknown[0]!r}, which is not among the prompts given.")
    known = {**KEYS, **(keys or {})}
    saves = []
    for name, text in before.items():
        new = after.get(name, text)
        if new == text:
            continue
        if not new.strip():
            _log.warning("Prompt %r came back blank: it is kept as it was.", name)
            continue
        if name not in known:
            raise InputError(f"keys must say where prompt {name!r} is kept, but does not name it.")
        saves.append(_Save(name, known[name], text, new))
    return saves


def _by_name(prompts: Sequence[Mapping[str, Any]], what: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for index, prompt in enumerate(prompts):
        name, text = prompt.get("name"), prompt.get("prompt")
        if not isinstance(name, str) or not isinstance(text, str):
            raise InputError(f"{what}[{index}] must have a name and a prompt (texts).")
        if name in texts:
            raise InputError(f"{what} must hold each name once, but holds {name!r} twice.")
        texts[name] = text
    return texts


def _namespace(user_id: str) -> tuple[str]:
    if not isinstance(user_id, str) or not user_id or "." in user_id or user_id in RESERVED:
        raise InputError(
            f"user_id must be a text that can be a store's namespace (no dots, not "
            f"{' or '.join(RESERVED)}), but got {user_id!r}."
        )
    return (user_id,)


def _check_held(saves: Sequence[_Save], held: Mapping[str, Item | None], user_id: str) -> None:
    for save in saves:
        item = held[save.name]
        text = (item.value if item else {}).get(FIELD, save.before)
        if text not in (save.before, save.after):
            raise ConflictError(
                f"Prompt {save.name!r} of {user_id!r} was saved by someone else since it was read: "
                "read the prompts again.",
                None,
                None,
            )


def _puts(
    space: tuple[str, ...], saves: Sequence[_Save], held: Mapping[str, Item | None]
) -> list[Op]:
    puts: list[Op] = []
    for save in saves:
        item = held[save.name]
        # Other fields belong to whoever put them there. The agent gets these by their key:
        # embedding them would cost calls and find nothing.
        value = {**(item.value if item else {}), FIELD: save.after}
        puts.append(PutOp(space, save.key, value, index=False))
    return puts


def _bundles(
    head: Release | None, saves: Sequence[_Save], prompts: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, str] | None, dict[str, str]]:
    """The prompts as they were, where memory has not got them so, and as they are to be."""
    kept = dict(head.prompts) if head is not None else {}
    before = {**kept, **_by_name(prompts, "prompts")}
    after = {**before, **{save.name: save.after for save in saves}}
    return (None if before == kept else before), after


def _release(
    memory: AgentMemory,
    saves: Sequence[_Save],
    prompts: Sequence[Mapping[str, Any]],
    why: Sequence[str],
) -> None:
    head = memory.head()
    before, after = _bundles(head, saves, prompts)
    if before is not None:
        head = memory.commit(prompts=before, **_found(head))
    memory.commit(prompts=after, **_made(head, saves, why))


async def _arelease(
    memory: AgentMemory,
    saves: Sequence[_Save],
    prompts: Sequence[Mapping[str, Any]],
    why: Sequence[str],
) -> None:
    head = await memory.ahead()
    before, after = _bundles(head, saves, prompts)
    if before is not None:
        head = await memory.acommit(prompts=before, **_found(head))
    await memory.acommit(prompts=after, **_made(head, saves, why))


def _found(head: Release | None) -> dict[str, Any]:
    return {
        "base": head.id if head else NO_HEAD,
        "origin": "human" if head else "import",
        "why": ["edited by hand" if head else "as first seen"],
        "promote": True,
        "by": BY,
    }


def _made(head: Release | None, saves: Sequence[_Save], why: Sequence[str]) -> dict[str, Any]:
    return {
        "base": head.id if head else NO_HEAD,
        "origin": "llm",
        "why": list(why) or [f"{save.name}: updated by the optimizer" for save in saves],
        "promote": True,
        "by": BY,
    }
