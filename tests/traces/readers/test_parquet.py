"""Rows of Parquet files as JSON."""

from pathlib import Path

import duckdb
import pytest

from tracetune.errors import TraceError
from tracetune.traces.readers.parquet import parquet_records


def test_values_become_json(tmp_path: Path):
    path = tmp_path / "x.parquet"
    duckdb.sql(
        f"""
        COPY (
            SELECT '{{"a": [1]}}' AS object, '[oops' AS text, 'NaN'::DOUBLE AS nan,
                1.50::DECIMAL(9, 2) AS decimal, TIMESTAMP '2026-01-02 03:04:05.000006' AS at,
                TIMESTAMPTZ '2026-01-02 03:04:05+02' AS "the ""hour",
                uuid '00000000-0000-0000-0000-000000000007' AS id, ['[1]', NULL] AS list,
                {{'in': 'NaN'::DOUBLE}} AS struct, MAP {{'k': 1}} AS map, NULL::VARCHAR AS missing
            FROM range(1500)
        ) TO '{path}' (FORMAT parquet)
        """
    )

    rows = list(parquet_records(path))

    assert [position for position, _ in rows] == list(range(1, 1501))
    assert rows[-1][1] == {
        "object": {"a": [1]},
        "text": "[oops",
        "nan": None,
        "decimal": 1.5,
        "at": "2026-01-02T03:04:05.000006",
        'the "hour': "2026-01-02T01:04:05",
        "id": "00000000-0000-0000-0000-000000000007",
        "list": [[1], None],
        "struct": {"in": None},
        "map": {"k": 1},
        "missing": None,
    }


def test_a_file_that_is_none(tmp_path: Path):
    path = tmp_path / "x.parquet"
    path.write_text("PAR1 not really")

    with pytest.raises(TraceError, match=r"x\.parquet: cannot be read as Parquet: "):
        list(parquet_records(path))
