"""Imports point one way, are absolute, and `import tracetune` costs next to nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent
FOLDERS = sorted(found.parent.name for found in REPO.glob("*/__init__.py"))

# A module may import from its own layer's folder, and from any layer above its own line.
LAYERS = [
    {"errors"},
    {"prompts", "traces"},
    {"stores"},
    {"graph.state", "graph.schemas", "graph.context"},  # the words that nodes are written in
    {"nodes"},
    {"graph"},
    {"web", "cli"},
]


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of ours, named without `tracetune.`, with its file."""
    for folder in FOLDERS:
        for path in (REPO / folder).rglob("*.py"):
            yield ".".join(path.relative_to(REPO).with_suffix("").parts), path
    for path in (REPO / "src" / "tracetune").glob("*.py"):
        yield path.stem, path


def place_of(module: str) -> tuple[int, str]:
    """Return a module's layer and its folder; what stands beside the CLI belongs to it."""
    folder = module.partition(".")[0] if module.partition(".")[0] in FOLDERS else "cli"
    names = (module, folder)
    for level, layer in enumerate(LAYERS):
        if any(name in layer for name in names):
            return level, "errors" if module in LAYERS[0] else folder
    raise AssertionError(f"{folder}/ is a new folder: give it a layer in LAYERS")


def faults(module: str, source: str) -> list[str]:
    """Return what is wrong with a module's imports, one line each."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            found.append(f"line {node.lineno}: a relative import")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            wrong = [fault_of(module, name) for name in imported(node)]
            found += [f"line {node.lineno}: {fault}" for fault in wrong if fault]
    return found


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return the dotted modules that an absolute import statement names."""
    if isinstance(node, ast.Import) or node.module is None:
        return [alias.name for alias in node.names]
    if node.module in {"tracetune", *(f"tracetune.{folder}" for folder in FOLDERS)}:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return [node.module]


def fault_of(module: str, name: str) -> str | None:
    """Return why `module` may not import `name`, or None when it may."""
    top, _, target = name.partition(".")
    if top in FOLDERS:
        return f"{name} is meant to be tracetune.{name}"
    if top != "tracetune" or module == "__init__":
        return None
    level, folder = place_of(module)
    target_level, target_folder = place_of(target)
    same = folder == target_folder and level >= target_level
    return None if same or target_level < level else f"{module} comes before {target}"


@pytest.mark.parametrize(
    ("module", "path"), [pytest.param(*found, id=found[0]) for found in sorted(modules())]
)
def test_a_module_imports_only_what_comes_before_it(module: str, path: Path) -> None:
    assert faults(module, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source", "count"),
    [
        pytest.param(
            "stores.memory", "from tracetune.nodes.review import x", 1, id="a later folder"
        ),
        pytest.param(
            "traces.read", "from tracetune.prompts import loader", 1, id="a folder beside"
        ),
        pytest.param("nodes.review", "from tracetune import cli", 1, id="the command line"),
        pytest.param("nodes.review", "from tracetune import build_graph", 1, id="the facade"),
        pytest.param(
            "nodes.review", "from tracetune.graph.build import x", 1, id="the built graph"
        ),
        pytest.param("nodes.review", "from tracetune.graph import routes", 1, id="the routes"),
        pytest.param("graph.state", "import tracetune.nodes.review", 1, id="words from a node"),
        pytest.param("nodes.review", "from prompts import loader", 1, id="a bare folder"),
        pytest.param("nodes.review", "from . import guards", 1, id="a relative import"),
        pytest.param(
            "stores.memory", "def f():\n  import tracetune.cli", 1, id="inside a function"
        ),
        pytest.param("nodes.review", "from tracetune.graph.state import Draft", 0, id="the words"),
        pytest.param("nodes.review", "from tracetune.nodes import guards", 0, id="the same folder"),
        pytest.param("graph.build", "from tracetune.graph import routes", 0, id="graph from graph"),
        pytest.param("traces.read", "from tracetune import errors", 0, id="the errors"),
        pytest.param("cli", "from tracetune.graph.build import build_graph", 0, id="the CLI's use"),
        pytest.param("__init__", "from tracetune.nodes.review import x", 0, id="the facade's own"),
    ],
)
def test_the_check_itself_tells_right_from_wrong(module: str, source: str, count: int) -> None:
    assert len(faults(module, source)) == count


def test_the_graph_folder_imports_nothing_by_itself() -> None:
    # Nodes import graph.state, and the graph imports the nodes: code here would close a circle.
    tree = ast.parse((REPO / "graph" / "__init__.py").read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def test_importing_tracetune_loads_no_other_package(tmp_path: Path) -> None:
    code = (
        "import json, sys; before = set(sys.modules); import tracetune;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(json.dumps(sorted(new - sys.stdlib_module_names - {'tracetune'})))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout) == []
