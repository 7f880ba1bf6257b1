"""How the commands read traces: by a mapping file, and strictly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracetune.cli import main

Ask = Callable[..., Any]

PROJECT = """\
project: foreign
model: rules
store: memory://
agents:
  desk:
    prompts_file: prompts.yaml
    traces: runs.json
    mapping: maps/desk.yaml
"""


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A project whose traces are of no known format; the last record cannot be used."""
    runs = {f"r{n}": {"won": n % 2, "bot": "desk"} for n in range(8)} | {"r8": {"won": "maybe"}}
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "desk.yaml").write_text(
        "records: items(@)\nid: key\nagent: value.bot\nsuccess: 'value.won == `1`'\n"
    )
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    (tmp_path / "prompts.yaml").write_text("main: You help.\n")
    (tmp_path / "tracetune.yaml").write_text(PROJECT)
    return tmp_path


def test_a_project_reads_foreign_traces_by_its_mapping_file(foreign: Path, ask: Ask):
    [found] = ask("metrics", "-p", foreign)["metrics"]

    assert (found["n"], found["successes"]) == (8, 4)


def test_the_report_counts_what_was_set_aside(foreign: Path, ask: Ask):
    [result] = ask("run", "-p", foreign)["results"]

    assert (result["traces"], result["set_aside"]) == (8, 1)


@pytest.mark.parametrize("command", ["metrics", "patterns"])
def test_what_was_set_aside_is_told_where_runs_are_counted(
    command: str, foreign: Path, ask: Ask, capsys: pytest.CaptureFixture[str]
):
    told = "1 record was set aside; the first: "
    assert told in ask(command, "-p", foreign)["set_aside"]["desk"]

    assert main([command, "-p", str(foreign)]) == 0
    assert f"desk: {told}" in capsys.readouterr().out.replace("\n", " ")


def test_no_patterns_come_with_the_reason(
    foreign: Path, ask: Ask, capsys: pytest.CaptureFixture[str]
):
    runs = {str(n): {"won": int(n < 3), "bot": "desk"} for n in range(5)}
    (foreign / "runs.json").write_text(json.dumps(runs))
    reason = "3 of 5 runs succeeded, but nothing that at least 3 runs have is lacked by others"
    found = ask("patterns", "-p", foreign)
    assert (found["patterns"], reason in found["why_none"]["desk"]) == ({"desk": []}, True)

    main(["patterns", "-p", str(foreign)])
    assert reason in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", ["run", "metrics", "patterns"])
def test_strict_stops_at_the_first_bad_record(
    command: str, foreign: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([command, "-p", str(foreign), "--strict"]) == 2

    told = capsys.readouterr().err
    assert "runs.json:1: records[9]: agent gave nothing, expected text" in told.replace("\n", "")


def test_a_wrong_mapping_file_is_one_line(foreign: Path, capsys: pytest.CaptureFixture[str]):
    (foreign / "maps" / "desk.yaml").write_text("sucess: value.won\n")

    assert main(["metrics", "-p", str(foreign)]) == 2
    told = capsys.readouterr().err.replace("\n", "")
    assert "desk.yaml: sucess is no field of a trace (did you mean success?)" in told
