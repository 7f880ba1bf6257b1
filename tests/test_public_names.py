"""What `from tracetune import …` offers."""

import subprocess
import sys

import pytest

import tracetune


def test_public_names_are_sorted_and_all_there() -> None:
    assert tracetune.__all__ == sorted(tracetune.__all__)
    assert set(tracetune.__all__) == set(tracetune._HOME_OF)
    for name in tracetune.__all__:
        value = getattr(tracetune, name)
        assert value.__module__ == f"tracetune.{tracetune._HOME_OF[name]}", name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tracetune.nothing  # type: ignore[attr-defined]


def test_importing_loads_nothing_heavy() -> None:
    heavy = "langgraph langchain langchain_core duckdb scipy pydantic yaml ruamel typer rich"
    code = f"import sys, tracetune; print([m for m in {heavy.split()!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
