"""The project: its agents, where their prompts and configs lie, and these read and written."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tracetune.errors import NotFoundError, ProjectError, WriteError
from tracetune.stores.arguments import check_argument
from tracetune.stores.bundle import Bundle
from tracetune.stores.files import write_together
from tracetune.stores.project_file import (
    AgentPart,
    Parameter,
    Price,
    PromptSpec,
    nearest,
    parse_project,
    step_limits,
)
from tracetune.stores.targets import MirrorTarget, resolve_targets
from tracetune.stores.yaml_files import read_text, read_yaml
from tracetune.stores.yaml_values import json_value, with_values, write_over
from tracetune.traces.reward import RewardSpec

__all__ = [
    "PROJECT_FILE",
    "AgentSpec",
    "Parameter",
    "Project",
    "PromptSpec",
    "find_project",
    "load_project",
    "misnamed",
    "read_bundle",
    "step_limits",
    "write_bundle",
]

PROJECT_FILE = "tracetune.yaml"


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """One agent of a project: where it lies, and what may change."""

    name: str
    prompts_file: Path | None = None
    """Absolute; its top-level texts are the prompts."""
    config_file: Path | None = None
    """Absolute; its top-level values are the config. May be the prompts file itself."""
    traces: tuple[str, ...] = ()
    """Absolute paths and globs."""
    mapping: Path | None = None
    """Absolute; the mapping file that its traces are read with."""
    trace_agent: str = ""
    """What the traces call it; its own name when left out."""
    prompts: Mapping[str, PromptSpec] = field(default_factory=dict)
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    write_files: bool = False
    """Whether promotions are written into its files."""
    mirror: tuple[MirrorTarget, ...] = ()
    """Other places that promotions are put into."""

    def __post_init__(self) -> None:
        if not self.trace_agent:
            object.__setattr__(self, "trace_agent", self.name)


@dataclass(frozen=True, slots=True)
class Project:
    """A project file, read and checked; paths in it are absolute."""

    name: str
    root: Path
    """The folder of the file."""
    path: Path
    model: str | None
    """`provider:name`, or None when the file names none."""
    store: str
    """A store URL; a relative SQLite path is made absolute."""
    reward: RewardSpec
    min_traces: int
    """Traces an agent needs before a cycle works on it."""
    agents: Mapping[str, AgentSpec]
    """By name, in the file's order; at least one."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    """What models cost, by their name; goes before what is known of them."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Settings by name: what a cycle may spend on its model."""

    def agent(self, name: str) -> AgentSpec:
        """Return the agent of that name.

        Raises:
            NotFoundError: There is none.
        """
        if name not in self.agents:
            hint = nearest(name, list(self.agents))
            raise NotFoundError(f"{self.path} has no agent {name!r} ({hint}).")
        return self.agents[name]


def find_project(start: str | Path | None = None) -> Path:
    """Return the absolute path of the project file.

    Args:
        start: The file itself, a folder that holds `tracetune.yaml`, or None for the current one.

    Raises:
        ProjectError: There is none.
    """
    check_argument("start", start, str | Path | None)
    path = Path(start or "").absolute()
    if path.is_dir():
        if not (path / PROJECT_FILE).is_file():
            raise ProjectError(f"{path} holds no {PROJECT_FILE}.")
        return path / PROJECT_FILE
    if not path.exists():
        raise ProjectError(f"{path} does not exist; expected a {PROJECT_FILE} or its folder.")
    return path


def load_project(path: str | Path) -> Project:
    """Return the project of a `tracetune.yaml`; the files it names are not opened.

    Raises:
        ProjectError: The file cannot be read, or something in it is wrong: the line names the
            file, the dotted key, the value and what was expected.
        InputError: The path is none.
    """
    check_argument("path", path, str | Path)
    path = Path(path).absolute()
    part = parse_project(read_yaml(path), str(path))
    root = path.parent
    targets = resolve_targets(path, part)
    return Project(
        name=part.project,
        root=root,
        path=path,
        model=part.model,
        store=_absolute_store(root, part.store),
        reward=RewardSpec(**part.reward.model_dump()),
        min_traces=part.min_traces,
        agents={
            name: _agent_spec(root, name, agent, targets[name])
            for name, agent in part.agents.items()
        },
        prices=part.prices,
        limits=part.limits.model_dump(exclude_none=True),
    )


def _agent_spec(
    root: Path, name: str, part: AgentPart, mirror: tuple[MirrorTarget, ...]
) -> AgentSpec:
    return AgentSpec(
        name=name,
        prompts_file=_absolute(root, part.prompts_file),
        config_file=_absolute(root, part.config_file),
        traces=tuple(_absolute_source(root, source) for source in part.traces),
        mapping=_absolute(root, part.mapping),
        trace_agent=part.trace_agent or name,
        prompts=part.prompts,
        parameters=part.parameters,
        write_files=part.write_files,
        mirror=mirror,
    )


def _absolute(root: Path, path: str | None) -> Path | None:
    return root / Path(path).expanduser() if path else None


def _absolute_source(root: Path, source: str) -> str:
    # Brackets in the folder's own name are no glob.
    base = Path(glob.escape(str(root))) if glob.has_magic(source) else root
    return str(base / Path(source).expanduser())


def _absolute_store(root: Path, store: str) -> str:
    scheme = "sqlite:///"
    if not store.startswith(scheme):
        return store
    return f"{scheme}{root / Path(store.removeprefix(scheme)).expanduser()}"


def read_bundle(agent: AgentSpec) -> Bundle:
    """Return the prompts and the config that lie in the agent's own files.

    Prompts are the top-level texts of the prompts file, config all top-level values of the
    config file, as JSON: a date becomes its ISO text. When both are one file, its texts are
    prompts and everything else is config.

    Raises:
        ProjectError: A file cannot be read; holds no prompt, or a value JSON has none for; lacks
            a prompt or parameter that the project file names, or has one of another type.
    """
    prompts, config = {}, {}
    if agent.prompts_file is not None:
        values = read_yaml(agent.prompts_file)
        prompts = {name: text for name, text in values.items() if isinstance(text, str)}
        if not prompts:
            raise ProjectError(
                f"{agent.prompts_file} must hold the prompts of agent {agent.name} as top-level "
                "texts, but has none."
            )
    if agent.config_file is not None:
        where = f"{agent.config_file}: "
        config = {
            name: json_value(value, where + name)
            for name, value in read_yaml(agent.config_file).items()
            if not (agent.config_file == agent.prompts_file and isinstance(value, str))
        }
    _check_names(agent, "prompts", agent.prompts_file, agent.prompts, prompts)
    _check_names(agent, "parameters", agent.config_file, agent.parameters, config)
    mirrored = [target.prompt for target in agent.mirror if target.prompt]
    _check_names(agent, "mirror", agent.prompts_file, mirrored, prompts)
    mirrored = [target.config for target in agent.mirror if target.config]
    _check_names(agent, "mirror", agent.config_file, mirrored, config)
    for name, parameter in agent.parameters.items():
        if problem := parameter.mismatch(config[name]):
            raise ProjectError(
                f"{agent.config_file}: {name} of agent {agent.name} does not fit "
                f"agents.{agent.name}.parameters.{name}: {problem}."
            )
    return Bundle(prompts=prompts, config=config)


def _check_names(
    agent: AgentSpec,
    section: str,
    file: Path | None,
    named: Iterable[str],
    existing: Mapping[str, object],
) -> None:
    if problem := misnamed(named, f"agents.{agent.name}.{section}", existing, file):
        raise ProjectError(problem)


def misnamed(
    named: Iterable[str], by: object, existing: Mapping[str, object], holder: object
) -> str:
    """The sentence on the first name that the holder has not; empty where it has all of them."""
    for name in named:
        if name not in existing:
            return f"{holder} has no {name!r}, which {by} names ({nearest(name, list(existing))})."
    return ""


def write_bundle(agent: AgentSpec, bundle: Bundle, folder: Path | None = None) -> list[Path]:
    """Write the bundle as YAML, made from the agent's own files; return where it lies now.

    Comments, order and style stay. Nothing is written before every text is made and checked,
    and a file of the agent that would not change is left alone. What the files hold beside the
    bundle stays as well.

    Args:
        folder: Where to write, under the same file names; over the agent's own files when None.

    Raises:
        ProjectError: A file of the agent cannot be read.
        WriteError: A value cannot be put into its file, a file cannot be written, or someone
            else changed a file of the agent in the meantime.
    """
    texts: dict[Path, str] = {}
    before: dict[Path, str] = {}
    sources: dict[Path, Path | None] = {}
    for kind, source, values in (
        ("prompts", agent.prompts_file, bundle.prompts),
        ("config", agent.config_file, bundle.config),
    ):
        if source is None and not values:
            continue
        if source is None and folder is None:
            raise WriteError(f"agent {agent.name} has no {kind}_file to write its {kind} into.")
        target = source or Path(f"{kind}.yaml")
        if folder is not None:
            target = folder / target.name
            if target in texts and sources[target] != source:
                target = folder / f"{kind}-{target.name}"
        sources[target] = source
        if target not in texts:
            before[target] = texts[target] = read_text(source) if source else ""
        texts[target] = with_values(texts[target], values, source or target)
    if folder is not None:
        _make_folder(folder)
        write_together(texts)
    else:
        write_over(before, texts)
    return list(texts)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{folder} cannot be made: {error.strerror}.") from error
