"""What `TraceTables.read` is asked to read, and how."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tracetune.errors import TraceError
from tracetune.traces.analytics.orders import Order
from tracetune.traces.analytics.parts import Part
from tracetune.traces.read import FORMATS, ReadTraces, paths_or_records, read_traces
from tracetune.traces.readers.base import BadRecord
from tracetune.traces.readers.files import find_files
from tracetune.traces.redaction import Redactor

__all__ = ["Source", "Sources"]

Source = str | os.PathLike[str] | Iterable[Any]

_log = logging.getLogger(__name__)


class Sources:
    """A source as `read_traces` takes it, with how to read it.

    Raises:
        TraceError: The format is not known, or nothing is at a path.
    """

    def __init__(
        self,
        source: Source,
        settings: Mapping[str, Any],
        on_bad: Callable[[BadRecord], None] | None,
        redactor: Redactor,
    ) -> None:
        paths, records = paths_or_records(source)
        self._source = paths or records
        self._settings = settings
        self._redactor = redactor
        self._named: set[str] = set()
        self.on_bad = on_bad or _warn
        self.files: list[Path] | None = None
        """In the order to be read; None when the source is data in memory."""
        if settings["format"] not in FORMATS:
            self.records()  # says what is expected
        if paths:
            self.files = self._found(paths)

    def order(self, folder: Path, *, shelved: bool) -> Order:
        """An order for parts in a folder, still without files."""
        settings = self._settings
        return Order(
            settings,
            self._redactor,
            direct=settings["format"] in ("auto", "canonical") and not settings["mapping"],
            folder=folder,
            shelved=shelved,
            # A file must be of use that was named, not found; or all must.
            fatal=frozenset(map(str, self.files or ()) if settings["strict"] else self._named),
        )

    def key(self) -> dict[str, Any]:
        """What decides which traces a file has, besides the file, as JSON."""
        mapping = self._settings["mapping"]
        if isinstance(mapping, str | os.PathLike):
            mapping = hashlib.blake2b(Path(mapping).read_bytes(), digest_size=8).hexdigest()
        redacts = {name: value for name, value in vars(self._redactor).items() if name != "counts"}
        plain = {k: v for k, v in redacts.items() if isinstance(v, bool | str | None)}
        return {"format": self._settings["format"], "mapping": mapping, "redacts": plain}

    def records(self) -> ReadTraces:
        """The traces of a source in memory."""
        return read_traces(
            self._source, on_bad=self.on_bad, redactor=self._redactor, **self._settings
        )

    def report(self, parts: Iterable[Part]) -> None:
        """Report what reading the parts set aside.

        Raises:
            TraceError: Nothing is of use, or nothing may be set aside.
        """
        bad = [bad for part in parts for bad in part.set_aside]
        useless = {path for part in parts for path in part.useless}
        for one in bad:
            self.set_aside(one)
        if self.files and len(useless) == len(self.files):
            first = next(one for one in bad if one.source in useless)
            more = f" ({len(useless)} files, none can be used)" if len(useless) > 1 else ""
            raise TraceError(f"{first.source}: {first.reason}{more}")

    def set_aside(self, bad: BadRecord) -> None:
        """Report a record that cannot be used.

        Raises:
            TraceError: Nothing may be set aside.
        """
        if self._settings["strict"]:
            raise TraceError(f"{bad.source}:{bad.position}: {bad.reason}")
        self.on_bad(bad)

    def _found(self, sources: Iterable[Any]) -> list[Path]:
        found: list[Path] = []
        for source in sources:
            paths, named = find_files(source)
            if not paths:
                list(read_traces(source, **self._settings))  # says what is expected
            if named:
                self._named.update(map(str, paths))
            found += paths
        return list(dict.fromkeys(found))


def _warn(bad: BadRecord) -> None:
    _log.warning("%s:%d was set aside: %s", bad.source, bad.position, bad.reason)
