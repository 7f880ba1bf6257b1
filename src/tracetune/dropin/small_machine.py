"""The cycle without memory, config and release, for callers who keep their prompts themselves."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Send

from tracetune.graph.adding import add_node
from tracetune.graph.context import Settings
from tracetune.graph.leftovers import each_prompt
from tracetune.graph.routes import classify_failed, each_branch, update_failed
from tracetune.graph.state import (
    Branches,
    Candidates,
    Classified,
    Evidenced,
    Ingested,
    Left,
    Leftover,
    Measured,
    PromptTask,
    Proposed,
)
from tracetune.nodes.assemble_candidates import assemble_candidates
from tracetune.nodes.classify_by_rules import classify_by_rules
from tracetune.nodes.classify_prompts import classify_prompts
from tracetune.nodes.generate_update import generate_update
from tracetune.nodes.update_by_rules import update_by_rules
from tracetune.nodes.workplace import Workplace

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["Machine", "build_machine"]

Machine = CompiledStateGraph[Any, Any, Any, Any]


class _State(Ingested, Measured, Classified, Branches, Left, Proposed):
    """All that flows through it; what the cycle's first nodes write is there from the start."""

    choose: bool
    """Whether the model is asked which prompts to update."""


def build_machine(model: BaseChatModel | None, settings: Settings) -> Machine:
    """Return the compiled machine: its nodes and fallbacks are those of the cycle.

    Args:
        model: None: the one that the settings name.
    """
    place = Workplace(model=model, settings=settings)
    b: StateGraph[Any, Any, Any, Any] = StateGraph(_State)
    add = functools.partial(add_node, b, place)
    add("begin", _begin, Ingested)
    add("classify_prompts", classify_prompts, Evidenced, classify_failed, "classify_by_rules")
    add("classify_by_rules", classify_by_rules, Evidenced)
    add("generate_update", generate_update, PromptTask, update_failed, "update_by_rules")
    add("update_by_rules", each_prompt(update_by_rules), Leftover)
    add("assemble_candidates", assemble_candidates, Candidates, defer=True)

    branches = ["generate_update", "assemble_candidates"]
    b.add_edge(START, "begin")
    b.add_conditional_edges("begin", _after_begin, ["classify_prompts", *branches])
    b.add_conditional_edges("classify_prompts", each_branch, branches)
    b.add_conditional_edges("classify_by_rules", each_branch, branches)
    b.add_edge("generate_update", "assemble_candidates")
    b.add_edge("update_by_rules", "assemble_candidates")
    b.add_edge("assemble_candidates", END)
    # Inside a caller's graph, its checkpointer would keep our state in its thread.
    return b.compile(checkpointer=False, name="prompt_optimizer")


async def _begin(state: Ingested, place: Workplace) -> dict[str, Any]:
    return {"cycle": await place.begin(Settings(**state["settings"]))}


def _after_begin(state: _State) -> str | list[Send]:
    return "classify_prompts" if state["choose"] else each_branch({**state})
