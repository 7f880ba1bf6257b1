"""Procedural memory: every release of every agent of a project, and which is in force."""

from __future__ import annotations

import functools
import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from langgraph.store.base import BaseStore

from tracetune.errors import InputError, NotFoundError, StoreError, TraceTuneError
from tracetune.stores.arguments import check_argument, checker
from tracetune.stores.backends import describe, store_error
from tracetune.stores.cache import HeadCache
from tracetune.stores.commits import AgentPlans
from tracetune.stores.heads import NO_HEAD
from tracetune.stores.layout import copied
from tracetune.stores.reads import ReadPlans
from tracetune.stores.release import Release
from tracetune.stores.steps import WritePlan
from tracetune.stores.swap import arun, run
from tracetune.stores.users import Preferences, UserPlans

__all__ = ["NO_HEAD", "AgentMemory", "Preferences", "ProceduralMemory", "UserMemory"]

AGENTS_KEPT = 10_000
"""Agents, and users of them, that one `ProceduralMemory` keeps at hand."""
MAX_AGE_S = 5.0

_NAME_LIMIT = 100
_MOVES = frozenset({"commit", "promote", "rollback", "prefer"})

A = TypeVar("A", bound=ReadPlans)
P = ParamSpec("P")
T = TypeVar("T")


class ProceduralMemory:
    """The memory of one project in any LangGraph store; safe for threads and event loops.

    What is in force is kept in the process and read again in the background, so that agents may
    ask on every call: `memory.agent("email").prompts["main"]`.

    Args:
        max_age_s: Seconds after which what is in force is read again; 0 reads it every time.

    Raises:
        InputError: The project's name cannot be a namespace label, or the store is none: one that
            `open_store` returned is to be entered by `with`.
    """

    def __init__(self, store: BaseStore, project: str, *, max_age_s: float = MAX_AGE_S) -> None:
        check_argument("store", store, BaseStore)
        self.store = store
        self.project = _checked("project", project)
        self.max_age_s = max_age_s
        self._known: OrderedDict[tuple[str, str | None], AgentMemory] = OrderedDict()
        self._lock = threading.Lock()

    @overload
    def agent(self, name: str, user: None = None) -> AgentMemory: ...

    @overload
    def agent(self, name: str, user: str) -> UserMemory: ...

    def agent(self, name: str, user: str | None = None) -> AgentMemory | UserMemory:
        """Return the memory of one agent; nothing is read yet. The same agent is the same object.

        Args:
            user: Whose preferences lie over the release in force; any text, an address say.

        Raises:
            InputError: The name is empty, longer than 100 characters, or holds a dot or
                a character that does not print; the user is empty or over 200 characters; or
                `max_age_s` is negative.
        """
        try:
            return self._known[name, user]
        except (KeyError, TypeError):  # the names may be no texts
            made = self._make(_checked("agent", name), user)
        with self._lock:
            # Two threads may have made one each: both must share one cache.
            found = self._known.setdefault((name, user), made)
            if len(self._known) > AGENTS_KEPT:
                self._known.popitem(last=False)
        return found

    def look_again(self) -> None:
        """Have the next reader of every agent ask the store: its records were rewritten."""
        with self._lock:
            agents = list(self._known.values())
        for agent in agents:
            agent.look_again()

    def _make(self, name: str, user: str | None) -> AgentMemory:
        if user is None:
            return AgentMemory(self.store, self.project, name, max_age_s=self.max_age_s)
        return UserMemory(self.store, self.project, name, user, max_age_s=self.max_age_s)


def _blocking(
    plan: Callable[Concatenate[A, P], WritePlan[T]],
) -> Callable[Concatenate[AgentMemory, P], T]:
    check = checker(plan)

    @functools.wraps(plan)
    def method(self: AgentMemory, /, *args: P.args, **kwargs: P.kwargs) -> T:
        check(args, kwargs)
        # By name: a user's plans read another head than the agent's.
        own = getattr(self._plans, plan.__name__)
        since = self._cache.stamp
        done: Any = None
        try:
            done = self._run(own(*args, **kwargs), plan.__name__)
        finally:
            self._moved(plan.__name__, kwargs, done, since)
        return _apart(done, plan.__name__)  # type: ignore[no-any-return]

    _sign(method, plan)
    return method


def _awaiting(
    plan: Callable[Concatenate[A, P], WritePlan[T]],
) -> Callable[Concatenate[AgentMemory, P], Coroutine[Any, Any, T]]:
    check = checker(plan)

    @functools.wraps(plan)
    async def method(self: AgentMemory, /, *args: P.args, **kwargs: P.kwargs) -> T:
        check(args, kwargs)
        own = getattr(self._plans, plan.__name__)
        since = self._cache.stamp
        done: Any = None
        try:
            done = await self._arun(own(*args, **kwargs), plan.__name__)
        finally:
            self._moved(plan.__name__, kwargs, done, since)
        return _apart(done, plan.__name__)  # type: ignore[no-any-return]

    method.__name__ = f"a{plan.__name__}"
    _sign(method, plan)
    return method


def _sign(method: Callable[..., Any], plan: Callable[..., Any]) -> None:
    """Have help and type hints say that the method returns what its plan comes to."""
    returned = plan.__annotations__["return"].partition("[")[2].removesuffix("]")
    method.__annotations__ = {**plan.__annotations__, "return": returned}
    signature = inspect.signature(plan).replace(return_annotation=returned)
    method.__signature__ = signature  # type: ignore[attr-defined]


def _apart(done: Any, plan: str) -> Any:
    """What a plan returned, sharing nothing with what is kept at hand."""
    return done.copied() if plan in _MOVES and isinstance(done, Release) else done


class AgentMemory:
    """One agent's releases, journal and head.

    Methods named `a…` are awaited and never block the event loop, with any store. Wherever
    a release is named, a beginning or an end of its id will do when no other has it, and so
    will a label.
    """

    def __init__(
        self, store: BaseStore, project: str, name: str, *, max_age_s: float = MAX_AGE_S
    ) -> None:
        self.name = name
        self._store = store
        self._plans: AgentPlans = AgentPlans(project, name)
        what = f"the release of {name!r} in {describe(store)}"
        # Bound late: a user's head is another than the agent's.
        self._cache: HeadCache[Release] = HeadCache(
            lambda: self.head(), lambda: self.ahead(), what=what, max_age_s=max_age_s
        )

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
    label = _blocking(AgentPlans.label)
    alabel = _awaiting(AgentPlans.label)
    unlabel = _blocking(AgentPlans.unlabel)
    aunlabel = _awaiting(AgentPlans.unlabel)
    labelled = _blocking(AgentPlans.labelled)
    alabelled = _awaiting(AgentPlans.labelled)
    labels = _blocking(AgentPlans.labels)
    alabels = _awaiting(AgentPlans.labels)

    @property
    def release(self) -> Release:
        """The release in force, at most `max_age_s` old, or the last known while the store is down.

        A copy, which is yours to change; `prompts` and `config` copy only themselves. Inside an
        event loop, await `arelease` first: the very first read asks the store.

        Raises:
            NotFoundError: None is, yet.
        """
        return self._there(self._cache.get()).copied()

    async def arelease(self) -> Release:
        """`release`, without ever blocking the event loop."""
        return self._there(await self._cache.aget()).copied()

    def look_again(self) -> None:
        """Have the next reader of `release` ask the store."""
        self._cache.invalidate()

    def _there(self, release: Release | None) -> Release:
        if release is None:
            raise NotFoundError(
                f"Agent {self.name!r} has no release in force in {describe(self._store)}."
            )
        return release

    def _moved(self, plan: str, kwargs: Mapping[str, Any], done: object, since: int) -> None:
        """Have the next reader see what a plan wrote: at once, and without asking the store."""
        if plan in _MOVES and isinstance(done, Release):
            if plan != "commit" or kwargs.get("promote"):
                self._cache.put(done, since=since)
        elif plan in _MOVES:
            self._cache.invalidate()

    @property
    def prompts(self) -> Mapping[str, str]:
        """The prompts in force, text by name; read `release` once to have both halves agree."""
        return dict(self._there(self._cache.get()).prompts)

    @property
    def config(self) -> Mapping[str, Any]:
        """The config in force, values by name."""
        config: dict[str, Any] = copied(self._there(self._cache.get()).config)
        return config

    # Not `store_errors`: entering it on every call takes as long as a good part of a read.
    def _run(self, plan: WritePlan[T], doing: str) -> T:
        try:
            return run(self._store, plan)
        except TraceTuneError:
            raise
        except Exception as error:
            raise self._failed(error, doing) from error

    async def _arun(self, plan: WritePlan[T], doing: str) -> T:
        try:
            return await arun(self._store, plan)
        except TraceTuneError:
            raise
        except Exception as error:
            raise self._failed(error, doing) from error

    def _failed(self, error: Exception, doing: str) -> StoreError:
        return store_error(error, describe(self._store), f"{doing} for agent {self.name!r}")


class UserMemory(AgentMemory):
    """An agent's memory as one user has it: their preferences lie over the release in force.

    What makes or moves releases is refused, since that is for all users.
    """

    def __init__(
        self,
        store: BaseStore,
        project: str,
        name: str,
        user: str,
        *,
        max_age_s: float = MAX_AGE_S,
    ) -> None:
        super().__init__(store, project, name, max_age_s=max_age_s)
        self.user = user
        self._plans = UserPlans(project, name, user)

    prefer = _blocking(UserPlans.prefer)
    aprefer = _awaiting(UserPlans.prefer)
    preferences = _blocking(UserPlans.preferences)
    apreferences = _awaiting(UserPlans.preferences)


def _checked(kind: str, name: str) -> str:
    ok = isinstance(name, str) and name.strip() and len(name) <= _NAME_LIMIT
    if not ok or "." in name or not name.isprintable():
        raise InputError(
            f"The {kind} name {name!r:.120} must have 1 to {_NAME_LIMIT} printable characters"
            " and no dot."
        )
    return name
