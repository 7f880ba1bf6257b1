import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tracetune.errors import TraceError
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.mining.kept_counts import counts_of
from tracetune.traces.mining.pattern_counts import PatternCounts
from tracetune.traces.mining.pattern_tables import count_few, count_patterns
from tracetune.traces.mining.patterns import Pattern, mine_patterns
from tracetune.traces.model import Message, Step, Thought, ToolCall, Trace

FIRST, SECOND = "retail-gpt-4.1-sft", "airline-gpt-oss-120b-langchain"


@pytest.fixture
def source(shared_data: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "traces"
    folder.mkdir()
    put(shared_data, folder, FIRST)
    return folder


def put(shared_data: Path, folder: Path, name: str, as_name: str | None = None) -> None:
    whole = shared_data / "tau2-bench" / f"{name}.json.gz"
    shutil.copy(whole, folder / f"{as_name or name}.json.gz")


def mined(source: Path, cache: Path | None = None, agent: str | None = None) -> list[Pattern]:
    with TraceTables.read(source, cache=cache, processes=1) as tables:
        return mine_patterns(tables, agent=agent)


def kept_in(cache: Path) -> list[Path]:
    return sorted(cache.glob("traces-*/part-*/patterns-*"))


def test_kept_counts_give_the_same_patterns(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = mined(source, cache)
    assert len(kept_in(cache)) == 1
    assert mined(source, cache) == first == mined(source)
    assert len(first) > 20
    assert mined(source, cache, "airline") == mined(source, agent="airline")


def test_what_is_kept_is_read_and_nothing_counted(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    mined(source, cache)
    [path] = kept_in(cache)
    path.write_bytes(PatternCounts.from_bytes(path.read_bytes()).only(agent="nobody").to_bytes())
    assert mined(source, cache) == []


def test_of_an_added_file_alone_the_runs_are_counted(
    shared_data: Path, source: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    mined(source, cache)
    [path] = kept_in(cache)
    before = path.stat().st_mtime_ns
    put(shared_data, source, SECOND)
    patterns = mined(source, cache)
    assert path.stat().st_mtime_ns == before
    assert len(kept_in(cache)) == 2
    assert patterns == mined(source)
    assert {pattern.agent for pattern in patterns} == {"airline", "retail"}


def test_runs_that_two_parts_have_are_counted_once(
    shared_data: Path, source: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    whole = mined(source, cache)
    put(shared_data, source, FIRST, "z, the same again")
    assert mined(source, cache) == whole


@pytest.mark.parametrize(
    ("content", "after"),
    [
        pytest.param(b"half of", "counted", id="what is broken is counted again"),
        pytest.param(b"", "empty", id="what is too much to keep is counted each time"),
    ],
)
def test_what_is_kept_may_be_of_no_use(
    content: bytes, after: str, source: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    whole = mined(source, cache)
    [path] = kept_in(cache)
    path.write_bytes(content)
    assert mined(source, cache) == whole
    assert ("counted" if path.stat().st_size else "empty") == after


def test_words_of_rows_in_a_cache_are_those_of_traces(tmp_path: Path) -> None:
    steps: tuple[Step, ...] = (
        Message("user", "Please look"),
        Thought("I shall LOOK, then leap"),
        ToolCall("look", {"at": ["there", 1, None, 0.5]}, result="seen"),
        ToolCall("leap", error="It is too far"),
        ToolCall("leap", by="user"),
        Message("assistant", "I did not leap"),
        Message("assistant", ""),
    )
    traces = [
        Trace(str(n), "a", success=n % 3 > 0, steps=steps[: 1 + n % 8], task=f"task {n % 4}")
        for n in range(40)
    ]
    traces.append(replace(traces[0], id="broken", failure_kind="infrastructure"))
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(trace.to_dict()) + "\n" for trace in traces))
    with TraceTables.read(path, cache=tmp_path / "cache", processes=1) as tables:
        kept = counts_of(tables)
    with TraceTables(traces) as tables:
        assert tables.clean_lines([("a", "1")]) is None
        assert count_patterns(tables) == kept
    assert "shall look then leap" in {said.text.split("\n")[0] for said in kept.said["a"]}


def test_too_many_cells_are_not_read(source: Path) -> None:
    with TraceTables.read(source, processes=1) as tables:
        assert count_few(tables, 10) is None
        assert count_few(tables, 10**6) == count_patterns(tables)


def test_without_a_cache_nothing_is_kept(source: Path) -> None:
    with TraceTables.read(source, processes=1) as tables:
        assert tables.shelved() == []
        assert counts_of(tables, least=3) == count_patterns(tables, least=3)


@pytest.mark.parametrize(
    ("agent", "least"),
    [
        pytest.param("retail", 1, id="of one agent"),
        pytest.param(None, 3, id="of features that some have"),
        pytest.param("airline", 2, id="of both"),
        pytest.param("nobody", 1, id="of an agent without runs"),
    ],
)
def test_a_part_of_the_counts_is_what_would_have_been_counted(
    agent: str | None, least: int, shared_data: Path, source: Path
) -> None:
    put(shared_data, source, SECOND)
    with TraceTables.read(source, processes=1) as tables:
        counted = count_patterns(tables, agent=agent, least=least)
        assert count_patterns(tables).only(agent=agent, least=least) == counted


def test_bytes_are_read_back_to_equal_counts(source: Path) -> None:
    with TraceTables.read(source, processes=1) as tables:
        counts = count_patterns(tables)
    assert PatternCounts.from_bytes(counts.to_bytes()) == counts
    with TraceTables([]) as tables:
        nothing = count_patterns(tables)
    assert PatternCounts.from_bytes(nothing.to_bytes()) == nothing


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"text"])
def test_other_bytes_are_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(TraceError, match="no counts of patterns of layout 4") as caught:
        PatternCounts.from_bytes(content)
    assert "\n" not in str(caught.value)
