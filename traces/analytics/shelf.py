"""The parts of source files: those kept in a cache, and new ones for what is not there."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from tracetune.traces.analytics.making import PartMaker
from tracetune.traces.analytics.parts import Part, stamp

__all__ = ["LAYOUT", "TOGETHER", "Shelf", "parts_of"]

LAYOUT = 5
"""Of the tables, what is kept beside them and what is read; parts of another are made again."""

_ALONE = 8 << 20
"""A file of as many bytes is a part of its own."""

TOGETHER = 64 << 20
"""Smaller files share a part, up to as many bytes: thousands of parts would be slow to open."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of parts that were made with the same settings."""

    folder: Path

    @classmethod
    def of(cls, cache: Path, settings: object) -> Shelf:
        """The shelf in a cache for settings that decide what is read, as JSON."""
        content = json.dumps([LAYOUT, _made_by(), settings], sort_keys=True, default=repr)
        name = hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
        folder = cache / f"traces-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder)

    def parts(self, wanted: frozenset[str]) -> Iterator[Part]:
        """Yield whole parts of the wanted files alone; those that are out of date are removed."""
        for folder in sorted(self.folder.glob("part-*")):
            part = Part.load(folder)
            if part is None or not part.fresh():
                if part is None or all(stamp(Path(was[0]))[1] >= 0 for was in part.files):
                    # A file that is gone may come back: another source may still name it.
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            if {was[0] for was in part.files} <= wanted:
                yield part

    def make(self, maker: PartMaker, files: Sequence[Path]) -> Part:
        """Make a part and put it on the shelf in one step: it is whole or not there."""
        made = Path(tempfile.mkdtemp(prefix="new-", dir=self.folder))
        try:
            part = maker.of_files(made, files)
            part.save()
            content = json.dumps([part.files, part.beside]).encode()
            place = self.folder / f"part-{hashlib.blake2b(content, digest_size=12).hexdigest()}"
            if place.exists():  # another process was quicker
                shutil.rmtree(place if Part.load(place) is None else made, ignore_errors=True)
            if made.exists():
                made.rename(place)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        return replace(part, folder=place)


@functools.cache
def _made_by() -> list[str]:
    """Versions of what decides what is read, what goes as a secret, and what stands for content."""
    return [version(name) for name in ("tracetune", "detect-secrets", "duckdb")]


def parts_of(
    files: Sequence[Path],
    make: Callable[[list[list[Path]]], Iterable[Part]],
    shelf: Shelf | None = None,
    together: int = TOGETHER,
) -> list[Part]:
    """The parts of all files, each file in one, in the order of their first files.

    Args:
        make: Makes a part of each group of files, in their order.
        shelf: Where parts may be at hand.
        together: Small files share a part, up to as many bytes.
    """
    order = {str(path): place for place, path in enumerate(files)}
    held = list(shelf.parts(frozenset(order))) if shelf else []
    found: list[Part] = []
    known: set[str] = set()
    for part in held:
        names = {was[0] for was in part.files}
        if not names & known:
            found.append(part)
            known |= names
    found += make(list(_groups([path for path in files if str(path) not in known], together)))
    return sorted(found, key=lambda part: min(order[was[0]] for was in part.files))


def _groups(files: Sequence[Path], together: int) -> Iterator[list[Path]]:
    group: list[Path] = []
    room = together
    for path in files:
        size = stamp(path)[1]
        if size >= _ALONE:
            yield [path]
            continue
        if group and size > room:
            yield group
            group, room = [], together
        group.append(path)
        room -= size
    if group:
        yield group
