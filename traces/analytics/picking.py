"""Check plainly canonical files, and find the lines of the few runs that a sample takes again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tracetune.traces.analytics.direct import Lines, OddLineError, checked_lines, is_packed
from tracetune.traces.analytics.parts import Stamp, stamp
from tracetune.traces.analytics.sample import Sample

__all__ = ["CheckedFiles", "Lowest"]

Lowest = tuple[str, bool | None, bool, str, int]
"""A row of sql/lowest_marks.sql: agent, success, whether for its feedback, id, mark."""


class CheckedFiles:
    """Files whose every line is what `Trace.to_dict` could have written; `len()` is how many.

    Of a plain file only the places of its lines are held, 16 bytes a run; the lines of a packed
    one, in which no place can be gone back to, are all offered to a sample at once.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.odd: Path | None = None
        """The first file that has another line; those after it were not looked at."""
        self.longest = 0
        """Bytes of the longest line."""
        self._stamps: dict[Path, Stamp] = {}
        self._lines: list[Lines] = []
        self._sample = Sample()
        self._count = 0
        for path in files:
            try:
                self._check(path)
            except OddLineError:
                self.odd = path
                break

    def __len__(self) -> int:
        return self._count

    def sample(self, lowest: Iterable[Lowest]) -> Sample:
        """The sample of the files' runs.

        Args:
            lowest: Those of all runs; the ones that are in no plain file do not matter.

        Raises:
            OddLineError: A file has changed since it was checked, or a run is in it twice.
        """
        wanted: dict[int, Lowest] = {}
        commented: set[int] = set()
        for run in lowest:
            agent, _, said, id, _ = run
            key = hash((agent, id))
            wanted[key] = run
            if said:
                commented.add(key)
        seen: set[int] = set()
        for lines in self._lines:
            for key, line in lines.find(wanted):
                if key in seen:
                    raise OddLineError
                seen.add(key)
                agent, success, _, id, mark = wanted[key]
                said = key in commented
                self._sample.add(line, id, agent, success, commented=said, mark=mark)
        if any(stamp(path) != was for path, was in self._stamps.items()):
            raise OddLineError
        return self._sample

    def _check(self, path: Path) -> None:
        self._stamps[path] = stamp(path)
        if not is_packed(path):
            lines = Lines(path)
            self._lines.append(lines)
            self._count += len(lines)
            self.longest = max(self.longest, lines.longest)
            return
        for line, row in checked_lines(path):
            commented = bool(row.feedback)
            self._sample.add(line, row.id, row.agent, row.success, commented=commented)
            self._count += 1
            self.longest = max(self.longest, len(line))
