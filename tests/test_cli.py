"""The commands on the airline example, with the real graph, store and files."""

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KEYS = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
HEAVY = ("langgraph", "langchain", "langchain_core", "duckdb", "scipy", "ruamel")

Ask = Callable[..., Any]


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key every cycle runs on rules."""
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)


@pytest.fixture
def airline(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the example that nothing was learned from, as the current folder."""
    folder = tmp_path / "airline"
    shutil.copytree(repo / "examples" / "airline", folder, ignore=_memory)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def learned(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example after one cycle; tests that use it must not change it."""
    folder = tmp_path_factory.mktemp("learned") / "airline"
    shutil.copytree(repo / "examples" / "airline", folder, ignore=_memory)
    assert tracetune("run", "--json", cwd=folder).returncode == 0
    return folder


def _memory(_: str, names: list[str]) -> set[str]:
    return {".tracetune"} & set(names)


def tracetune(*arguments: str, cwd: Path | None = None, **given: Any) -> Any:
    environment = {k: v for k, v in os.environ.items() if k not in KEYS} | given.pop("env", {})
    return subprocess.run(
        [sys.executable, "-m", "tracetune.cli", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        **given,
    )


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_run_prints_the_report_and_where_the_yaml_lies(airline: Path) -> None:
    done = tracetune("run", cwd=airline)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "rules alone" in done.stdout
    assert "50 runs · success 38%" in done.stdout
    assert "airline  released" in done.stdout
    assert "yaml      .tracetune/releases/2" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_an_output_that_cannot_write_every_letter_gets_the_others(
    airline: Path, encoding: str
) -> None:
    done = tracetune("patterns", cwd=airline, env={"PYTHONIOENCODING": encoding}, encoding=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "transfer_to_human_agents" in done.stdout


def test_run_tells_every_step_when_asked(airline: Path) -> None:
    done = tracetune("run", "-v", "--json", cwd=airline)
    assert "ingest_traces: airline: 50 traces\n" in done.stderr
    assert json.loads(done.stdout)["status"] == "released"


def test_run_on_the_same_traces_again_makes_no_release(airline: Path, ask: Ask) -> None:
    assert ask("run")["status"] == "released"
    assert ask("run")["status"] == "no change"
    assert len(ask("history")["history"][0]["entries"]) == 4


def test_run_takes_a_project_from_anywhere(airline: Path, ask: Ask, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = ask("run", "airline", "-p", airline / "tracetune.yaml", "--model", "rules")
    assert [result["agent"] for result in report["results"]] == ["airline"]
    assert not (tmp_path / ".tracetune").exists()


def test_run_may_be_limited(airline: Path) -> None:
    key = {"GOOGLE_API_KEY": "k" * 39}
    done = tracetune("run", "--max-calls", "0", "--json", cwd=airline, env=key)
    report = json.loads(done.stdout)
    assert {fallback["error"] for fallback in report["fallbacks"]} == {
        "the budget of the cycle is spent (max_calls: 0)"
    }
    assert report["spent"]["calls"] == 0
    assert report["status"] == "released"


def test_an_agent_without_traces_is_left_out_and_told(airline: Path, ask: Ask) -> None:
    with (airline / "tracetune.yaml").open("a", encoding="utf-8") as project:
        project.write("  lone: {prompts_file: prompts.yaml}\n")
    report = ask("run")
    assert [result["agent"] for result in report["results"]] == ["airline"]
    assert report["notes"][-1] == "lone: left out, for the project file names no traces of it."
    assert [one["agent"] for one in ask("metrics")["metrics"]] == ["airline"]


def test_too_few_traces_is_a_report_and_no_error(airline: Path) -> None:
    done = tracetune("run", "--min-traces", "100", cwd=airline)
    assert done.returncode == 0
    assert done.stdout.splitlines()[3:5] == [
        f"{'airline  not enough traces ':─<80}",
        "  50 traces, but min_traces is 100.",
    ]


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        pytest.param("y\n\n", "released", id="yes releases"),
        pytest.param("n\nnot now\n", "rejected", id="no releases nothing"),
        pytest.param("\n\n", "rejected", id="an empty answer is a no"),
    ],
)
def test_review_shows_what_changes_and_obeys_the_answer(
    airline: Path, answers: str, outcome: str
) -> None:
    done = tracetune("run", "--review", "--json", cwd=airline, input=answers)
    assert "config max_steps  200 → " in done.stderr
    assert "Release this? [y/N]" in done.stderr
    [result] = json.loads(done.stdout)["results"]
    assert result["outcome"] == outcome
    assert outcome == "released" or "not now" in result["detail"] or answers == "\n\n"


def test_review_that_nobody_answers_releases_nothing(airline: Path, ask: Ask) -> None:
    done = tracetune("run", "--review", cwd=airline, input="")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "error: --review needs an answer, y or n, but the input ended: nothing was released."
    )
    assert {e["action"] for e in ask("history")["history"][0]["entries"]} == {
        "imported",
        "promoted",
    }


def test_metrics_are_the_agents_own_or_by_group(airline: Path, ask: Ask) -> None:
    [one] = ask("metrics")["metrics"]
    assert (one["agent"], one["n"], one["successes"]) == ("airline", 50, 19)
    groups = ask("metrics", "airline", "--by", "success, ended_by")["metrics"]
    assert sum(group["n"] for group in groups) == 50
    assert set(groups[0]["group"]) == {"success", "ended_by"}


def test_patterns_are_as_many_as_asked_for(airline: Path, ask: Ask) -> None:
    found = ask("patterns", "--limit", "3")["patterns"]["airline"]
    assert len(found) == 3
    assert found[0]["q_value"] <= found[1]["q_value"]


@pytest.mark.parametrize("command", ["metrics", "patterns", "history"])
def test_to_look_writes_nothing(airline: Path, ask: Ask, command: str) -> None:
    before = files_of(airline)
    ask(command)
    assert files_of(airline) == before


def test_history_is_newest_first_and_marks_the_head(learned: Path, ask: Ask) -> None:
    [journal] = ask("history", "-p", learned)["history"]
    assert [entry["action"] for entry in journal["entries"]] == [
        "promoted",
        "committed",
        "promoted",
        "imported",
    ]
    text = tracetune("history", cwd=learned).stdout
    assert text.count("← head") == 1
    assert f"{journal['head']} ← head\n" in text
    assert "committed and promoted by tracetune" in text


def test_show_finds_a_release_by_agent_id_or_its_end(learned: Path, ask: Ask) -> None:
    head = ask("show", "-p", learned)
    assert head["head"]
    assert ask("show", "airline", "-p", learned) == head
    assert ask("show", head["id"][-6:], "-p", learned) == head
    assert not ask("show", head["parent"], "-p", learned)["head"]
    text = tracetune("show", cwd=learned).stdout
    assert f"airline  {head['id']} ← head" in text
    assert "# Airline Agent Policy" in text
    assert f"max_steps: {head['config']['max_steps']}" in text


def test_diff_is_what_the_head_changed_and_can_be_turned_round(learned: Path, ask: Ask) -> None:
    found = ask("diff", "-p", learned)
    assert found["config"]["max_steps"]["before"] == 200
    back = ask("diff", found["after"], found["before"], "-p", learned)
    assert back["config"]["max_steps"]["after"] == 200
    assert ask("diff", found["before"], "-p", learned) == found
    assert "config max_steps  200 → " in tracetune("diff", cwd=learned).stdout
    same = tracetune("diff", found["after"], found["after"], cwd=learned).stdout
    assert "no difference" in same


def test_rollback_goes_back_to_the_parent_and_says_why(airline: Path, ask: Ask) -> None:
    head = ask("run")["results"][0]
    done = ask("rollback", "--why", "it got worse")
    assert done == {
        "agent": "airline",
        "release": head["base"],
        "previous": head["release"],
        "mirrored": [],
    }
    newest = ask("history")["history"][0]["entries"][0]
    assert (newest["action"], newest["why"]) == ("rolled back", "it got worse")
    assert ask("rollback", head["release"])["release"] == head["release"]


def test_export_writes_beside_and_leaves_the_files_alone(airline: Path, ask: Ask) -> None:
    ask("run")
    own = (airline / "config.yaml").read_bytes()
    done = ask("export")
    assert done["files"] == [
        str(airline / ".tracetune" / "export" / "airline" / name)
        for name in ("prompts.yaml", "config.yaml")
    ]
    assert Path(done["files"][1]).read_bytes() != own
    assert (airline / "config.yaml").read_bytes() == own


def test_export_in_place_and_of_the_first_release_gives_the_bytes_back(
    airline: Path, ask: Ask
) -> None:
    before = {name: (airline / name).read_bytes() for name in ("prompts.yaml", "config.yaml")}
    head = ask("run")["results"][0]
    ask("export", "--in-place")
    assert "max_steps: 200" not in (airline / "config.yaml").read_text()
    ask("export", "--in-place", "--release", head["base"])
    assert {name: (airline / name).read_bytes() for name in before} == before


def test_export_takes_a_folder(airline: Path, ask: Ask, tmp_path: Path) -> None:
    ask("run")
    ask("export", "--to", tmp_path / "out" / "deep")
    assert sorted(p.name for p in (tmp_path / "out" / "deep").iterdir()) == [
        "config.yaml",
        "prompts.yaml",
    ]


def test_a_terminal_gets_colour_unless_no_color_is_set(learned: Path) -> None:
    assert "\x1b[" in _on_a_terminal(learned, {"TERM": "xterm-256color"})
    assert "\x1b[3" not in _on_a_terminal(learned, {"TERM": "xterm-256color", "NO_COLOR": "1"})


def _on_a_terminal(folder: Path, given: dict[str, str]) -> str:
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-m", "tracetune.cli", "diff"],
        cwd=folder,
        env=environment | given,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            text += piece
    os.close(ours)
    assert process.returncode == 0, text
    return text.decode()


def test_help_and_version_start_without_the_heavy_libraries() -> None:
    code = (
        "import sys; from tracetune.cli import main; code = main(sys.argv[1:]);"
        f"heavy = sorted(set(sys.modules) & set({HEAVY!r}));"
        "print('HEAVY', heavy, 'CODE', code)"
    )
    for arguments in (["--help"], ["--version"], ["run", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
        )
        assert done.stdout.splitlines()[-1] == "HEAVY [] CODE 0", done.stderr


def test_no_command_prints_the_help_as_wrong_use() -> None:
    done = tracetune()
    assert done.returncode == 2
    assert "Usage: tracetune" in done.stdout + done.stderr
