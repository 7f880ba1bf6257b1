"""Plans that make releases, and with them all that one agent's memory does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from langgraph.store.base import PutOp

from tracetune.errors import InputError
from tracetune.stores.arguments import Record, check_argument
from tracetune.stores.bundle import Bundle
from tracetune.stores.heads import NO_HEAD, TRIES, HeadPlans
from tracetune.stores.labels import LabelPlans
from tracetune.stores.layout import Json
from tracetune.stores.reads import Plan, Pointer
from tracetune.stores.rebase import rebase, rebase_guidelines
from tracetune.stores.release import Guideline, Origin, Release, new_release_id
from tracetune.stores.steps import WritePlan

__all__ = ["AgentPlans"]


@dataclass(frozen=True, slots=True)
class _Draft:
    """What a commit keeps, on top of the head it was made for."""

    bundle: Bundle
    guidelines: tuple[Guideline, ...]


class AgentPlans(HeadPlans, LabelPlans):
    """The plans of one agent's memory; `AgentMemory` documents and runs them."""

    def commit(
        self,
        *,
        prompts: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        base: str | None = None,
        why: Iterable[str] = (),
        origin: Origin = "human",
        guidelines: Sequence[Guideline] | None = None,
        evidence: Mapping[str, Any] | Record | None = None,
        metrics: Mapping[str, Any] | Record | None = None,
        verdict: Mapping[str, Any] | Record | None = None,
        model: str | None = None,
        calls: int = 0,
        tokens: int = 0,
        promote: bool = False,
        by: str | None = None,
        on_conflict: Literal["raise", "rebase"] = "raise",
    ) -> WritePlan[Release]:
        """Keep a new release built on the head, and return it.

        Args:
            prompts: All of them, no patch; as in the head when left out. So are
                `config` and `guidelines`.
            base: The head it was built on, or NO_HEAD where there must be none yet; left out, it
                is built on whatever is head when it is written.
            why: One sentence per change.
            evidence, metrics, verdict: As JSON, or records: what `compare_runs` returns, say.
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
        reasons = (why,) if isinstance(why, str) else tuple(why)
        if not all(isinstance(reason, str) for reason in reasons):
            check_argument("why", reasons, Sequence[str])
        told: dict[str, Any] = {
            "origin": origin,
            "why": reasons,
            "evidence": evidence or {},
            "metrics": metrics or {},
            "verdict": verdict,
            "model": model,
            "calls": calls,
            "tokens": tokens,
        }
        parent: str | None = None
        base = yield from self._named(base)
        for turn in range(TRIES):
            pointer, head = yield from self._built_on(base, look=turn > 0 or not promote)
            parent = head.id if head else None
            if base is None or base == (parent or NO_HEAD):
                draft = self._draft(head, prompts, config, guidelines)
            elif on_conflict == "rebase":
                draft = yield from self._rebased(base, head, prompts, config, guidelines)
            else:
                raise self._conflict("commit", base or None, parent)
            made = self._release(draft, pointer, told)
            release, row = made.kept(by=by or "", promoted=promote)
            if (yield from self._keep(release, row, pointer, promote=promote)):
                return release  # kept at hand as well, so who runs this copies it
        raise self._conflict("commit", base, parent)

    def _built_on(
        self, base: str | None, *, look: bool
    ) -> Plan[tuple[Pointer | None, Release | None]]:
        """The head; unless one is to look, that last known, which a swap finds out if it moved."""
        known = self._known
        if known is not None and not look and base in (None, known[0].release):
            return known
        return (yield from self._head())

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

    def _release(self, draft: _Draft, head: Pointer | None, told: Mapping[str, Any]) -> Release:
        now = datetime.now(UTC)
        return Release(
            id=new_release_id(now, after=head.entry if head else None),
            agent=self.agent,
            parent=head.release if head else None,
            prompts=draft.bundle.prompts,
            config=draft.bundle.config,
            guidelines=draft.guidelines,
            created_at=now,
            content_hash=draft.bundle.content_hash,
            **told,
        )

    def _keep(
        self, release: Release, row: Json, head: Pointer | None, *, promote: bool
    ) -> WritePlan[bool]:
        """Write a release; False where the head has moved, and so nothing was written."""
        put = PutOp(self._releases, release.id, row, index=False)
        if not promote:
            yield [put]
            return True
        won = yield from self._swap("commit", release.id, head, put)
        if won:
            # The next commit is most often built on this one: it need not read it back.
            self._known = (Pointer(release.id, release.id), release)
        return won
