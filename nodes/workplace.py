"""What a compiled graph is closed over: its store, its project file, its model.

Nodes reach memory through this closure: inside a parent graph, the runtime's store would be the
parent's. A served graph is built without a store and takes the one the server injects.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from langgraph.config import get_stream_writer
from langgraph.runtime import get_runtime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from tracetune.errors import InputError, StoreError
from tracetune.graph.context import Settings
from tracetune.graph.schemas import CycleInput
from tracetune.graph.state import Ingested, ModelCall
from tracetune.nodes.blaming.embedding import embedding_of
from tracetune.nodes.blaming.feedback_match import Embed
from tracetune.nodes.calling.budget import Account, Budget, Limits
from tracetune.nodes.calling.clients import with_own_clients
from tracetune.nodes.calling.forms import Forms
from tracetune.nodes.calling.journal import calls_of_this_step
from tracetune.nodes.calling.models import RULES_ONLY, resolve_model
from tracetune.nodes.calling.threads import sync_calls_apart
from tracetune.nodes.evidence.gathering import Evidence, gather
from tracetune.nodes.evidence.shelf import EvidenceShelf
from tracetune.stores.backends import describe
from tracetune.stores.memory import ProceduralMemory
from tracetune.stores.project import Project, find_project, load_project

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["Workplace", "progress"]

LIMITS = ("deadline_s", "max_calls", "max_tokens", "max_usd")
CYCLES_KEPT = 1000
"""Cycles whose budgets are kept, latest first: far more than run at once."""


class Workplace:
    """The store, project file and model of one compiled graph."""

    def __init__(
        self,
        store: BaseStore | None = None,
        project: Path | Project | None = None,
        model: BaseChatModel | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._store = store
        self._spare: BaseStore | None = None
        self._project = project
        self._model = sync_calls_apart(with_own_clients(model)) if model is not None else None
        self._settings = settings or Settings()
        self._models: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, BaseChatModel]]
        self._models = WeakKeyDictionary()
        self._budgets: OrderedDict[str, Budget] = OrderedDict()
        self._forms = Forms()
        self.shelf = EvidenceShelf()

    def memory(self, project_name: str) -> ProceduralMemory:
        """The project's memory in this graph's store, or in the server's."""
        store = self._lasting_store()
        if store is None:
            if self._spare is None:
                self._spare = InMemoryStore()
            store = self._spare
        return ProceduralMemory(store, project_name)

    def _lasting_store(self) -> BaseStore | None:
        # Asked for None, not for truth: a store with a length is false while it is empty.
        return self._store if self._store is not None else get_runtime(Settings).store

    def check_waiting(self) -> None:
        """Make sure that this thread may wait for the store.

        Raises:
            StoreError: The store works in the event loop that runs in this thread.
        """
        store = self._lasting_store()
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return
        if store is not None and getattr(store, "loop", None) is running:
            told = "works in the event loop that would wait for it: await `ainvoke` instead"
            raise StoreError(f"{describe(store)} {told}.")

    def embed(self, allowed_s: Callable[[], float]) -> Embed | None:
        """The embedding function of the store's index, as `embedding_of`."""
        return embedding_of(self._lasting_store(), allowed_s)

    def settings(self) -> Settings:
        """What this run asks for, over what the graph was built with.

        Inside a parent graph the context is the parent's, and says nothing of ours.
        """
        given = get_runtime().context
        if not isinstance(given, Settings):
            return self._settings
        return given.over({n: getattr(self._settings, n) for n in self._settings.model_fields_set})

    async def evidence(self, state: Ingested) -> Mapping[str, Evidence]:
        """The evidence a cycle began with, read again where this process has not got it.

        Raises:
            InputError: It cannot be read any more, or has changed.
        """
        if (kept := self.shelf.get(state["cycle"], get_stream_writer())) is not None:
            return kept
        asked = CycleInput.model_validate(state["request"])
        project = None if asked.inline else await self.project(asked.project)
        evidence = await asyncio.to_thread(gather, asked, project)
        for agent, subject in state["subjects"].items():
            found = evidence.get(agent)
            if found is None or found.digest != subject["digest"]:
                raise InputError(f"The traces of {agent} have changed since this cycle began.")
        self.keep(state["cycle"], evidence)
        return evidence

    def keep(self, cycle: str, evidence: Mapping[str, Evidence]) -> None:
        """Keep the evidence of a cycle for its other nodes."""
        # Each run of a graph has a writer of its own, which goes when the run does.
        self.shelf.put(cycle, evidence, get_stream_writer())

    @property
    def forgets(self) -> bool:
        """Whether memory is gone when the process ends."""
        return self._lasting_store() is None

    @property
    def owns_memory(self) -> bool:
        """Whether memory is the builder's own: not the server's, which strangers write to."""
        return self._store is not None or self.forgets

    async def load_project(self) -> Project | None:
        """The project file as it is now, or None when this graph has none."""
        if self._project is None or isinstance(self._project, Project):
            return self._project
        path = self._project
        return await asyncio.to_thread(lambda: load_project(find_project(path)))

    async def project(self, name: str) -> Project:
        """The project a request names; an empty name means the one there is.

        Raises:
            InputError: This graph has no project file, or one of another name.
        """
        project = await self.load_project()
        if project is None:
            raise InputError("There is no project file here: carry the agents as `inline`.")
        if name and name != project.name:
            raise InputError(f"project must be {project.name!r} here, but got {name!r}.")
        return project

    async def begin(self, settings: Settings) -> str:
        """Begin a cycle: its deadline counts from here. Return what stands for it."""
        cycle = uuid4().hex
        await self._budget(cycle, settings, ())
        return cycle

    async def account(self, state: Mapping[str, Any]) -> Account:
        """The account of one branch, on its cycle's budget.

        A cycle that goes on in another process begins there with the calls its state holds, and
        those of the branches of this step that have ended already.
        """
        settings, spent = Settings(**state["settings"]), state.get("calls", ())
        if state["cycle"] not in self._budgets:
            spent = [*spent, *await calls_of_this_step()]
        budget = await self._budget(state["cycle"], settings, spent)
        return Account(budget, settings.retries, self._forms)

    async def _budget(self, cycle: str, settings: Settings, spent: Sequence[ModelCall]) -> Budget:
        project = await self.load_project() if cycle not in self._budgets else None
        if cycle not in self._budgets:
            limits = Limits(**{name: getattr(settings, name) for name in LIMITS})
            self._budgets[cycle] = Budget(limits, project.prices if project else None, spent)
            while len(self._budgets) > CYCLES_KEPT:
                self._budgets.popitem(last=False)
        return self._budgets[cycle]

    async def model(self, name: str) -> BaseChatModel:
        """The model this graph was built with, or else the named one; none when that is `rules`.

        Raises:
            ModelError, NoModelError: As `resolve_model`.
        """
        if self._model is not None and name != RULES_ONLY:
            return self._model
        # A client's connections belong to the event loop it was first used in.
        known = self._models.setdefault(asyncio.get_running_loop(), {})
        if name not in known:
            known[name] = sync_calls_apart(await asyncio.to_thread(resolve_model, name))
        return known[name]


def progress(node: str, text: str) -> None:
    """Tell whoever streams this run (`custom` events) what is going on."""
    get_stream_writer()({"node": node, "text": text})
