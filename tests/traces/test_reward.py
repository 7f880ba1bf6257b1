from typing import Any

import pytest

from tracetune.errors import InputError
from tracetune.traces.reward import RewardSpec


@pytest.mark.parametrize(
    ("values", "told"),
    [
        pytest.param({"cap": 0}, "cap of the reward must be a finite number above 0", id="cap 0"),
        pytest.param({"cap": -1}, "above 0, but is -1", id="a negative cap"),
        pytest.param({"cap": float("nan")}, "above 0, but is nan", id="a cap that is no number"),
        pytest.param({"cap": float("inf")}, "above 0, but is inf", id="no cap at all"),
        pytest.param({"cap": "3"}, "above 0, but is '3'", id="a cap in text"),
        pytest.param(
            {"success_weight": None}, "success_weight of the reward must be", id="no weight"
        ),
        pytest.param({"latency_weight": float("nan")}, "number, but is nan", id="a NaN weight"),
        pytest.param({"attempts_weight": True}, "number, but is True", id="a truth as weight"),
        pytest.param(
            {"success_weight": -1.7e308}, "within ±1,000,000, but is -1.7e+308", id="a huge weight"
        ),
        pytest.param({"cap": 1e7}, "within ±1,000,000, but is 10000000.0", id="a huge cap"),
    ],
)
def test_what_is_no_weight_and_no_cap_is_refused_in_one_line(
    values: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError) as refused:
        RewardSpec(**values)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
