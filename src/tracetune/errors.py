"""Every error tracetune raises.

TraceTuneError                 the root; a RuntimeError, so that server clients see its message
├── InputError                 what the user gave is wrong (exit code 2)
│   ├── ProjectError           the project file
│   ├── TraceError             a trace source or record
│   ├── NotFoundError          an agent, prompt or release that does not exist
│   └── ModelError             a model name or provider that is not known
├── NoModelError               no model can be used here: the rules take over
├── ReplyError                 a model answered with something unusable
├── StoreError                 memory cannot be opened, read or written
│   └── ConflictError          someone else committed on the same base first
└── WriteError                 a file could not be written

Each message is one line that names the thing, the value and what was expected.
"""

from collections.abc import Sequence
from typing import Any

__all__ = [
    "ConflictError",
    "InputError",
    "ModelError",
    "NoModelError",
    "NotFoundError",
    "ProjectError",
    "ReplyError",
    "StoreError",
    "TraceError",
    "TraceTuneError",
    "WriteError",
]


class TraceTuneError(RuntimeError):
    """The root of every error tracetune raises."""


class InputError(TraceTuneError, ValueError):
    """What the user gave is wrong; nothing was written."""


class ProjectError(InputError):
    """The project file, or a file it names, cannot be used."""


class TraceError(InputError):
    """A trace source or record cannot be read."""


class NotFoundError(InputError, LookupError):
    """An agent, prompt or release does not exist."""

    # LookupError's str() of one argument is fine; KeyError's would add quotes.


class ModelError(InputError):
    """A model name or provider is not known."""


class NoModelError(TraceTuneError):
    """No model can be used here (no key, say): the rules take over."""


class ReplyError(TraceTuneError, ValueError):
    """A model answered with something that cannot be used."""


class StoreError(TraceTuneError):
    """Memory cannot be opened, read or written."""


class ConflictError(StoreError):
    """Someone else committed on the same base first.

    Attributes:
        base: The release the refused commit was built on.
        head: The release in force now.
        clashes: A `stores.rebase.Clash` for each text or value that a rebase could not merge.
    """

    def __init__(
        self, message: str, base: str | None, head: str | None, clashes: Sequence[Any] = ()
    ) -> None:
        super().__init__(message, base, head, clashes)  # all in args, so it survives pickling
        self.base = base
        self.head = head
        self.clashes = tuple(clashes)

    def __str__(self) -> str:
        return str(self.args[0])


class WriteError(TraceTuneError, OSError):
    """A file could not be written; what stood there before is untouched."""
