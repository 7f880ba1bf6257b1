"""YAML read as agents read it, and changed without touching a byte beside the changed values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tracetune.errors import ProjectError, WriteError
from tracetune.stores.yaml_splice import same_value, splice

__all__ = ["parse_yaml", "read_text", "read_yaml", "replace_values", "same_value"]


MERGE = "tag:yaml.org,2002:merge"
BAD_INPUT = (ValueError, LookupError, AttributeError, TypeError, OverflowError, RecursionError)
"""What PyYAML lets through on tags and numbers that are wrong, or on nesting that is too deep."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the file's top-level mapping, as `yaml.safe_load` gives it.

    Raises:
        ProjectError: The file is missing, unreadable or not UTF-8; does not parse (with line and
            column); holds no mapping at the top, or a key twice.
    """
    return parse_yaml(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Return the file's text with its line breaks and byte order mark as they are.

    Raises:
        ProjectError: The file is missing, unreadable or not UTF-8.
    """
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise ProjectError(f"{path} does not exist.") from None
    except UnicodeDecodeError as error:
        raise ProjectError(f"{path} must be UTF-8, but is not at byte {error.start}.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ProjectError(f"{path} cannot be read: {reason}.") from error


def parse_yaml(text: str, name: str) -> dict[str, Any]:
    """Return the text's top-level mapping; `name` is what errors call the text.

    Raises:
        ProjectError: As `read_yaml`.
    """
    data = _load(text, name)
    if not isinstance(data, dict):
        kind = "is empty" if data is None else f"holds a {type(data).__name__}"
        raise ProjectError(f"{name} must hold a mapping at the top, but {kind}.")
    for key in data:
        if not isinstance(key, str):
            raise ProjectError(f"{name} must have text as its top-level keys, but got {key!r}.")
    return data


def replace_values(text: str, changes: Mapping[str, Any]) -> str:
    """Return the text with top-level values changed and every other byte as it was.

    New keys go to the end, in order. Text with line breaks becomes a literal block where YAML
    allows it. Within a changed list or mapping of the same shape only the changed values are
    replaced; where the shape changes, the comments inside go with the old value.

    Raises:
        ProjectError: The text is not YAML with a mapping at the top.
        WriteError: A change cannot be made without changing something else as well: the value
            has an anchor that others use, say.
    """
    data = _load(text, "the text")
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ProjectError("the text must hold a mapping at the top to change its values.")
    for key, value in changes.items():
        if key not in data or not same_value(data[key], value):
            text = _with_value(text, key, data, value)
            data = {**data, key: value}
    return text


def _with_value(text: str, key: str, data: dict[Any, Any], value: Any) -> str:
    wanted = {**data, key: value}
    # What a literal block or block style cannot hold where it stands, one quoted line can.
    for pretty in (True, False):
        try:
            changed = splice(text, key, data.get(key), value, pretty=pretty)
            if same_value(_load(changed, key), wanted):
                return changed
        except (ProjectError, yaml.YAMLError, *BAD_INPUT):
            continue
    hint = " (an anchor or tag may tie it to other values)" if re.search(r"[&*!]\w", text) else ""
    raise WriteError(f"{key} cannot be changed without changing the rest of its file{hint}.")


class _Loader(yaml.SafeLoader):
    """The safe loader; a key that stands twice in one mapping is an error, not a lost value."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                if (key.tag, key.value) in seen:
                    problem = f"the key {key.value!r} stands there twice"
                    raise yaml.MarkedYAMLError(None, None, problem, key.start_mark)
                seen.add((key.tag, key.value))
        return node


def _load(text: str, name: str) -> Any:
    """Return what the text holds, as `yaml.safe_load` gives it; `name` is what errors call it.

    Raises:
        ProjectError: It does not parse, holds a key twice in one mapping, or holds itself.
    """
    try:
        data = yaml.load(text, Loader=_Loader)
        same_value(data, data)  # a value that holds itself has no end: refused here
        return data
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = " ".join((error.problem or error.context or "not YAML").split())
        raise ProjectError(f"{name}{where}: {problem}.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"the character {chr(int(error.character))!r} is not allowed in YAML"
        raise ProjectError(f"{name}, line {line}: {problem}.") from None
    except RecursionError:
        raise ProjectError(f"{name} is nested too deeply, or holds itself.") from None
    except BAD_INPUT as error:
        raise ProjectError(f"{name} holds a value that cannot be read: {error}.") from None
