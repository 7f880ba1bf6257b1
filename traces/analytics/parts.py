"""Parts: the tables of one or a few source files in a folder, made once."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tracetune.traces.analytics.partials import MetricsPartial
from tracetune.traces.readers.base import BadRecord

__all__ = ["Part", "Stamp", "stamp"]

_MANIFEST = "part.json"
_TABLES = ("runs", "calls", "labels", "kept")

Stamp = tuple[str, int, int]
"""A file's path, bytes and time of change in ns; -1 and 0 when there is none."""


def stamp(path: Path) -> Stamp:
    """The file's stamp now."""
    try:
        known = path.stat()
    except OSError:
        return str(path), -1, 0
    return str(path), known.st_size, known.st_mtime_ns


@dataclass(frozen=True, slots=True)
class Part:
    """A folder of Parquet tables (runs, calls, labels, kept), and what is to be said of them."""

    folder: Path
    files: tuple[Stamp, ...] = ()
    """What it was read from."""
    beside: tuple[Stamp, ...] = ()
    """Files that were looked at besides."""
    set_aside: tuple[BadRecord, ...] = ()
    useless: tuple[str, ...] = ()
    """Those of the files that are in no known format."""
    redacted: Counter[str] = field(default_factory=Counter)
    agents: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Agent → how many runs it has, and the sum of their digests."""
    metrics: MetricsPartial | str | None = None
    """By agent, or the JSON of that: few ask for it. None where it was not counted."""

    def table(self, name: str) -> Path:
        """Where a table is."""
        return self.folder / f"{name}.parquet"

    def counted(self) -> MetricsPartial | None:
        """The metrics by agent; None where they were not counted."""
        if isinstance(self.metrics, str):
            return MetricsPartial.from_json(self.metrics)
        return self.metrics

    def fresh(self) -> bool:
        """Whether the files are what they were."""
        return all(stamp(Path(was[0])) == was for was in (*self.files, *self.beside))

    def save(self) -> None:
        """Write down, in its folder, all that is not in the tables."""
        row = {
            "files": self.files,
            "beside": self.beside,
            "set_aside": [asdict(bad) for bad in self.set_aside],
            "useless": self.useless,
            "redacted": self.redacted,
            "agents": self.agents,
            "metrics": self.metrics.to_json() if isinstance(self.metrics, MetricsPartial) else None,
        }
        (self.folder / _MANIFEST).write_text(json.dumps(row), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Part | None:
        """The part that was saved in the folder; None when it is not whole."""
        try:
            row = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
            part = cls(
                folder=folder,
                files=tuple((path, size, at) for path, size, at in row["files"]),
                beside=tuple((path, size, at) for path, size, at in row["beside"]),
                set_aside=tuple(BadRecord(**bad) for bad in row["set_aside"]),
                useless=tuple(row["useless"]),
                redacted=Counter(row["redacted"]),
                agents={name: (runs, digest) for name, (runs, digest) in row["agents"].items()},
                metrics=row["metrics"],
            )
            whole = all(part.table(name).stat().st_size for name in _TABLES)
        except (AttributeError, LookupError, OSError, TypeError, ValueError):
            return None
        return part if whole else None
