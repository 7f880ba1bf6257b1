"""Plans for one user's layer over an agent: their own prompts and config values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NoReturn
from urllib.parse import quote

from langgraph.store.base import GetOp, Item, PutOp

from tracetune.errors import ConflictError, InputError, StoreError
from tracetune.stores.bundle import Bundle
from tracetune.stores.commits import AgentPlans
from tracetune.stores.heads import TRIES
from tracetune.stores.layout import LAYOUT, upgraded
from tracetune.stores.reads import Plan
from tracetune.stores.release import Release, new_release_id
from tracetune.stores.steps import Swap, WritePlan

__all__ = ["Preferences", "UserPlans", "user_label"]

_KEY = "preferences"
_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a user wants other than the agent's release has it."""

    prompts: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    """Such as `prompts.old`: kept, but the release in force has nothing of that name."""


class UserPlans(AgentPlans):
    """Reading an agent's releases with a user's preferences over the one in force.

    Only reads and `prefer`: a release is for all users, so it is made without `user`.
    """

    def __init__(self, project: str, agent: str, user: str) -> None:
        super().__init__(project, agent)
        self.user = user
        self._space = (*self._home, "users", user_label(user))

    def head(self) -> Plan[Release | None]:
        """Return the release in force with the user's prompts and config values put in.

        Its id is the agent's release's; its content hash is of what the user gets.
        """
        release = yield from super().head()
        bundle, _ = yield from self._preferred()
        return None if release is None else _over(release, bundle)

    def labelled(self, name: str) -> Plan[Release]:
        """As `AgentMemory.labelled`, with the user's prompts and config values put in."""
        release = yield from super().labelled(name)
        bundle, _ = yield from self._preferred()
        return _over(release, bundle)

    def preferences(self) -> Plan[Preferences]:
        """Return the user's own prompts and config values, and which are ignored now."""
        release = yield from super().head()
        bundle, _ = yield from self._preferred()
        return _reported(bundle, release)

    def prefer(
        self,
        *,
        prompts: Mapping[str, str | None] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> WritePlan[Preferences]:
        """Set preferences by name, and return them all; those not named stay.

        Args:
            prompts: Text by name; None takes the user's own away, so the agent's counts again.
            config: JSON values by name; None as for `prompts`.

        Raises:
            InputError: A store could not keep one unchanged; names it.
            StoreError: The store failed; the preferences are what they were.
        """
        release = yield from super().head()
        for _ in range(TRIES):
            old, entry = yield from self._preferred()
            new = Bundle(_patched(old.prompts, prompts), _patched(old.config, config))
            new = new.storable(f"{self.agent} for user {self.user!r}")
            if entry is None and not new.prompts and not new.config:
                return _reported(new, release)
            record = self._record(new, entry)
            [outcome] = yield Swap(self._space, _KEY, entry, (record,))
            if outcome != "lost":
                return _reported(new, release)
        raise ConflictError(
            f"The preferences of user {self.user!r} are changed by others all the time.",
            None,
            None,
        )

    def _record(self, bundle: Bundle, entry: str | None) -> PutOp:
        value = {
            "version": LAYOUT,
            "prompts": dict(bundle.prompts),
            # As text, as a release's config is.
            "config": json.dumps(bundle.config, ensure_ascii=False),
            "entry": new_release_id(datetime.now(UTC), after=entry),
        }
        return PutOp(self._space, _KEY, value, index=False)

    def _preferred(self) -> Plan[tuple[Bundle, str | None]]:
        """The preferences as kept, and the entry that tells this state of them."""
        [item] = yield [GetOp(self._space, _KEY, refresh_ttl=False)]
        if not isinstance(item, Item):
            return Bundle(), None
        try:
            row = upgraded("preferences", item.value)
            return Bundle(row["prompts"], json.loads(row["config"])), row["entry"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"The preferences of user {self.user!r} cannot be read: {error}."
            ) from error

    def commit(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: a release is for all users."""
        self._refuse("commit")

    def promote(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse, as `commit` does."""
        self._refuse("promote")

    def rollback(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse, as `commit` does."""
        self._refuse("rollback")

    def reject(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse, as `commit` does."""
        self._refuse("reject")

    def label(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse, as `commit` does."""
        self._refuse("label")

    def unlabel(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse, as `commit` does."""
        self._refuse("unlabel")

    def _refuse(self, doing: str) -> NoReturn:
        raise InputError(
            f"{doing} is for all users of agent {self.agent!r}: call it on agent({self.agent!r})"
            f" without user={self.user!r}, or use prefer."
        )


def user_label(user: str) -> str:
    """Return a user's name as a namespace label: any text, a dot and odd characters encoded.

    Raises:
        InputError: It is empty, longer than 200 characters, or no text that can be encoded.
    """
    if isinstance(user, str) and user.strip() and len(user) <= _LIMIT:
        try:
            return quote(user, safe="@").replace(".", "%2E")
        except UnicodeEncodeError:
            pass
    raise InputError(f"The user {user!r:.220} must be text of 1 to {_LIMIT} characters.")


def _patched(old: Mapping[str, Any], patch: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in {**old, **(patch or {})}.items() if value is not None}


def _over(release: Release, own: Bundle) -> Release:
    prompts = {name: own.prompts.get(name, text) for name, text in release.prompts.items()}
    config = {name: own.config.get(name, value) for name, value in release.config.items()}
    return replace(release, prompts=prompts, config=config, content_hash="")


def _reported(own: Bundle, release: Release | None) -> Preferences:
    there = release.bundle if release else Bundle()
    ignored = [f"prompts.{name}" for name in own.prompts if name not in there.prompts]
    ignored += [f"config.{name}" for name in own.config if name not in there.config]
    return Preferences(own.prompts, own.config, tuple(ignored))
