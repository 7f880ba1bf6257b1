"""Whole cycles on real traces, embedded."""

from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.sqlite import AsyncSqliteStore
from langgraph.types import Command

from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings
from tracetune.graph.schemas import CycleReport
from tracetune.stores.backends import open_store
from tracetune.stores.memory import ProceduralMemory
from tracetune.stores.project import load_project, read_bundle
from tracetune.stores.yaml_files import read_yaml


async def run(store: Any, project: Path, **kwargs: Any) -> CycleReport:
    graph = build_graph(store=store, project=project, **kwargs)
    return CycleReport.model_validate(await graph.ainvoke({}))


async def test_airline_on_rules_releases_once(airline: Path) -> None:
    async with open_store("sqlite:///memory.db", base=airline) as store:
        assert isinstance(store, AsyncSqliteStore)
        report = await run(store, airline)
        [result] = report.results
        assert report.status == "released"
        assert any("rules alone" in note for note in report.notes)
        assert result.metrics is not None
        assert result.metrics["n"] == 50
        assert result.metrics["successes"] == 19
        assert "transfer_to_human_agents" in result.patterns[0]["text"]
        assert {change.kind for change in result.changes} == {"prompt", "config"}
        assert all(change.origin == "rules" for change in result.changes)

        again = await run(store, airline)
        assert again.status == "no change"
        assert again.results[0].outcome == "nothing new"
        memory = ProceduralMemory(store, "airline").agent("airline")
        assert [release.origin for release in await memory.areleases()] == ["rules", "import"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        pytest.param({}, "max_calls: 0", id="the project's own"),
        pytest.param({"max_calls": 7, "max_tokens": 1}, "max_tokens: 1", id="the request's first"),
    ],
)
async def test_a_project_may_limit_what_a_cycle_spends(
    airline: Path, scripted: Any, asked: dict[str, Any], told: str
) -> None:
    file = airline / "tracetune.yaml"
    file.write_text(f"limits: {{max_calls: 0}}\n{file.read_text()}")
    graph = build_graph(project=airline, model=scripted())
    report = CycleReport.model_validate(await graph.ainvoke({}, context=Settings(**asked)))
    assert {f["error"] for f in report.fallbacks} == {f"the budget of the cycle is spent ({told})"}


async def test_rollback_restores_the_bundle_byte_for_byte(airline: Path) -> None:
    with open_store("sqlite:///memory.db", base=airline) as store:
        graph = build_graph(store=store, project=airline)
        report = CycleReport.model_validate(graph.invoke({}))
        memory = ProceduralMemory(store, "airline").agent("airline")
        new = memory.release
        assert new.id == report.results[0].release
        memory.rollback()
        old = memory.release
        assert old.id == new.parent
        assert "transfer_to_human_agents` again" in new.prompts["policy"]
        assert old.prompts["policy"] == _policy(airline)
        assert old.config == {"max_steps": 200}


def _policy(folder: Path) -> str:
    import yaml

    text = (folder / "prompts.yaml").read_text(encoding="utf-8")
    return str(yaml.safe_load(text)["policy"])


CHOOSE = {"updates": [{"agent": "airline", "prompt": "policy", "why": "it loops"}]}
EDIT = {
    "add": [
        {
            "text": "After `transfer_to_human_agents` answers, end the conversation.",
            "why": "Runs that call it again fail.",
            "patterns": [1],
        }
    ],
    "retire": [],
}
TUNE = {"changes": [{"parameter": "max_steps", "value": 60, "why": "No success took longer."}]}


async def test_airline_with_a_model(airline: Path, scripted: Any) -> None:
    model = scripted(Classification=[CHOOSE], Edits=[EDIT], ConfigChanges=[TUNE])
    async with open_store("sqlite:///memory.db", base=airline) as store:
        report = await run(store, airline, model=model)
        [result] = report.results
        assert report.fallbacks == []
        assert {call["branch"] for call in report.calls} == {
            "classify_prompts",
            "generate_update airline/policy",
            "optimize_config airline",
        }
        assert {(c.name, c.origin) for c in result.changes} == {
            ("policy", "llm"),
            ("max_steps", "llm"),
        }
        memory = ProceduralMemory(store, "airline").agent("airline")
        head = await memory.ahead()
        assert head is not None
        assert head.config["max_steps"] == 60
        assert head.guidelines[0].evidence["patterns"][0]["id"] == result.patterns[0]["id"]


async def test_only_the_branch_that_fails_falls_back(airline: Path, scripted: Any) -> None:
    broken = [ConnectionError("secret-key-123")] * 3
    model = scripted(Classification=[CHOOSE], Edits=broken, ConfigChanges=[TUNE])
    async with open_store("sqlite:///memory.db", base=airline) as store:
        report = await run(store, airline, model=model)
    [result] = report.results
    assert {c.name: c.origin for c in result.changes} == {"policy": "rules", "max_steps": "llm"}
    [fallback] = report.fallbacks
    assert fallback["branch"] == "generate_update airline/policy"
    assert fallback["attempts"] == 3
    assert fallback["used"] == "update_by_rules"
    assert "secret-key-123" not in report.model_dump_json()


async def test_everything_fails_and_the_rules_carry_the_cycle(airline: Path, scripted: Any) -> None:
    broken = [ConnectionError()] * 3
    model = scripted(Classification=broken, Edits=[*broken], ConfigChanges=[*broken])
    async with open_store("memory://") as store:
        report = await run(store, airline, model=model)
    assert report.status == "released"
    assert len(report.fallbacks) == 3


async def test_review_stops_and_goes_on(airline: Path) -> None:
    async with open_store("sqlite:///memory.db", base=airline) as store:
        graph = build_graph(store=store, project=airline, checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        stopped = await graph.ainvoke({}, config, context=Settings(review=True))
        [waiting] = stopped["__interrupt__"]
        assert waiting.value["question"] == "Release airline?"
        memory = ProceduralMemory(store, "airline").agent("airline")
        assert [release.origin for release in await memory.areleases()] == ["import"]
        answer = {"approve": False, "comment": "too short"}
        done = await graph.ainvoke(Command(resume=answer), config, context=Settings(review=True))
        [result] = CycleReport.model_validate(done).results
        assert result.outcome == "rejected"
        assert "too short" in result.detail
        head = await memory.ahead()
        assert head is not None
        assert head.origin == "import"


async def test_two_cycles_on_one_thread_do_not_mix(airline: Path) -> None:
    async with open_store("memory://") as store:
        graph = build_graph(store=store, project=airline, checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        first = await graph.ainvoke({}, config, context=Settings(relearn=True))
        second = await graph.ainvoke({}, config, context=Settings(relearn=True))
    assert len(second["fallbacks"]) == len(first["fallbacks"])
    assert second["status"] == "no change"


async def test_stratus_on_rules(stratus: Path) -> None:
    async with open_store("sqlite:///memory.db", base=stratus) as store:
        report = await run(store, stratus)
    results = {result.agent: result for result in report.results}
    assert list(results) == ["diagnosis", "localization", "mitigation", "rollback"]
    assert results["diagnosis"].traces == 27
    assert results["localization"].outcome == "not enough traces"


@pytest.mark.parametrize("sync", [True, False], ids=["invoke", "ainvoke"])
async def test_inline_agents_need_no_project(sync: bool, repo: Path) -> None:
    from tracetune.traces.read import read_traces

    rows = [t.to_dict() for t in read_traces(repo / "examples" / "airline" / "traces.json.gz")]
    request = {
        "project": "inline-airline",
        "inline": {"airline": {"prompts": {"policy": "Be kind."}, "config": {"max_steps": 200}}},
        "traces": rows,
    }
    graph = build_graph()
    got = graph.invoke(request) if sync else await graph.ainvoke(request)
    assert got["status"] == "released"
    assert any("forgotten" in note for note in got["notes"])


async def test_stratus_with_a_model_changes_one_prompt_and_rolls_back(
    stratus: Path, scripted: Any
) -> None:
    edit = {"text": "Look at the events before you submit.", "why": "Few succeed.", "patterns": [1]}
    model = scripted(
        Classification=[
            {"updates": [{"agent": "diagnosis", "prompt": "system", "why": "13 % succeed"}]}
        ],
        Edits=[{"add": [edit], "retire": []}],
        ConfigChanges=[{"changes": []}, {"changes": []}],
    )
    async with open_store("sqlite:///memory.db", base=stratus) as store:
        report = await run(store, stratus, model=model)
        memory = ProceduralMemory(store, "stratus").agent("diagnosis")
        new = await memory.ahead()
        old = await memory.arollback()
    results = {result.agent: result for result in report.results}
    assert {name: r.outcome for name, r in results.items()} == {
        "diagnosis": "released",
        "localization": "not enough traces",
        "mitigation": "no change",
        "rollback": "not enough traces",
    }
    before = read_bundle(load_project(stratus / "tracetune.yaml").agents["diagnosis"])
    assert (dict(old.prompts), dict(old.config)) == (dict(before.prompts), dict(before.config))
    assert new is not None
    assert new.config == old.config
    assert new.prompts.keys() == old.prompts.keys()
    changed = [name for name in new.prompts if new.prompts[name] != old.prompts[name]]
    assert changed == ["system"]
    [prompts_file] = [f for f in results["diagnosis"].files if "prompts" in f]
    written = read_yaml(stratus / prompts_file)
    assert written == dict(new.prompts)
