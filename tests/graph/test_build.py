"""The machine as it is drawn, and what Studio reads of it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from tracetune.errors import InputError
from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings
from tracetune.graph.schemas import CycleReport
from tracetune.stores.backends import open_store
from tracetune.traces.model import Trace


def test_the_drawn_graph(golden: Callable[[str, str], str]) -> None:
    drawn = build_graph().get_graph().draw_mermaid()
    assert drawn == golden("graph.mmd", drawn)


def test_every_fallback_is_drawn() -> None:
    edges = {(e.source, e.target) for e in build_graph().get_graph().edges}
    assert {
        ("classify_prompts", "classify_by_rules"),
        ("generate_update", "update_by_rules"),
        ("optimize_config", "configure_by_rules"),
    } <= edges


def test_settings_have_names_defaults_and_descriptions() -> None:
    schema = build_graph().get_context_jsonschema()
    assert schema is not None
    for name, field in schema["properties"].items():
        assert field["description"], name
        assert "default" in field, name


def test_settings_go_before_the_project_only_where_they_were_set() -> None:
    settings = Settings(min_traces=7).over({"min_traces": 3, "model": "a:b"})
    assert (settings.min_traces, settings.model, settings.review) == (7, "a:b", False)


PROMPTS = {f"p{i}": f"You do task number {i}." for i in range(8)}


class Together(BaseChatModel):
    """A model that answers the calls for prompts only once all of them are on their way."""

    waiting: set[str] = Field(default_factory=set)
    all_here: Any = Field(default_factory=asyncio.Event)

    @property
    def _llm_type(self) -> str:
        return "together"

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kw: Any) -> ChatResult:
        text = str(messages[-1].content)
        answer: dict[str, Any] = {"add": [], "retire": []}
        if "Classification" in text:
            chosen = [{"agent": "desk", "prompt": name, "why": "so"} for name in PROMPTS]
            answer = {"updates": chosen}
        else:
            self.waiting.add(text)
            if len(self.waiting) == len(PROMPTS):
                self.all_here.set()
            await self.all_here.wait()
        message = AIMessage(content=json.dumps(answer))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError


def test_sync_runs_ask_for_all_prompts_at_the_same_time() -> None:
    runs = [Trace(f"t{i}", "desk", success=i % 3 > 0, turns=i) for i in range(12)]
    graph = build_graph(model=Together(), settings=Settings(call_timeout_s=5, retries=0))
    request = {
        "inline": {"desk": {"prompts": PROMPTS}},
        "traces": [run.to_dict() for run in runs],
    }
    report = CycleReport.model_validate(graph.invoke(request))
    assert report.fallbacks == []
    assert len(report.calls) == 1 + len(PROMPTS)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param({"store": "sqlite:///m.db"}, "store must be an open store", id="a URL"),
        pytest.param({"store": open_store("memory://")}, "must be an open store", id="not opened"),
        pytest.param({"model": "rules"}, "model must be a chat model", id="a model's name"),
        pytest.param({"settings": {"model": "rules"}}, "settings must be Settings", id="a dict"),
    ],
)
def test_what_cannot_be_used_is_told_where_the_graph_is_built(
    given: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        build_graph(**given)
