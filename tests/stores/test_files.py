"""Files are written whole or not at all, also when the disk is full."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tracetune.errors import WriteError
from tracetune.stores.files import write_atomically, write_together


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("a: 1\r\nb: 2\r\n", id="windows line breaks"),
        pytest.param("\ufeffa: ✅ 🚀", id="byte order mark and emoji"),
    ],
)
def test_the_text_lands_byte_for_byte(tmp_path: Path, text: str) -> None:
    path = tmp_path / "agent.yaml"
    for _ in range(2):
        write_atomically(path, text)
        assert path.read_bytes() == text.encode()
    assert names(tmp_path) == ["agent.yaml"]


def test_the_mode_stays_and_a_new_file_has_the_usual_one(tmp_path: Path) -> None:
    path, usual = tmp_path / "agent.yaml", tmp_path / "usual"
    usual.touch()
    write_atomically(path, "one")
    assert path.stat().st_mode == usual.stat().st_mode
    path.chmod(0o640)
    write_atomically(path, "two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_keeps_pointing_at_what_is_written(tmp_path: Path) -> None:
    real = tmp_path / "real.yaml"
    real.write_text("old")
    link = tmp_path / "link.yaml"
    link.symlink_to("real.yaml")
    write_atomically(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_a_name_as_long_as_allowed_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250 + ".yaml")
    write_atomically(path, "text")
    assert path.read_text() == "text"


def test_a_folder_in_the_way_stays(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    (path / "inside").mkdir(parents=True)
    with pytest.raises(WriteError, match=r"agent\.yaml cannot be written: a folder stands there\."):
        write_atomically(path, "text")
    assert names(tmp_path) == ["agent.yaml"]
    assert names(path) == ["inside"]


def test_a_pipe_in_the_way_stays(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(WriteError, match="what stands there is no file"):
        write_atomically(path, "text")
    assert path.is_fifo()


@pytest.mark.parametrize("place", ["none/agent.yaml", "file/agent.yaml"])
def test_a_place_that_is_no_folder_gets_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(WriteError) as caught:
        write_atomically(tmp_path / place, "text")
    assert str(caught.value).startswith(f"{tmp_path / place} cannot be written: ")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a place even root may not write")
def test_a_place_that_may_not_be_written_gets_one_line() -> None:
    with pytest.raises(WriteError, match=r"^/proc/agent\.yaml cannot be written: .+\.$"):
        write_atomically(Path("/proc/agent.yaml"), "text")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(WriteError, match="the file is read-only"):
        write_atomically(path, "new")
    assert path.read_text() == "old"


def test_half_a_surrogate_pair_gets_one_line(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("old")
    with pytest.raises(WriteError, match="cannot be written: surrogates not allowed"):
        write_atomically(path, "new \ud83d")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["agent.yaml"]


FULL_DISK = """
    import resource, sys
    from pathlib import Path
    from tracetune.errors import WriteError
    from tracetune.stores.files import write_together

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    folder = Path(sys.argv[1])
    try:
        write_together({folder / "a.yaml": "short", folder / "b.yaml": "x" * 5000})
    except WriteError as error:
        print(error)
"""


def test_a_full_disk_leaves_every_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("old a")
    (tmp_path / "b.yaml").write_text("old b")
    command = [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'b.yaml'} cannot be written: File too large.\n"
    assert (tmp_path / "a.yaml").read_text() == "old a"
    assert (tmp_path / "b.yaml").read_text() == "old b"
    assert names(tmp_path) == ["a.yaml", "b.yaml"]


def test_one_bad_place_keeps_all_files_from_being_written(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("old")
    bad.mkdir()
    with pytest.raises(WriteError, match=r"bad\.yaml"):
        write_together({good: "new", bad: "new"})
    assert good.read_text() == "old"
    assert names(tmp_path) == ["bad.yaml", "good.yaml"]
