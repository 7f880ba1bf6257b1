"""What is released, and what comes after it."""

from pathlib import Path
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command

from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings
from tracetune.graph.schemas import CycleReport
from tracetune.stores.memory import ProceduralMemory

THREAD: Any = {"configurable": {"thread_id": "1"}}
RULES = Settings(model="rules")


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def second_agent(project: Path) -> None:
    """Declare the agent once more, under another name."""
    file = project / "tracetune.yaml"
    head, _, agent = file.read_text(encoding="utf-8").partition("  airline:\n")
    file.write_text(f"{head}  airline:\n{agent}\n  other:\n{agent}", encoding="utf-8")


def test_an_agent_that_left_the_project_fails_before_it_is_released(airline: Path) -> None:
    second_agent(airline)
    store = InMemoryStore()
    graph = build_graph(store=store, project=airline, checkpointer=InMemorySaver())
    graph.invoke({}, THREAD, context=Settings(model="rules", review=True))
    replace(airline / "tracetune.yaml", "  airline:\n", "  gone:\n")
    report = CycleReport.model_validate(graph.invoke(Command(resume={"approve": True}), THREAD))

    left, other = report.results
    assert (left.outcome, left.release, other.outcome) == ("failed", None, "released")
    assert "tracetune.yaml has no agent 'airline'" in left.detail
    assert ProceduralMemory(store, "airline").agent("airline").release.origin == "import"


def test_a_release_is_in_force_and_mirrored_though_its_copy_fails(airline: Path) -> None:
    mirrored(airline)
    (airline / ".tracetune").mkdir()
    (airline / ".tracetune" / "releases").touch()
    store = InMemoryStore()
    report = CycleReport.model_validate(
        build_graph(store=store, project=airline).invoke({}, context=RULES)
    )

    head = ProceduralMemory(store, "airline").agent("airline").release
    [result] = report.results
    assert (report.status, result.outcome, result.release) == ("released", "released", head.id)
    assert result.files == []
    told = f"airline: {head.id} is in force, but its YAML copy failed: "
    assert [note.startswith(told) for note in report.notes if "copy" in note] == [True]
    assert result.mirrored == ["deploy.yaml steps: brought up to date"]
    assert (airline / "deploy.yaml").read_text(encoding="utf-8") == "steps: 60\n"


def mirrored(project: Path) -> None:
    target = "    mirror:\n      - {config: max_steps, file: deploy.yaml, key: steps}\n"
    replace(project / "tracetune.yaml", "    parameters:\n", f"{target}    parameters:\n")
    (project / "deploy.yaml").write_text("steps: 100\n", encoding="utf-8")


def test_a_later_cycle_brings_up_to_date_what_could_not_be_then(airline: Path) -> None:
    mirrored(airline)
    replace(airline / "deploy.yaml", "steps", "other")
    graph = build_graph(store=InMemoryStore(), project=airline)
    first = CycleReport.model_validate(graph.invoke({}, context=RULES))
    assert "not brought up to date" in first.results[0].mirrored[0]
    replace(airline / "deploy.yaml", "other", "steps")
    second = CycleReport.model_validate(graph.invoke({}, context=RULES))
    third = CycleReport.model_validate(graph.invoke({}, context=RULES))

    assert [r.outcome for r in second.results] == ["nothing new"]
    assert (airline / "deploy.yaml").read_text(encoding="utf-8") == "steps: 60\n"
    told = "airline: deploy.yaml steps: brought up to date"
    assert (told in second.notes, told in third.notes) == (True, False)


def test_who_approves_what_another_cycle_had_turned_down_is_quoted(airline: Path) -> None:
    store = InMemoryStore()
    graph = build_graph(store=store, project=airline, checkpointer=InMemorySaver())
    threads: list[Any] = [{"configurable": {"thread_id": name}} for name in ("1", "2")]
    for thread in threads:
        graph.invoke({}, thread, context=Settings(model="rules", review=True))
    graph.invoke(Command(resume={"approve": False, "comment": "too early"}), threads[0])
    graph.invoke(Command(resume={"approve": True, "comment": "now it is due"}), threads[1])

    told = ProceduralMemory(store, "airline").agent("airline").history()
    assert [(entry.action, entry.why) for entry in told[:2]] == [
        ("promoted", "Approved in review: now it is due"),
        ("rejected", "too early"),
    ]


def test_what_is_turned_down_is_kept_though_another_release_came_first(airline: Path) -> None:
    store = InMemoryStore()
    graph = build_graph(store=store, project=airline, checkpointer=InMemorySaver())
    graph.invoke({}, THREAD, context=Settings(model="rules", review=True))
    memory = ProceduralMemory(store, "airline").agent("airline")
    head = memory.commit(config={"max_steps": 199}, promote=True)
    answer = {"approve": False, "comment": "not this"}
    report = CycleReport.model_validate(graph.invoke(Command(resume=answer), THREAD))

    assert [result.outcome for result in report.results] == ["rejected"]
    assert memory.release.id == head.id
    assert (memory.history(1)[0].action, memory.history(1)[0].why) == ("rejected", "not this")
    again = CycleReport.model_validate(graph.invoke({}, THREAD, context=RULES))
    assert [result.outcome for result in again.results] == ["nothing new"]
