"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from tracetune.errors import WriteError

__all__ = ["write_atomically", "write_together"]


def write_atomically(path: Path, text: str) -> None:
    """Put the text in the file, as UTF-8 and with its line breaks as they are.

    A reader sees the old file or the new one, even after a crash. The mode stays; a link keeps
    pointing at the file that is replaced.

    Raises:
        WriteError: The disk is full, the place may not be written, or is no file. What stood
            there before is untouched.
    """
    write_together({path: text})


def write_together(texts: Mapping[Path, str]) -> None:
    """Write several files; nothing is replaced before every text lies safely on the disk.

    Raises:
        WriteError: As `write_atomically`; then no file was replaced, unless the machine failed
            between two renames.
    """
    staged: list[tuple[Path, Path]] = []
    try:
        for path, text in texts.items():
            with _telling(path):
                # A link may stand in for the file: replacing the link would split the two.
                target = Path(os.path.realpath(path))
                temporary = target.with_name(f".tracetune-{secrets.token_hex(8)}.tmp")
                staged.append((temporary, target))
                _stage(temporary, target, text.encode())
        for (temporary, target), path in zip(staged, texts, strict=True):
            with _telling(path):
                temporary.replace(target)
                _sync_folder(target.parent)
    finally:
        for temporary, _ in staged:
            with contextlib.suppress(OSError):
                temporary.unlink()


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror or error}.") from error
    except UnicodeEncodeError as error:
        raise WriteError(f"{path} cannot be written: {error.reason} at {error.start}.") from error


def _stage(temporary: Path, target: Path, data: bytes) -> None:
    mode = _mode_of(target)
    with temporary.open("xb") as file:
        if mode is not None:
            temporary.chmod(mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _mode_of(target: Path) -> int | None:
    """The mode of the file that will be replaced, or None when there is none.

    Raises:
        OSError: Replacing would be possible but wrong: it is no file, or is read-only.
    """
    try:
        found = target.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found):
        raise IsADirectoryError(None, "a folder stands there")
    if not stat.S_ISREG(found):
        raise OSError(None, "what stands there is no file")
    if not os.access(target, os.W_OK):
        raise PermissionError(None, "the file is read-only")
    return stat.S_IMODE(found)


def _sync_folder(folder: Path) -> None:
    # The file is in place already: a file system that cannot sync folders is no failure.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
