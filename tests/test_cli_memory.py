"""The commands that change memory, on the airline example with its real store."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracetune.cli import main
from tracetune.stores.backends import open_store
from tracetune.stores.memory import AgentMemory, ProceduralMemory

Ask = Callable[..., Any]
Told = Callable[..., str]

STORE = "sqlite:///.tracetune/memory.db"
ALONE = "Project 'airline' has no release yet: tracetune run makes the first."


@pytest.fixture
def folder(airline: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example as the current folder; nothing was learned yet."""
    monkeypatch.chdir(airline)
    monkeypatch.setenv("LOGNAME", "ana")
    return airline


@pytest.fixture
def ids(folder: Path) -> list[str]:
    """Five releases put in force one after the other, oldest first."""
    with open_store(STORE, base=folder) as store:
        return [
            airline_of(store).commit(prompts={"policy": "p"}, config={"n": n}, promote=True).id
            for n in range(5)
        ]


def airline_of(store: Any) -> AgentMemory:
    return ProceduralMemory(store, "airline").agent("airline")


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """Run a command, which must end well, and return what it prints for people."""

    def run(*arguments: object) -> str:
        assert main([*map(str, arguments)]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return " ".join(out.split())

    return run


def entry(ask: Ask) -> dict[str, Any]:
    """The newest line of the journal."""
    return dict(ask("history")["history"][0]["entries"][0])


def test_promote_puts_a_release_in_force_and_says_why(ids: list[str], ask: Ask) -> None:
    done = ask("promote", ids[1][-6:], "--why", "better")
    assert done == {
        "agent": "airline",
        "release": ids[1],
        "previous": ids[4],
        "mirrored": [],
    }
    assert ask("show")["id"] == ids[1]
    newest = entry(ask)
    assert (newest["action"], newest["by"], newest["why"]) == ("promoted", "ana", "better")


def test_promote_of_the_head_says_so(ids: list[str], told: Told) -> None:
    assert told("promote", ids[4]) == f"airline: {ids[4]} is in force already."
    assert told("promote", ids[0]).startswith(f"airline: {ids[0]} is in force. Your YAML files")


def test_rollback_goes_back_some_steps(ids: list[str], ask: Ask) -> None:
    assert ask("rollback", "--steps", "3")["release"] == ids[1]


def test_a_label_is_set_moved_followed_and_removed(ids: list[str], ask: Ask, told: Told) -> None:
    assert ask("label", "canary") == {
        "agent": "airline",
        "label": "canary",
        "release": ids[4],
        "previous": None,
    }
    assert told("label", "canary", ids[0], "--why", "try it") == (
        f"airline: canary is {ids[0]} (was {ids[4]})."
    )
    assert entry(ask)["why"] == "try it"
    assert ask("show", "canary")["id"] == ids[0]
    assert "labelled canary by ana" in told("history")
    assert ask("promote", "canary")["release"] == ids[0]
    assert ask("label", "canary", "--remove")["release"] is None
    assert main(["show", "canary"]) == 2


def test_a_backup_is_restored_elsewhere(ids: list[str], folder: Path, ask: Ask) -> None:
    before = ask("history")
    done = ask("backup", "memory.jsonl")
    assert (done["project"], done["agents"], done["releases"]) == ("airline", ["airline"], 5)
    (folder / ".tracetune" / "memory.db").rename(folder / "old.db")
    back = ask("restore", folder / "memory.jsonl")
    assert back["records"] == done["records"]
    assert ask("history") == before
    ask("backup", "again.jsonl")
    assert (folder / "again.jsonl").read_bytes() == (folder / "memory.jsonl").read_bytes()


def test_a_backup_tells_people_what_it_holds(ids: list[str], told: Told) -> None:
    assert told("backup", "memory.jsonl") == (
        "airline: 1 agent, 5 releases, 6 records in all, written to memory.jsonl"
    )


def test_a_backup_of_another_project_is_taken_on_purpose(
    ids: list[str], folder: Path, ask: Ask
) -> None:
    ask("backup", "memory.jsonl")
    yaml = folder / "tracetune.yaml"
    text = yaml.read_text().replace("project: airline", "project: copy")
    yaml.write_text(text.replace("memory.db", "copy.db"))
    assert main(["restore", "memory.jsonl"]) == 2
    assert not (folder / ".tracetune" / "copy.db").exists()
    assert ask("restore", "memory.jsonl", "--rename")["project"] == "airline"
    assert ask("show")["id"] == ids[4]


def test_prune_says_what_it_would_drop_and_drops_it(ids: list[str], ask: Ask, told: Told) -> None:
    one = {"agent": "airline", "dropped": ids[:3], "kept": 2}
    assert ask("prune", "--keep", "1", "--dry-run") == {"dry_run": True, "pruned": [one]}
    assert "3 releases would be dropped, 2 kept" in told("prune", "--keep", "1", "--dry-run")
    assert ask("prune", "airline", "--keep", "1") == {"dry_run": False, "pruned": [one]}
    assert ask("prune", "--keep", "1")["pruned"][0]["dropped"] == []
    assert {e["release"] for e in ask("history")["history"][0]["entries"]} == set(ids)
    assert main(["show", ids[0]]) == 2


def test_the_next_cycle_after_pruning_takes_no_file_for_edited(folder: Path, ask: Ask) -> None:
    head = ask("run")["results"][0]["release"]
    ask("export", "--in-place")
    with open_store(STORE, base=folder) as store:
        for n in range(5):
            airline_of(store).commit(config={"max_steps": 100 + n}, promote=True)
    assert ask("prune", "--keep", "1")["pruned"][0]["dropped"]
    newest = ask("show")["id"]
    report = ask("run")
    assert (report["status"], ask("show")["id"]) == ("no change", newest)
    assert ask("show", head)["id"] == head


def test_forget_takes_a_trace_out_and_says_where_it_still_is(
    folder: Path, ask: Ask, told: Told
) -> None:
    ask("run")
    trace = ask("show")["guidelines"][0]["evidence"]["patterns"][0]["traces"][0]
    done = ask("forget", trace)
    assert done["trace"] == trace
    assert done["releases"] == [ask("show")["id"]]
    assert done["guidelines"][0]["text"] == ask("show")["guidelines"][0]["text"]
    assert done["still_in"] == ["airline"]
    assert trace not in json.dumps(ask("show")["guidelines"])
    assert trace not in ask("show")["evidence"]["failing"]
    assert (entry(ask)["action"], entry(ask)["by"]) == ("forgotten", "ana")
    again = told("forget", trace)
    assert again.startswith(f"{trace}: nothing in memory names it.")
    assert "its trace files still hold it" in again
    assert "still hold" not in told("forget", "airline-0-0-0")


def test_forget_lists_the_guidelines_for_people(folder: Path, ask: Ask, told: Told) -> None:
    ask("run")
    line = ask("show")["guidelines"][0]
    said = told("forget", line["evidence"]["patterns"][0]["traces"][0])
    assert "taken out of 1 release." in said
    assert line["text"] in said
    assert f"{line['id']}, in airline.policy" in said


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        pytest.param("promote nosuch", "'airline' has no release 'nosuch'", id="no such release"),
        pytest.param("rollback --steps 5", "none to roll back to", id="too many steps"),
        pytest.param("rollback x --steps 2", "exclude each other", id="a release and steps"),
        pytest.param("label head", "The label 'head' must be", id="a label that cannot be one"),
        pytest.param("label canary nosuch", "no release 'nosuch'", id="a label for nothing"),
        pytest.param("label canary --remove", "no label 'canary'", id="no such label"),
        pytest.param("label canary x --remove", "takes no release", id="a release to unlabel"),
        pytest.param("restore nosuch.jsonl", "cannot be read: No such file", id="no such file"),
        pytest.param(
            "restore tracetune.yaml",
            "line 1: expected one JSON object",
            id="a file of another kind",
        ),
        pytest.param("prune nosuch", "no agent 'nosuch'", id="no such agent"),
        pytest.param("prune --keep 0", "--keep", id="nothing to keep"),
        pytest.param("forget t-1 --agent nosuch", "no agent 'nosuch'", id="no such trace's agent"),
    ],
)
def test_wrong_use_is_one_line_and_changes_nothing(
    ids: list[str], ask: Ask, capsys: pytest.CaptureFixture[str], arguments: str, line: str
) -> None:
    before = ask("history")
    assert main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: ")
    assert line in err
    assert ask("history") == before


@pytest.mark.parametrize(
    "command", ["promote x", "label canary", "backup b.jsonl", "prune", "forget t-1"]
)
def test_without_a_memory_none_is_made(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main(command.split()) == 2
    assert capsys.readouterr().err == f"error: {ALONE}\n"
    assert not (folder / ".tracetune").exists()


def test_a_restore_over_a_memory_and_a_backup_over_a_file_change_nothing(
    ids: list[str], folder: Path, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("backup", "memory.jsonl")
    ask("rollback")
    before = ask("history")
    assert main(["restore", "memory.jsonl"]) == 2
    assert "has a memory already" in capsys.readouterr().err
    assert main(["backup", "prompts.yaml"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert ask("history") == before


def test_a_rollback_brings_the_mirrored_places_and_files_back(
    airline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`write_files` and `mirror`: a cycle writes there, and a rollback takes it back."""
    monkeypatch.chdir(airline)
    project = airline / "tracetune.yaml"
    target = "{config: max_steps, file: deploy.yaml, key: limit}"
    own = f"    write_files: true\n    mirror:\n      - {target}\n    parameters:\n"
    text = project.read_text(encoding="utf-8").replace("    parameters:\n", own)
    project.write_text(text, encoding="utf-8")
    (airline / "deploy.yaml").write_text("limit: 200  # steps\n", encoding="utf-8")
    before = {name: (airline / name).read_bytes() for name in ("prompts.yaml", "config.yaml")}
    assert main(["run"]) == 0
    assert (airline / "deploy.yaml").read_text(encoding="utf-8") == "limit: 60  # steps\n"
    assert "learned_guidelines" in (airline / "prompts.yaml").read_text(encoding="utf-8")
    assert main(["run"]) == 0
    assert main(["rollback"]) == 0
    assert (airline / "deploy.yaml").read_text(encoding="utf-8") == "limit: 200  # steps\n"
    assert {name: (airline / name).read_bytes() for name in before} == before


def test_a_rollback_leaves_files_that_were_edited_and_says_why(
    airline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(airline)
    project, config = airline / "tracetune.yaml", airline / "config.yaml"
    own = "    write_files: true\n    parameters:\n"
    text = project.read_text(encoding="utf-8").replace("    parameters:\n", own)
    project.write_text(text, encoding="utf-8")
    assert main(["run"]) == 0
    edited = config.read_text(encoding="utf-8") + "tone: warm\n"
    config.write_text(edited, encoding="utf-8")
    capsys.readouterr()
    assert main(["rollback"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "edited by hand since they were last read; the next cycle imports that" in said
    assert config.read_text(encoding="utf-8") == edited
    assert main(["run"]) == 0
    # The edit alone: what was rolled back does not come back with it.
    assert config.read_text(encoding="utf-8") == edited.replace("max_steps: 60", "max_steps: 200")
