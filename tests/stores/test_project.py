"""A project file is read whole or refused in one line; bundles come from files and go back."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tracetune.errors import InputError, NotFoundError, ProjectError, WriteError
from tracetune.stores.bundle import Bundle
from tracetune.stores.project import (
    AgentSpec,
    Parameter,
    Project,
    PromptSpec,
    find_project,
    load_project,
    read_bundle,
    write_bundle,
)
from tracetune.stores.project_file import Price
from tracetune.stores.targets import MirrorTarget
from tracetune.stores.yaml_values import write_over
from tracetune.traces.reward import RewardSpec

PROJECT = """\
project: airline
agents:
  airline:
    prompts_file: prompts.yaml
    config_file: config.yaml
    traces: traces.json.gz
    prompts:
      policy: {when_to_update: never, template_format: none}
    parameters:
      max_steps: {min: 20, max: 200, step_limit: true}
"""
PROMPTS = """\
# The airline's own words.
policy: |
  Be kind.
  Book well.
user: 'Hello {name}'  # formatted
temperature: 0.5
"""
CONFIG = """\
# Steps count both sides.
max_steps: 200  # upstream's own
since: 2024-02-01
limits: {1: low, 2: high}
tools:
  - name: book  # the main one
    retries: 2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tracetune.yaml").write_text(PROJECT)
    (tmp_path / "prompts.yaml").write_text(PROMPTS)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


def load(folder: Path) -> Project:
    return load_project(find_project(folder))


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of change of every file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def test_what_is_left_out_has_its_default(folder: Path) -> None:
    project = load(folder)
    assert project == Project(
        name="airline",
        root=folder,
        path=folder / "tracetune.yaml",
        model=None,
        store=f"sqlite:///{folder}/.tracetune/memory.db",
        reward=RewardSpec(),
        min_traces=5,
        agents={
            "airline": AgentSpec(
                name="airline",
                prompts_file=folder / "prompts.yaml",
                config_file=folder / "config.yaml",
                traces=(f"{folder}/traces.json.gz",),
                trace_agent="airline",
                prompts={"policy": PromptSpec(when_to_update="never", template_format="none")},
                parameters={"max_steps": Parameter(min=20, max=200, step_limit=True)},
            )
        },
    )
    assert pickle.loads(pickle.dumps(project)) == project


def test_what_is_given_is_kept(folder: Path) -> None:
    (folder / "tracetune.yaml").write_text(
        """\
        project: my-desk_2
        model: google_genai:gemini-flash-latest
        store: memory://
        reward: {success_weight: 2, latency_weight: 0, attempts_weight: -0.1, cap: 2.5}
        min_traces: 1
        limits: {deadline_s: 30, max_calls: 0, max_usd: 0.5}
        prices: {local-model: {input: 0, output: 0.5}}
        agents:
          mail:
            prompts_file: ../elsewhere/p.yaml
            mapping: maps/mail.yaml
            trace_agent: Mail Agent
            traces: [a/*.json, /data/b.jsonl]
            prompts:
            parameters:
            mirror:
              - {prompt: main, namespace: [ana, "7"], key: it, field: prompt}
              - {prompt: main, file: x/../own.yaml, key: text}
        """
    )
    project = load(folder)
    assert (project.name, project.store, project.min_traces) == ("my-desk_2", "memory://", 1)
    assert project.model == "google_genai:gemini-flash-latest"
    assert project.reward == RewardSpec(2, 0, -0.1, 2.5)
    assert project.prices == {"local-model": Price(input=0, output=0.5)}
    assert project.limits == {"deadline_s": 30, "max_calls": 0, "max_usd": 0.5}
    agent = project.agent("mail")
    assert agent.prompts_file == folder / "../elsewhere/p.yaml"
    assert agent.config_file is None
    assert agent.mapping == folder / "maps" / "mail.yaml"
    assert agent.trace_agent == "Mail Agent"
    assert agent.traces == (f"{folder}/a/*.json", "/data/b.jsonl")
    assert not agent.write_files
    assert agent.mirror == (
        MirrorTarget("store ana/7/it.prompt", "main", None, "it", ("ana", "7"), "prompt"),
        MirrorTarget("x/../own.yaml text", "main", None, "text", file=folder / "own.yaml"),
    )


def test_the_home_folder_is_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    text = PROJECT.replace(": prompts.yaml", ": ~/p.yaml").replace("traces.json.gz", "~/t/*.json")
    (folder / "tracetune.yaml").write_text(f"store: sqlite:///~/memory.db\n{text}")
    project = load(folder)
    agent = project.agent("airline")
    assert project.store == "sqlite:////home/me/memory.db"
    assert (agent.prompts_file, agent.traces) == (Path("/home/me/p.yaml"), ("/home/me/t/*.json",))


def test_brackets_in_the_folder_are_no_glob(tmp_path: Path) -> None:
    folder = tmp_path / "my [old] project"
    folder.mkdir()
    (folder / "tracetune.yaml").write_text(PROJECT.replace("traces.json.gz", "[a/*.json, b.json]"))
    first, second = load(folder).agent("airline").traces
    assert first == f"{tmp_path}/my [[]old] project/a/*.json"
    assert second == f"{folder}/b.json"


@pytest.mark.parametrize("example", ["airline", "stratus"])
def test_the_examples_load_and_write_back_unchanged(
    repo: Path, tmp_path: Path, example: str
) -> None:
    if not (repo / "examples" / example / "tracetune.yaml").is_file():
        pytest.skip("needs the examples")
    folder = tmp_path / example
    shutil.copytree(repo / "examples" / example, folder)
    before = snapshot(folder)
    for agent in load(folder).agents.values():
        written = write_bundle(agent, read_bundle(agent))
        assert written == [agent.prompts_file, agent.config_file]
    assert snapshot(folder) == before


def edited(old: str, new: str) -> Callable[[], str]:
    assert old in PROJECT
    return lambda: PROJECT.replace(old, new)


def mirrored(targets: str) -> Callable[[], str]:
    return edited("    traces:", f"    mirror: {targets}\n    traces:")


WRONG = {
    "a mistyped key": (
        edited("prompts_file:", "promts_file:"),
        "agents.airline.promts_file is not a known key (did you mean prompts_file?)",
    ),
    "a key from nowhere": (
        edited("project: airline", "project: airline\ncolour: red"),
        "colour is not a known key (there is project, model, store, reward, min_traces, "
        "limits, prices, agents)",
    ),
    "a mistyped key of a prompt": (
        edited("when_to_update", "when_to_updat"),
        "agents.airline.prompts.policy.when_to_updat is not a known key "
        "(did you mean when_to_update?)",
    ),
    "a mistyped key of a parameter": (
        edited("step_limit", "steplimit"),
        "agents.airline.parameters.max_steps.steplimit is not a known key "
        "(did you mean step_limit?)",
    ),
    "a mistyped weight": (
        edited("agents:", "reward: {sucess_weight: 1}\nagents:"),
        "reward.sucess_weight is not a known key (did you mean success_weight?)",
    ),
    "two mistakes at once": (
        edited("agents:", "min_traces: none\nstore: redis\nagents:"),
        'store must be memory://, sqlite:///path or postgresql://…, but got "redis" (and 1 more)',
    ),
    "no project": (edited("project: airline", "model: a:b"), "project is missing"),
    "an empty project": (edited("project: airline", "project:"), "project is missing"),
    "no agents": (lambda: "project: a\n", "agents is missing"),
    "empty agents": (
        lambda: "project: a\nagents: {}\n",
        "agents must name at least one, but got {}",
    ),
    "agents as a list": (
        lambda: "project: a\nagents: [x]\n",
        'agents must be a mapping, but got ["x"]',
    ),
    "an agent that is nothing": (
        lambda: "project: a\nagents:\n  x:\n",
        "agents.x must be a mapping, but got null",
    ),
    "an agent without files": (
        lambda: "project: a\nagents:\n  x: {traces: t.json}\n",
        "agents.x: needs a prompts_file, a config_file or both",
    ),
    "prompts without a file": (
        edited("    prompts_file: prompts.yaml\n", ""),
        "agents.airline: has prompts, but no prompts_file that holds them",
    ),
    "parameters without a file": (
        edited("    config_file: config.yaml\n", ""),
        "agents.airline: has parameters, but no config_file that holds them",
    ),
    "a mapping without traces": (
        lambda: "project: a\nagents:\n  x: {prompts_file: p.yaml, mapping: m.yaml}\n",
        "agents.x: has a mapping, but no traces it is for",
    ),
    "a project name with a space": (
        edited("project: airline", "project: my airline"),
        'project must be a name of letters, digits, - and _ (at most 64), but got "my airline"',
    ),
    "a project name that is a number": (
        edited("project: airline", "project: 12"),
        "project must be text, but got 12",
    ),
    "an agent name with a dot": (
        edited("  airline:", "  air.line:"),
        "agents.air.line: a name must be a name of letters",
    ),
    "an agent name that is a number": (
        edited("  airline:", "  12:"),
        "agents.12: a name must be text, but got 12",
    ),
    "min_traces in words": (
        edited("agents:", "min_traces: five\nagents:"),
        'min_traces must be a whole number, but got "five"',
    ),
    "min_traces in quotes": (
        edited("agents:", "min_traces: '5'\nagents:"),
        'min_traces must be a whole number, but got "5"',
    ),
    "min_traces of zero": (
        edited("agents:", "min_traces: 0\nagents:"),
        "min_traces must be greater than or equal to 1, but got 0",
    ),
    "a boolean as min_traces": (
        edited("agents:", "min_traces: true\nagents:"),
        "min_traces must be a whole number, but got true",
    ),
    "a weight that is no number": (
        edited("agents:", "reward: {latency_weight: .nan}\nagents:"),
        "reward.latency_weight must be a finite number, but got NaN",
    ),
    "a weight without end": (
        edited("agents:", "reward: {success_weight: .inf}\nagents:"),
        "reward.success_weight must be a finite number, but got Infinity",
    ),
    "a weight that overflows": (
        edited("agents:", "reward: {attempts_weight: 1.7e+308}\nagents:"),
        "reward.attempts_weight must be less than or equal to 1000000, but got 1.7e+308",
    ),
    "a huge cap": (
        edited("agents:", "reward: {cap: 1.0e+7}\nagents:"),
        "reward.cap must be less than or equal to 1000000, but got 10000000.0",
    ),
    "a boolean as weight": (
        edited("agents:", "reward: {success_weight: yes}\nagents:"),
        "reward.success_weight must be a finite number, but got true",
    ),
    "a cap of zero": (
        edited("agents:", "reward: {cap: 0}\nagents:"),
        "reward.cap must be greater than 0, but got 0",
    ),
    "a price below zero": (
        edited("agents:", "prices: {m: {input: -1, output: 2}}\nagents:"),
        "prices.m.input must be greater than or equal to 0, but got -1",
    ),
    "a price of input alone": (
        edited("agents:", "prices: {m: {input: 1}}\nagents:"),
        "prices.m.output is missing",
    ),
    "a mistyped key of a price": (
        edited("agents:", "prices: {m: {inputs: 1, output: 2}}\nagents:"),
        "prices.m.inputs is not a known key (did you mean input?)",
    ),
    "a store of another kind, with a password": (
        edited("agents:", "store: mysql://me:secret@host/db\nagents:"),
        "store must be memory://, sqlite:///path or postgresql://…, but got mysql://…",
    ),
    "a store without a path": (
        edited("agents:", "store: 'sqlite:///'\nagents:"),
        "store must be memory://, sqlite:///path or postgresql://…, but got sqlite://…",
    ),
    "a blank model": (edited("agents:", "model: ' '\nagents:"), 'model must be text, but got " "'),
    "traces as a number": (
        edited("traces.json.gz", "7"),
        "agents.airline.traces must be a path, a glob, or a list of them, but got 7",
    ),
    "traces as an empty list": (
        edited("traces.json.gz", "[]"),
        "agents.airline.traces must be a path, a glob, or a list of them, but got []",
    ),
    "when_to_update: no": (
        edited("when_to_update: never", "when_to_update: no"),
        "agents.airline.prompts.policy.when_to_update must be text, but got false",
    ),
    "an unknown template format": (
        edited("template_format: none", "template_format: jinja"),
        "agents.airline.prompts.policy.template_format must be 'auto', 'none', 'f-string', "
        "'mustache' or 'jinja2', but got \"jinja\"",
    ),
    "bounds the wrong way round": (
        edited("min: 20, max: 200", "min: 200, max: 20"),
        "agents.airline.parameters.max_steps: min must be at most max, but 200 is above 20",
    ),
    "a bound in words": (
        edited("min: 20", "min: few"),
        'agents.airline.parameters.max_steps.min must be a finite number, but got "few"',
    ),
    "bounds and choices": (
        edited("min: 20", "choices: [1, 2]"),
        "agents.airline.parameters.max_steps: give either choices or bounds (min, max), not both",
    ),
    "bounds of a text": (
        edited("min: 20", "type: str"),
        "agents.airline.parameters.max_steps: bounds (min, max) need a number, but type is str",
    ),
    "choices of another type": (
        edited("min: 20, max: 200", "type: int, choices: [1, two]"),
        'agents.airline.parameters.max_steps: choices must all be int, but one is "two"',
    ),
    "no choices": (
        edited("min: 20, max: 200", "choices: []"),
        "agents.airline.parameters.max_steps.choices must be a list with at least one value, "
        "but got []",
    ),
    "an unknown type": (
        edited("min: 20", "type: integer, min: 20"),
        "agents.airline.parameters.max_steps.type must be 'int', 'float', 'bool' or 'str', "
        'but got "integer"',
    ),
    "frozen in words": (
        edited("step_limit: true", "frozen: 'yes'"),
        'agents.airline.parameters.max_steps.frozen must be true or false, but got "yes"',
    ),
    "two step limits": (
        edited("      max_steps:", "      other: {step_limit: true}\n      max_steps:"),
        "agents.airline: may have one step_limit, but has other and max_steps",
    ),
    "a very long value": (
        edited("project: airline", f"project: {'x' * 500}"),
        f'(at most 64), but got "{"x" * 56}….',
    ),
    "not YAML": (lambda: "project: [a\nagents: 1\n", "line 2, column 7: expected ',' or ']'"),
    "a key twice": (
        edited("agents:", "project: b\nagents:"),
        "line 2, column 1: the key 'project'",
    ),
    "a list": (lambda: "- a\n", "must hold a mapping at the top, but holds a list"),
    "write_files in words": (
        edited("    traces:", "    write_files: sure\n    traces:"),
        'agents.airline.write_files must be true or false, but got "sure"',
    ),
    "a mirror that is no list": (
        mirrored("{prompt: policy, namespace: [a], key: k, field: f}"),
        "agents.airline.mirror must be a list, but got {",
    ),
    "a target without a key": (
        mirrored("[{prompt: policy, namespace: [a]}]"),
        "agents.airline.mirror.0.key is missing",
    ),
    "a mistyped key of a target": (
        mirrored("[{prompt: policy, namespce: [a], key: k, field: f}]"),
        "agents.airline.mirror.0.namespce is not a known key (did you mean namespace?)",
    ),
    "a target of nothing": (
        mirrored("[{namespace: [a], key: k, field: f}]"),
        "agents.airline.mirror.0: needs either prompt or config: what to put there",
    ),
    "a target of two things": (
        mirrored("[{prompt: policy, config: max_steps, namespace: [a], key: k, field: f}]"),
        "agents.airline.mirror.0: needs either prompt or config: what to put there",
    ),
    "a target that is nowhere": (
        mirrored("[{prompt: policy, namespace: [a], key: k, field: f}, {prompt: policy, key: k}]"),
        "agents.airline.mirror.1: needs either namespace or file: where to put it",
    ),
    "a field of a file": (
        mirrored("[{prompt: policy, file: a.yaml, key: k, field: f}]"),
        "agents.airline.mirror.0: needs a field with a namespace, and none with a file",
    ),
    "a namespace with a number": (
        mirrored("[{prompt: policy, namespace: [7], key: k, field: f}]"),
        "agents.airline.mirror.0.namespace must be a list of texts without dots (quote a number), "
        "but got [7]",
    ),
    "a namespace as text": (
        mirrored("[{prompt: policy, namespace: a, key: k, field: f}]"),
        'agents.airline.mirror.0.namespace must be a list of texts, but got "a"',
    ),
    "the namespace of memory itself": (
        mirrored("[{prompt: policy, namespace: [tracetune, a], key: k, field: f}]"),
        "agents.airline.mirror.0.namespace must not begin with tracetune, which others keep their "
        'records under, but got ["tracetune", "a"]',
    ),
    "a target file elsewhere": (
        mirrored("[{prompt: policy, file: a/../../b.yaml, key: k}]"),
        "agents.airline.mirror.0.file must lie in the project's folder, but got 'a/../../b.yaml'",
    ),
    "an absolute target file elsewhere": (
        mirrored("[{prompt: policy, file: /etc/hosts, key: k}]"),
        "agents.airline.mirror.0.file must lie in the project's folder, but got '/etc/hosts'",
    ),
    "own files to write that lie elsewhere": (
        edited("prompts_file: ", "write_files: true\n    prompts_file: ../"),
        "agents.airline.prompts_file (with write_files: true) must lie in the project's folder, "
        "but got '../prompts.yaml'",
    ),
    "its own file as a target": (
        mirrored("[{prompt: policy, file: x/../prompts.yaml, key: k}]"),
        "agents.airline.mirror.0.file is agents.airline.prompts_file: write_files: true writes it",
    ),
    "the project file as a target": (
        mirrored("[{prompt: policy, file: tracetune.yaml, key: k}]"),
        "agents.airline.mirror.0.file is the project file itself",
    ),
    "two targets at one place": (
        mirrored(
            "[{prompt: policy, namespace: [a], key: k, field: f}, "
            "{config: max_steps, namespace: [a], key: k, field: f}]"
        ),
        "agents.airline.mirror.1 is the same place as agents.airline.mirror.0",
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_gets_one_line(tmp_path: Path, text: Callable[[], str], expected: str) -> None:
    path = tmp_path / "tracetune.yaml"
    path.write_text(text())
    with pytest.raises(ProjectError) as caught:
        load_project(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert expected in message
    assert "\n" not in message
    assert "secret" not in message


def test_find_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "tracetune.yaml"
    other = folder / "other.yaml"
    other.write_text(PROJECT)
    monkeypatch.chdir(folder)
    assert find_project(None) == find_project(folder) == find_project(path) == path
    assert find_project(Path("other.yaml")) == find_project("other.yaml") == other
    assert load_project("other.yaml") == load_project(other)
    (folder / "empty").mkdir()
    with pytest.raises(ProjectError, match=r"empty holds no tracetune\.yaml\.$"):
        find_project(folder / "empty")
    with pytest.raises(ProjectError, match=r"none does not exist; expected a tracetune\.yaml"):
        find_project(folder / "none")


@pytest.mark.parametrize("path", [None, 5, b"tracetune.yaml"])
def test_a_path_that_is_none_is_refused(path: Any) -> None:
    with pytest.raises(InputError, match="path must be text or Path, but got"):
        load_project(path)


def test_an_agent_that_does_not_exist(folder: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no agent 'airlin' \(did you mean airline\?\)\.$"):
        load(folder).agent("airlin")


def test_a_bundle_holds_the_texts_and_the_values(folder: Path) -> None:
    assert read_bundle(load(folder).agent("airline")) == Bundle(
        prompts={"policy": "Be kind.\nBook well.\n", "user": "Hello {name}"},
        config={
            "max_steps": 200,
            "since": "2024-02-01",
            "limits": {"1": "low", "2": "high"},
            "tools": [{"name": "book", "retries": 2}],
        },
    )


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        pytest.param("prompts.yaml", None, "prompts.yaml does not exist.", id="no prompts file"),
        pytest.param("config.yaml", None, "config.yaml does not exist.", id="no config file"),
        pytest.param(
            "prompts.yaml",
            "a: 1\n",
            "prompts.yaml must hold the prompts of agent airline as top-level texts, but has none.",
            id="no prompts in it",
        ),
        pytest.param(
            "prompts.yaml",
            "polcy: x\n",
            "prompts.yaml has no 'policy', which agents.airline.prompts names "
            "(did you mean polcy?).",
            id="a prompt that is not there",
        ),
        pytest.param(
            "config.yaml",
            "a: 1\nb: 2\n",
            "config.yaml has no 'max_steps', which agents.airline.parameters names "
            "(there is a, b).",
            id="a parameter that is not there",
        ),
        pytest.param(
            "config.yaml",
            "max_steps: 9\na: {b: .nan}\n",
            "config.yaml: a.b must be a finite number, but got nan.",
            id="a number JSON does not have",
        ),
        pytest.param(
            "config.yaml",
            "max_steps: 9\na: !!binary aGk=\n",
            "config.yaml: a must be a value that JSON has, but is a bytes.",
            id="a value JSON does not have",
        ),
    ],
)
def test_files_that_do_not_fit_get_one_line(
    folder: Path, file: str, text: str | None, expected: str
) -> None:
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text)
    with pytest.raises(ProjectError) as caught:
        read_bundle(load(folder).agent("airline"))
    assert str(caught.value) == f"{folder}/{expected}"


def test_a_declared_type_must_fit_what_is_there(folder: Path) -> None:
    agent = replace(load(folder).agent("airline"), parameters={"since": Parameter(type="int")})
    with pytest.raises(ProjectError) as caught:
        read_bundle(agent)
    assert str(caught.value) == (
        f"{folder}/config.yaml: since of agent airline does not fit "
        'agents.airline.parameters.since: "2024-02-01" is no int.'
    )


def changed(bundle: Bundle) -> Bundle:
    limits = {"1": "low", "2": "higher"}
    tools = [{"name": "book", "retries": 3}]
    return Bundle(
        prompts={**bundle.prompts, "policy": "Be kind.\nBook better.\n"},
        config={**bundle.config, "max_steps": 120, "limits": limits, "tools": tools},
    )


def test_only_changed_values_change_in_the_files(folder: Path) -> None:
    agent = load(folder).agent("airline")
    old = read_bundle(agent)
    new = changed(old)
    assert write_bundle(agent, new) == [folder / "prompts.yaml", folder / "config.yaml"]
    assert read_bundle(agent) == new
    assert (folder / "prompts.yaml").read_text() == PROMPTS.replace("Book well", "Book better")
    assert (folder / "config.yaml").read_text() == (
        CONFIG.replace("max_steps: 200", "max_steps: 120")
        .replace("2: high", "2: higher")
        .replace("retries: 2", "retries: 3")
    )
    write_bundle(agent, old)
    assert (folder / "prompts.yaml").read_text() == PROMPTS
    assert (folder / "config.yaml").read_text() == CONFIG


def test_a_copy_leaves_the_agent_s_own_files(folder: Path) -> None:
    agent = load(folder).agent("airline")
    before = snapshot(folder)
    new = changed(read_bundle(agent))
    out = folder / "releases" / "1"
    assert write_bundle(agent, new, out) == [out / "prompts.yaml", out / "config.yaml"]
    assert {name: it for name, it in snapshot(folder).items() if name in before} == before
    copied = replace(agent, prompts_file=out / "prompts.yaml", config_file=out / "config.yaml")
    assert read_bundle(copied) == new


def test_one_file_may_hold_both(folder: Path) -> None:
    both = folder / "both.yaml"
    both.write_text("policy: 'Be kind.'\nmax_steps: 200\n")
    agent = replace(load(folder).agent("airline"), prompts_file=both, config_file=both)
    assert read_bundle(agent) == Bundle({"policy": "Be kind."}, {"max_steps": 200})
    assert write_bundle(agent, Bundle({"policy": "Be brief."}, {"max_steps": 90})) == [both]
    assert both.read_text() == "policy: 'Be brief.'\nmax_steps: 90\n"


def test_files_of_one_name_do_not_overwrite_each_other(folder: Path) -> None:
    files = []
    for kind, text in (("p", "policy: x\n"), ("c", "max_steps: 9\n")):
        (folder / kind).mkdir()
        files.append(folder / kind / "airline.yaml")
        files[-1].write_text(text)
    agent = replace(load(folder).agent("airline"), prompts_file=files[0], config_file=files[1])
    out = folder / "out"
    first, second = write_bundle(agent, read_bundle(agent), out)
    assert (first, second) == (out / "airline.yaml", out / "config-airline.yaml")
    assert (first.read_text(), second.read_text()) == ("policy: x\n", "max_steps: 9\n")


def test_an_agent_without_files_can_be_exported_but_not_overwritten(tmp_path: Path) -> None:
    agent, bundle = AgentSpec("mail"), Bundle({"main": "one\ntwo\n"}, {"steps": 5})
    with pytest.raises(WriteError, match="agent mail has no prompts_file to write its prompts"):
        write_bundle(agent, bundle)
    first, second = write_bundle(agent, bundle, tmp_path)
    assert first.read_text() == "main: |\n  one\n  two\n"
    assert second.read_text() == "steps: 5\n"


def test_nothing_is_written_when_one_value_cannot_be(folder: Path) -> None:
    (folder / "config.yaml").write_text("max_steps: &n 200\nother: *n\n")
    agent = load(folder).agent("airline")
    before = snapshot(folder)
    old = read_bundle(agent)
    with pytest.raises(WriteError, match=r"config\.yaml: max_steps cannot be changed") as caught:
        write_bundle(agent, Bundle({"policy": "new"}, {**old.config, "max_steps": 9}))
    assert "\n" not in str(caught.value)
    assert snapshot(folder) == before


def test_nothing_is_written_when_one_file_cannot_be(folder: Path) -> None:
    agent = load(folder).agent("airline")
    out = folder / "out"
    (out / "config.yaml").mkdir(parents=True)
    with pytest.raises(WriteError, match=r"config\.yaml cannot be written: a folder stands there"):
        write_bundle(agent, read_bundle(agent), out)
    assert [path.name for path in out.iterdir()] == ["config.yaml"]
    with pytest.raises(WriteError, match=r"prompts\.yaml cannot be made: File exists\.$"):
        write_bundle(agent, read_bundle(agent), folder / "prompts.yaml")


@pytest.mark.parametrize(
    ("rule", "value", "current", "expected"),
    [
        pytest.param({"min": 1, "max": 9}, 9, 5, None, id="at its maximum"),
        pytest.param({"min": 1, "max": 9}, 10, 5, "10 is above its maximum 9", id="above"),
        pytest.param({"min": 1, "max": 9}, 0, 5, "0 is below its minimum 1", id="below"),
        pytest.param({"min": 1}, 0, 0, None, id="kept although it is out of bounds"),
        pytest.param({}, 6, 5, None, id="an integer for an integer"),
        pytest.param({}, 6.5, 5, "6.5 is no int", id="a float for an integer"),
        pytest.param({}, True, 5, "true is no int", id="a boolean for an integer"),
        pytest.param({}, 1, 0.5, None, id="an integer for a float"),
        pytest.param({}, float("nan"), 0.5, "NaN is no float", id="no number for a float"),
        pytest.param({"type": "float"}, True, 1.0, "true is no float", id="a boolean for a float"),
        pytest.param({"type": "float"}, 1.5, 1, None, id="the declared type counts"),
        pytest.param({}, False, True, None, id="a boolean for a boolean"),
        pytest.param({}, 0, True, "0 is no bool", id="an integer for a boolean"),
        pytest.param({}, "5", 5, '"5" is no int', id="a text for an integer"),
        pytest.param({}, "b", "a", None, id="a text for a text"),
        pytest.param({"choices": ["a", "b"]}, "b", "a", None, id="one of the choices"),
        pytest.param(
            {"choices": ["a", "b"]}, "c", "a", '"c" is none of its choices "a", "b"', id="no choice"
        ),
        pytest.param({"choices": [1, 2]}, True, 2, "true is none of its choices 1, 2", id="true"),
        pytest.param(
            {"choices": ["a"]}, ["a"], None, '["a"] is none of its choices "a"', id="list"
        ),
        pytest.param({"frozen": True}, 6, 5, "it is frozen", id="frozen"),
        pytest.param({"frozen": True}, 5, 5, None, id="frozen and the same"),
        pytest.param({"frozen": True}, True, 1, "it is frozen", id="frozen and nearly the same"),
        pytest.param({"min": 1}, "zzz", "abc", '"zzz" is no float', id="bounds, and texts"),
        pytest.param({"max": 9}, True, False, "true is no float", id="bounds, and booleans"),
        pytest.param({"min": 1}, 3, "abc", None, id="bounds ask for a number"),
        pytest.param({"min": 1}, 3, None, None, id="bounds say what nothing may become"),
        pytest.param(
            {}, 3, None, "its type is not known from null: declare it", id="nothing known"
        ),
        pytest.param({}, [], [1], "its type is not known from [1]: declare it", id="a list"),
        pytest.param({"type": "int"}, 3, None, None, id="the declared type instead of nothing"),
    ],
)
def test_violation(rule: dict[str, Any], value: Any, current: Any, expected: str | None) -> None:
    assert Parameter.model_validate(rule).violation(value, current) == expected


def test_parameters_survive_json_with_their_types() -> None:
    parameter = Parameter(choices=(1, 1.0, True, "1"), description="x")
    again = Parameter.model_validate(parameter.model_dump(mode="json"))
    assert again == parameter
    assert [type(choice) for choice in again.choices or ()] == [int, float, bool, str]
    with pytest.raises(ValidationError):
        Parameter.model_validate({"minimum": 1})
    schema = (
        Parameter.model_json_schema()["properties"] | PromptSpec.model_json_schema()["properties"]
    )
    assert all(entry["description"] for entry in schema.values())


def test_it_works_from_threads(folder: Path) -> None:
    def cycle(i: int) -> Bundle:
        agent = load(folder).agent("airline")
        write_bundle(agent, changed(read_bundle(agent)), folder / f"out{i}")
        return read_bundle(agent)

    with ThreadPoolExecutor(4) as pool:
        assert len({bundle.content_hash for bundle in pool.map(cycle, range(12))}) == 1
    written = {(folder / f"out{i}" / "prompts.yaml").read_text() for i in range(12)}
    assert written == {PROMPTS.replace("Book well", "Book better")}


def test_a_file_changed_while_it_was_being_written_stays(folder: Path) -> None:
    file = folder / "config.yaml"
    with pytest.raises(WriteError, match=r"config\.yaml was changed by someone else meanwhile"):
        write_over({file: "old: 1\n"}, {file: "old: 2\n"})
    assert file.read_text() == CONFIG


def test_dates_and_keys_stay_as_they_were(folder: Path) -> None:
    agent = load(folder).agent("airline")
    write_bundle(agent, changed(read_bundle(agent)))
    before, after = yaml.safe_load(CONFIG), yaml.safe_load((folder / "config.yaml").read_text())
    assert after["since"] == before["since"]
    assert after["limits"] == {1: "low", 2: "higher"}
