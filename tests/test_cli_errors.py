"""Wrong input and failing disks: one line, the right exit code, and nothing written."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tracetune.cli import main

KEYS = ("GOOGLE_API_KEY", "GEMINI_API_KEY", "TRACETUNE_DEBUG")
COMMAND = [sys.executable, "-m", "tracetune.cli"]

Break = Callable[[Path], object]


@pytest.fixture
def airline(repo: Path, tmp_path: Path) -> Path:
    """A copy of the example, to break."""
    return copy_of(repo, tmp_path / "airline")


def copy_of(repo: Path, folder: Path) -> Path:
    def memory(_: str, names: list[str]) -> set[str]:
        return {".tracetune"} & set(names)

    shutil.copytree(repo / "examples" / "airline", folder, ignore=memory)
    return folder


def tracetune(
    *arguments: str, cwd: Path | None = None, **given: str
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in KEYS}
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment | given,
        capture_output=True,
        text=True,
        timeout=120,
    )


def files_of(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if _is_plain(path) else None
        for path in folder.rglob("*")
    }


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def replacing(name: str, old: str, new: str) -> Break:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


def removing(name: str) -> Break:
    return lambda folder: (folder / name).unlink()


def writing(name: str, data: bytes) -> Break:
    return lambda folder: (folder / name).write_bytes(data)


def unreadable(folder: Path) -> None:
    # The tests may run as root, who may read everything but this.
    (folder / "tracetune.yaml").unlink()
    (folder / "tracetune.yaml").symlink_to("/proc/self/mem")


def nothing(_: Path) -> None:
    pass


YAML = "tracetune.yaml"
STORE = "sqlite:///.tracetune/memory.db"
WRONG = [
    pytest.param(
        removing(YAML),
        ["run"],
        2,
        "{folder} holds no tracetune.yaml.",
        id="the project file is missing",
    ),
    pytest.param(
        nothing,
        ["run", "-p", "nowhere"],
        2,
        "{folder}/nowhere does not exist; expected a tracetune.yaml or its folder.",
        id="the project's folder is missing",
    ),
    pytest.param(
        unreadable,
        ["run"],
        2,
        "{folder}/tracetune.yaml cannot be read: Input/output error.",
        id="the project file is unreadable",
    ),
    pytest.param(
        writing(YAML, b"\xff\xfe"),
        ["run"],
        2,
        "{folder}/tracetune.yaml must be UTF-8, but is not at byte 0.",
        id="the project file is no text",
    ),
    pytest.param(
        writing(YAML, b"agents: [1\n"),
        ["run"],
        2,
        "{folder}/tracetune.yaml, line 2, column 1: expected ',' or ']', but got '<stream end>'.",
        id="the YAML does not parse",
    ),
    pytest.param(
        replacing(YAML, "min_traces: 5", "min_trace: 5"),
        ["run"],
        2,
        "{folder}/tracetune.yaml: min_trace is not a known key (did you mean min_traces?).",
        id="a key is not known",
    ),
    pytest.param(
        replacing(YAML, "min_traces: 5", "min_traces: few"),
        ["run"],
        2,
        '{folder}/tracetune.yaml: min_traces must be a whole number, but got "few".',
        id="a value is wrong",
    ),
    pytest.param(
        nothing,
        ["run", "airlin"],
        2,
        "{folder}/tracetune.yaml has no agent 'airlin' (did you mean airline?).",
        id="the agent does not exist",
    ),
    pytest.param(
        replacing(YAML, "      policy:", "      polcy:"),
        ["run"],
        2,
        "{folder}/prompts.yaml has no 'polcy', which agents.airline.prompts names "
        "(did you mean policy?).",
        id="the prompt does not exist",
    ),
    pytest.param(
        removing("prompts.yaml"),
        ["run"],
        2,
        "{folder}/prompts.yaml does not exist.",
        id="the prompts file is missing",
    ),
    pytest.param(
        replacing(YAML, "traces: traces.json.gz", "traces: runs/*.json"),
        ["run"],
        2,
        "{folder}/runs/*.json: matches no file, expected traces there",
        id="there are no traces",
    ),
    pytest.param(
        removing("traces.json.gz"),
        ["metrics"],
        2,
        "{folder}/traces.json.gz: no such file or folder, expected traces there",
        id="the traces file is missing",
    ),
    pytest.param(
        nothing,
        ["run", "--model", "nosuch:thing"],
        2,
        "model must name a provider LangChain knows, but got 'nosuch' in 'nosuch:thing'.",
        id="the provider is unknown",
    ),
    pytest.param(
        nothing,
        ["run", "--model", "thing"],
        2,
        "model must be provider:name (like google_genai:gemini-flash-latest), but got 'thing'.",
        id="the model has no provider",
    ),
    pytest.param(
        nothing,
        ["run", "--model", ""],
        2,
        "--model: String should have at least 1 character, but got ''.",
        id="the model is empty",
    ),
    pytest.param(
        replacing(YAML, STORE, "mysql://host/x"),
        ["run"],
        2,
        "{folder}/tracetune.yaml: store must be memory://, sqlite:///path or postgresql://…, "
        "but got mysql://….",
        id="the store's kind is unknown",
    ),
    pytest.param(
        writing(".tracetune", b""),
        ["run"],
        1,
        "sqlite:///{folder}/.tracetune/memory.db: opening failed: "
        "[Errno 17] File exists: '{folder}/.tracetune'.",
        id="the store cannot be opened",
    ),
    pytest.param(
        replacing(YAML, STORE, "sqlite:///prompts.yaml"),
        ["history"],
        1,
        "sqlite:///{folder}/prompts.yaml: opening failed: file is not a database.",
        id="the store is no database",
    ),
    *(
        pytest.param(
            nothing,
            command.split(),
            2,
            "Project 'airline' has no release yet: tracetune run makes the first.",
            id=f"{command} before the first release",
        )
        for command in ("show", "diff", "rollback", "export", "show nosuch")
    ),
    pytest.param(
        nothing,
        ["metrics", "--by", "nosuch"],
        2,
        "Cannot group traces by 'nosuch'; expected: agent, ended_by, failure_kind, release, "
        "success, task, domain, trial.",
        id="there is nothing to group by",
    ),
    pytest.param(
        nothing,
        ["run", "--min-traces", "0"],
        2,
        "--min-traces: Input should be greater than or equal to 1, but got 0.",
        id="a number is out of range",
    ),
    pytest.param(
        nothing,
        ["export", "--to", "out", "--in-place"],
        2,
        "--to out and --in-place exclude each other.",
        id="two options exclude each other",
    ),
    pytest.param(
        nothing,
        ["rn"],
        2,
        "No such command 'rn'. Did you mean 'run'? (see tracetune --help)",
        id="the command does not exist",
    ),
]


@pytest.mark.parametrize(("broken", "arguments", "code", "line"), WRONG)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    airline: Path,
    broken: Break,
    arguments: list[str],
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken(airline)
    before = files_of(airline)
    monkeypatch.chdir(airline)
    assert main(arguments) == code
    assert capsys.readouterr() == ("", f"error: {line.format(folder=airline)}\n")
    assert files_of(airline) == before


def test_the_exit_code_reaches_the_shell(airline: Path) -> None:
    done = tracetune("run", "airlin", cwd=airline)
    line = f"{airline}/tracetune.yaml has no agent 'airlin' (did you mean airline?)."
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {line}\n")


def test_wrong_input_after_a_release_changes_no_file(airline: Path) -> None:
    assert tracetune("run", cwd=airline).returncode == 0
    (airline / "traces.json.gz").unlink()
    before = files_of(airline)
    done = tracetune("run", cwd=airline)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {airline}/traces.json.gz: no such file or folder, expected traces there\n"
    )
    assert files_of(airline) == before


def test_with_json_the_error_is_a_document_too(airline: Path) -> None:
    done = tracetune("run", "airlin", "--json", cwd=airline)
    line = f"{airline}/tracetune.yaml has no agent 'airlin' (did you mean airline?)."
    assert json.loads(done.stdout) == {"error": line}
    assert done.stderr == f"error: {line}\n"
    assert done.returncode == 2


def test_a_password_in_a_store_url_is_never_printed(airline: Path) -> None:
    replacing(YAML, STORE, "postgresql://me:hunter2hunter2@127.0.0.1:1/x?connect_timeout=2")(
        airline
    )
    done = tracetune("history", cwd=airline)
    assert done.returncode == 1
    assert re.fullmatch(r"error: postgresql://me:\*\*\*@127\.0\.0\.1:1/x.*\n", done.stderr)
    assert "hunter2" not in done.stderr + done.stdout


def test_an_unexpected_error_is_one_line_and_has_a_traceback_only_when_asked(
    airline: Path,
) -> None:
    # Output that cannot be written is a failure no command expects.
    plain, asked = (_on_a_full_disk("history", cwd=airline, debug=debug) for debug in ("", "1"))
    expected = (
        "error: unexpected OSError: [Errno 28] No space left on device "
        "(TRACETUNE_DEBUG=1 shows where)\n"
    )
    assert (plain.returncode, plain.stderr) == (1, expected)
    assert asked.returncode == 1
    assert asked.stderr.startswith("Traceback")


def test_a_closed_stdout_fails_no_command(airline: Path) -> None:
    closed = ["sh", "-c", '"$@" >&-', "sh", *COMMAND]
    for command in (["run"], ["history"], ["show", "--json"]):
        done = subprocess.run(
            [*closed, *command], cwd=airline, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, ""), command


def _on_a_full_disk(command: str, *, cwd: Path, debug: str) -> subprocess.CompletedProcess[str]:
    with Path("/dev/full").open("w") as full:
        return subprocess.run(
            [*COMMAND, command],
            cwd=cwd,
            env=os.environ | {"TRACETUNE_DEBUG": debug},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )


def test_a_cycle_that_could_not_write_its_yaml_says_so(airline: Path) -> None:
    (airline / ".tracetune").mkdir()
    (airline / ".tracetune" / "releases").touch()
    done = tracetune("run", "--json", cwd=airline)
    report = json.loads(done.stdout)
    assert (done.returncode, report["status"]) == (0, "released")
    assert any("is in force, but its YAML copy failed" in note for note in report["notes"])


@pytest.mark.parametrize("command", ["metrics", "run"])
def test_ctrl_c_is_one_line(airline: Path, command: str) -> None:
    (airline / "traces.json.gz").unlink()
    os.mkfifo(airline / "traces.json")
    replacing(YAML, "traces: traces.json.gz", "traces: traces.json")(airline)
    with subprocess.Popen(
        [*COMMAND, command], cwd=airline, stderr=subprocess.PIPE, text=True
    ) as process:
        writer = os.open(airline / "traces.json", os.O_WRONLY)  # waits until it reads
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        os.close(writer)
    assert err == "error: interrupted\n"
    assert process.returncode == 130


def test_one_ctrl_c_ends_a_review(airline: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "run", "--review"],
        cwd=airline,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        shown = b""
        while b"[y/N] " not in shown:
            shown += os.read(process.stderr.fileno(), 65536) or pytest.fail(shown.decode())
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(timeout=20) == 130  # its stdin stays open
        finally:
            process.kill()
        assert process.stderr.read() == b"error: interrupted\n"


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_stops_a_first_cycle(repo: Path, small_disk: Path) -> None:
    folder = copy_of(repo, small_disk / "airline")
    fill(small_disk)
    done = tracetune("run", cwd=folder)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: sqlite:///{folder}/.tracetune/memory.db: opening failed")
    assert done.stderr.count("\n") == 1


def test_a_disk_that_is_full_later_leaves_head_and_files_as_they_were(
    repo: Path, small_disk: Path
) -> None:
    folder = copy_of(repo, small_disk / "airline")
    assert tracetune("run", cwd=folder).returncode == 0
    head = json.loads(tracetune("show", "--json", cwd=folder).stdout)["id"]
    before = files_of(folder)
    fill(small_disk)
    for command in ("run --relearn", "rollback", "export --in-place"):
        done = tracetune(*command.split(), cwd=folder)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    (small_disk / "filler").unlink()
    # SQLite may leave its two empty side files; it takes them away when there is room again.
    after = {n: data for n, data in files_of(folder).items() if not n.endswith(("-wal", "-shm"))}
    assert after == before
    assert json.loads(tracetune("show", "--json", cwd=folder).stdout)["id"] == head


def test_an_export_to_a_full_disk_leaves_no_half_file(airline: Path, small_disk: Path) -> None:
    assert tracetune("run", cwd=airline).returncode == 0
    fill(small_disk)
    done = tracetune("export", "--to", str(small_disk / "out"), cwd=airline)
    line = f"{small_disk}/out/prompts.yaml cannot be written: No space left on device."
    assert (done.returncode, done.stderr) == (1, f"error: {line}\n")
    assert list((small_disk / "out").iterdir()) == []
