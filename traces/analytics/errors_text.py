"""What errors share: their text without what differs from run to run."""

from __future__ import annotations

import re

__all__ = ["IDS", "NUMBERS", "error_key"]

IDS = (
    r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    r"|\b_*(?:[A-Za-z][A-Za-z_]*[0-9]|[0-9][0-9_]*[A-Za-z])[A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*"
)
"""UUIDs, and words of letters and digits mixed, such as EHGLP3, user_id_9957 or 0x7f3a."""

NUMBERS = r"[0-9]+(?:[.,:/-][0-9]+)*"

# The tables put X0 and 0 for these in SQL, so that a million errors that differ in the number
# of an order are one text before Python sees them. Doing it again changes nothing, and Python
# (in ASCII) reads the expressions as RE2 does: so the key of what SQL leaves is the text's key.
_IDS = re.compile(IDS, re.ASCII)
_NUMBERS = re.compile(NUMBERS, re.ASCII)

_PLACEHOLDERS = [
    (re.compile(r"(?<!\w)(?:'[^'\n]{1,200}'|\"[^\"\n]{1,200}\"|`[^`\n]{1,200}`)(?!\w)"), "<value>"),
    (re.compile(r"(?:https?://|(?<![\w.])/)[^\s,;:)\]}>]+"), "<path>"),
    # Again, for letters and digits that are not ASCII.
    (re.compile(r"\b(?=\w*[A-Za-z])(?=\w*\d)\w+(?:-\w+)*\b"), "<id>"),
    (re.compile(r"\d+(?:[.,:\-/]\d+)*"), "<n>"),
]


def error_key(text: str) -> str:
    """The error without what differs from run to run; one line, at most 120 characters.

    UUIDs and other ids, quoted values, paths and numbers become placeholders. Of a Python
    traceback only the last line, which names the error, is read.
    """
    text = _NUMBERS.sub("0", _IDS.sub("X0", text))
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    if lines[0].lstrip().startswith("Traceback ("):
        lines = lines[-1:]
    # Cut first, so that a megabyte of output does not go through every expression.
    line = " ".join("".join(c if c.isprintable() else " " for c in " ".join(lines)[:1000]).split())
    for pattern, placeholder in _PLACEHOLDERS:
        line = pattern.sub(placeholder, line)
    return line[:120].rstrip()
