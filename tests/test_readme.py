"""The README shows what is so: the drawn graph, real output, the example's project file.

`UPDATE_GOLDEN=1` fills its blocks in anew.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tracetune.graph.build import build_graph

ID = re.compile(r"\d{8}-\d{6}-\d{3}-[0-9a-f]{6}")


@pytest.fixture
def newcomer(repo: Path, tmp_path: Path) -> Path:
    """A folder that holds a fresh copy of the examples, where a newcomer would stand."""
    ignored = shutil.ignore_patterns(".tracetune")
    shutil.copytree(repo / "examples", tmp_path / "examples", ignore=ignored)
    return tmp_path


def block(repo: Path, before: str, got: str) -> str:
    """The fenced block that begins with `before`; with UPDATE_GOLDEN=1, `got` is put in first."""
    path = repo / "README.md"
    text = path.read_text(encoding="utf-8")
    found = re.search(rf"(```{re.escape(before)})(.*?)(```)", text, re.DOTALL)
    assert found, f"README.md has no block that begins with {before!r}"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text[: found.start(2)] + got + text[found.end(2) :], encoding="utf-8")
        return got
    return found.group(2)


def run(folder: Path, *command: str) -> str:
    plain = {"COLUMNS": "80", "NO_COLOR": "1"}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | plain, capture_output=True, text=True, check=True
    )
    return done.stdout


def unnamed(text: str) -> str:
    """The text without what differs from run to run: release ids, and where they wrap a line."""
    return " ".join(ID.sub("ID", text).split())


def test_the_picture_is_the_drawn_graph(repo: Path) -> None:
    lines = build_graph().get_graph().draw_mermaid().splitlines(keepends=True)
    start = lines.index("graph TD;\n")
    drawn = "".join(line for line in lines[start:] if "__error_handler__" not in line)
    drawn = drawn.replace("&nbsp;", " ")
    assert block(repo, "mermaid\n", drawn) == drawn


def test_the_first_run_prints_what_is_shown(repo: Path, newcomer: Path) -> None:
    cli = [sys.executable, "-m", "tracetune.cli"]
    got = run(newcomer, *cli, "run", "--project", "examples/airline")
    assert unnamed(block(repo, "console\n$ make run\n", got)) == unnamed(got)
    again = run(newcomer, *cli, "run", "--project", "examples/airline")
    assert "nothing new" in again


def test_the_embedded_lines_print_what_is_shown(repo: Path, newcomer: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", (repo / "README.md").read_text(), re.DOTALL)[0]
    got = run(newcomer, sys.executable, "-c", code)
    assert block(repo, "text\n", got) == got


def test_the_project_file_is_the_example_s(repo: Path) -> None:
    shown = (repo / "examples" / "airline" / "tracetune.yaml").read_text(encoding="utf-8")
    assert block(repo, "yaml\n", shown) == shown
