"""What a command that fails prints, and its exit code."""

from __future__ import annotations

import os
import re
import sys

from tracetune.errors import InputError, TraceTuneError

__all__ = ["DONE", "FAILED", "INTERRUPTED", "WRONG_USE", "fail", "told"]

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
DEBUG = "TRACETUNE_DEBUG"
_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")
_URL_PASSWORD = re.compile(r"(://[^/@\s:]*:)[^@\s]+@")


def fail(error: Exception, *, as_json: bool) -> int:
    """Print the error as one line on stderr, and as a document on stdout for `--json`.

    Returns its exit code. TRACETUNE_DEBUG=1 adds the traceback.
    """
    if os.environ.get(DEBUG) == "1":
        import traceback

        traceback.print_exception(error)
    message, code = _message(error)
    return _tell(message, code, as_json=as_json)


def told(code: object, *, as_json: bool) -> int:
    """Return the exit code of a command that ended by itself; an interrupted one is told of."""
    if code == INTERRUPTED:
        return _tell("interrupted", INTERRUPTED, as_json=as_json)
    return code if isinstance(code, int) else DONE


def _message(error: Exception) -> tuple[str, int]:
    if isinstance(error, TraceTuneError):
        return str(error), WRONG_USE if isinstance(error, InputError) else FAILED
    # Typer brings its own copy of click or uses the installed one, by version: both have this.
    if callable(say := getattr(error, "format_message", None)):
        return f"{say()} (see {_command(error)} --help)", WRONG_USE
    hint = "" if os.environ.get(DEBUG) == "1" else f" ({DEBUG}=1 shows where)"
    return f"unexpected {type(error).__name__}: {error}{hint}", FAILED


def _command(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return str(context.command_path) if context is not None else "tracetune"


def _tell(message: str, code: int, *, as_json: bool) -> int:
    from tracetune.terminal.style import one_line, print_error, print_json

    line = _without_secrets(one_line(message))
    print_error(line)
    if as_json:
        try:
            print_json({"error": line})
        except OSError:
            # stdout is what failed (a full disk, a closed pipe): stderr has said so.
            sys.stdout = None
    return code


def _without_secrets(text: str) -> str:
    """Return the text without what a library may have quoted: keys and passwords."""
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET_NAME.search(name):
            text = text.replace(value, "***")
    return _URL_PASSWORD.sub(r"\1***@", text)
