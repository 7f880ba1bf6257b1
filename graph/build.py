"""The machine: nodes and edges, as a diagram."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import BaseStore

from tracetune.errors import InputError
from tracetune.graph.adding import add_node
from tracetune.graph.context import Settings
from tracetune.graph.leftovers import each_config, each_prompt
from tracetune.graph.routes import (
    after_compute_metrics,
    after_validate_candidates,
    classify_failed,
    config_failed,
    each_branch,
    update_failed,
)
from tracetune.graph.schemas import CycleInput, CycleReport
from tracetune.graph.state import (
    Candidates,
    ConfigTask,
    CycleState,
    Evidenced,
    Ingested,
    Judgeable,
    Leftover,
    PromptTask,
    Reviewable,
    Shippable,
)
from tracetune.nodes.assemble_candidates import assemble_candidates
from tracetune.nodes.checkpoint_versions import checkpoint_versions
from tracetune.nodes.classify_by_rules import classify_by_rules
from tracetune.nodes.classify_prompts import classify_prompts
from tracetune.nodes.compute_metrics import compute_metrics
from tracetune.nodes.configure_by_rules import configure_by_rules
from tracetune.nodes.generate_update import generate_update
from tracetune.nodes.ingest_traces import ingest_traces
from tracetune.nodes.optimize_config import optimize_config
from tracetune.nodes.report import report
from tracetune.nodes.review import review
from tracetune.nodes.update_by_rules import update_by_rules
from tracetune.nodes.validate_candidates import validate_candidates
from tracetune.nodes.workplace import Workplace

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from tracetune.stores.project import Project

__all__ = ["Cycle", "build_graph"]

Cycle = CompiledStateGraph[Any, Settings, Any, Any]

SIDE_BY_SIDE = 100
"""Branches at the same time. Without a number, LangGraph's sync runs take as many threads as the
machine has cores, and four more: the model's calls would queue."""


def build_graph(
    *,
    store: BaseStore | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    project: Path | str | Project | None = None,
    model: BaseChatModel | None = None,
    settings: Settings | None = None,
) -> Cycle:
    """Return the compiled machine; `invoke` and `ainvoke` take a `CycleInput` as a dict.

    Args:
        store: Where memory is kept, whatever store a parent graph has. None: the server's or
            the parent's, or else nowhere that outlives the process.
        checkpointer: Needed for `review`, and to resume a cycle.
        project: Project file, its folder, or one in memory; None where agents are carried inline.
        model: Goes before the settings' model name, unless that is `rules`.
        settings: For runs that bring no context of ours: inside a parent graph, say.

    Raises:
        InputError: An argument is of no use: a store's URL, say, in the place of a store.
        ModelError: The model's client cannot be made.
    """
    _expect("store", store, BaseStore, "an open store (`with open_store(url) as store`)")
    _expect("settings", settings, Settings, "Settings")
    if model is not None:
        from langchain_core.language_models import BaseChatModel

        _expect("model", model, BaseChatModel, "a chat model (a name goes into the settings)")
    known = Path(project) if isinstance(project, str) else project
    place = Workplace(store, known, model, settings)
    cycle = _machine(place).compile(checkpointer=checkpointer, name="tracetune")
    return cycle.with_config(max_concurrency=SIDE_BY_SIDE)


def _expect(name: str, given: object, kind: type, wanted: str) -> None:
    if given is not None and not isinstance(given, kind):
        raise InputError(f"{name} must be {wanted}, but got {given!r:.60}.")


def _machine(place: Workplace) -> StateGraph[Any, Settings, Any, Any]:
    b: StateGraph[Any, Settings, Any, Any] = StateGraph(
        CycleState, context_schema=Settings, input_schema=CycleInput, output_schema=CycleReport
    )
    add = functools.partial(add_node, b, place)
    add("ingest_traces", ingest_traces, CycleInput)
    add("compute_metrics", compute_metrics, Ingested)
    add("classify_prompts", classify_prompts, Evidenced, classify_failed, "classify_by_rules")
    add("classify_by_rules", classify_by_rules, Evidenced)
    add("generate_update", generate_update, PromptTask, update_failed, "update_by_rules")
    add("update_by_rules", each_prompt(update_by_rules), Leftover)
    add("optimize_config", optimize_config, ConfigTask, config_failed, "configure_by_rules")
    add("configure_by_rules", each_config(configure_by_rules), Leftover)
    add("assemble_candidates", assemble_candidates, Candidates, defer=True)
    add("validate_candidates", validate_candidates, Judgeable)
    add("review", review, Reviewable)
    add("checkpoint_versions", checkpoint_versions, Shippable)
    add("report", report, CycleState)

    branches = ["generate_update", "optimize_config", "assemble_candidates"]
    b.add_edge(START, "ingest_traces")
    b.add_edge("ingest_traces", "compute_metrics")
    b.add_conditional_edges(
        "compute_metrics", after_compute_metrics, ["classify_prompts", "report"]
    )
    b.add_conditional_edges("classify_prompts", each_branch, branches)
    b.add_conditional_edges("classify_by_rules", each_branch, branches)
    for branch in ("generate_update", "update_by_rules", "optimize_config", "configure_by_rules"):
        b.add_edge(branch, "assemble_candidates")
    b.add_edge("assemble_candidates", "validate_candidates")
    b.add_conditional_edges("validate_candidates", after_validate_candidates, ["review", "report"])
    b.add_edge("review", "checkpoint_versions")
    b.add_edge("checkpoint_versions", "report")
    b.add_edge("report", END)
    return b
