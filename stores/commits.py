"""Plans that make releases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from langgraph.store.base import PutOp

from tracetune.errors import InputError
from tracetune.stores.bundle import Bundle
from tracetune.stores.heads import NO_HEAD, TRIES, HeadPlans
from tracetune.stores.reads import Plan, Pointer
from tracetune.stores.rebase import rebase, rebase_guidelines
from tracetune.stores.release import Action, Guideline, Origin, Release, new_release_id
from tracetune.stores.steps import WritePlan

__all__ = ["CommitPlans"]


@dataclass(frozen=True, slots=True)
class _Draft:
    """What a commit keeps, on top of the head it was made for."""

    bundle: Bundle
    guidelines: tuple[Guideline, ...]


class CommitPlans(HeadPlans):
    """Commit, on the head or rebased onto it."""

    def commit(
        self,
        *,
        prompts: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        base: str | None = None,
        why: Sequence[str] = (),
        origin: Origin = "human",
        guidelines: Sequence[Guideline] | None = None,
        evidence: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        verdict: Mapping[str, Any] | None = None,
        model: str | None = None,
        calls: int = 0,
        tokens: int = 0,
        promote: bool = False,
        by: str = "",
        on_conflict: Literal["raise", "rebase"] = "raise",
    ) -> WritePlan[Release]:
        """Keep a new release built on the head, and return it.

        Args:
            prompts: All of them, no patch; as in the head when left out. So are
                `config` and `guidelines`.
            base: Id of the head it was built on, or NO_HEAD where there must be none yet; left
                out, it is built on whatever is head when it is written.
            why: One sentence per change.
            promote: Put it in force in the same write.
            by: Who did it, for the journal.
            on_conflict: When another than `base` is head: `raise`, or `rebase`, which brings
                the change from `base` onto that head if they changed different things.

        Raises:
            ConflictError: Another release than `base` is the head, with `promote` also when it
                became so in the last moment; nothing was written. `clashes` tells what a
                rebase could not merge.
            InputError: There is nothing to keep, or a store could not keep it unchanged.
            StoreError: The store failed; the head is what it was.
        """
        made = Release(
            id="",
            agent=self.agent,
            parent=None,
            prompts={},
            config={},
            origin=origin,
            why=(why,) if isinstance(why, str) else tuple(why),
            evidence=evidence or {},
            metrics=metrics or {},
            verdict=verdict,
            model=model,
            calls=calls,
            tokens=tokens,
        )
        parent: str | None = None
        for _ in range(TRIES):
            pointer, head = yield from self._head()
            parent = head.id if head else None
            if base is None or base == (parent or NO_HEAD):
                draft = self._draft(head, prompts, config, guidelines)
            elif on_conflict == "rebase":
                draft = yield from self._rebased(base, head, prompts, config, guidelines)
            else:
                raise self._conflict("commit", base or None, parent)
            row = self._release(made, draft, pointer, parent).to_record()
            release = Release.from_record(row)
            if (yield from self._keep(release, row, pointer, promote=promote, by=by)):
                return release
        raise self._conflict("commit", base, parent)

    def _draft(
        self,
        head: Release | None,
        prompts: Mapping[str, str] | None,
        config: Mapping[str, Any] | None,
        guidelines: Sequence[Guideline] | None,
    ) -> _Draft:
        old = head.bundle if head else Bundle()
        new = Bundle(
            old.prompts if prompts is None else prompts,
            old.config if config is None else config,
        )
        if not new.prompts and not new.config:
            raise InputError(f"A release of agent {self.agent!r} needs a prompt or a config value.")
        if guidelines is None:
            guidelines = head.guidelines if head else ()
        return _Draft(new.storable(self.agent), tuple(guidelines))

    def _rebased(
        self,
        base: str,
        head: Release | None,
        prompts: Mapping[str, str] | None,
        config: Mapping[str, Any] | None,
        guidelines: Sequence[Guideline] | None,
    ) -> Plan[_Draft]:
        """The change from the base, made to the head instead."""
        old = (yield from self._stored(base)) if base else None
        parent = head.id if head else None
        if base and old is None:
            raise self._conflict("commit", base, parent)
        mine = self._draft(old, prompts, config, guidelines)
        was, now = (r.bundle if r else Bundle() for r in (old, head))
        both = rebase(was, mine.bundle, now)
        if both.clashes:
            raise self._conflict("commit", base or None, parent, both.clashes)
        theirs = head.guidelines if head else ()
        kept = rebase_guidelines(was, mine.bundle, mine.guidelines, theirs)
        return _Draft(both.bundle, kept)

    def _release(
        self, made: Release, draft: _Draft, head: Pointer | None, parent: str | None
    ) -> Release:
        now = datetime.now(UTC)
        return replace(
            made,
            id=new_release_id(now, after=head.entry if head else None),
            parent=parent,
            prompts=draft.bundle.prompts,
            config=draft.bundle.config,
            guidelines=draft.guidelines,
            created_at=now,
            content_hash=draft.bundle.content_hash,
        )

    def _keep(
        self,
        release: Release,
        row: Mapping[str, Any],
        head: Pointer | None,
        *,
        promote: bool,
        by: str,
    ) -> WritePlan[bool]:
        """Write a release; False where the head has moved, and so nothing was written."""
        action: Action = "imported" if release.origin == "import" else "committed"
        why = " ".join(release.why)
        after = head.entry if head else None
        writes = [
            PutOp(self._releases, release.id, dict(row), index=False),
            self._note(action, release.id, release.parent, by, why, after=after),
        ]
        if promote:
            return (yield from self._swap("promoted", release, head, by, why, writes))
        yield list(writes)
        return True
