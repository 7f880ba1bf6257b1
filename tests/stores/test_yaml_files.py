"""Files are read as agents read them, and changed without touching anything else."""

from __future__ import annotations

import difflib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tracetune.errors import ProjectError, WriteError
from tracetune.stores.yaml_files import read_text, read_yaml, replace_values, same_value

STRATUS = [
    f"{folder}/{name}"
    for folder, names in {
        "configs": ("diagnosis_agent", "mitigation_agent", "rollback_agent"),
        "configs-2025": (
            "diagnosis_agent",
            "localization_agent",
            "mitigation_agent",
            "rollback_agent",
        ),
    }.items()
    for name in (
        *(f"{stem}_{kind}.yaml" for stem in names for kind in ("config", "prompts")),
        "llm_summarization_prompt.yaml",
    )
]
PROMPTS = [name for name in STRATUS if "prompt" in name]
CONFIGS = [name for name in STRATUS if "config.yaml" in name]

NEW_PROMPT = """You repair clusters.

## Learned guidelines
- Use `kubectl get pods -n {ns}`: look first, then act.\x20\x20
\t- a tab, "quotes", 'more' and # no comment ✅ 🚀

Done.
"""


def load(text: str) -> Any:
    return yaml.safe_load(text)


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    """Lines only the first text has, and lines only the second has."""
    delta = list(difflib.ndiff(before.splitlines(True), after.splitlines(True)))
    return [d[2:] for d in delta if d[0] == "-"], [d[2:] for d in delta if d[0] == "+"]


def test_every_file_is_covered(shared_data: Path) -> None:
    there = {
        str(path.relative_to(shared_data / "stratus"))
        for folder in ("configs", "configs-2025")
        for path in (shared_data / "stratus" / folder).glob("*.yaml")
    }
    assert there == set(STRATUS)


@pytest.mark.parametrize("name", STRATUS)
def test_writing_back_what_was_read_changes_no_byte(shared_data: Path, name: str) -> None:
    path = shared_data / "stratus" / name
    text = read_text(path)
    data = read_yaml(path)
    assert same_value(data, yaml.safe_load(path.read_text()))
    assert replace_values(text, {}) == text
    assert replace_values(text, data) == text
    assert text.encode() == path.read_bytes()


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("ending", ["\n", "", "\n\n\n"], ids=["one break", "no break", "three"])
def test_one_changed_prompt_leaves_every_other_line(
    shared_data: Path, name: str, ending: str
) -> None:
    text = read_text(shared_data / "stratus" / name)
    data = load(text)
    for key in data:
        new = NEW_PROMPT.rstrip("\n") + ending
        after = replace_values(text, {key: new})
        assert load(after) == {**data, key: new}
        before_it, behind_it = around(text, key)
        assert after.startswith(before_it)
        assert after.endswith(behind_it)
        assert "  - Use `kubectl" in after, "a literal block, for readable diffs"


@pytest.mark.parametrize("new", [NEW_PROMPT, "\tone\n\ttwo", " one\n\n two\n\n"])
def test_yaml_1_2_reads_the_same(shared_data: Path, new: str) -> None:
    ruamel = pytest.importorskip("ruamel.yaml")
    for name in PROMPTS:
        text = read_text(shared_data / "stratus" / name)
        data = load(text)
        key = next(iter(data))
        after = replace_values(text, {key: new})
        assert ruamel.YAML(typ="safe", pure=True).load(after) == {**data, key: new}


def around(text: str, key: str) -> tuple[str, str]:
    """The text before the value of a key, and from the next key or comment on."""
    lines = text.splitlines(True)
    first = next(i for i, line in enumerate(lines) if line.startswith(f"{key}:"))
    behind = (i for i in range(first + 1, len(lines)) if lines[i][0] not in " \t\r\n'\"")
    return "".join(lines[:first]) + f"{key}:", "".join(lines[next(behind, len(lines)) :])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_changed_number_changes_its_line_only(shared_data: Path, name: str) -> None:
    text = read_text(shared_data / "stratus" / name)
    after = replace_values(text, {"max_step": 35})
    assert changed_lines(text, after) == (["max_step: 20\n"], ["max_step: 35\n"])
    assert "# each step is defined as one tool call\nmax_step: 35\n" in after


def test_a_changed_word_in_a_nested_block_changes_its_line_only(shared_data: Path) -> None:
    text = read_text(shared_data / "stratus/configs/diagnosis_agent_config.yaml")
    tools = load(text)["async_tools"]
    tools[1]["description"] = tools[1]["description"].replace("Grafana", "Prometheus", 1)
    after = replace_values(text, {"async_tools": tools})
    old, new = changed_lines(text, after)
    assert [line.replace("Grafana", "Prometheus") for line in old] == new
    assert load(after)["async_tools"] == tools


NASTY = {
    "a few line breaks behind it": "one\ntwo\n\n\n",
    "no line break behind it": "one\ntwo",
    "only spaces": "   ",
    "only line breaks": "\n\n",
    "empty": "",
    "spaces before the first line": "   one\ntwo\n",
    "a blank line first": "\n\none\n",
    "a blank line first and then spaces": "\n   one\ntwo\n",
    "a line of spaces in the middle": "one\n      \ntwo\n",
    "a line of spaces at the end": "one\n      \n",
    "a line of spaces and no break at the end": "one\n      ",
    "spaces behind a line": "one   \ntwo  \n",
    "a colon and a space": "key: value",
    "colons over lines": "key: value\nother: [1, 2\n",
    "a comment sign": "one # two",
    "comment signs over lines": "# one\n# two\n",
    "umlauts and emoji": "Grüße ✅ 🚀 日本\nzweite Zeile",
    "double quotes": 'say "no"',
    "single quotes": "it's 'so'",
    "braces": "{a} {{b}} {% c %}",
    "brackets over lines": "[1,\n{2\n",
    "the word yes": "yes",
    "the number 1.0": "1.0",
    "the word null": "null",
    "a date": "2024-01-01",
    "a tilde": "~",
    "a dash": "- one",
    "a dash over lines": "- one\n- two\n",
    "document marks": "---\na: 1\n...\n",
    "a percent sign first": "%one\n%two\n",
    "an anchor": "&one *two",
    "a tag": "!!str one",
    "a backslash": "C:\\temp\\n\nand\\t",
    "a tab first": "\tone\n\ttwo\n",
    "a tab inside": "one\ttwo",
    "carriage returns": "one\r\ntwo\r\n",
    "a control character": "one\x07\ntwo\n",
    "a NUL": "one\x00two\n",
    "odd line separators": "one\u2028two\x85three\n",
    "a byte order mark inside": "one\ufefftwo\n",
    "half a surrogate pair": "one\ud83dtwo\n",
    "one very long line": "word " * 500,
    "a pipe": "|\n>\n",
    "two thousand lines": "line\n" * 2000,
}

SHAPES = {
    "plain": "a: 1\nkey: old value\n# end\nz: [1]\n",
    "plain over lines": "key: old\n  value\n  end\nz: 1\n",
    "on the next line": "key:\n  old\nz: 1\n",
    "single-quoted with a comment": "key: 'old'  # why\nz: 1\n",
    "single-quoted over lines": "key: 'old\n\n  value'\n\n# end\nz: 1\n",
    "double-quoted": 'a: 1\nkey: "old"\nz: 1\n',
    "literal": "key: |  # why\n    old\n      deeper\n\n\n# end\nz: 1\n",
    "literal that keeps its breaks": "key: |+\n  old\n\n\nz: 1\n",
    "literal without its break": "key: |-\n  old\nz: 1\n",
    "literal with an indicator": "key: |4\n      old\n    value\nz: 1\n",
    "folded": "key: >\n  old\n  value\n\n\n\nz: 1\n",
    "last": "z: 1\nkey: old\n",
    "last without a final line break": "z: 1\nkey: old",
    "last as a block without a final line break": "z: 1\nkey: |\n  old",
    "empty": "key:\nz: 1\n",
    "empty with a comment": "key:   # why\nz: 1\n",
    "not there yet": "a: 1\nz: |\n  end\n",
    "not there and no final line break": "a: 1\nz: |\n  end",
    "not there, after a quoted end": "a: 1\nz: 'end'",
    "an indented mapping": "  key: old\n  z: 1\n",
    "an indented mapping without it": "  z: 1\n",
    "in braces": "{key: old, z: 1}\n",
    "json": '{\n  "key": "old",\n  "z": 1\n}\n',
    "json without it": '{\n  "z": 1\n}\n',
    "empty braces": "{}\n",
    "an empty file": "",
    "only a comment": "# nothing yet",
    "windows line breaks": "a: 1\r\nkey: old\r\n# end\r\nz: 1\r\n",
    "windows line breaks in a block": "key: |\r\n  old\r\n\r\nz: 1\r\n",
    "byte order mark": "\ufeffkey: old\nz: 1\n",
    "byte order mark without it": "\ufeffz: 1\n",
    "document marks": "%YAML 1.1\n---\nkey: old\nz: 1\n...\n",
    "document marks without it": "---\nz: 1\n...\n",
    "a list before": "key:\n- 1\n- 2\n# end\nz: 1\n",
    "a mapping before": "key:\n  a: 1  # one\n\n# end\nz: 1\n",
    "a comment that is indented": "key: 'old'\n  # indented\nz: 1\n",
    "an alias": "a: &x shared\nkey: *x\nz: 1\n",
    "merged in": "a: &x {key: old}\n<<: *x\nz: 1\n",
    "tagged": "key: !!str 12\nz: 1\n",
    "explicit key": "? key\n: old\n? z\n: 1\n",
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("new", NASTY.values(), ids=NASTY)
def test_nasty_text_survives_in_every_place(shape: str, new: str) -> None:
    data = load(shape) or {}
    after = replace_values(shape, {"key": new})
    assert same_value(load(after), {**data, "key": new})
    assert [line for line in comments(shape) if line not in comments(after)] == []
    assert after.startswith("\ufeff") == shape.startswith("\ufeff")
    if "\r\n" in shape:
        assert "\n" not in after.replace("\r\n", "")
    back = replace_values(after, {"key": "old"})
    assert same_value(load(back), {**data, "key": "old"})


def comments(text: str) -> list[str]:
    return [part for part in ("# why", "# end", "# indented", "# nothing yet") if part in text]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(
    "new",
    [
        pytest.param(3, id="an integer"),
        pytest.param(True, id="a boolean"),
        pytest.param(None, id="null"),
        pytest.param(1e-7, id="a small float"),
        pytest.param(1e22, id="a large float"),
        pytest.param(float("-inf"), id="minus infinity"),
        pytest.param([], id="an empty list"),
        pytest.param({}, id="an empty mapping"),
        pytest.param([1, "a: b", {"c": ["d\ne\n", None]}], id="a list"),
        pytest.param({"name": "x", "text": "one\n  two \n\n", "deep": {"e": [1]}}, id="a mapping"),
    ],
)
def test_values_of_every_kind_survive_in_every_place(shape: str, new: object) -> None:
    data = load(shape) or {}
    after = replace_values(shape, {"key": new})
    assert same_value(load(after), {**data, "key": new})
    assert [line for line in comments(shape) if line not in comments(after)] == []


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        pytest.param(
            "a: 50  # upper bound\nb: 1\n",
            {"a": 60},
            "a: 60  # upper bound\nb: 1\n",
            id="the comment behind a number stays",
        ),
        pytest.param("a: 'x'\n", {"a": "it's"}, "a: 'it''s'\n", id="single quotes stay"),
        pytest.param('a: "x"\n', {"a": "y"}, 'a: "y"\n', id="double quotes stay"),
        pytest.param("a: x\n", {"a": "yes"}, "a: 'yes'\n", id="text like a boolean is quoted"),
        pytest.param(
            "a: 'x'  # why\nb: 1\n",
            {"a": "one\ntwo\n"},
            "a: |  # why\n  one\n  two\nb: 1\n",
            id="the comment moves to the head of the block",
        ),
        pytest.param(
            "a: |  # why\n    one\n\n# b is next\nb: 1\n",
            {"a": "two\n"},
            "a: |  # why\n    two\n\n# b is next\nb: 1\n",
            id="a block keeps its indentation and what follows it",
        ),
        pytest.param(
            "a: >\n  one\n  two\n", {"a": "three\n"}, "a: |\n  three\n", id="folded turns literal"
        ),
        pytest.param(
            "a: |\n  one\nb: 1\n",
            {"a": " one\n two"},
            "a: |2-\n   one\n   two\nb: 1\n",
            id="leading spaces need an indicator",
        ),
        pytest.param(
            "a: 1\n",
            {"c": "one\ntwo", "b": [1, 2]},
            "a: 1\nc: |-\n  one\n  two\nb:\n  - 1\n  - 2\n",
            id="new keys go to the end in order",
        ),
        pytest.param("a: 1", {"b": 2}, "a: 1\nb: 2", id="a missing final line break stays missing"),
        pytest.param(
            "a: 1\r\nb: |\r\n  x\r\n",
            {"b": "x\ny\n"},
            "a: 1\r\nb: |\r\n  x\r\n  y\r\n",
            id="windows line breaks stay",
        ),
        pytest.param(
            "a:\n  # first\n  - {n: 1, m: 2}  # one\n  - {n: 2}\nb: 1\n",
            {"a": [{"n": 1, "m": 5}, {"n": 2}]},
            "a:\n  # first\n  - {n: 1, m: 5}  # one\n  - {n: 2}\nb: 1\n",
            id="a list of the same shape keeps its comments",
        ),
        pytest.param(
            '{"a":1,"b":"x"}',
            {"a": "é", "c": ["y", {"z": "1\n2"}]},
            '{"a":"é","b":"x", "c": ["y", {"z": "1\\n2"}]}',
            id="json stays json",
        ),
        pytest.param(
            "a: null  # none yet\nb: 1\n",
            {"a": {"x": 1, "y": "z"}},
            "a:  # none yet\n  x: 1\n  y: z\nb: 1\n",
            id="a mapping instead of nothing",
        ),
    ],
)
def test_the_text_is_exactly(before: str, changes: dict[str, Any], after: str) -> None:
    assert replace_values(before, changes) == after


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        pytest.param("a: &x 5\nb: *x\n", {"a": 6}, id="others use its anchor"),
        pytest.param("a: &x {n: 5}\nb: *x\n", {"a": {"n": 6}}, id="others use what holds it"),
        pytest.param("a: 1\n", {"a": object()}, id="nothing YAML can hold"),
        pytest.param("a: 1\n", {"b": (1, 2)}, id="a tuple, which would come back as a list"),
    ],
)
def test_a_change_that_would_harm_is_refused(text: str, changes: dict[str, Any]) -> None:
    with pytest.raises(WriteError, match=r"^\w cannot be changed.*\.$"):
        replace_values(text, changes)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"a: [1, 2\nb: 3\n", "line 2, column 2: expected ',' or ']'", id="a bracket"),
        pytest.param(b"a: 1\n b: 2\n", "line 2, column 3: mapping values", id="indentation"),
        pytest.param(b"- 1\n", "must hold a mapping at the top, but holds a list", id="a list"),
        pytest.param(b"hello\n", "mapping at the top, but holds a str", id="a text"),
        pytest.param(b"", "must hold a mapping at the top, but is empty", id="an empty file"),
        pytest.param(b"a: 1\nb: 2\na: 3\n", "line 3, column 1: the key 'a'", id="a key twice"),
        pytest.param(b"a:\n  b: 1\n  b: 2\n", "line 3, column 3: the key 'b'", id="twice inside"),
        pytest.param(b"1: x\n", "text as its top-level keys, but got 1", id="a number as key"),
        pytest.param(b"a: \xff\n", "must be UTF-8, but is not at byte 3", id="another encoding"),
        pytest.param(b"a: 1\nb: \x07\n", "line 2: the character '\\x07'", id="a control sign"),
        pytest.param(b"a: 1\n---\nb: 2\n", "line 2, column 1: but found another", id="two papers"),
        pytest.param(b"a: !thing 1\n", "line 1, column 4: could not determine", id="a strange tag"),
        pytest.param(b"a: *x\n", "line 1, column 4: found undefined alias", id="no anchor"),
        pytest.param(b"a: &x [*x]\n", "holds itself", id="a list in itself"),
        pytest.param(b"a: " + b"[" * 3000, "nested too deeply", id="a deep nest"),
        pytest.param(b"a: 2024-13-45\n", "a value that cannot be read: month", id="no such month"),
        pytest.param(b"a: !!bool x\n", "a value that cannot be read", id="no such boolean"),
    ],
)
def test_what_cannot_be_used_gets_one_line(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "agent.yaml"
    path.write_bytes(data)
    with pytest.raises(ProjectError) as caught:
        read_yaml(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert expected in message
    assert "\n" not in message


def test_a_missing_file_and_a_folder_get_one_line(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"none\.yaml does not exist\.$"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ProjectError, match=r"cannot be read: Is a directory\.$"):
        read_yaml(tmp_path)


def test_merged_keys_are_no_duplicates(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, y: 4}\n"
    path.write_text(text)
    assert read_yaml(path) == yaml.safe_load(text)


def test_threads_do_not_disturb_each_other() -> None:
    def change(i: int) -> str:
        return replace_values(SHAPES["literal"], {"key": f"text\n{i}\n"})

    with ThreadPoolExecutor(4) as pool:
        for i, text in enumerate(pool.map(change, range(40))):
            assert load(text)["key"] == f"text\n{i}\n"


@pytest.mark.parametrize("text", ["1e3", "0o17", "12e03", "yes", "null", "1.0", "1:30"])
def test_text_stays_text_for_yaml_1_2_readers_too(text: str) -> None:
    ruamel = pytest.importorskip("ruamel.yaml")
    after = replace_values("a: x  # why\n", {"a": text})
    assert ruamel.YAML(typ="safe", pure=True).load(after) == {"a": text}
    assert after.endswith("  # why\n")
