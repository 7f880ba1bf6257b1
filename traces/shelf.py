"""The parts of source files: those kept in a cache, and new ones for what is not there."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tracetune.traces.making import PartMaker
from tracetune.traces.parts import Part, stamp

__all__ = ["LAYOUT", "Shelf", "parts_of"]

LAYOUT = 1
"""Of the tables and what is kept beside them; parts of another layout are made again."""

_ALONE = 8 << 20
"""A file of as many bytes is a part of its own."""

_TOGETHER = 64 << 20
"""Smaller files share a part, up to as many bytes: thousands of parts would be slow to open."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of parts that were made with the same settings."""

    folder: Path

    @classmethod
    def of(cls, cache: Path, settings: object) -> Shelf:
        """The shelf in a cache for settings that decide what is read, as JSON."""
        content = json.dumps([LAYOUT, settings], sort_keys=True, default=repr)
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


def parts_of(
    files: Sequence[Path], maker: PartMaker, shelf: Shelf | None, folder: Path
) -> list[Part]:
    """The parts of all files, each file in one, in the order of their first files.

    Args:
        folder: Where parts are made when there is no shelf.
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
    for group in _groups([path for path in files if str(path) not in known]):
        if shelf is not None:
            found.append(shelf.make(maker, group))
        else:
            made = Path(tempfile.mkdtemp(prefix="part-", dir=folder))
            found.append(maker.of_files(made, group))
    return sorted(found, key=lambda part: min(order[was[0]] for was in part.files))


def _groups(files: Sequence[Path]) -> Iterator[list[Path]]:
    group: list[Path] = []
    room = _TOGETHER
    for path in files:
        size = stamp(path)[1]
        if size >= _ALONE:
            yield [path]
            continue
        if group and size > room:
            yield group
            group, room = [], _TOGETHER
        group.append(path)
        room -= size
    if group:
        yield group
