"""What a trace makes of the values it is given."""

import json
import time
import types
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from tracetune.nodes.blaming.ranking import rank_prompts
from tracetune.traces.metrics import compute_metrics
from tracetune.traces.mining.patterns import mine_patterns
from tracetune.traces.model import ToolCall, Trace

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine five hours behind UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("field", "value", "meant"),
    [
        pytest.param("score", np.float64(0.5), 0.5, id="a mean"),
        pytest.param("score", np.float32(0.5), 0.5, id="half as many bits"),
        pytest.param("score", np.array(0.5), 0.5, id="an array of no dimension"),
        pytest.param("score", Decimal("0.5"), 0.5, id="a decimal of a database"),
        pytest.param("latency_s", np.float64(2), 2.0, id="a latency"),
        pytest.param("cost_usd", np.float64(0.25), 0.25, id="a cost"),
        pytest.param("success", np.bool_(True), True, id="a comparison"),
        pytest.param("attempts", np.int64(3), 3, id="a count"),
        pytest.param("tokens_in", np.uint8(3), 3, id="a small count"),
    ],
)
def test_a_number_of_numpy_is_as_good_as_pythons_own(field: str, value: Any, meant: Any) -> None:
    values: dict[str, Any] = {"success": True, field: value}
    traces = [Trace(id=f"{n}", agent="a", **values) for n in range(3)]

    row = traces[0].to_dict()

    assert (row[field], type(row[field])) == (meant, type(meant))
    assert Trace.from_dict(json.loads(json.dumps(row))) == traces[0]
    assert [m.n for m in compute_metrics(traces)] == [3]
    assert mine_patterns(traces) == []
    assert rank_prompts(traces, ["a"])[0].score == 0


def test_what_is_empty_or_unknown_is_not_written() -> None:
    bare = {"id": "1", "agent": "a", "failure_kind": "unknown"}

    assert Trace("1", "a", feedback=types.MappingProxyType({})).to_dict() == bare
    assert Trace("1", "a", score=0, feedback="").to_dict() == bare | {"score": 0, "feedback": ""}


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(NOON.replace(tzinfo=None), id="naive"),
        pytest.param(NOON, id="in UTC"),
        pytest.param(NOON.astimezone(timezone(timedelta(hours=5))), id="in another zone"),
    ],
)
def test_a_time_without_a_zone_is_in_utc_wherever_the_machine_is(moment: datetime) -> None:
    steps = (ToolCall("t", started_at=moment),)
    trace = Trace(id="1", agent="a", started_at=moment, steps=steps)

    row = trace.to_dict()

    assert row["started_at"] == row["steps"][0]["started_at"] == "2026-01-01T12:00:00+00:00"
    assert Trace.from_dict(row) == trace
