"""What the commands look up and do, from a loaded project to plain values to print."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracetune.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from tracetune.nodes.evidence.gathering import Evidence
    from tracetune.stores.memory import AgentMemory, ProceduralMemory
    from tracetune.stores.project import Project
    from tracetune.stores.release import JournalEntry, Release

__all__ = [
    "Journal",
    "compare",
    "find_release",
    "is_new",
    "journals",
    "measure",
    "memory_of",
    "mine",
    "owner_of",
    "store_file",
    "who",
    "write_release",
]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Journal:
    """What was done to one agent's releases."""

    agent: str
    head: str | None
    entries: tuple[JournalEntry, ...]
    """Newest first."""

    def to_dict(self) -> Json:
        """The JSON form."""
        entries = [entry.to_dict() for entry in self.entries]
        return {"agent": self.agent, "head": self.head, "entries": entries}


def measure(
    project: Project, agents: Sequence[str], by: Sequence[str], *, strict: bool = False
) -> Json:
    """Return `{metrics, set_aside}`: of every agent, one by one or by group, each with its `agent`;
    and by agent one line on the records that could not be read, where there are any.

    Raises:
        InputError: An agent does not exist, there are no traces, or `by` names nothing they have.
    """
    several = evidence(project, agents, strict=strict)
    metrics = [
        {"agent": found.agent} | asdict(metrics)
        for found in several
        for metrics in found.metrics(project.reward, by=by or ["agent"])
    ]
    return {"metrics": metrics, "set_aside": _set_aside(several)}


def mine(project: Project, agents: Sequence[str], limit: int, *, strict: bool = False) -> Json:
    """Return `{patterns, why_none, set_aside}`: each agent's patterns, strongest evidence first; by
    agent one sentence where it has none; and one line on the records that could not be read.

    Raises:
        InputError: An agent does not exist, or there are no traces.
    """
    several = evidence(project, agents, strict=strict)
    mined = {found.agent: found.patterns() for found in several}
    return {
        "patterns": {
            agent: [asdict(pattern) for pattern in found[:limit]] for agent, found in mined.items()
        },
        "why_none": {agent: found.why_empty for agent, found in mined.items() if not found},
        "set_aside": _set_aside(several),
    }


def _set_aside(several: Sequence[Evidence]) -> dict[str, str]:
    from tracetune.traces.readers.base import told_aside

    return {found.agent: told_aside(found.set_aside) for found in several if found.set_aside}


def evidence(project: Project, agents: Sequence[str], *, strict: bool = False) -> list[Evidence]:
    """Return the agents' traces as a cycle would read them; no agent named means all.

    Raises:
        InputError: An agent does not exist, or there are no traces.
    """
    from tracetune.graph.schemas import CycleInput
    from tracetune.nodes.evidence.gathering import gather

    request = CycleInput.model_validate({"agents": list(agents), "strict": strict})
    return list(gather(request, project, keep=False).values())


def journals(project: Project, agent: str | None) -> list[Journal]:
    """Return the agent's journal, or every agent's.

    Raises:
        NotFoundError: The agent does not exist.
        StoreError: Memory cannot be read.
    """
    names = [project.agent(agent).name] if agent else list(project.agents)
    if is_new(project):
        return [Journal(name, None, ()) for name in names]
    with memory_of(project) as memory:
        return [_journal(memory.agent(name)) for name in names]


def find_release(
    project: Project, what: str | None, agent: str | None
) -> tuple[Release, str | None]:
    """Return the release that `what` names (an agent: its head), and the id of its agent's head.

    Raises:
        InputError: It does not exist, several are meant, or the agent is not told.
        StoreError: Memory cannot be read.
    """
    if what in project.agents and agent is None:
        what, agent = None, what
    with memory_of(project) as memory:
        owner = owner_of(project, memory, [what], agent)
        head = owner.head()
        found = owner.release if what is None else owner.get(what)
        return found, head.id if head else None


def compare(project: Project, before: str | None, after: str | None, agent: str | None) -> Json:
    """Return what differs from one release to another: `{agent, before, after, prompts, config}`.

    Raises:
        InputError: A release does not exist, or the later one is the first.
        StoreError: Memory cannot be read.
    """
    from tracetune.terminal.diffs import bundle_diff

    with memory_of(project) as memory:
        owner = owner_of(project, memory, [before, after], agent)
        new = owner.release if after is None else owner.get(after)
        if before is None and new.parent is None:
            raise NotFoundError(
                f"Release {new.id} of agent {owner.name!r} is its first: none to compare it with."
            )
        old = owner.get(before or new.parent or "")
    ends = {"agent": owner.name, "before": old.id, "after": new.id}
    return ends | bundle_diff(_bundle(old), _bundle(new))


def write_release(
    project: Project, release: str | None, agent: str | None, to: Path | None, *, in_place: bool
) -> Json:
    """Write a release as YAML; return `{agent, release, files}`.

    Raises:
        InputError: There is no such release, or `to` and `in_place` are both given.
        StoreError: Memory cannot be read.
        WriteError: A file cannot be written; what stood there is untouched.
    """
    from tracetune.stores.project import write_bundle

    if to and in_place:
        raise InputError(f"--to {to} and --in-place exclude each other.")
    found, _ = find_release(project, release, agent)
    spec = project.agent(found.agent)
    folder = None if in_place else to or project.root / ".tracetune" / "export" / found.agent
    files = write_bundle(spec, found.bundle, folder)
    return {"agent": found.agent, "release": found.id, "files": [str(path) for path in files]}


def store_file(project: Project) -> Path | None:
    """Return the file a SQLite store lies in; None for any other store."""
    if not project.store.startswith("sqlite:///"):
        return None
    return project.root / Path(project.store.removeprefix("sqlite:///")).expanduser()


@contextmanager
def memory_of(project: Project) -> Iterator[ProceduralMemory]:
    """Open the project's memory.

    Raises:
        NotFoundError: There is none yet; it is not made.
        StoreError: It cannot be opened.
    """
    from tracetune.stores.backends import open_store
    from tracetune.stores.memory import ProceduralMemory

    if is_new(project):
        raise NotFoundError(
            f"Project {project.name!r} has no release yet: tracetune run makes the first."
        )
    with open_store(project.store, base=project.root) as store:
        yield ProceduralMemory(store, project.name)


def is_new(project: Project) -> bool:
    """Return whether memory is a file that is not there, which opening it would make."""
    file = store_file(project)
    return file is not None and not file.exists()


def owner_of(
    project: Project, memory: ProceduralMemory, refs: Sequence[str | None], agent: str | None
) -> AgentMemory:
    """Return the memory of the agent that is named, is the only one, or has the releases.

    Raises:
        InputError: None of these tells one agent.
    """
    if agent is not None:
        return memory.agent(project.agent(agent).name)
    names = list(project.agents)
    if len(names) == 1:
        return memory.agent(names[0])
    given = [ref for ref in refs if ref is not None]
    if not given:
        raise InputError(f"--agent must name one of {', '.join(names)}.")
    owners = [memory.agent(name) for name in names if _has(memory.agent(name), given[0])]
    if len(owners) != 1:
        found = f"is found for {len(owners)} agents" if owners else "is no agent and no release"
        raise NotFoundError(f"{given[0]!r} {found}; the agents are {', '.join(names)}.")
    return owners[0]


def _has(owner: AgentMemory, ref: str) -> bool:
    try:
        owner.get(ref)
    except NotFoundError:
        return False
    except InputError:
        pass  # several of its releases: `get` will say which
    return True


def _journal(memory: AgentMemory) -> Journal:
    head = memory.head()
    return Journal(memory.name, head.id if head else None, tuple(memory.history()))


def _bundle(release: Release) -> Json:
    return {"prompts": dict(release.prompts), "config": dict(release.config)}


def who() -> str:
    """Return who sits at this terminal, for the journal."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no name for this user id, as in some containers
        return "someone at a terminal"
