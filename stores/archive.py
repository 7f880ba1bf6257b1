"""A project's whole memory as rows of JSON, one a line in a file, and back.

The first row says what it is, the last how many records stand between and their checksum. What a
record holds is not looked at, so whatever memory keeps is carried.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langgraph.store.base import PutOp, SearchItem

from tracetune.errors import InputError, WriteError
from tracetune.stores.files import write_atomically
from tracetune.stores.layout import LAYOUT
from tracetune.stores.memory import ProceduralMemory
from tracetune.stores.reads import Plan
from tracetune.stores.records import Namespace, arun, records, run, write

__all__ = [
    "Contents",
    "adump",
    "arestore",
    "check_archive",
    "dump",
    "read_archive",
    "restore",
    "write_archive",
]

Json = dict[str, Any]

_KIND = "memory"


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive holds."""

    project: str
    """The project it was made of."""
    agents: tuple[str, ...]
    """In order of name."""
    releases: int
    """Of all agents."""
    records: int
    """Releases, journal entries, heads and all else."""


def dump(memory: ProceduralMemory) -> list[Json]:
    """Return all that the project's memory holds: the header, the records, the end.

    Releases come first, then journals, heads last. Equal memories give equal rows.

    Raises:
        StoreError: The store failed.
    """
    return run(memory.store, _dump(memory), _doing("dump", memory))


async def adump(memory: ProceduralMemory) -> list[Json]:
    """As `dump`; never blocks the event loop."""
    return await arun(memory.store, _dump(memory), _doing("dump", memory))


def restore(memory: ProceduralMemory, rows: Iterable[object], *, rename: bool = False) -> Contents:
    """Put a dump back into a project that has no memory yet, and return what it holds.

    Every row is checked before the first is written, and heads are written last. A restore that
    was cut short is finished by doing it again: what is there already must be in the dump as well.

    Args:
        rows: A whole dump; numbered from 1 in errors, as the lines of its file are.
        rename: Take the dump of a project that has another name.

    Raises:
        InputError: The rows are no whole dump, are of another project, or the project holds
            something else already; nothing was written.
        StoreError: The store failed.
    """
    plan = _restore(memory, list(rows), rename=rename)
    return run(memory.store, plan, _doing("restore", memory))


async def arestore(
    memory: ProceduralMemory, rows: Iterable[object], *, rename: bool = False
) -> Contents:
    """As `restore`; never blocks the event loop."""
    plan = _restore(memory, list(rows), rename=rename)
    return await arun(memory.store, plan, _doing("restore", memory))


def write_archive(path: Path, rows: Iterable[Mapping[str, Any]]) -> Contents:
    """Write a dump as JSON lines in UTF-8, wholly or not at all; return what it holds.

    Raises:
        WriteError: Something stands there already, or it cannot be written.
    """
    kept = list(rows)
    contents = _checked(kept)
    if path.exists() or path.is_symlink():
        raise WriteError(f"{path} exists already: name a new file.")
    write_atomically(path, "".join(f"{_line(row)}\n" for row in kept))
    return contents


def read_archive(path: Path) -> list[Json]:
    """Return the rows of a file that `write_archive` wrote, checked.

    Raises:
        InputError: It cannot be read or is no whole archive; names the line.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not lines[-1]:
        lines.pop()
    rows = [_parsed(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]
    _checked(rows, f"{path}, ")
    return rows


def check_archive(rows: Sequence[object], project: str, *, rename: bool = False) -> Contents:
    """Return what a dump holds, if it is whole and may be restored into the project.

    Raises:
        InputError: As for `restore`.
    """
    contents = _checked(rows)
    if contents.project != project and not rename:
        raise InputError(
            f"The archive is of project {contents.project!r}, but this one is {project!r}:"
            " rename it on purpose (--rename) or look again."
        )
    return contents


def _dump(memory: ProceduralMemory) -> Plan[list[Json]]:
    items = yield from _lasting(memory)
    rows = [
        {"namespace": list(item.namespace[2:]), "key": item.key, "value": dict(item.value)}
        for item in sorted(items, key=_order)
    ]
    header = {"tracetune": _KIND, "layout": LAYOUT, "project": memory.project}
    return [header, *rows, _end([header, *rows])]


def _restore(memory: ProceduralMemory, rows: list[Any], *, rename: bool) -> Plan[Contents]:
    contents = check_archive(rows, memory.project, rename=rename)
    home = _home(memory)
    wanted = {((*home, *row["namespace"]), row["key"]): row["value"] for row in rows[1:-1]}
    there = {(item.namespace, item.key): item.value for item in (yield from _lasting(memory))}
    if any(wanted.get(place) != value for place, value in there.items()):
        raise InputError(
            f"Project {memory.project!r} has a memory already ({len(there)} records): an archive"
            " goes into an empty one only."
        )
    puts = [
        PutOp(namespace, key, value, index=False)
        for (namespace, key), value in wanted.items()
        if (namespace, key) not in there
    ]
    yield from write(puts)
    return contents


def _lasting(memory: ProceduralMemory) -> Plan[list[SearchItem]]:
    """All records but writers' claims, which are gone in a moment."""
    items = yield from records(_home(memory))
    return [item for item in items if not _is_claim(item.namespace[3:])]


def _is_claim(below_agent: Namespace) -> bool:
    # A user may be called `claims`.
    return below_agent[-1:] == ("claims",) and below_agent != ("users", "claims")


def _checked(rows: Sequence[Any], where: str = "") -> Contents:
    """What the rows hold, when they are a whole dump."""
    header = rows[0] if rows else None
    if not isinstance(header, dict) or header.get("tracetune") != _KIND:
        raise InputError(f"{where}line 1: expected the first line of a tracetune memory archive.")
    layout = header.get("layout")
    if not isinstance(layout, int) or layout > LAYOUT or not isinstance(header.get("project"), str):
        raise InputError(
            f"{where}line 1: the archive has layout {layout!r:.40}, but this tracetune knows only"
            f" layouts up to {LAYOUT}."
        )
    for number, row in enumerate(rows[1:-1], 2):
        if not _is_record(row):
            raise InputError(f"{where}line {number}: expected a record: namespace, key and value.")
    end = rows[-1]
    if len(rows) < 2 or not isinstance(end, dict) or "end" not in end:
        raise InputError(
            f"{where}line {len(rows)}: the archive ends without its last line: it was cut short."
        )
    expected = _end(rows[:-1])
    if end != expected:
        what = "number of records" if end["end"] != expected["end"] else "checksum"
        raise InputError(
            f"{where}line {len(rows)}: the {what} is not that of the lines above:"
            " the archive was changed or damaged."
        )
    return _contents(header["project"], rows[1:-1])


def _is_record(row: object) -> bool:
    if not isinstance(row, dict) or row.keys() != {"namespace", "key", "value"}:
        return False
    labels, key, value = row["namespace"], row["key"], row["value"]
    return (
        isinstance(labels, list)
        and all(isinstance(label, str) and label and "." not in label for label in labels)
        and isinstance(key, str)
        and isinstance(value, dict)
    )


def _contents(project: str, rows: Sequence[Json]) -> Contents:
    return Contents(
        project=project,
        agents=tuple(sorted({row["namespace"][0] for row in rows if row["namespace"]})),
        releases=sum(row["namespace"][1:] == ["releases"] for row in rows),
        records=len(rows),
    )


def _end(rows: Sequence[Any]) -> Json:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(_line(row).encode() + b"\n")
    return {"end": len(rows) - 1, "sha256": digest.hexdigest()}


def _line(row: object) -> str:
    # Keys in their own order: that of a release's prompts is part of it.
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def _parsed(line: bytes, where: str) -> Any:
    try:
        return json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"{where}: expected one JSON object, but: {reason}.") from error


def _order(item: SearchItem) -> tuple[int, tuple[str, ...], str]:
    """Nothing stands before what it names: a memory half restored has no dangling head."""
    if item.key == "head":
        return 3, item.namespace, item.key
    kinds = {"releases": 0, "journal": 1}
    return kinds.get(item.namespace[-1], 2), item.namespace, item.key


def _home(memory: ProceduralMemory) -> Namespace:
    return "tracetune", memory.project


def _doing(what: str, memory: ProceduralMemory) -> str:
    return f"{what} of project {memory.project!r}"
