"""The command line: parse, call, print."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from tracetune.terminal import acting
from tracetune.terminal.failures import fail, told
from tracetune.terminal.options import (
    HERE,
    AgentOption,
    AgentsArgument,
    DeadlineOption,
    JsonOption,
    MaxCallsOption,
    MaxUsdOption,
    ProjectOption,
    StrictOption,
    loaded,
    tell,
)

__all__ = ["app", "main"]

app = typer.Typer(
    name="tracetune",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"tracetune {version('tracetune')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def tracetune(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Learn from the traces of running agents and improve their prompts and configs.

    [dim]tracetune run -p examples/airline[/dim]
    """
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(2)


@app.command()
def run(
    agents: AgentsArgument = None,
    project: ProjectOption = HERE,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="PROVIDER:NAME",
            help="Chat model; 'rules' uses none.",
            show_default="the project's, or Gemini",
        ),
    ] = None,
    review: Annotated[
        bool | None,
        typer.Option("--review/--no-review", help="Show what changes and ask before releasing."),
    ] = None,
    relearn: Annotated[
        bool, typer.Option("--relearn", help="Learn again from traces already learned from.")
    ] = False,
    min_traces: Annotated[
        int | None,
        typer.Option(metavar="N", help="Fewest traces an agent needs to be tuned."),
    ] = None,
    deadline: DeadlineOption = None,
    max_calls: MaxCallsOption = None,
    max_usd: MaxUsdOption = None,
    strict: StrictOption = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print every step on stderr.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run one optimization cycle: measure, improve, check, release.

    [dim]tracetune run --model google_genai:gemini-flash-latest --review[/dim]
    """
    from tracetune.terminal.driver import run_cycle
    from tracetune.terminal.report import render_report

    given = {
        "model": model,
        "review": review,
        "relearn": relearn or None,
        "min_traces": min_traces,
        "deadline_s": deadline,
        "max_calls": max_calls,
        "max_usd": max_usd,
    }
    asked = {"agents": agents or [], "strict": strict}
    report = run_cycle(loaded(project), asked, given, verbose=verbose)
    tell(report.model_dump(mode="json"), lambda: render_report(report), as_json)
    if report.status == "failed":
        raise typer.Exit(1)


@app.command()
def metrics(
    agents: AgentsArgument = None,
    project: ProjectOption = HERE,
    by: Annotated[
        str, typer.Option(metavar="NAMES", help="Group by these: task, release, ended_by, a label.")
    ] = "",
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure the traces: success, latency, attempts, reward, tools.

    [dim]tracetune metrics --by release,task[/dim]
    """
    from tracetune.terminal.figures import render_metrics
    from tracetune.terminal.lookups import measure

    groups = [name.strip() for name in by.split(",") if name.strip()]
    found = measure(loaded(project), agents or [], groups, strict=strict)
    tell(found, lambda: render_metrics(found), as_json)


@app.command()
def patterns(
    agents: AgentsArgument = None,
    project: ProjectOption = HERE,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Most patterns per agent.")] = 10,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what goes along with success and failure, strongest first."""
    from tracetune.terminal.figures import render_patterns
    from tracetune.terminal.lookups import mine

    found = mine(loaded(project), agents or [], limit, strict=strict)
    tell(found, lambda: render_patterns(found), as_json)


@app.command()
def history(
    agent: Annotated[
        str | None, typer.Argument(metavar="AGENT", help="One agent.", show_default="all")
    ] = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Show what was released, rolled back, rejected; by whom and why."""
    from tracetune.terminal.lookups import journals
    from tracetune.terminal.versions import render_histories

    found = journals(loaded(project), agent)
    tell({"history": [one.to_dict() for one in found]}, lambda: render_histories(found), as_json)


@app.command()
def show(
    what: Annotated[
        str | None,
        typer.Argument(metavar="RELEASE|AGENT", help="A release, or an agent for its head."),
    ] = None,
    project: ProjectOption = HERE,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a release whole: prompts, config, guidelines, verdict."""
    from tracetune.terminal.lookups import find_release
    from tracetune.terminal.versions import render_release

    found, head = find_release(loaded(project), what, agent)
    document = found.to_dict() | {"head": found.id == head}
    tell(document, lambda: render_release(found, head), as_json)


@app.command()
def diff(
    before: Annotated[
        str | None,
        typer.Argument(metavar="A", help="Release to start from.", show_default="B's parent"),
    ] = None,
    after: Annotated[
        str | None,
        typer.Argument(metavar="B", help="Release to compare.", show_default="the head"),
    ] = None,
    project: ProjectOption = HERE,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what differs between releases, or what the head changed."""
    from tracetune.terminal.diffs import render_releases_diff
    from tracetune.terminal.lookups import compare

    found = compare(loaded(project), before, after, agent)
    tell(found, lambda: render_releases_diff(found), as_json)


for change in (acting.promote, acting.rollback, acting.label):
    app.command()(change)


@app.command()
def export(
    project: ProjectOption = HERE,
    agent: AgentOption = None,
    release: Annotated[
        str | None, typer.Option(metavar="ID", help="Release to write.", show_default="the head")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="FOLDER", help="Where to.", show_default=".tracetune/export/AGENT"
        ),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Write into the project's own YAML files.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a release as YAML, your comments and style kept.

    [dim]tracetune export --in-place[/dim]
    """
    from tracetune.terminal.lookups import write_release
    from tracetune.terminal.style import relative

    done = write_release(loaded(project), release, agent, to, in_place=in_place)
    lines = [f"{done['agent']} {done['release']}", *map(relative, done["files"])]
    tell(done, lambda: "\n  ".join(lines), as_json)


for upkeep in (acting.backup, acting.restore, acting.prune, acting.forget):
    app.command()(upkeep)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 wrong use, 130 Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    with _any_letter():
        try:
            code = app(given, prog_name="tracetune", standalone_mode=False)
            if sys.stdout is not None:  # closed (`>&-`), as some schedulers have it
                sys.stdout.flush()
        except Exception as error:
            return fail(error, as_json=as_json)
        return told(code, as_json=as_json)


@contextlib.contextmanager
def _any_letter() -> Iterator[None]:
    """A stdout that cannot write an arrow writes "?", and does not lose the whole report."""
    out = sys.stdout
    if not isinstance(out, io.TextIOWrapper) or out.encoding.lower().replace("-", "") == "utf8":
        yield
        return
    before = out.errors
    out.reconfigure(errors="replace")
    try:
        yield
    finally:
        out.reconfigure(errors=before)


if __name__ == "__main__":
    sys.exit(main())
