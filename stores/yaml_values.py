"""JSON values out of YAML texts and into them, and the files replaced that hold these texts."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracetune.errors import ProjectError, WriteError
from tracetune.stores.files import write_together
from tracetune.stores.yaml_files import parse_yaml, read_text, replace_values, same_value

__all__ = ["json_value", "with_values", "write_over"]


def write_over(before: Mapping[Path, str], texts: Mapping[Path, str]) -> None:
    """Replace the files whose text is to change, when each still holds the text from before.

    Raises:
        ProjectError: A file cannot be read any more.
        WriteError: A file holds another text by now, or cannot be written; none was replaced.
    """
    changed = {path: text for path, text in texts.items() if text != before[path]}
    for path in changed:
        if read_text(path) != before[path]:
            raise WriteError(f"{path} was changed by someone else meanwhile: it stays as it is.")
    write_together(changed)


def with_values(text: str, values: Mapping[str, Any], source: Path) -> str:
    """Return the YAML text with these JSON values in it; all else stays as it was.

    Raises:
        ProjectError: The text is not YAML with a mapping at the top.
        WriteError: A value cannot be put in; both errors call the text `source`.
    """
    old = parse_yaml(text, str(source)) if text else {}
    changes = {k: _as_written(old[k], v) if k in old else v for k, v in values.items()}
    try:
        return replace_values(text, changes)
    except WriteError as error:
        raise WriteError(f"{source}: {error}") from error


def json_value(value: Any, where: str) -> Any:
    """Return what YAML read as plain JSON; a date becomes its ISO text.

    Raises:
        ProjectError: JSON has no such value; `where` is what the error calls it.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ProjectError(f"{where} must be a finite number, but got {value}.")
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [json_value(item, where) for item in value]
    if isinstance(value, dict):
        plain = {str(key): json_value(item, f"{where}.{key}") for key, item in value.items()}
        if len(plain) == len(value):
            return plain
    raise ProjectError(f"{where} must be a value that JSON has, but is a {type(value).__name__}.")


def _as_written(old: Any, new: Any) -> Any:
    """The new value with what did not change as YAML had it: dates, numbers as keys."""
    if same_value(json_value(old, ""), new):
        return old
    if isinstance(old, dict) and isinstance(new, dict):
        keys = {str(key): key for key in old}
        return {
            keys.get(name, name): _as_written(old[keys[name]], value) if name in keys else value
            for name, value in new.items()
        }
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [_as_written(a, b) for a, b in zip(old, new, strict=True)]
    return new
