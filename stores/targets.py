"""Where promotions are mirrored to, as a project file declares it, checked as a whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tracetune.errors import ProjectError
from tracetune.stores.project_file import AgentPart, MirrorPart, ProjectPart

__all__ = ["MirrorTarget", "resolve_targets"]


@dataclass(frozen=True, slots=True)
class MirrorTarget:
    """One place an agent reads itself, and the one prompt or config value to put there."""

    name: str
    """What reports call it; a file as the project file names it."""
    prompt: str | None
    config: str | None
    """One of these two is None."""
    key: str
    namespace: tuple[str, ...] = ()
    """In the project's store; empty when it is a file."""
    field: str = ""
    """Of the store's value; empty when it is a file."""
    file: Path | None = None
    """Absolute."""


def resolve_targets(path: Path, part: ProjectPart) -> dict[str, tuple[MirrorTarget, ...]]:
    """Return every agent's targets, in the file's order.

    Args:
        path: The project file, absolute; what its agents write lies within its folder.

    Raises:
        ProjectError: A file lies elsewhere or is one that tracetune reads; or two targets are
            one place.
    """
    root = path.parent
    taken = {_place(root, path.name): "the project file itself"}
    for name, agent in part.agents.items():
        taken |= _own_files(path, name, agent)
    seen: dict[tuple[object, ...], str] = {}
    targets: dict[str, tuple[MirrorTarget, ...]] = {}
    for name, agent in part.agents.items():
        for index, one in enumerate(agent.mirror):
            where = f"agents.{name}.mirror.{index}"
            target = _target(path, one, f"{where}.file", taken)
            place = (target.file, target.namespace, target.key, target.field)
            if other := seen.get(place):
                raise ProjectError(f"{path}: {where} is the same place as {other}.")
            seen[place] = where
            targets[name] = (*targets.get(name, ()), target)
        targets.setdefault(name, ())
    return targets


def _own_files(path: Path, name: str, agent: AgentPart) -> dict[Path, str]:
    own: dict[Path, str] = {}
    for key, file in (("prompts_file", agent.prompts_file), ("config_file", agent.config_file)):
        if file is None:
            continue
        where = f"agents.{name}.{key}"
        place = _place(path.parent, file)
        if agent.write_files:
            _check_within(path, place, f"{where} (with write_files: true)", file)
        own[place] = where
    return own


def _target(path: Path, part: MirrorPart, where: str, taken: Mapping[Path, str]) -> MirrorTarget:
    if part.file is None:
        namespace, field = part.namespace or (), part.field or ""
        name = f"store {'/'.join((*namespace, part.key))}.{field}"
        return MirrorTarget(name, part.prompt, part.config, part.key, namespace, field)
    place = _place(path.parent, part.file)
    _check_within(path, place, where, part.file)
    if place in taken:
        hint = "" if place == _place(path.parent, path.name) else ": write_files: true writes it"
        raise ProjectError(f"{path}: {where} is {taken[place]}{hint}.")
    name = f"{part.file} {part.key}"
    return MirrorTarget(name, part.prompt, part.config, part.key, file=place)


def _place(root: Path, file: str) -> Path:
    return Path(os.path.normpath(root / Path(file).expanduser()))


def _check_within(path: Path, place: Path, where: str, file: str) -> None:
    if not place.is_relative_to(os.path.normpath(path.parent)):
        raise ProjectError(f"{path}: {where} must lie in the project's folder, but got {file!r}.")
