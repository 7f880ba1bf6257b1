"""Plans for labels: names such as `production` and `canary` that point at releases."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tracetune.errors import ConflictError, InputError, NotFoundError
from tracetune.stores.heads import TRIES
from tracetune.stores.reads import Plan, Pointer, ReadPlans
from tracetune.stores.release import Release
from tracetune.stores.steps import Swap, WritePlan

__all__ = ["LabelPlans"]

_LABEL = re.compile(r"[A-Za-z][\w-]{0,49}")


class LabelPlans(ReadPlans):
    """Set, take off and follow labels. They move only by hand, never with the head."""

    def label(self, name: str, ref: str, *, by: str = "", why: str = "") -> WritePlan[Release]:
        """Point a label at a release, wherever it pointed before, and return the release.

        Args:
            name: A letter, then letters, digits, `-` and `_`; 50 at most; not `head`.

        Raises:
            InputError: The name cannot be a label, or `ref` names several releases.
            NotFoundError: `ref` names no release.
        """
        _check(name)
        for _ in range(TRIES):
            # Before the release is read: who prunes it renews the head, and so is found out.
            head = yield from self._pointer(self._home, "head")
            release = yield from self.get(ref)
            if (yield from self._point_label(name, release.id, head, by, why)):
                return release
        raise self._too_often(name)

    def unlabel(self, name: str, *, by: str = "", why: str = "") -> WritePlan[Release]:
        """Take a label off, and return the release it pointed at.

        Raises:
            NotFoundError: There is no such label; lists those there are.
        """
        release = yield from self.labelled(name)
        for _ in range(TRIES):
            head = yield from self._pointer(self._home, "head")
            if (yield from self._point_label(name, None, head, by, why)):
                return release
        raise self._too_often(name)

    def labelled(self, name: str) -> Plan[Release]:
        """Return the release a label points at.

        Raises:
            NotFoundError: There is no such label; lists those there are.
        """
        labels = yield from self.labels()
        if name not in labels:
            known = f"it has {', '.join(labels)}" if labels else "it has none"
            raise NotFoundError(f"Agent {self.agent!r} has no label {name!r}; {known}.")
        release = yield from self.get(labels[name])
        return release

    def labels(self) -> Plan[Mapping[str, str]]:
        """Return the id of the release each label points at, by label in order of name."""
        rows = yield from self._rows(self._labels)
        return {name: row["release"] for name, row in sorted(rows.items()) if row["release"]}

    def _point_label(
        self, name: str, release_id: str | None, head: Pointer | None, by: str, why: str
    ) -> WritePlan[bool]:
        """Point a label at a release, or at none; False where the head has been renewed since."""
        old = yield from self._pointer(self._labels, name)
        was = old.release if old else None
        if was == release_id:
            return True
        note = self._note(
            "labelled" if release_id else "unlabelled",
            release_id or was or "",
            was,
            by,
            why,
            after=head.entry if head else None,
            label=name,
        )
        # A label taken off stays as a record that names none, so that its past is not in doubt.
        record = self._point(self._labels, name, release_id, note.key)
        renewed = self._point(self._home, "head", head.release if head else None, note.key)
        expected = head.entry if head else None
        [outcome] = yield Swap(self._home, "head", expected, (note, record, renewed))
        return bool(outcome != "lost")

    def _too_often(self, name: str) -> ConflictError:
        return ConflictError(
            f"The label {name!r} of agent {self.agent!r} is moved by others all the time.",
            None,
            None,
        )


def _check(name: str) -> None:
    if not _LABEL.fullmatch(name) or name == "head":
        raise InputError(
            f"The label {name!r:.60} must be a letter, then letters, digits, - and _,"
            " 50 at most, and not head."
        )
