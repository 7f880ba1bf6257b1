"""What a compiled graph is closed over: its store, its project file, its model.

Nodes reach memory through this closure: inside a parent graph, the runtime's store would be the
parent's. A served graph is built without a store and takes the one the server injects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from langgraph.config import get_stream_writer
from langgraph.runtime import get_runtime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from tracetune.errors import InputError
from tracetune.graph.context import Settings
from tracetune.graph.state import CycleInput
from tracetune.nodes.evidence import Evidence, EvidenceShelf, gather
from tracetune.nodes.models import RULES_ONLY, resolve_model
from tracetune.stores.memory import ProceduralMemory
from tracetune.stores.project import Project, find_project, load_project
from tracetune.traces.tables import digest_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["Workplace", "progress"]


class Workplace:
    """The store, project file and model of one compiled graph."""

    def __init__(
        self,
        store: BaseStore | None = None,
        project_path: Path | None = None,
        model: BaseChatModel | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._store = store
        self._spare: BaseStore | None = None
        self._project_path = project_path
        self._model = model
        self._settings = settings or Settings()
        self._models: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, BaseChatModel]]
        self._models = WeakKeyDictionary()
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

    def settings(self) -> Settings:
        """What this run asks for, over what the graph was built with.

        Inside a parent graph the context is the parent's, and says nothing of ours.
        """
        given = get_runtime().context
        if not isinstance(given, Settings):
            return self._settings
        return given.over({n: getattr(self._settings, n) for n in self._settings.model_fields_set})

    async def evidence(
        self, request: Mapping[str, Any], digests: Mapping[str, str]
    ) -> Mapping[str, Evidence]:
        """The evidence a cycle began with, read again where this process has not got it.

        Raises:
            InputError: It cannot be read any more, or has changed.
        """
        if (kept := self.shelf.get(digests)) is not None:
            return kept
        asked = CycleInput.model_validate(request)
        project = None if asked.inline else await self.project(asked.project)
        evidence = await asyncio.to_thread(gather, asked, project)
        for agent, digest in digests.items():
            if await asyncio.to_thread(digest_of, evidence[agent].traces) != digest:
                raise InputError(f"The traces of {agent} have changed since this cycle began.")
        self.shelf.put(digests, evidence)
        return evidence

    @property
    def forgets(self) -> bool:
        """Whether memory is gone when the process ends."""
        return self._lasting_store() is None

    async def load_project(self) -> Project | None:
        """The project file as it is now, or None when this graph has none."""
        if self._project_path is None:
            return None
        path = self._project_path
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
            known[name] = await asyncio.to_thread(resolve_model, name)
        return known[name]


def progress(node: str, text: str) -> None:
    """Tell whoever streams this run (`custom` events) what is going on."""
    get_stream_writer()({"node": node, "text": text})
