"""Trials of memory: what must hold when processes race or are killed, and what was found."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workers import (
    Nursery,
    bundle,
    desk_request,
    memory_of,
    run_cycle,
    token_of,
    write_many,
    write_until_killed,
)

from tracetune.errors import ConflictError, TraceTuneError
from tracetune.graph.build import build_graph
from tracetune.stores.backends import open_store
from tracetune.stores.memory import NO_HEAD, AgentMemory, ProceduralMemory
from tracetune.stores.release import JournalEntry, Release

__all__ = ["Kills", "Race", "faults_of", "kill_commits", "kill_cycles", "race"]

_KILLS_EACH = 10
"""Of one store and agent, before the next."""
_KILLS_PER_CYCLE = 10
"""At most; then it is left to end, however slow the machine."""
_MOMENT_S = 0.025
"""Opening a store or a few commits take about so long."""


@dataclass(slots=True)
class Race:
    """What came of processes that committed on one agent at once."""

    commits: int
    """Accepted."""
    conflicts: int
    """Refused to their writers."""
    reads: int
    """By an onlooker meanwhile, each of one whole release."""
    seconds: float
    faults: list[str]
    """What must not be, one sentence each; empty when all holds."""


@dataclass(slots=True)
class Kills:
    """What came of killing processes at random moments."""

    kills: int = 0
    """Processes that were killed before they were done."""
    seconds: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    """How often each kind of moment was met."""
    faults: list[str] = field(default_factory=list)


def race(url: str, folder: Path, *, processes: int, commits: int) -> Race:
    """Let processes commit on one agent, each naming its base, and check what they left."""
    agent = f"race-{random.getrandbits(32):x}"
    outs = [folder / f"{agent}-{i}.json" for i in range(processes)]
    faults: list[str] = []
    reads, begun = 0, time.perf_counter()
    with Nursery(folder) as nursery, open_store(url) as store:
        memory = memory_of(store, agent)
        pids = [
            nursery.start(write_many, url, agent, f"w{i}", commits, out)
            for i, out in enumerate(outs)
        ]
        while not all(nursery.ended(pid) for pid in pids):
            faults += _whole_head(memory)
            reads += 1
            time.sleep(0.002)
        codes = [nursery.wait(pid) for pid in pids]
        seconds = time.perf_counter() - begun
        faults += [f"Writer {i} ended with {code}." for i, code in enumerate(codes) if code]
        told = [json.loads(out.read_text()) for out in outs if out.exists()]
        accepted = {token: id for writer in told for token, id in writer["accepted"].items()}
        refused = {token for writer in told for token in writer["refused"]}
        faults += faults_of(memory)
        faults += _race_faults(memory, accepted, refused)
    return Race(len(accepted), len(refused), reads, seconds, faults)


def _whole_head(memory: AgentMemory) -> list[str]:
    try:
        head = memory.head()
    except TraceTuneError as error:
        return [f"A reader met: {error}"]
    if head is not None and token_of(head) is None:
        return [f"A reader saw half of {head.id}."]
    return []


def _race_faults(memory: AgentMemory, accepted: dict[str, str], refused: set[str]) -> Iterator[str]:
    releases = {release.id: release for release in memory.releases()}
    chain = {release.id for release in _chain(releases, memory.head())}
    lost = [token for token, id in accepted.items() if id not in chain]
    if lost:
        yield f"{len(lost)} accepted commits are not in the chain, such as {lost[0]}."
    kept = {token_of(release) for release in releases.values()}
    if there := refused & kept:
        yield f"{len(there)} refused commits are there, such as {sorted(there)[0]}."
    if strange := releases.keys() - set(accepted.values()):
        yield f"{len(strange)} releases were acknowledged to nobody, such as {min(strange)}."


def _of_one_moment(
    memory: AgentMemory,
) -> tuple[Release | None, dict[str, Release], list[JournalEntry]]:
    """The head, the releases and the journal, read while the head stayed.

    A server may still be at the last statement of a writer who was killed.
    """
    while True:
        head, releases = memory.head(), {r.id: r for r in memory.releases()}
        journal = memory.history()
        if memory.head() == head:
            return head, releases, journal


def faults_of(memory: AgentMemory) -> list[str]:
    """What is wrong in a memory that only promoted commits wrote to, one sentence each."""
    try:
        head, releases, journal = _of_one_moment(memory)
    except TraceTuneError as error:
        return [f"Memory cannot be read: {error}"]
    faults = [f"Release {r.id} is half a bundle." for r in releases.values() if not token_of(r)]
    chain = {release.id for release in _chain(releases, head)}
    if aside := releases.keys() - chain:
        faults.append(f"{len(aside)} releases are not in the chain, such as {min(aside)}.")
    parents = {release.id: release.parent for release in releases.values()}
    for action in ("committed", "promoted"):
        told = [(e.release, e.previous) for e in journal if e.action == action]
        if len(told) != len(set(told)):
            faults.append(f"The journal has a release {action} twice.")
        if set(told) != set(parents.items()):
            odd = sorted(set(told) ^ set(parents.items()), key=str)
            faults.append(f"The journal's {action} and the releases differ by {len(odd)}: {odd[0]}")
    return faults


def _chain(releases: dict[str, Release], head: Release | None) -> list[Release]:
    """The head and its ancestors, newest first."""
    chain: dict[str, Release] = {}
    at = head.id if head else None
    while at is not None and at not in chain and at in releases:
        chain[at] = releases[at]
        at = releases[at].parent
    return list(chain.values())


def kill_commits(urls: Sequence[str], folder: Path, *, kills: int, seed: int = 0) -> Kills:
    """Kill -9 a process that opens a store and commits, and check memory after each.

    Args:
        urls: Stores to take in turn, ten kills each; the killed process makes what is not there.
    """
    chance, found, begun = random.Random(seed), Kills(), time.perf_counter()
    before: str | None = None
    with Nursery(folder) as nursery:
        for number in range(kills):
            turn, nth = divmod(number, _KILLS_EACH)
            url, agent = urls[turn % len(urls)], f"kill-{seed}-{turn}"
            out = folder / f"kill-{seed}-{number}.txt"
            pid = nursery.start(write_until_killed, url, agent, out)
            if nth % 3:
                _wait_for_first_note(nursery, pid, out)
            time.sleep(chance.uniform(0.0, _MOMENT_S))
            if (code := nursery.kill(pid)) != -signal.SIGKILL:
                found.faults.append(f"Kill {number}: the process had ended before, with {code}.")
            found.kills += 1
            notes = out.read_text().splitlines() if out.exists() else []
            with open_store(url) as store:
                memory = memory_of(store, agent)
                moment, faults = _after_kill(memory, notes, before if nth else None)
                found.seen[moment] += 1
                found.faults += [f"Kill {number} ({moment}): {fault}" for fault in faults]
                before = _commit_again(memory, number)
    found.seconds = time.perf_counter() - begun
    return found


def _wait_for_first_note(nursery: Nursery, pid: int, out: Path) -> None:
    while not (out.exists() and out.stat().st_size) and not nursery.ended(pid):
        time.sleep(0.001)


def _commit_again(memory: AgentMemory, number: int) -> str:
    while True:
        head = memory.head()
        base = head.id if head else NO_HEAD
        # The last write of who was killed may come through on the server only now.
        with contextlib.suppress(ConflictError):
            token = f"again-{number}"
            return memory.commit(**bundle(token), base=base, promote=True, by="trial").id


def _after_kill(memory: AgentMemory, notes: list[str], before: str | None) -> tuple[str, list[str]]:
    """The kind of moment that was met, and what is wrong.

    Args:
        notes: What the killed process noted; its last line may be cut.
        before: The head when it started.
    """
    faults = faults_of(memory)
    done = [line.split() for line in notes if line.startswith("done ") and line.count(" ") == 2]
    acknowledged = done[-1][2] if done else before
    head = memory.head()
    if not notes:
        moment = "while opening"
    elif (head.id if head else None) == acknowledged:
        moment = "before the write"
    elif head and head.parent == acknowledged:
        moment = "after the write, before its answer"
    else:
        moment = "at an odd moment"
        faults.append(f"The head is {head and head.id}, but {acknowledged} was acknowledged last.")
    if not notes and (head.id if head else None) != before:
        faults.append(f"The head was {before} and is {head and head.id}, but nothing was written.")
    return moment, faults


def kill_cycles(url: str, folder: Path, *, kills: int, seed: int = 0) -> Kills:
    """Kill -9 whole cycles at random moments, resume each from its checkpoint until it is done.

    Then check what it left: it must be what a cycle leaves that nobody kills.
    """
    chance, found, begun = random.Random(seed), Kills(), time.perf_counter()
    expected = _undisturbed()
    with Nursery(folder) as nursery:
        longest_s = 1.2 * _calm_cycle(nursery, url, folder, f"calm-{seed}")
        for cycle in itertools.count():
            if found.kills >= kills:
                break
            project = f"desks-{seed}-{cycle}"
            delays = [chance.uniform(0.0, longest_s) for _ in range(_KILLS_PER_CYCLE)]
            faults = _cycle_with_kills(nursery, url, folder, project, delays, found)
            with open_store(url) as store:
                memory = ProceduralMemory(store, project).agent("desk")
                faults += _cycle_faults(memory, expected)
            found.faults += [f"Cycle {cycle}: {fault}" for fault in faults]
    found.seconds = time.perf_counter() - begun
    return found


def _calm_cycle(nursery: Nursery, url: str, folder: Path, project: str) -> float:
    """How many seconds a cycle's process takes when nobody kills it: the least of three."""
    times = []
    for turn in range(3):
        begun = time.perf_counter()
        thread = f"{project}-{turn}"
        checkpoints, out = folder / "checkpoints.db", folder / "calm.txt"
        nursery.wait(nursery.start(run_cycle, url, checkpoints, thread, out))
        times.append(time.perf_counter() - begun)
    return min(times)


def _cycle_with_kills(
    nursery: Nursery, url: str, folder: Path, project: str, delays: list[float], found: Kills
) -> list[str]:
    """Start a cycle's process again and again until one ends by itself; what went wrong."""
    out = folder / f"{project}.txt"
    for delay in [*delays, None]:
        out.write_text("starting")
        pid = nursery.start(run_cycle, url, folder / "checkpoints.db", project, out)
        if delay is not None:
            time.sleep(delay)
        code = nursery.wait(pid) if delay is None else nursery.kill(pid)
        if code == -signal.SIGKILL:
            found.kills += 1
            found.seen[f"killed when {out.read_text() or 'starting'}"] += 1
            continue
        found.seen["ended by itself"] += 1
        return [f"Its process ended with {code}."] if code else []
    raise AssertionError("unreachable")


def _undisturbed() -> dict[str, str]:
    """What a cycle that nobody kills leaves: origin → content hash."""
    with open_store("memory://") as store:
        build_graph(store=store).invoke(desk_request("desks"))
        memory = ProceduralMemory(store, "desks").agent("desk")
        return {release.origin: release.content_hash for release in memory.releases()}


def _cycle_faults(memory: AgentMemory, expected: dict[str, str]) -> Iterator[str]:
    try:
        head, releases, journal = memory.head(), memory.releases(), memory.history()
    except TraceTuneError as error:
        yield f"Memory cannot be read: {error}"
        return
    found = sorted((release.origin, release.content_hash) for release in releases)
    if found != sorted(expected.items()):
        yield f"It left {found}, but expected {sorted(expected.items())}."
    if head is None or head.origin != "rules":
        yield f"The release in force is {head and head.origin}, but expected rules."
    told = Counter((entry.action, entry.release) for entry in journal)
    if len(journal) != 2 * len(releases) or max(told.values(), default=0) > 1:
        yield f"The journal says {sorted(e.action for e in journal)}."
