"""Stratus' meta-agent, as its callers call it, with a cycle of ours behind it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tracetune.dropin.stratus_config import LLMMetaAgentConfig, model_name, reward_of
from tracetune.dropin.stratus_layout import MEMORY, Checkout
from tracetune.dropin.stratus_result import Outcome, result_of
from tracetune.dropin.stratus_traces import TraceFolder, survey
from tracetune.errors import NotFoundError, WriteError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langgraph.store.base import BaseStore

    from tracetune.graph.build import Cycle
    from tracetune.graph.context import Settings
    from tracetune.stores.bundle import Bundle
    from tracetune.stores.memory import AgentMemory
    from tracetune.stores.project import Project

__all__ = ["LLMMetaAgent"]

_log = logging.getLogger(__name__)

BY = "LLMMetaAgent"
"""Who acted, in the journal."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a cycle is about, found out before anything is written."""

    project: Project
    runs: Mapping[str, int]
    """Runs by agent."""
    parts: Sequence[tuple[list[str], Settings]]
    """Agents, and how the cycle over them runs."""
    notes: Sequence[str]


class LLMMetaAgent:
    """Learns from the traces of Stratus' agents; writes their prompts and configs.

    Memory lies in `meta_agent/.tracetune/` of the checkout. One cycle at a time: two at once on
    one checkout lose nothing, but the second may be told of a conflict.

    Args:
        config: As Stratus has it; its defaults when left out.
        root: The checkout; the current folder when left out.
        model: A chat model object that goes before `llm_model`.
        settings: What Stratus has no words for: budgets, deadlines. Its own settings go before.
    """

    def __init__(
        self,
        config: LLMMetaAgentConfig | None = None,
        *,
        root: Path | str | None = None,
        model: BaseChatModel | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.config = config or LLMMetaAgentConfig()
        self.checkout = Checkout(Path(root or ".").expanduser().absolute())
        self.trace_collector = TraceFolder(self.checkout.traces, self.checkout.root)
        self.learning_cycles = 0
        """Cycles of this object that had enough traces."""
        self.last_learning_time = 0.0
        """When the last of them ended, in seconds since the epoch; 0 before."""
        self._model = model
        self._settings = settings

    @property
    def llm_config(self) -> LLMMetaAgentConfig:
        """The settings, by Stratus' other name for them."""
        return self.config

    def should_start_learning_cycle(self) -> bool:
        """Whether updates are wanted and the last cycle is `learning_interval` seconds ago."""
        past = time.time() - self.last_learning_time
        return self.config.enable_auto_updates and past >= self.config.learning_interval

    def start_learning_cycle(self) -> dict[str, Any]:
        """Run one cycle and return what it did, as plain JSON values.

        `status` is `success`, `insufficient_traces`, or `error` when a release could not be kept
        or written. What failed at the model is in `fallbacks`, and the rules did that part.

        Raises:
            InputError: The checkout, or the model's name, is wrong.
            StoreError: Memory fails.
            WriteError: A backup cannot be made.
        """
        from tracetune.stores.backends import open_store

        plan = self._plan()
        if not self._ready(plan):
            return self._too_few(plan)
        outcomes = []
        with open_store(plan.project.store) as store:
            for agents, settings in plan.parts:
                values = self._graph(plan, store, settings).invoke(
                    {"agents": agents}, _thread(), context=settings
                )
                outcomes.append(Outcome.of(agents, values))
        return self._finish(plan, outcomes)

    async def astart_learning_cycle(self) -> dict[str, Any]:
        """`start_learning_cycle`, without ever blocking the event loop."""
        from tracetune.stores.backends import open_store

        plan = await asyncio.to_thread(self._plan)
        if not await asyncio.to_thread(self._ready, plan):
            return self._too_few(plan)
        outcomes = []
        async with open_store(plan.project.store) as store:
            for agents, settings in plan.parts:
                values = await self._graph(plan, store, settings).ainvoke(
                    {"agents": agents}, _thread(), context=settings
                )
                outcomes.append(Outcome.of(agents, values))
        return await asyncio.to_thread(self._finish, plan, outcomes)

    def rollback_to_version(self, agent: str | Enum, version: str) -> bool:
        """Put a version of an agent's prompts and config back in force, in memory and in its files.

        Returns:
            Whether there is such a version; where there is none, nothing changes.

        Raises:
            NotFoundError: There is no such agent.
            ProjectError: A file cannot be read.
            StoreError: Memory fails; the files are as they were.
            WriteError: A file cannot be written; then memory is ahead of it.
        """
        name, project = self._agent(agent)
        bundle = self.checkout.version(project.agents[name], version)
        if bundle is None:
            _log.error("%s has no version %s in %s", name, version, self.checkout.versions)
            return False
        self._restore(project, name, bundle, f"rolled back to version {version}")
        return True

    rollback_agent = rollback_to_version

    def clean_all_guidelines(self) -> bool:
        """Put the prompts of `configs/backups/` back in force; configs, versions and memory stay.

        Returns:
            Whether there was a backup of any agent.

        Raises:
            ProjectError, StoreError, WriteError: As `rollback_to_version`.
        """
        project = self._project()
        found = False
        for name, spec in project.agents.items():
            if (bundle := self.checkout.original(spec)) is None:
                _log.warning("%s has no backup in %s", name, self.checkout.backups)
                continue
            found = True
            self._restore(project, name, bundle, "cleaned of all that was learned")
        return found

    def _project(self) -> Project:
        config = self.config
        return self.checkout.project(
            self.trace_collector.path,
            reward_of(config),
            prompts=config.optimize_prompts,
            configs=config.optimize_configs,
            write=config.enable_auto_updates,
        )

    def _agent(self, agent: str | Enum) -> tuple[str, Project]:
        name = str(agent.value if isinstance(agent, Enum) else agent)
        project = self._project()
        if name not in project.agents:
            known = ", ".join(project.agents)
            raise NotFoundError(f"There is no agent {name!r}; expected one of {known}.")
        return name, project

    def _plan(self) -> _Plan:
        project = self._project()
        found = survey(self.trace_collector.path)
        runs = {name: found.runs[name] for name in project.agents if found.runs[name]}
        agents, notes = list(runs), list(found.notes)
        if runs:
            notes += [f"{name}: it has no runs." for name in project.agents if name not in runs]
        foreign = sorted(found.runs.keys() - runs.keys())
        notes += [f"{name}: it has runs, but no prompts." for name in foreign]
        if "rollback" in agents and "rollback" not in found.failed:
            # It undoes what the others did: what it costs is theirs, unless it fails itself.
            agents.remove("rollback")
            notes.append("rollback: left as it is, for none of its runs is known to have failed.")
        return _Plan(project, runs, self._parts(agents, runs), notes)

    def _parts(
        self, agents: Sequence[str], runs: Mapping[str, int]
    ) -> list[tuple[list[str], Settings]]:
        from tracetune.graph.context import Settings
        from tracetune.nodes.calling.models import RULES_ONLY

        config = self.config
        least = config.min_traces_for_llm_optimization
        asked = [a for a in agents if config.use_llm_optimization and runs[a] >= least]
        others = [a for a in agents if a not in asked]
        # What Stratus learns is added to a text, and never woven into it.
        ours = {"min_traces": 1, "review": not config.enable_auto_updates, "style": "guidelines"}
        base = self._settings or Settings()
        return [
            (names, base.model_copy(update={**ours, "model": model}))
            for names, model in ((asked, model_name(config.llm_model)), (others, RULES_ONLY))
            if names
        ]

    def _ready(self, plan: _Plan) -> bool:
        """Whether there are enough runs; then there are backups too, if wanted."""
        if sum(plan.runs.values()) < self.config.min_traces_for_analysis:
            return False
        if self.config.backup_original_prompts and self.config.enable_auto_updates:
            self.checkout.back_up(list(plan.project.agents))
        return True

    def _too_few(self, plan: _Plan) -> dict[str, Any]:
        count, needed = sum(plan.runs.values()), self.config.min_traces_for_analysis
        _log.warning("%d runs in %s, but it takes %d", count, self.trace_collector.path, needed)
        return {"status": "insufficient_traces", "traces_count": count, "notes": list(plan.notes)}

    def _graph(self, plan: _Plan, store: BaseStore, settings: Settings) -> Cycle:
        from langgraph.checkpoint.memory import InMemorySaver

        from tracetune.graph.build import build_graph
        from tracetune.nodes.calling.models import RULES_ONLY

        return build_graph(
            store=store,
            project=plan.project,
            checkpointer=InMemorySaver() if settings.review else None,
            model=None if settings.model == RULES_ONLY else self._model,
        )

    def _finish(self, plan: _Plan, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        self.learning_cycles += 1
        self.last_learning_time = time.time()
        notes = list(plan.notes)
        versions: dict[str, str] = {}
        for agent in (name for outcome in outcomes for name in outcome.written):
            try:
                versions[agent] = self.checkout.keep_version(agent)
            except WriteError as error:
                notes.append(f"{agent}: it has no copy in versions/: {error}")
        counts = {"cycle": self.learning_cycles, "traces_analyzed": sum(plan.runs.values())}
        return {"status": "success", **counts, **result_of(outcomes, versions, notes)}

    def _restore(self, project: Project, name: str, bundle: Bundle, why: str) -> None:
        from tracetune.stores.backends import open_store
        from tracetune.stores.memory import ProceduralMemory
        from tracetune.stores.project import read_bundle, write_bundle

        spec = project.agents[name]
        held = read_bundle(spec)
        with open_store(project.store) as store:
            memory = ProceduralMemory(store, MEMORY).agent(name)
            if held.content_hash not in {r.content_hash for r in memory.releases()}:
                # Nobody but the file knows this text: it would be gone.
                _put_in_force(memory, held, "as it lay in its files")
            _put_in_force(memory, bundle, why)
        write_bundle(spec, bundle)


def _put_in_force(memory: AgentMemory, bundle: Bundle, why: str) -> None:
    known = [r.id for r in memory.releases() if r.content_hash == bundle.content_hash]
    head = memory.head()
    if head is not None and head.content_hash == bundle.content_hash:
        return
    if known:
        memory.promote(known[0], by=BY, why=why)
        return
    memory.commit(
        prompts=bundle.prompts,
        config=bundle.config,
        why=[why],
        guidelines=(),
        promote=True,
        by=BY,
    )


def _thread() -> Any:
    return {"configurable": {"thread_id": uuid4().hex}}
