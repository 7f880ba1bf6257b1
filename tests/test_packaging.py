"""What a wheel holds, what is pinned, and what the examples ship."""

from __future__ import annotations

import gzip
import itertools
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

REPO = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
# Import name -> folder, as the build sees it.
PACKAGES: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]
FOLDERS = sorted(folder for folder in PACKAGES.values() if "/" not in folder)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the checkout, so that no build folder is left in it."""
    place = tmp_path_factory.mktemp("wheel")
    leave = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "examples")
    shutil.copytree(REPO, place / "copy", symlinks=True, ignore=leave)
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    pip(["wheel", *offline, "--wheel-dir", str(place), str(place / "copy")])
    (built,) = place.glob("*.whl")
    return built


def pip(arguments: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pip", "-qq", *arguments], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def files_in(folder: Path) -> Iterator[str]:
    """Yield every file below a folder that someone wrote, as its path from there."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
            yield path.relative_to(folder).as_posix()


def test_only_tracetune_stands_at_the_top_of_the_wheel(wheel: Path) -> None:
    names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert names == {"tracetune", f"tracetune-{PROJECT['project']['version']}.dist-info"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_wheel_holds_every_file_of_a_folder(wheel: Path, folder: str) -> None:
    inside = f"tracetune/{folder}/"
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(inside)}
    assert packed == {inside + name for name in files_in(REPO / folder)}


def test_the_wheel_holds_every_file_beside_the_folders(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.count("/") == 1}
    source = REPO / "src" / "tracetune"
    own = {f"tracetune/{path.name}" for path in source.iterdir() if path.is_file()}
    assert "tracetune/py.typed" in packed
    assert {name for name in packed if name.startswith("tracetune/")} == own


def test_nothing_but_tracetune_is_importable_after_installing_the_wheel(
    wheel: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    pip(["install", "--no-deps", "--no-index", "--target", str(site), str(wheel)])
    # Isolated and without site-packages: what is found comes from this wheel alone.
    code = (
        "import pkgutil, sys; site = sys.argv[1]; sys.path.append(site);"
        "import tracetune.errors; assert tracetune.__file__.startswith(site);"
        "print(*sorted(found.name for found in pkgutil.iter_modules([site])))"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(site)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["tracetune"]


def test_every_folder_of_code_is_packaged_and_linked_for_the_type_checkers() -> None:
    folders = sorted(found.parent.name for found in REPO.glob("*/__init__.py"))
    links = sorted(
        path.name for path in (REPO / "src" / "tracetune").iterdir() if path.is_symlink()
    )
    checked = PROJECT["tool"]["pyright"]["include"]
    assert folders == FOLDERS
    assert folders == links
    assert {f"src/tracetune/{folder}" for folder in folders} < set(checked)


def requirements() -> Iterator[Requirement]:
    """Yield what tracetune and its extras ask for by name."""
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for line in itertools.chain.from_iterable(groups):
        if (requirement := Requirement(line)).name != project["name"]:
            yield requirement


def pins() -> dict[str, str]:
    """Return the pinned versions that hold for this interpreter, by normalised name."""
    lines = (REPO / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    held = [pin for pin in found if pin.marker is None or pin.marker.evaluate()]
    return {normal(pin.name): str(pin.specifier).removeprefix("==") for pin in held}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("asked", [pytest.param(asked, id=str(asked)) for asked in requirements()])
def test_a_requirement_is_pinned_within_its_bounds(asked: Requirement) -> None:
    assert asked.specifier.contains(pins()[normal(asked.name)], prereleases=True)


def test_every_pin_is_one_exact_version_from_no_named_place() -> None:
    lines = (REPO / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wrong = [line for line in lines if not re.match(r"#|[a-z0-9-]+==[0-9][\w.]*( ;|$)", line)]
    assert wrong == []


def test_the_examples_are_small() -> None:
    found = [REPO / "examples" / name for name in files_in(REPO / "examples")]
    size = sum(path.stat().st_size for path in found if ".tracetune" not in path.parts)
    assert size < 1_000_000


def test_the_examples_data_is_what_its_script_makes(shared_data: Path, tmp_path: Path) -> None:
    examples = REPO / "examples"
    command = [sys.executable, str(examples / "make_data.py"), str(shared_data)]
    subprocess.run([*command, "--into", str(tmp_path)], check=True)
    made = list(files_in(tmp_path))
    assert len(made) == 41
    assert [name for name in made if unpacked(tmp_path / name) != unpacked(examples / name)] == []


def unpacked(path: Path) -> bytes:
    # Libraries pack the same bytes differently.
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data
