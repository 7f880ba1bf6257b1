"""The guides are true: what they show runs, prints what stands there, and leaves nothing out.

In a guide, from its top to its end, in a folder that holds a copy of `examples/`:
- a `python` block runs, all in one namespace (`python no-run` does not); a `text` block right
  behind it is what it prints;
- in a `console` block, what follows `$ ` runs, and what stands below it, if anything, is what it
  prints; there, `make run` stands for the command it gives, and `pip` and `make serve` do not run;
- in what is printed, `…` stands for any text, alone on a line for any lines; ids of releases and
  times may be others. Other blocks (`sh`, `yaml`, …) are not run.
"""

import contextlib
import dataclasses
import inspect
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tracetune.cli import main
from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings
from tracetune.graph.schemas import AgentResult, CycleInput, CycleReport, InlineAgent
from tracetune.stores.memory import AgentMemory, UserMemory
from tracetune.stores.middleware import TunedPrompt
from tracetune.stores.project_file import (
    AgentPart,
    LimitsPart,
    MirrorPart,
    Parameter,
    ProjectPart,
    PromptSpec,
    RewardPart,
)
from tracetune.traces.model import Message, Thought, ToolCall, Trace

REPO = Path(__file__).parent.parent
GUIDES = sorted((REPO / "docs").glob("*.md"))
PAGES = [*GUIDES, REPO / "README.md"]
LINKED = [*PAGES, REPO / "CHANGELOG.md", *sorted((REPO / "examples").glob("*/README.md"))]
SET_UP = ("pip ", "make serve")
COMMANDS = ("run", "metrics", "patterns", "history", "show", "diff")
COMMANDS += ("promote", "rollback", "label", "export", "backup", "restore", "prune", "forget")

_BLOCK = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
_ID = re.compile(r"\d{8}-\d{6}-\d{3}-[0-9a-f]{6}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def guide(name: str) -> str:
    return (REPO / "docs" / f"{name}.md").read_text(encoding="utf-8")


def section(name: str, title: str) -> str:
    """The part of a guide from that title to the next."""
    parts = re.split(r"(?m)^#+ (.*)\n", _BLOCK.sub("", guide(name)))
    return parts[parts.index(title) + 1]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples as they are cloned, as the current one."""
    unlearned = shutil.ignore_patterns(".tracetune", "__pycache__")
    shutil.copytree(REPO / "examples", tmp_path / "examples", ignore=unlearned)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LOGNAME", "ana")
    for name in ("TRACETUNE_PROJECT", "TRACETUNE_DEBUG", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_a_guide_shows_runs_and_prints_that(path: Path, checkout: Path) -> None:
    assert checkout.is_dir()
    namespace: dict[str, Any] = {"__name__": "__main__"}
    text = path.read_text(encoding="utf-8")
    printed, end = "", -1
    for block in _BLOCK.finditer(text):
        kind, body = block.group(1), block.group(2)
        line = text.count("\n", 0, block.start()) + 1
        where = f"{path.name}:{line}"
        if kind == "python":
            code = compile("\n" * line + body, str(path), "exec")
            printed = output_of(lambda code=code: exec(code, namespace))
        elif kind == "console":
            for command, expected in commands(body):
                if not command.startswith(SET_UP):
                    assert_printed(expected, run(command), f"{where}: {command}")
        elif kind == "text" and text[end : block.start()].isspace():
            assert_printed(body, printed, where)
        end = block.end() if kind == "python" else -1


def commands(body: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with what it prints."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command.partition("  #")[0].strip(), expected


def run(command: str) -> str:
    words = shlex.split(command.replace("make run", "tracetune run -p examples/airline"))
    if words[0] == "tracetune":
        return output_of(lambda: main(words[1:]))
    # As in a terminal whose virtual environment is active, whether or not this one's is.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        command,
        shell=True,
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | {"PATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def output_of(call: Callable[[], object]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        call()
    return out.getvalue()


def assert_printed(expected: str, printed: str, where: str) -> None:
    if not expected.strip():
        return
    wanted, got = plain(expected), plain(printed)
    pattern = re.escape(wanted).replace("…\\\n", "…\n")
    pattern = re.sub(r"(?m)^…\n", lambda _: r"(?:.*\n)*?", pattern).replace("…", ".*?")
    assert re.fullmatch(pattern, got), f"{where} prints:\n{got}\nbut the guide shows:\n{wanted}"


def plain(text: str) -> str:
    text = _TIME.sub("2026-11-21 22:47", _ID.sub("20261121-224711-482-3f9c07", text))
    lines = "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
    return f"{lines}\n"


@pytest.mark.parametrize("path", LINKED, ids=lambda path: str(path.relative_to(REPO)))
def test_links_point_to_files_that_exist(path: Path) -> None:
    text = _BLOCK.sub("", path.read_text(encoding="utf-8"))
    links = [link for link in _LINK.findall(text) if "://" not in link]
    broken = [link for link in links if not target_exists(path, link)]
    assert not broken


def target_exists(path: Path, link: str) -> bool:
    """Whether the file is there, and in it the title that the link names."""
    name, _, anchor = link.partition("#")
    target = path.parent / name if name else path
    if not target.exists() or not anchor:
        return target.exists()
    titles = re.findall(r"(?m)^#+ (.*)$", target.read_text(encoding="utf-8"))
    return anchor in {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_cli_guide_names_each_commands_options_and_no_others(command: str) -> None:
    shown = set(_OPTION.findall(output_of(lambda: main([command, "--help"]))))
    shown.discard("--help")
    rows = [line for line in section("cli", command).splitlines() if line.startswith("| `-")]
    named = set(_OPTION.findall("\n".join(row.split("|")[1] for row in rows)))
    assert named == shown


def test_the_cli_guide_names_all_commands_and_no_option_that_none_has() -> None:
    helps = "".join(output_of(lambda name=name: main([name, "--help"])) for name in COMMANDS)
    top = output_of(lambda: main(["--help"]))
    assert set(re.findall(r"(?m)^│ ([a-z]+)  +\S", top)) == set(COMMANDS)
    assert set(_OPTION.findall(guide("cli"))) <= set(_OPTION.findall(helps + top))


def fields_of(schema: Any) -> list[str]:
    if dataclasses.is_dataclass(schema):
        return [field.name for field in dataclasses.fields(schema)]
    return list(schema.model_fields)


@pytest.mark.parametrize(
    ("name", "title", "schema"),
    [
        ("project-file", "Keys", ProjectPart),
        ("project-file", "reward", RewardPart),
        ("project-file", "limits", LimitsPart),
        ("project-file", "mirror", MirrorPart),
        ("project-file", "agents", AgentPart),
        ("project-file", "prompts", PromptSpec),
        ("project-file", "parameters", Parameter),
        ("server", "Input", CycleInput),
        ("server", "Agents carried by the request", InlineAgent),
        ("server", "Settings", Settings),
        ("server", "The report", CycleReport),
        ("server", "The report", AgentResult),
        *(("traces", "The canonical trace", part) for part in (Trace, Message, Thought, ToolCall)),
    ],
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_a_guide_names_every_field(name: str, title: str, schema: Any) -> None:
    assert [field for field in fields_of(schema) if field not in named_in(name, title)] == []


def named_in(name: str, title: str) -> list[str]:
    """What the rows of a section's tables are about, without parentheses."""
    rows = [line for line in section(name, title).splitlines() if line.startswith("| `")]
    return re.findall(r"`([^`(]+)(?:\([^`]*\))?`", "\n".join(row.split("|")[1] for row in rows))


@pytest.mark.parametrize(
    ("title", "kind"), [("From Python", AgentMemory), ("Users' preferences", UserMemory)]
)
def test_the_memory_guide_names_every_method_and_no_other(title: str, kind: type) -> None:
    own = {name for name in vars(kind) if not name.startswith("_")}
    twins = {f"a{name}" for name in own} & own
    assert set(named_in("memory", title)) == own - twins


@pytest.mark.parametrize(
    ("title", "function"), [("With `create_agent`", TunedPrompt), ("One cycle", build_graph)]
)
def test_the_embedding_guide_names_every_argument(title: str, function: Any) -> None:
    assert named_in("embedding", title) == list(inspect.signature(function).parameters)


def test_the_settings_guide_gives_the_real_defaults() -> None:
    rows = dict(re.findall(r"(?m)^\| `(\w+)` \| `([^`]*)` \|", guide("server")))
    real = {name: field.default for name, field in Settings.model_fields.items()}
    told = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in real.items()
    }
    assert {name: rows.get(name) for name in told} == told
