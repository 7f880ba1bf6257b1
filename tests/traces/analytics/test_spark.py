"""Spark finds what this process finds: on real runs, made-up ones, broken and double ones."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import synthetic

from tracetune.errors import TraceError
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.metrics import compute_metrics
from tracetune.traces.mining.patterns import mine_patterns
from tracetune.traces.readers.base import BadRecord
from tracetune.traces.redaction import Redactor

pyspark_sql: Any = pytest.importorskip("pyspark.sql", reason="the extra spark is not installed")
ODD_NAME = "it's \\n odd"


def no_java() -> bool:
    """Whether Java 17 or later is missing."""
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else shutil.which("java")
    if java is None:
        return True
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = said.partition('"')[2].partition('"')[0].split(".")[0]
    return not (version.isdecimal() and int(version) >= 17)


pytestmark = pytest.mark.skipif(no_java(), reason="no Java 17 or later: Spark cannot start")


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    # To plan anew and to compile pays for large data: here it takes three times as long.
    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    session = pyspark_sql.SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
    yield session
    session.stop()


@pytest.fixture(scope="module")
def sources(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Real runs, 2,000 made-up ones in two files, 100 of them in both, and a file with a fault.

    Those of the last take as long as can be told: 64 bits do not hold their sums.
    """
    folder = tmp_path_factory.mktemp("sources")
    made = [folder / "one.jsonl", folder / "two.jsonl.gz", folder / "odd.jsonl"]
    synthetic.write(made[0], 1100)
    synthetic.write(made[1], 1000, first=1000)
    token = "ghp_" + "a1B2" * 9
    odd = {"id": "7", "agent": "odd", "task": f"use {token}", "success": True}
    rows = [odd | {"labels": {ODD_NAME: "x"}}, odd | {"id": "8"}]
    most = {"latency_s": 1e9, "cost_usd": 1e9, "tokens_in": 2**63 - 1}
    rows += [odd | most | {"id": f"long {number}"} for number in range(12)]
    lines = [*map(json.dumps, rows), "no JSON"]
    made[2].write_text("\n".join(lines), encoding="utf-8")
    return [*sorted((shared_data / "tau2-bench").glob("airline*")), *made]


class Read:
    """A reading, with what was said of it."""

    def __init__(self) -> None:
        self.bad: list[BadRecord] = []
        self.redactor = Redactor()

    def how(self) -> dict[str, Any]:
        return {"on_bad": self.bad.append, "redactor": self.redactor}


@pytest.fixture(scope="module")
def readings(
    spark: Any, sources: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Any]]:
    """The same sources read here and by Spark, with what was said of them."""
    from tracetune.traces.analytics.spark import SparkTables

    here, there = Read(), Read()
    cache, shared = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("shared [folder]")
    with (
        TraceTables.read(sources, cache=cache, **here.how()) as tables,
        SparkTables.of(spark, sources, folder=shared, **there.how()) as spark_tables,
    ):
        yield (tables, here), (spark_tables, there)


def test_spark_reads_the_same_runs(readings: Any) -> None:
    (tables, here), (spark_tables, there) = readings
    assert len(tables) > 2000
    assert spark_tables.agents() == tables.agents()
    assert spark_tables.digest == tables.digest
    assert there.bad == here.bad
    assert len(here.bad) == 101  # 100 runs that were read before, and what is no JSON
    assert there.redactor.counts == here.redactor.counts
    assert there.redactor.counts
    assert spark_tables.kept("odd") == tables.kept("odd")


@pytest.mark.parametrize(
    "by",
    [
        pytest.param(("success", "ended_by"), id="by outcome and end, which may be unknown"),
        pytest.param(("agent", ODD_NAME), id="by a label with a quote and a backslash"),
    ],
)
def test_spark_counts_the_same(readings: Any, by: tuple[str, ...]) -> None:
    (tables, _), (spark_tables, _) = readings
    found = spark_tables.count(by)
    assert found == tables.count(by)
    assert len(found.groups) > 2


def test_spark_gives_the_same_metrics(readings: Any) -> None:
    (tables, _), (spark_tables, _) = readings
    # Runs that are in two files forbid to merge what was counted file by file: Spark counts.
    metrics = compute_metrics(spark_tables)
    assert metrics == compute_metrics(tables)
    assert len(metrics) > 2


def test_spark_finds_the_same_patterns(readings: Any) -> None:
    (tables, _), (spark_tables, _) = readings
    patterns = mine_patterns(spark_tables)
    assert patterns == mine_patterns(tables)
    assert {"loop", "term", "tool_error", "tool_triple"} <= {p.kind for p in patterns}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        pytest.param("a file of no known format", "no known format", id="a worker's error"),
        pytest.param(None, "expected files", id="data in memory"),
    ],
)
def test_what_spark_cannot_read_is_told(
    spark: Any, tmp_path: Path, source: str | None, reason: str
) -> None:
    from tracetune.traces.analytics.spark import SparkTables

    given: Any = [{"id": "1", "agent": "a"}]
    if source:
        given = tmp_path / "odd.json"
        given.write_text(json.dumps({"what": source}), encoding="utf-8")
    with pytest.raises(TraceError, match=reason):
        SparkTables.of(spark, given, folder=tmp_path / "shared")
