"""The commands that change memory: what is in force, what it is called, what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tracetune.terminal.options import (
    HERE,
    AgentOption,
    AgentsArgument,
    JsonOption,
    ProjectOption,
    WhyOption,
    loaded,
    tell,
)

__all__ = ["backup", "forget", "label", "promote", "prune", "restore", "rollback"]

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A file of JSON lines.")]

UNCHANGED = "Your YAML files are as they were: tracetune export --in-place changes them."


def promote(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="Release to put in force.")],
    project: ProjectOption = HERE,
    agent: AgentOption = None,
    why: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put a release in force.

    [dim]tracetune promote 3f9c07 --why "approved by the desk"[/dim]
    """
    from tracetune.terminal.acts import promote_release

    done = promote_release(loaded(project), release, agent, why)
    again = " already." if done["release"] == done["previous"] else f".\n{_places(done)}"
    tell(done, lambda: f"{done['agent']}: {done['release']} is in force{again}", as_json)


def rollback(
    release: Annotated[
        str | None,
        typer.Argument(
            metavar="RELEASE", help="Release to go back to.", show_default="the head's parent"
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Go back this many releases.", show_default="1"),
    ] = None,
    project: ProjectOption = HERE,
    agent: AgentOption = None,
    why: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put an earlier release back in force.

    [dim]tracetune rollback --why "bookings got worse"[/dim]
    """
    from tracetune.terminal.acts import roll_back

    done = roll_back(loaded(project), release, steps, agent, why)
    said = f"{done['agent']}: {done['release']} is in force again."
    tell(done, lambda: f"{said}\n{_places(done)}", as_json)


def _places(done: dict[str, Any]) -> str:
    return "\n".join(done["mirrored"]) or UNCHANGED


def label(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as production or canary.")],
    release: Annotated[
        str | None,
        typer.Argument(metavar="RELEASE", help="Release to label.", show_default="the head"),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the label away.")] = False,
    project: ProjectOption = HERE,
    agent: AgentOption = None,
    why: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Label a release, so that agents can read it by that name.

    [dim]tracetune label canary 3f9c07[/dim]
    """
    from tracetune.terminal.acts import name_release

    done = name_release(loaded(project), name, release, agent, why, remove=remove)
    now = f"is {done['release']}" if done["release"] else "names no release any more"
    was = f" (was {done['previous']})" if done["previous"] not in (None, done["release"]) else ""
    tell(done, lambda: f"{done['agent']}: {done['label']} {now}{was}.", as_json)


def backup(file: FileArgument, project: ProjectOption = HERE, as_json: JsonOption = False) -> None:
    """Write the project's whole memory into a new file.

    [dim]tracetune backup memory.jsonl[/dim]
    """
    from tracetune.terminal.acts import backup as write
    from tracetune.terminal.keeping import render_contents

    done = write(loaded(project), file)
    tell(done, lambda: render_contents(done, "written to"), as_json)


def restore(
    file: FileArgument,
    rename: Annotated[
        bool, typer.Option("--rename", help="Take the memory of a project of another name.")
    ] = False,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Put a backup into the project's memory, which must be empty.

    [dim]tracetune restore memory.jsonl[/dim]
    """
    from tracetune.terminal.acts import restore_backup
    from tracetune.terminal.keeping import render_contents

    done = restore_backup(loaded(project), file, rename=rename)
    tell(done, lambda: render_contents(done, "restored from"), as_json)


def prune(
    agents: AgentsArgument = None,
    keep: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many releases back to keep all.")
    ] = 20,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be dropped.")
    ] = False,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Drop old releases that nothing needs; the journal stays whole.

    [dim]tracetune prune --keep 50 --dry-run[/dim]
    """
    from tracetune.terminal.acts import prune_releases
    from tracetune.terminal.keeping import render_pruned

    done = prune_releases(loaded(project), agents or [], keep, dry_run=dry_run)
    document = {"dry_run": dry_run, "pruned": done}
    tell(document, lambda: render_pruned(done, dry_run=dry_run), as_json)


def forget(
    trace: Annotated[str, typer.Argument(metavar="TRACE", help="Id of a trace.")],
    project: ProjectOption = HERE,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a trace out of memory; list the guidelines that rest on it.

    [dim]tracetune forget airline-12-3[/dim]
    """
    from tracetune.terminal.acts import forget_trace
    from tracetune.terminal.keeping import render_forgotten

    done = forget_trace(loaded(project), trace, agent)
    tell(done, lambda: render_forgotten(done), as_json)
