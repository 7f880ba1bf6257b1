"""The mechanics of changing YAML in place: where a value stands, and what to put there instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import yaml

__all__ = ["same_value", "splice"]

STR = "tag:yaml.org,2002:str"
BREAK = r"(?:\r\n|\n|\r)"


def same_value(one: Any, other: Any) -> bool:
    """Whether two YAML values are the same, types included: 1, 1.0 and true are three values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_value(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return bool(one == other or (one != one and other != other))


class _Locator(yaml.SafeLoader):
    """A loader whose nodes stand where the text has them: an alias where it is used."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = None
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        if event is None:
            return node
        return yaml.ScalarNode("alias", "", event.start_mark, event.end_mark)


@dataclass(frozen=True, slots=True)
class _Place:
    """A value's node and what its replacement must fit into."""

    node: yaml.Node
    column: int
    """Where the value's key stands, or the dash of its list."""
    after_colon: int | None
    """Index behind the key's colon; None in lists."""
    flow: bool
    """Whether it stands inside brackets, where no block can."""
    json: bool = False
    """Whether it stands inside brackets behind a key in double quotes, as in JSON."""

    @property
    def start(self) -> int:
        return int(self.node.start_mark.index)

    @property
    def is_block_collection(self) -> bool:
        return isinstance(self.node, yaml.CollectionNode) and not self.node.flow_style

    @property
    def is_block_text(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode) and self.node.style in ("|", ">")


Edit = tuple[int, int, str]
"""Start and end in the text, and what comes there instead."""


def splice(text: str, key: str, old: Any, new: Any, *, pretty: bool) -> str:
    """Return the text with one top-level value changed, in block style where `pretty`.

    The caller checks that nothing else changed: what a block holds depends on what follows it.

    Raises:
        yaml.YAMLError, ValueError: The value's place in the text cannot be understood.
    """
    text, root = _with_key(text, key)
    place = _child(text, root, key)
    return _apply(text, _edits(text, place, old, new, pretty))


def _apply(text: str, edits: list[Edit]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _compose(text: str) -> yaml.Node | None:
    loader = _Locator(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _with_key(text: str, key: str) -> tuple[str, yaml.MappingNode]:
    """The text with the key in it, if need be as a new one without a value, and its root."""
    root = _compose(text)
    if isinstance(root, yaml.MappingNode):
        if any(k.tag == STR and k.value == key for k, _ in root.value):
            return text, root
        text = _with_new_key(text, root, key)
    else:
        text = _on_new_line(text, len(text), f"{_one_line(key, None, False)}:")
    grown = _compose(text)
    if not isinstance(grown, yaml.MappingNode):
        raise ValueError(f"{key} cannot be added")
    return text, grown


def _with_new_key(text: str, root: yaml.MappingNode, key: str) -> str:
    pairs = root.value
    if root.flow_style:
        style = pairs[-1][0].style if pairs else None
        at = pairs[-1][1].end_mark.index if pairs else root.start_mark.index + 1
        new = (", " if pairs else "") + _one_line(key, style, True) + ":"
        return text[:at] + new + text[at:]
    end = min(root.end_mark.index, len(text))
    last = next(p for p in _children(text, root) if p.node is pairs[-1][1])
    if last.is_block_text and not text.endswith(("\n", "\r")):
        # A block at the very end without a line break would gain one from what follows.
        edit = _text_block(text, last, str(last.node.value))
        grown = text[: edit[0]] + edit[2] + text[edit[1] :]
        text, end = grown, end + len(grown) - len(text)
    indent = " " * pairs[0][0].start_mark.column
    return _on_new_line(text, end, f"{indent}{_one_line(key, None, False)}:")


def _on_new_line(text: str, at: int, line: str) -> str:
    before, after = text[:at], text[at:]
    if before.strip("\ufeff") and not before.endswith(("\n", "\r")):
        return before + _line_break(text) + line + after
    return before + line + _line_break(text) + after


def _children(text: str, node: yaml.CollectionNode) -> Iterator[_Place]:
    """The places of a collection's values, in order."""
    flow = bool(node.flow_style)
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield _Place(item, node.start_mark.column, None, flow)
        return
    for key, value in node.value:
        colon = text.find(":", key.end_mark.index) + 1
        yield _Place(value, key.start_mark.column, colon, flow, flow and key.style == '"')


def _child(text: str, root: yaml.MappingNode, key: str) -> _Place:
    places = zip(root.value, _children(text, root), strict=True)
    return next(place for (k, _), place in places if k.tag == STR and k.value == key)


def _edits(text: str, place: _Place, old: Any, new: Any, pretty: bool) -> list[Edit]:
    if same_value(old, new) and place.node.start_mark.index != place.node.end_mark.index:
        return []
    inner: list[tuple[_Place, Any, Any]] = []
    node = place.node
    if isinstance(node, yaml.SequenceNode) and isinstance(old, list) and isinstance(new, list):
        if len(old) == len(new) == len(node.value):
            inner = list(zip(_children(text, node), old, new, strict=True))
    elif isinstance(node, yaml.MappingNode) and isinstance(old, dict) and isinstance(new, dict):
        keys = [k.value for k, _ in node.value if k.tag == STR]
        if old.keys() == new.keys() == set(keys) and len(keys) == len(node.value):
            places = zip(keys, _children(text, node), strict=True)
            inner = [(child, old[k], new[k]) for k, child in places]
    if inner:
        inner = [(child, a, b) for child, a, b in inner if not same_value(a, b)]
        return [edit for child, a, b in inner for edit in _edits(text, child, a, b, pretty)]
    return [_edit(text, place, new, pretty)]


def _edit(text: str, place: _Place, new: Any, pretty: bool) -> Edit:
    if pretty and not place.flow:
        if isinstance(new, str) and _fits_a_block(new) and ("\n" in new or place.is_block_text):
            return _text_block(text, place, new)
        was_flow = isinstance(place.node, yaml.CollectionNode) and place.node.flow_style
        if isinstance(new, list | dict) and new and not was_flow:
            return _collection_block(text, place, new)
    start, lead = _lead(text, place)
    if pretty and place.json and isinstance(new, str | list | dict):
        return start, _end(text, place.node), lead + json.dumps(new, ensure_ascii=False)
    style = getattr(place.node, "style", None)
    if place.is_block_text:
        _, tail, end = _block_text_parts(text, place)
        return start, end, lead + _one_line(new, None, place.flow) + tail
    return start, _end(text, place.node), lead + _one_line(new, style, place.flow)


def _lead(text: str, place: _Place) -> tuple[int, str]:
    """Where the replacement of a value starts, and what parts it from its key."""
    colon = place.after_colon
    gap = text[colon : place.start] if colon is not None else None
    if colon is not None and gap is not None and not gap.strip() and re.search(BREAK, gap):
        return colon, " "  # the old value stood on a line of its own
    return place.start, " " if place.start == place.node.end_mark.index else ""


def _end(text: str, node: yaml.Node) -> int:
    """Where a value's last character stands, without the comments and blank lines behind it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return _block_text_parts(text, _Place(node, 0, None, False))[2]
    return int(node.end_mark.index)


def _around(text: str, place: _Place) -> tuple[int | None, str, int]:
    """The old block's indentation, the comment that must stay, and where what is replaced ends."""
    if place.is_block_text:
        return _block_text_parts(text, place)
    line = re.compile(r"[^\r\n]*").match(text, _end(text, place.node))
    return (None, line.group().rstrip(), line.end()) if line else (None, "", len(text))


def _block_text_parts(text: str, place: _Place) -> tuple[int | None, str, int]:
    """A text block's indentation, the comment behind its header, and where its content ends."""
    raw = text[place.start : min(place.node.end_mark.index, len(text))]
    header, rest = re.match(rf"([^\r\n]*)({BREAK}[\s\S]*)?", raw).group(1, 2)  # type: ignore[union-attr]
    comment = re.search(r"[|>][-+0-9]*([ \t]+#.*)?[ \t]*$", header)
    tail = (comment and comment.group(1)) or ""
    first = re.search(rf"{BREAK}( *)[^ \r\n]", rest or "")
    digit = re.search(r"[|>][-+]?([1-9])", header)
    indent = len(first.group(1)) if first and not digit else None
    if digit:
        indent = place.column + int(digit.group(1))
    blank = re.search(rf"(?:{BREAK} {{0,{indent or 0}}})*\Z", raw)
    return indent, tail, place.start + (blank.start() if blank else len(raw))


def _fits_a_block(new: str) -> bool:
    return bool(new.strip()) and not re.search(
        r"[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]",
        new,
    )


def _text_block(text: str, place: _Place, new: str) -> Edit:
    """The literal block that holds the text; what stands behind it stays, comments too."""
    indent, tail, end = _around(text, place)
    if indent is None or not 1 <= indent - place.column <= 9:
        indent = place.column + 2
    body = new.rstrip("\n")
    ending = len(new) - len(body)
    chomp = ("-", "", "+")[min(ending, 2)]
    digit = str(indent - place.column) if new[0] in " \n" else ""
    newline = _line_break(text)
    lines = [" " * indent + line if line else "" for line in body.split("\n")]
    start, lead = _lead(text, place)
    block = newline.join([f"{lead}|{digit}{chomp}{tail}", *lines, *[""] * (ending - 1)])
    behind = re.compile(rf"{BREAK}(?:[ \t]*{BREAK})*").match(text, end)
    if ending and not behind:
        block += newline
    elif ending > 1 and behind:
        # Blank lines behind it would count as its content.
        block, end = block + newline, behind.end()
    return start, end, block


def _collection_block(text: str, place: _Place, new: Any) -> Edit:
    newline = _line_break(text)
    lines = _dump(new, flow=False).rstrip("\n").split("\n")
    end = _end(text, place.node)
    if place.is_block_collection:
        column = place.node.start_mark.column
        return place.start, end, (newline + " " * column).join(lines)
    if place.after_colon is None or text[place.after_colon : place.start].strip():
        return place.start, end, _one_line(new, None, place.flow)
    _, tail, end = _around(text, place)
    column = place.column + 2
    return place.after_colon, end, tail + "".join(f"{newline}{' ' * column}{x}" for x in lines)


def _line_break(text: str) -> str:
    found = re.search(BREAK, text)
    return found.group() if found else "\n"


class _Dumper(yaml.SafeDumper):
    """Writes text with line breaks as literal blocks, and nothing as an alias."""

    def ignore_aliases(self, data: Any) -> Literal[True]:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(STR, text, style="|" if "\n" in text else None),
)


def _dump(value: Any, *, flow: bool) -> str:
    return yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=flow,
        allow_unicode=True,
        sort_keys=False,
        width=10**9,
    )


def _one_line(value: Any, style: str | None, flow: bool) -> str:
    """The value on one line, quoted as it was before where that can hold it."""
    if not isinstance(value, str):
        return _dump({"k": value}, flow=True)[len("{k: ") : -len("}\n")]
    if re.search(r"[\r\n\x85\u2028\u2029]", value):
        style = '"'
    if style is None and not _is_text_in_yaml_1_2(value):
        style = '"'
    scalar = yaml.ScalarNode(STR, value, style=style if style in ("'", '"') else None)
    pair = yaml.MappingNode(
        "tag:yaml.org,2002:map", [(yaml.ScalarNode(STR, "k"), scalar)], flow_style=flow
    )
    written = yaml.serialize(pair, Dumper=yaml.SafeDumper, allow_unicode=True, width=10**9)
    return str(written)[len("{k: ") if flow else len("k: ") : -2 if flow else -1]


def _is_text_in_yaml_1_2(value: str) -> bool:
    # PyYAML reads YAML 1.1, where `1e3` and `0o17` are text; to YAML 1.2 readers they are numbers.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return isinstance(YAML(typ="safe", pure=True).load(value), str)
    except YAMLError:
        return True  # the serializer quotes what is no plain scalar
