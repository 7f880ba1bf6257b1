"""Drive one cycle from a terminal: stream its progress, ask the person where it stops to ask."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from rich.console import Console
from rich.status import Status
from rich.text import Text

from tracetune.errors import InputError, NoModelError
from tracetune.terminal.lookups import store_file
from tracetune.terminal.report import render_review
from tracetune.terminal.style import one_line, progress

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

    from tracetune.graph.context import Settings
    from tracetune.graph.schemas import CycleReport
    from tracetune.stores.project import Project

__all__ = ["run_cycle"]


def run_cycle(
    project: Project, asked: Mapping[str, Any], given: Mapping[str, Any], *, verbose: bool
) -> CycleReport:
    """Run one cycle on the project's own store and return its report.

    Args:
        asked: What the cycle is about, as `CycleInput` has it: `agents`, and perhaps `strict`.
        given: Settings by name; None leaves a setting to the project file.

    Raises:
        TraceTuneError: Wrong input, a store that fails, or a review nobody answers.
    """
    console = progress()
    # Before there is an event loop, which would hold Ctrl-C back until all is read.
    with _status(console):
        settings = _settings(given)
        _check(project, asked, settings)
    return asyncio.run(_cycle(project, asked, settings, console, verbose=verbose))


async def _cycle(
    project: Project,
    request: Mapping[str, Any],
    settings: Settings,
    console: Console,
    *,
    verbose: bool,
) -> CycleReport:
    with _status(console):
        from langgraph.checkpoint.memory import InMemorySaver
        from langgraph.types import Command

        from tracetune.graph.build import build_graph
        from tracetune.graph.schemas import CycleReport
        from tracetune.stores.backends import open_store

    config: RunnableConfig = {"configurable": {"thread_id": uuid4().hex}}
    async with open_store(project.store, base=project.root) as store:
        graph = build_graph(store=store, project=project.path, checkpointer=InMemorySaver())
        asked: Any = dict(request)
        while True:
            with _status(console) as status:
                events = graph.astream(
                    asked, config, context=settings, stream_mode=["custom", "values"]
                )
                values = await _last(events, console, status, verbose=verbose)
            if "__interrupt__" not in values:
                return _placed(CycleReport.model_validate(values), project)
            asked = Command(resume=_review(console, values["__interrupt__"][0].value))


def _placed(report: CycleReport, project: Project) -> CycleReport:
    """The report with whole paths: who reads it here may stand in any folder."""
    results = [
        r.model_copy(update={"files": [str(project.root / file) for file in r.files]})
        for r in report.results
    ]
    return report.model_copy(update={"results": results})


def _settings(given: Mapping[str, Any]) -> Settings:
    """The settings that were given, and only those: unset ones come from the project file."""
    from pydantic import ValidationError

    from tracetune.graph.context import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + str(first["loc"][0]).replace("_", "-")
        raise InputError(f"{name}: {first['msg']}, but got {first['input']!r:.80}.") from None


def _check(project: Project, asked: Mapping[str, Any], settings: Settings) -> None:
    """Raise for wrong input before the store is opened, which makes its file."""
    file = store_file(project)
    if file is None or file.exists():
        return  # nothing to make: the cycle itself finds what is wrong before it writes
    from tracetune.nodes.calling.models import resolve_model
    from tracetune.stores.project import read_bundle
    from tracetune.terminal.lookups import evidence

    for name in asked["agents"] or project.agents:
        read_bundle(project.agent(name))
    evidence(project, asked["agents"], strict=asked.get("strict", False))
    effective = settings.over({"model": project.model} if project.model else {})
    with suppress(NoModelError):
        resolve_model(effective.model)


async def _last(
    events: Any, console: Console, status: Status | None, *, verbose: bool
) -> dict[str, Any]:
    """Return the last values streamed; show the progress on the way."""
    last: dict[str, Any] = {}
    async for mode, event in events:
        if mode == "values":
            last = event
            continue
        line = Text(one_line(f"{event['node']}: {event['text']}"))
        if status is not None:
            status.update(line)
        if verbose:
            console.print(line)
    return last


def _status(console: Console) -> Any:
    return console.status("starting") if console.is_terminal else nullcontext()


def _review(console: Console, shown: Any) -> dict[str, Any]:
    """Show what is to be released and return the person's answer."""
    console.print(render_review(shown))
    try:
        with _heeding_ctrl_c():
            approve = _ask(console, "Release this? [y/N] ").lower() in ("y", "yes")
            comment = _ask(console, "Why (may be empty): ")
    except EOFError:
        raise InputError(
            "--review needs an answer, y or n, but the input ended: nothing was released."
        ) from None
    return {"approve": approve, "comment": comment}


def _ask(console: Console, question: str) -> str:
    console.print(Text(question, style="bold"), end="")
    return input().strip()


@contextmanager
def _heeding_ctrl_c() -> Iterator[None]:
    """Let the first Ctrl-C end what waits here for a person.

    The event loop's own handler only cancels the task, which does not know while it waits.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no other thread gets signals, or may say what is done with them
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
