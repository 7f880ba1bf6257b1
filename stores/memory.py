"""Procedural memory: every release of every agent of a project, and which is in force."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Concatenate, ParamSpec, TypeVar

from langgraph.store.base import BaseStore, Op, Result

from tracetune.errors import InputError, NotFoundError
from tracetune.stores.backends import describe, store_errors
from tracetune.stores.plans import NO_HEAD, AgentPlans, Plan
from tracetune.stores.release import Release

__all__ = ["NO_HEAD", "AgentMemory", "ProceduralMemory"]

_NAME_LIMIT = 100

P = ParamSpec("P")
T = TypeVar("T")


class ProceduralMemory:
    """The memory of one project in any LangGraph store.

    Raises:
        InputError: The project's name cannot be a namespace label.
    """

    def __init__(self, store: BaseStore, project: str) -> None:
        self.store = store
        self.project = _checked("project", project)

    def agent(self, name: str) -> AgentMemory:
        """Return the memory of one agent; nothing is read yet.

        Raises:
            InputError: The name is empty, longer than 100 characters, or holds a dot or
                a character that does not print.
        """
        return AgentMemory(self.store, self.project, _checked("agent", name))


def _blocking(
    plan: Callable[Concatenate[AgentPlans, P], Plan[T]],
) -> Callable[Concatenate[AgentMemory, P], T]:
    @functools.wraps(plan)
    def method(self: AgentMemory, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(plan(self._plans, *args, **kwargs), plan.__name__)

    return method


def _awaiting(
    plan: Callable[Concatenate[AgentPlans, P], Plan[T]],
) -> Callable[Concatenate[AgentMemory, P], Awaitable[T]]:
    @functools.wraps(plan)
    async def method(self: AgentMemory, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._arun(plan(self._plans, *args, **kwargs), plan.__name__)

    method.__name__ = f"a{plan.__name__}"
    return method


class AgentMemory:
    """One agent's releases, journal and head.

    Methods named `a…` are awaited and never block the event loop, with any store. Wherever
    a release is named, a beginning or an end of its id will do when no other has it.
    """

    def __init__(self, store: BaseStore, project: str, name: str) -> None:
        self.name = name
        self._store = store
        self._plans = AgentPlans(project, name)

    head = _blocking(AgentPlans.head)
    ahead = _awaiting(AgentPlans.head)
    get = _blocking(AgentPlans.get)
    aget = _awaiting(AgentPlans.get)
    releases = _blocking(AgentPlans.releases)
    areleases = _awaiting(AgentPlans.releases)
    history = _blocking(AgentPlans.history)
    ahistory = _awaiting(AgentPlans.history)
    commit = _blocking(AgentPlans.commit)
    acommit = _awaiting(AgentPlans.commit)
    promote = _blocking(AgentPlans.promote)
    apromote = _awaiting(AgentPlans.promote)
    rollback = _blocking(AgentPlans.rollback)
    arollback = _awaiting(AgentPlans.rollback)
    reject = _blocking(AgentPlans.reject)
    areject = _awaiting(AgentPlans.reject)

    @property
    def release(self) -> Release:
        """The release in force.

        Raises:
            NotFoundError: None is, yet.
        """
        release = self.head()
        if release is None:
            raise NotFoundError(
                f"Agent {self.name!r} has no release in force in {describe(self._store)}."
            )
        return release

    @property
    def prompts(self) -> Mapping[str, str]:
        """The prompts in force, text by name; read `release` once to have both halves agree."""
        return self.release.prompts

    @property
    def config(self) -> Mapping[str, Any]:
        """The config in force, values by name."""
        return self.release.config

    def _run(self, plan: Plan[T], doing: str) -> T:
        try:
            ops = next(plan)
            while True:
                with self._errors(doing):
                    results = self._store.batch(ops)
                ops = plan.send(results)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    async def _arun(self, plan: Plan[T], doing: str) -> T:
        try:
            ops = next(plan)
            while True:
                with self._errors(doing):
                    results = await _abatch(self._store, ops)
                ops = plan.send(results)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        return store_errors(describe(self._store), f"{doing} for agent {self.name!r}")


async def _abatch(store: BaseStore, ops: list[Op]) -> list[Result]:
    try:
        return await store.abatch(ops)
    except NotImplementedError:  # a sync-only store, such as SqliteStore
        pass
    return await asyncio.to_thread(store.batch, ops)


def _checked(kind: str, name: str) -> str:
    ok = isinstance(name, str) and name.strip() and len(name) <= _NAME_LIMIT
    if not ok or "." in name or not name.isprintable():
        raise InputError(
            f"The {kind} name {name!r:.120} must have 1 to {_NAME_LIMIT} printable characters"
            " and no dot."
        )
    return name
