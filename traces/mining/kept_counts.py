"""What was counted of parts that stay in a cache, kept beside each: no run is counted twice."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tracetune.errors import TraceError
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.mining.pattern_counts import PatternCounts
from tracetune.traces.mining.pattern_tables import count_few, count_patterns

__all__ = ["KEPT_CELLS", "counts_of"]

KEPT_CELLS = 3_000_000
"""Features × tasks of a part that are worth keeping, about 20 MB: to read more would take as long
as to count anew without those that few runs have."""

_NAME = "patterns-5.npz"
"""Where the counts of a part are; an empty file says that they are too many. The number changes
with what is counted."""


def counts_of(tables: TraceTables, *, agent: str | None = None, least: int = 1) -> PatternCounts:
    """What patterns are mined from, as `count_patterns` counts it.

    Parts that stay in a cache are counted one by one, each when it is first asked about; what is
    found is kept in its folder. Where a run is in two parts all are counted anew.

    Args:
        agent: Look at this agent's runs only.
        least: Leave out features that fewer runs have.
    """
    parts: list[PatternCounts] = []
    for found in _counted(tables):
        if found is None:
            parts = []
            break
        parts.append(found)
    if not parts:
        return count_patterns(tables, agent=agent, least=least)
    merged = parts[0].merge(*parts[1:]) if len(parts) > 1 else parts[0]
    return merged.only(agent=agent, least=least)


def _counted(tables: TraceTables) -> Iterator[PatternCounts | None]:
    """The counts of each part that stays; None, and no more, once one has too many."""
    paths = [folder / _NAME for folder in tables.shelved()]
    if any(_is_empty(path) for path in paths):
        yield None
        return
    for path in paths:
        found = _read(path)
        if found is None:
            with tables.only(path.parent):
                found = count_few(tables, KEPT_CELLS)
            _write(path, found.to_bytes() if found else b"")
        yield found
        if found is None:
            return


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        return False


def _read(path: Path) -> PatternCounts | None:
    try:
        return PatternCounts.from_bytes(path.read_bytes())
    except (OSError, TraceError):
        return None


def _write(path: Path, content: bytes) -> None:
    """Put the file there whole, or not at all: a cache that cannot be written to is no error."""
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(prefix="new-", dir=path.parent)
        os.close(handle)
        made = Path(name)
        try:
            made.write_bytes(content)
            made.replace(path)
        finally:
            made.unlink(missing_ok=True)
