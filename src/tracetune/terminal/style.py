"""How tracetune speaks on a terminal: consoles, safe text, and numbers as people read them."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

__all__ = [
    "UNKNOWN",
    "clean",
    "config_value",
    "counted",
    "duration",
    "heading",
    "indented",
    "item",
    "labelled",
    "number",
    "one_line",
    "output",
    "percent",
    "percents",
    "points",
    "print_error",
    "print_json",
    "print_rendered",
    "probability",
    "progress",
    "relative",
]

UNKNOWN = "-"
WIDEST = 100
"""Columns: tables and prose wider than this are hard to read."""
NARROWEST = 64
"""In fewer columns a table loses what its rows are of: the terminal wraps its lines then."""

# Controls other than newline and tab, and what reorders text: traces are written by strangers,
# and an escape sequence in one must not reach the terminal.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def output() -> Console:
    """Return the console of what was asked for: stdout, plain when piped or NO_COLOR is set."""
    return _narrowed(Console(highlight=False))


def progress() -> Console:
    """Return the console of everything else: stderr."""
    return _narrowed(Console(file=sys.stderr, highlight=False))


def _narrowed(console: Console) -> Console:
    console.width = max(NARROWEST, min(console.width, WIDEST))
    return console


def print_rendered(rendered: RenderableType) -> None:
    """Print on stdout for people; a file or a pipe gets no blanks at the ends of lines."""
    console = output()
    if console.is_terminal:
        console.print(rendered)
        return
    with console.capture() as captured:
        console.print(rendered)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()), flush=True)


def print_json(document: Any) -> None:
    """Print one JSON document on stdout; what JSON cannot say (NaN) becomes null."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    plain = not encoding.lower().startswith("utf")
    text = json.dumps(_finite(document), indent=2, ensure_ascii=plain, default=str)
    print(text, flush=True)


def print_error(line: str) -> None:
    """Print `error: …` on stderr, as one line however long it is."""
    text = Text.assemble(("error:", "bold red"), f" {line}")
    progress().print(text, soft_wrap=True)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def clean(text: object) -> str:
    """Return the text with control and direction characters spelled out, as `\\x1b`."""
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape").decode(), str(text))


def one_line(text: object) -> str:
    """Return the text cleaned, with every run of white space as one blank."""
    return clean(" ".join(str(text).split()))


def config_value(value: Any) -> str:
    """Return a config value as JSON on one line."""
    return clean(json.dumps(value, ensure_ascii=False, default=str))


def heading(title: str, more: str = "", *, style: str = "dim") -> Rule:
    """Return a rule across the page with a bold title at its left."""
    text = Text(clean(title), style="bold")
    return Rule(
        text.append(f"  {one_line(more)}", style) if more else text, align="left", style="dim"
    )


def indented(renderable: Any, by: int = 2) -> Padding:
    """Return the renderable moved to the right by some columns."""
    return Padding(renderable, (0, 0, 0, by), expand=False)


def item(text: object, *, style: str = "", by: int = 2) -> Padding:
    """Return one list item: a dot, then the text, which wraps under itself."""
    return indented(_hanging("·", one_line(text), 1, style), by)


def labelled(label: str, text: object, *, style: str = "") -> Padding:
    """Return `label  text`, labels in one column; the text wraps under itself."""
    return indented(_hanging(label, one_line(text), 9, style))


def _hanging(left: str, text: str, width: int, style: str) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=width)
    grid.add_column(overflow="fold")
    grid.add_row(Text(left, style="dim"), Text(text, style=style))
    return grid


def percent(share: float | None) -> str:
    """Return a share in [0, 1] as `38%`."""
    return UNKNOWN if _missing(share) else f"{share:.0%}"


def percents(interval: Sequence[float | None] | None) -> str:
    """Return an interval of shares as `26 to 52%`; empty when a bound is unknown."""
    if not interval or any(_missing(bound) for bound in interval):
        return ""
    low, high = (100 * (bound or 0.0) for bound in interval)
    return f"{low:.0f} to {high:.0f}%"


def points(effect: float | None, interval: Sequence[float | None] | None = None) -> str:
    """Return a difference of shares in percentage points as `-41 [-60, -9]`."""
    if _missing(effect):
        return UNKNOWN
    text = _signed(effect)
    if interval and not any(_missing(bound) for bound in interval):
        text += f" [{', '.join(_signed(bound) for bound in interval)}]"
    return text


def probability(value: float | None) -> str:
    """Return a p or q value with the digits that matter."""
    if _missing(value):
        return UNKNOWN
    return "<0.001" if value is not None and value < 0.001 else f"{value:.3f}"


def duration(seconds: float | None) -> str:
    """Return a time as `420 ms`, `12.3 s` or `3.4 min`."""
    if seconds is None or _missing(seconds):
        return UNKNOWN
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def number(value: float | None, digits: int = 1) -> str:
    """Return a number with thousands apart, and no decimals it does not have."""
    if value is None or _missing(value):
        return UNKNOWN
    text = f"{round(value, digits) + 0.0:,.{digits}f}"  # + 0.0: no negative zero
    return text.rstrip("0").rstrip(".") if "." in text else text


def counted(count: int, one: str, many: str = "") -> str:
    """Return `1 run` or `12 runs`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def relative(path: str | Path) -> str:
    """Return the path as seen from the current folder, or whole when it lies elsewhere."""
    try:
        whole, here = Path(path).absolute(), Path.cwd()
    except FileNotFoundError:  # the current folder was removed meanwhile
        return str(path)
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)


def _signed(share: float | None) -> str:
    value = round(100 * (share or 0.0))
    return f"{value:+d}" if value else "0"


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)
