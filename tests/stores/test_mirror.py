"""A promotion reaches the places agents read themselves, and nothing else in them changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from tracetune.errors import ProjectError
from tracetune.stores.backends import open_store
from tracetune.stores.bundle import Bundle
from tracetune.stores.mirror import Mirrored, mirror
from tracetune.stores.project import AgentSpec, load_project, read_bundle
from tracetune.stores.release import Release

PROMPTS = """\
# What the agent is told.
main_agent: |
  Be kind to {name}.
  Use {{tools}}.
triage-ignore: 'Spam'  # short
"""
CONFIG = """\
max_steps: 40  # upstream's own
since: 2024-02-01
"""
OWN = """\
# Read by the agent at its start.
other: &x {a: 1}
steps: 40   # its limit
text: old
again: *x
"""
HEAD = """\
project: mail
store: memory://
agents:
  email:
    prompts_file: prompts.yaml
    config_file: config.yaml
"""
MIRROR = """\
    mirror:
      - {prompt: main_agent, namespace: [lance], key: agent_instructions, field: prompt}
      - {prompt: triage-ignore, namespace: [lance], key: triage_ignore, field: prompt}
      - {config: max_steps, file: own/agent.yaml, key: steps}
      - {prompt: main_agent, file: own/agent.yaml, key: text}
"""
NEW = Bundle(
    {"main_agent": "Be kind to {name}.\nAsk {{first}}.\n", "triage-ignore": "Spam, ads"},
    {"max_steps": 12, "since": "2024-02-01"},
)


def release(bundle: Bundle) -> Release:
    return Release("20261121-224711-482-3f9c07", "email", None, bundle.prompts, bundle.config)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    for name, text in (
        ("prompts.yaml", PROMPTS),
        ("config.yaml", CONFIG),
        ("own/agent.yaml", OWN),
        ("tracetune.yaml", HEAD + MIRROR),
    ):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStore]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/m.db"
    with open_store(url) as opened:
        yield opened


def email(folder: Path, extra: str = MIRROR) -> AgentSpec:
    (folder / "tracetune.yaml").write_text(HEAD + extra)
    return load_project(folder / "tracetune.yaml").agent("email")


def texts(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*.yaml")}


def run(agent: AgentSpec, to: Bundle, store: BaseStore, previous: Bundle | None) -> list[Mirrored]:
    held = previous.content_hash if previous else None
    return asyncio.run(mirror(agent, release(to), store, previous=held))


def test_every_target_gets_its_value_and_the_rest_stays(folder: Path, store: BaseStore) -> None:
    agent, before = email(folder), texts(folder)
    store.put(("lance",), "agent_instructions", {"prompt": "old", "by": "lance", "n": [1]})
    assert run(agent, NEW, store, None) == [
        Mirrored("store lance/agent_instructions.prompt", True),
        Mirrored("store lance/triage_ignore.prompt", True),
        Mirrored("own/agent.yaml steps", True),
        Mirrored("own/agent.yaml text", True),
    ]
    kept = store.get(("lance",), "agent_instructions")
    seeded = store.get(("lance",), "triage_ignore")
    assert kept is not None
    assert seeded is not None
    assert kept.value == {"prompt": NEW.prompts["main_agent"], "by": "lance", "n": [1]}
    assert seeded.value == {"prompt": "Spam, ads"}
    own = OWN.replace("40", "12").replace(
        "text: old", "text: |\n  Be kind to {name}.\n  Ask {{first}}."
    )
    assert texts(folder) == before | {"own/agent.yaml": own}


def test_what_is_there_already_is_not_written_again(folder: Path, store: BaseStore) -> None:
    agent = email(folder)
    run(agent, NEW, store, None)
    item, stat = store.get(("lance",), "triage_ignore"), (folder / "own/agent.yaml").stat()
    assert [(m.changed, m.problem) for m in run(agent, NEW, store, None)] == [(False, "")] * 4
    assert store.get(("lance",), "triage_ignore") == item
    assert (folder / "own/agent.yaml").stat().st_ino == stat.st_ino


async def test_an_async_store_is_awaited(folder: Path, tmp_path: Path) -> None:
    agent = email(folder)
    async with open_store(f"sqlite:///{tmp_path}/a.db") as store:
        done = await mirror(agent, release(NEW), store, previous=None)
        item = await store.aget(("lance",), "triage_ignore")
    assert all(one.changed for one in done)
    assert item is not None
    assert item.value == {"prompt": "Spam, ads"}


def test_a_place_that_fails_is_told_and_stops_no_other(folder: Path) -> None:
    class Broken(InMemoryStore):
        async def aget(self, namespace: Any, key: str, **kwargs: Any) -> Any:
            if key == "agent_instructions":
                raise ConnectionError("the server\nhas gone")
            return await super().aget(namespace, key, **kwargs)

    (folder / "own/agent.yaml").write_text("stps: 40\ntext: old\n")
    first, second, third, fourth = run(email(folder), NEW, Broken(), None)
    assert (first.changed, second.changed, third.changed, fourth.changed) == (
        False,
        True,
        False,
        True,
    )
    assert "mirroring to store lance/agent_instructions.prompt failed: the server" in first.problem
    assert "agent.yaml has no 'steps' to put the value under (did you mean stps?)" in third.problem
    assert "\n" not in first.problem + third.problem
    assert (second.problem, fourth.problem) == ("", "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(None, "agent.yaml does not exist.", id="no file"),
        pytest.param("text: [", "agent.yaml, line 1", id="no YAML"),
        pytest.param("text: &t old\nother: *t\n", "text cannot be changed", id="an anchor"),
    ],
)
def test_a_file_that_cannot_take_it_stays(folder: Path, text: str | None, problem: str) -> None:
    path = folder / "own/agent.yaml"
    path.unlink() if text is None else path.write_text(text)
    agent = email(folder, "    mirror: [{prompt: main_agent, file: own/agent.yaml, key: text}]\n")
    (told,) = run(agent, NEW, InMemoryStore(), None)
    assert not told.changed
    assert problem in told.problem
    assert (path.read_text() if path.exists() else None) == text


def test_a_release_without_the_value_is_told(folder: Path) -> None:
    told = run(email(folder), Bundle({"main_agnt": "x"}, {}), InMemoryStore(), None)
    assert told[0].problem.endswith(
        "of agent 'email' has no 'main_agent' in its prompts (did you mean main_agnt?)."
    )
    assert told[2].problem.endswith("has no 'max_steps' in its config (there is nothing).")


def test_a_mirrored_name_that_the_files_lack_is_told_when_they_are_read(folder: Path) -> None:
    agent = email(folder, "    mirror: [{prompt: main_agnt, namespace: [a], key: b, field: c}]\n")
    with pytest.raises(
        ProjectError, match=r"has no 'main_agnt', which agents\.email\.mirror names \(did you mean"
    ):
        read_bundle(agent)


def test_own_files_are_not_touched_unasked(folder: Path) -> None:
    agent, before = email(folder, ""), texts(folder)
    assert run(agent, NEW, InMemoryStore(), read_bundle(agent)) == []
    assert texts(folder) == before


def test_own_files_are_written_in_place_when_asked(folder: Path) -> None:
    agent = email(folder, "    write_files: true\n")
    before, was = texts(folder), read_bundle(agent)
    (folder / "prompts.yaml").chmod(0o640)
    name = "prompts.yaml and config.yaml"
    assert run(agent, NEW, InMemoryStore(), was) == [Mirrored(name, True)]
    assert read_bundle(agent) == NEW
    assert texts(folder) == before | {
        "prompts.yaml": PROMPTS.replace("Use {{tools}}.", "Ask {{first}}.").replace(
            "'Spam'", "'Spam, ads'"
        ),
        "config.yaml": CONFIG.replace("40", "12"),
    }
    assert (folder / "prompts.yaml").stat().st_mode & 0o777 == 0o640
    assert run(agent, NEW, InMemoryStore(), was) == [Mirrored(name, False)]
    assert run(agent, was, InMemoryStore(), NEW) == [Mirrored(name, True)]
    assert read_bundle(agent) == was


def test_a_hand_edit_is_never_overwritten(folder: Path) -> None:
    agent = email(folder, f"    write_files: true\n{MIRROR}")
    was = read_bundle(agent)
    (folder / "config.yaml").write_text(CONFIG.replace("40", "41"))
    edited = texts(folder)
    told, *others = run(agent, NEW, InMemoryStore(), was)
    assert told.problem == (
        "The files of agent 'email' were not written with 20261121-224711-482-3f9c07: they were"
        " edited by hand since they were last read; the next cycle imports that."
    )
    assert all(other.changed for other in others)
    assert texts(folder) == edited | {"own/agent.yaml": texts(folder)["own/agent.yaml"]}


def test_a_comment_added_by_hand_is_kept(folder: Path) -> None:
    agent = email(folder, "    write_files: true\n")
    was = read_bundle(agent)
    (folder / "config.yaml").write_text(f"# Ask ana first.\n{CONFIG}")
    assert run(agent, NEW, InMemoryStore(), was)[0].changed
    assert (folder / "config.yaml").read_text() == f"# Ask ana first.\n{CONFIG}".replace("40", "12")


@pytest.mark.parametrize(
    ("break_it", "problem"),
    [
        pytest.param("previous", "it is not known what they held", id="nothing to compare with"),
        pytest.param("yaml", "config.yaml, line 2", id="an edit that is no YAML"),
        pytest.param("gone", "config.yaml does not exist", id="a file that is gone"),
    ],
)
def test_files_that_cannot_be_compared_are_not_written(
    folder: Path, break_it: str, problem: str
) -> None:
    agent = email(folder, "    write_files: true\n")
    was = read_bundle(agent)
    if break_it == "yaml":
        (folder / "config.yaml").write_text("max_steps: [\n")
    if break_it == "gone":
        (folder / "config.yaml").unlink()
    before = texts(folder)
    (told,) = run(agent, NEW, InMemoryStore(), None if break_it == "previous" else was)
    assert (told.changed, problem in told.problem) == (False, True)
    assert texts(folder) == before
