"""What settings may hold."""

from typing import Any

import pytest
from pydantic import ValidationError

from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings
from tracetune.traces.model import ToolCall, Trace


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        pytest.param({"success_weight": 1.7e308}, "less than or equal to 1000000", id="huge"),
        pytest.param({"attempts_weight": -1e7}, "greater than or equal to -1000000", id="below"),
        pytest.param({"latency_weight": float("nan")}, "a finite number", id="no number"),
        pytest.param({"reward_cap": "inf"}, "a finite number", id="no cap"),
        pytest.param({"reward_cap": 1e7}, "less than or equal to 1000000", id="a huge cap"),
        pytest.param({"reward_cap": 0}, "greater than 0", id="a cap of zero"),
    ],
)
def test_a_weight_that_a_reward_cannot_bear_is_refused(setting: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Settings(**setting)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_weights_there_may_be_end_in_a_verdict(sign: int) -> None:
    most = sign * 1e6
    weights: dict[str, Any] = {
        "success_weight": most,
        "latency_weight": most,
        "attempts_weight": most,
    }
    runs = [
        Trace(
            f"t{i}",
            "desk",
            success=i < 12,
            turns=3 if i < 12 else 40,
            latency_s=1.0 + i,
            steps=(ToolCall("transfer", result="ok"),) * (1 if i < 12 else 12),
        ).to_dict()
        for i in range(18)
    ]
    agent = {
        "prompts": {"main": "You answer."},
        "config": {"max_steps": 40},
        "parameters": {"max_steps": {"min": 5, "step_limit": True}},
    }
    request = {"inline": {"desk": agent}, "traces": runs}
    report = build_graph().invoke(request, context=Settings(model="rules", **weights))
    [result] = report["results"]
    # Where longer runs are rewarded, no lower limit is proposed.
    limits = {"max_steps"} if sign < 0 else set()
    assert {change["name"] for change in result["changes"]} == {"main", *limits}
    assert abs(result["metrics"]["reward_mean"]) <= 3e6
