"""The options that several commands share, and how each loads its project and prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "HERE",
    "AgentOption",
    "AgentsArgument",
    "DeadlineOption",
    "JsonOption",
    "MaxCallsOption",
    "MaxUsdOption",
    "ProjectOption",
    "StrictOption",
    "WhyOption",
    "loaded",
    "tell",
]

ProjectOption = Annotated[
    Path,
    typer.Option("--project", "-p", metavar="PATH", help="Project file, or the folder it is in."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")
]
AgentsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="AGENT", help="Agents of the project.", show_default="all"),
]
AgentOption = Annotated[
    str | None,
    typer.Option("--agent", "-a", metavar="NAME", help="Agent, where the project has several."),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Stop at the first trace record that cannot be used.")
]
DeadlineOption = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        max=86400,
        metavar="SECONDS",
        help="After these, the model is not asked any more.",
        show_default="the project's, or 600",
    ),
]
MaxCallsOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Most calls of the model.",
        show_default="the project's, or no limit",
    ),
]
MaxUsdOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="USD",
        help="Most the model's calls may cost.",
        show_default="the project's, or no limit",
    ),
]
WhyOption = Annotated[str, typer.Option(metavar="TEXT", help="Reason, kept in the journal.")]
HERE = Path()


def loaded(path: Path) -> Any:
    """Return the project of the file, or of the folder.

    Raises:
        ProjectError: There is none, or something in it is wrong.
    """
    from tracetune.stores.project import find_project, load_project

    return load_project(find_project(path))


def tell(document: Any, rendered: Any, as_json: bool) -> None:
    """Print the document as JSON, or else what `rendered()` returns."""
    from tracetune.terminal.style import print_json, print_rendered

    if as_json:
        print_json(document)
    else:
        print_rendered(rendered())
