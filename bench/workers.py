"""Processes that write to memory, to race each other or to be killed.

Run as a script, this is a nursery: a process that has everything imported and forks a worker
for each job it is told, so that a trial of 200 kills takes seconds and not minutes.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from langgraph.checkpoint.sqlite import SqliteSaver

from tracetune.errors import ConflictError
from tracetune.graph.build import build_graph
from tracetune.stores.backends import open_store
from tracetune.stores.memory import NO_HEAD, AgentMemory, ProceduralMemory
from tracetune.stores.release import Release
from tracetune.traces.model import ToolCall, Trace

__all__ = ["PROJECT", "Nursery", "bundle", "desk_request", "memory_of", "token_of"]

PROJECT = "trials"

_TEXT_TIMES = 40
"""How often a bundle says its token: enough to be kilobytes, as real prompts are."""


def bundle(token: str) -> dict[str, Any]:
    """The prompts and config of a release all parts of which say one token."""
    text = f"{token} " * _TEXT_TIMES
    return {"prompts": {"main": text, "rules": text}, "config": {"token": token}}


def token_of(release: Release) -> str | None:
    """The token that all parts of a release say, or None where they disagree."""
    words = {word for text in release.prompts.values() for word in text.split()}
    words.add(str(release.config.get("token")))
    if len(words) != 1 or len(release.prompts) != 2:
        return None
    return words.pop()


def memory_of(store: Any, agent: str) -> AgentMemory:
    """The memory that the trials write to."""
    return ProceduralMemory(store, PROJECT).agent(agent)


def write_many(url: str, agent: str, who: str, count: int, out: str) -> None:
    """Commit `count` times, each on the head as last read; on a conflict read it and try again.

    Writes to `out` what was accepted (token → id), what was refused (tokens), and how long it took.
    """
    accepted: dict[str, str] = {}
    refused: list[str] = []
    with open_store(url) as store:
        memory = memory_of(store, agent)
        head = memory.head()
        for number in range(count):
            for attempt in itertools.count():
                token = f"{who}-{number}-{attempt}"
                base = head.id if head else NO_HEAD
                try:
                    head = memory.commit(**bundle(token), base=base, promote=True, by=who)
                except ConflictError as error:
                    refused.append(token)
                    head = memory.head()
                    if (error.base or NO_HEAD) != base:
                        raise AssertionError(f"{error} does not name the base {base}") from error
                else:
                    accepted[token] = head.id
                    break
    Path(out).write_text(json.dumps({"accepted": accepted, "refused": refused}))


def write_until_killed(url: str, agent: str, out: str) -> None:
    """Commit for ever, noting in `out` each commit as it begins and as it was acknowledged.

    It also ends when its nursery does.
    """
    nursery = os.getppid()
    with open_store(url) as store, Path(out).open("a", buffering=1) as notes:
        memory = memory_of(store, agent)
        head = memory.head()
        for number in itertools.count():
            if os.getppid() != nursery:
                return
            token = f"{os.getpid()}-{number}"
            notes.write(f"begin {token}\n")
            base = head.id if head else NO_HEAD
            head = memory.commit(**bundle(token), base=base, promote=True, by=str(os.getpid()))
            notes.write(f"done {token} {head.id}\n")


def desk_request(project: str) -> dict[str, Any]:
    """A cycle's input: one inline agent, twelve good runs and six that repeat a call."""
    stuck = ToolCall("transfer", {"why": "stuck"}, result="done")
    good = [Trace(f"ok{i}", "desk", success=True, turns=3, latency_s=2.0) for i in range(12)]
    bad = [
        Trace(f"bad{i}", "desk", success=False, turns=40, latency_s=60.0, steps=(stuck,) * 12)
        for i in range(6)
    ]
    return {
        "project": project,
        "inline": {"desk": {"prompts": {"main": "You answer."}, "config": {}}},
        "traces": [trace.to_dict() for trace in [*good, *bad]],
    }


def run_cycle(url: str, checkpoints: str, project: str, out: str) -> None:
    """Run the cycle of a project, or go on where its checkpoint says a killed process was.

    Writes to `out` how it began: `anew` or `resumed`.
    """
    with open_store(url) as store, SqliteSaver.from_conn_string(checkpoints) as saver:
        graph = build_graph(store=store, checkpointer=saver)
        config: Any = {"configurable": {"thread_id": project}}
        # Not `get_state(…).next`: that is empty also between a node's last write and the next
        # checkpoint. Whatever was begun is resumed; on a thread that is done that does nothing.
        begun = saver.get_tuple(config) is not None
        Path(out).write_text("resumed" if begun else "anew")
        graph.invoke(None if begun else desk_request(project), config)


JOBS: dict[str, Callable[..., None]] = {
    job.__name__: job for job in (write_many, write_until_killed, run_cycle)
}


class Nursery(AbstractContextManager["Nursery"]):
    """Starts jobs in processes of their own, whose temporary files lie in `folder`; POSIX only."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(folder)},  # who is killed leaves them behind
            text=True,
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def start(self, job: Callable[..., None], *args: Any) -> int:
        """Begin a job in a process and return its id."""
        return int(self._ask({"job": job.__name__, "args": [str(a) for a in args]}))

    def wait(self, pid: int) -> int:
        """Wait until a process ends; return its exit code, negative for a signal."""
        return int(self._ask({"wait": pid}))

    def ended(self, pid: int) -> bool:
        """Whether a process has ended; `wait` still tells how."""
        return self._ask({"ended": pid}) == "1\n"

    def kill(self, pid: int) -> int:
        """Kill -9 a process that was not waited for; return its exit code, as `wait` does."""
        os.kill(pid, signal.SIGKILL)
        return self.wait(pid)

    def _ask(self, line: dict[str, Any]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("The nursery died.")
        return answer


def _serve() -> None:
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        if "wait" in asked:
            answer = os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])
        elif "ended" in asked:
            options = os.WEXITED | os.WNOHANG | os.WNOWAIT
            answer = int(os.waitid(os.P_PID, asked["ended"], options) is not None)
        else:
            answer = _fork(asked["job"], asked["args"])
        print(answer, flush=True)


def _fork(name: str, args: list[str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.dup2(2, 1)  # what it prints is not to pass for an answer
        JOBS[name](*[int(a) if a.isdigit() else a for a in args])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _import_slow_parts() -> None:
    """Import now what a worker would import in every fork."""
    for name in ("duckdb", "scipy.stats", "langgraph.store.postgres"):
        with contextlib.suppress(ImportError):  # Postgres is an extra
            importlib.import_module(name)


if __name__ == "__main__":
    _import_slow_parts()
    _serve()
