import gzip
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tracetune.errors import TraceError
from tracetune.traces.analytics import making
from tracetune.traces.analytics.sample import COMMENTED, KEPT, KEPT_BYTES, KeptRun, Sample, mark_of
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.model import Trace


def sample_of(rows: Iterable[tuple[Any, ...]]) -> Sample:
    sample = Sample()
    for line, id, agent, success, commented in rows:
        sample.add(line, id, agent, success, commented=commented)
    return sample


def offered(count: int, longest: int, chance: random.Random) -> list[tuple[Any, ...]]:
    return [
        (b"x" * chance.randrange(1, longest), f"run {n}", "clerk", n % 2 == 0, n % 7 == 0)
        for n in range(count)
    ]


@pytest.mark.parametrize(
    "longest",
    [pytest.param(90_000, id="bounded by bytes"), pytest.param(9, id="bounded by number")],
)
def test_a_sample_does_not_depend_on_order_and_merges(longest: int) -> None:
    chance = random.Random(4)
    rows = offered(9000, longest, chance)
    whole = sorted(sample_of(rows).runs())
    for side in (False, True):
        kept = [run for run in whole if run.success is side]
        assert sum(len(run.line) for run in kept if run.sampled) <= KEPT_BYTES
        assert sum(run.sampled for run in kept) <= KEPT
        assert sum(len(run.line) for run in kept if run.commented) <= KEPT_BYTES // 4
        assert sum(run.commented for run in kept) <= COMMENTED
    assert whole == sorted(sample_of(chance.sample(rows, k=len(rows))).runs())
    merged = Sample()
    for start in (6000, 0, 3000):
        merged.merge(sample_of(rows[start : start + 3000]))
    assert whole == sorted(merged.runs())


def test_what_a_part_let_go_is_not_made_up_for_by_another() -> None:
    """A part without room for a long run has let go of all that come after it, and so has all."""
    names = sorted((f"run {n}" for n in range(90)), key=lambda id: mark_of("clerk", id))
    huge = KEPT_BYTES // 9
    sizes = [huge] * 12 + [1] * 78
    rows = [(b"x" * size, id, "clerk", True, False) for size, id in zip(sizes, names, strict=True)]
    whole = sorted(sample_of(rows).runs())
    assert [len(run.line) for run in whole] == [huge] * 9
    late, early = sample_of(rows[20:]), sample_of(rows[:20])
    late.merge(early)
    assert sorted(late.runs()) == whole


def test_a_run_too_long_to_keep_takes_no_place() -> None:
    long = (b"x" * (KEPT_BYTES // 8 + 1), "long", "clerk", True, True)
    kept = list(sample_of([long, (b"x", "short", "clerk", True, False)]).runs())
    assert [run.id for run in kept] == ["short"]


TOTAL, SAID = 10_000, 30


def rows(start: int = 0, stop: int = TOTAL) -> list[dict[str, Any]]:
    """Runs, every 333rd of which someone commented on."""
    every = TOTAL // SAID
    found: list[dict[str, Any]] = []
    for n in range(start, stop):
        row: dict[str, Any] = {"id": f"run-{n}", "agent": "clerk", "success": n % 2 == 0}
        if n % every == 0 and n // every < SAID:
            row["feedback"] = f"that was {n}"
        found.append(row)
    return found


def written(path: Path, some: list[dict[str, Any]], *, spaced: bool = False) -> Path:
    lines = "".join(json.dumps(row, indent=None) + "\n" * (1 + spaced) for row in some)
    data = lines.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def expected() -> tuple[list[str], list[str]]:
    """Ids of the runs that a sample must hold: of all, and of those with feedback."""
    by_mark = sorted(rows(), key=lambda row: mark_of(row["agent"], row["id"]))
    sides = ([row["id"] for row in by_mark if row["success"] is side] for side in (False, True))
    kept = [id for ids in sides for id in ids[:KEPT]]
    return sorted(kept), sorted(row["id"] for row in by_mark if "feedback" in row)


def ids(traces: list[Trace]) -> list[str]:
    return [trace.id for trace in traces]


@pytest.mark.parametrize(
    "way",
    [
        pytest.param("plain", id="plain lines, which DuckDB reads"),
        pytest.param("spaced", id="plain lines with blank ones between"),
        pytest.param("gzip", id="packed lines, which DuckDB reads"),
        pytest.param("memory", id="records in memory"),
        pytest.param("cache", id="from a cache"),
        pytest.param("parts", id="files that are parts of their own"),
    ],
)
def test_runs_with_feedback_are_kept_besides(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: Any = tmp_path / "runs.jsonl"
    cache = None
    if way == "memory":
        source = rows()
    elif way == "gzip":
        source = written(tmp_path / "runs.jsonl.gz", rows())
    elif way == "parts":
        monkeypatch.setattr("tracetune.traces.analytics.shelf._ALONE", 1)
        source = tmp_path / "runs"
        source.mkdir()
        for start in range(0, TOTAL, 2500):
            written(source / f"{start}.jsonl", rows(start, start + 2500))
    else:
        written(source, rows(), spaced=way == "spaced")
    if way == "cache":
        cache = tmp_path / "cache"
        TraceTables.read(source, cache=cache).close()
    kept, commented = expected()
    with TraceTables.read(source, cache=cache) as tables:
        assert ids(tables.kept("clerk")) == kept
        found = tables.commented("clerk")
        assert ids(found) == commented
        assert len(found) == SAID > len(set(commented) & set(kept))
        assert all(trace.feedback == f"that was {trace.id[4:]}" for trace in found)
        # Words are looked at in the sample of all runs: those with feedback are no part of it.
        beside = sorted(set(commented) - set(kept))
        if way != "parts":  # each of which has a sample of its own
            assert tables.traces("clerk", beside) == []
        assert tables.commented("nobody") == []


@pytest.mark.parametrize(
    ("feedback", "count"),
    [
        pytest.param("good", 1, id="text"),
        pytest.param({"helpful": 1}, 1, id="grades"),
        pytest.param("{}", 1, id="text that looks like no grades"),
        pytest.param("", 0, id="an empty text"),
        pytest.param({}, 0, id="no grades"),
        pytest.param(None, 0, id="null"),
    ],
)
def test_what_counts_as_feedback_is_the_same_both_ways(
    feedback: Any, count: int, tmp_path: Path
) -> None:
    row = {"id": "1", "agent": "clerk", "feedback": feedback}
    for source in ([row], written(tmp_path / "runs.jsonl", [row])):
        with TraceTables.read(source) as tables:
            assert len(tables.commented("clerk")) == count
            assert len(tables.kept("clerk")) == 1


def test_a_file_that_changes_while_it_is_read_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines then stand elsewhere than they did when they were checked."""
    path = written(tmp_path / "runs.jsonl", rows(0, 5000))
    lowest = making._lowest
    later = rows(5000, TOTAL)

    def changing(*given: Any) -> list[Any]:
        written(path, later)
        return lowest(*given)

    monkeypatch.setattr(making, "_lowest", changing)
    with TraceTables.read(path) as tables:
        assert len(tables) == len(later)
        assert {trace.id for trace in tables.kept("clerk")} <= {row["id"] for row in later}


def test_a_file_that_goes_while_it_is_read_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "runs.jsonl", rows(0, 50))
    lowest = making._lowest

    def going(*given: Any) -> list[Any]:
        path.unlink()
        return lowest(*given)

    monkeypatch.setattr(making, "_lowest", going)
    with pytest.raises(TraceError, match=r"runs\.jsonl"):
        TraceTables.read(path)


def test_lines_beyond_what_is_planned_for_are_read_all_the_same(tmp_path: Path) -> None:
    long = {"kind": "thought", "text": "x" * 3_000_000}
    some = [row | {"steps": [long]} if n == 7 else row for n, row in enumerate(rows(0, 20))]
    with TraceTables.read(written(tmp_path / "runs.jsonl", some)) as tables:
        assert len(tables) == 20
        [kept] = tables.traces("clerk", ["run-7"])
        assert len(kept.steps[0].text) == 3_000_000  # type: ignore[union-attr]


def test_a_kept_run_says_what_it_is_kept_for() -> None:
    [run] = sample_of([(b" {}\n", "1", "clerk", None, True)]).runs()
    assert run == KeptRun("clerk", None, mark_of("clerk", "1"), "1", b"{}", True, True)
