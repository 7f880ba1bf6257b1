"""What a branch that failed leaves behind."""

from typing import Any

import pytest
from langgraph.errors import NodeError

from tracetune.errors import NoModelError
from tracetune.graph.routes import config_failed
from tracetune.graph.state import ModelCall
from tracetune.nodes.calling.calls import CallError

CALL = ModelCall(
    branch="optimize_config desk",
    agent="desk",
    model="m",
    tokens_in=None,
    tokens_out=7,
    seconds=0.25,
    usd=None,
    attempt=1,
    error="it's cut off",
)


@pytest.mark.parametrize("kept", [lambda error: error, repr], ids=["at once", "after a restart"])
@pytest.mark.parametrize(
    ("error", "told", "calls"),
    [
        pytest.param(CallError("no answer", (CALL,), True, 0.5), "no answer", [CALL], id="called"),
        pytest.param(CallError("it's (spent)"), "it's (spent)", [], id="refused a call"),
        pytest.param(KeyError("x"), "tracetune itself failed (KeyError)", [], id="a defect"),
    ],
)
def test_what_failed_is_told_with_its_calls(
    kept: Any, error: Exception, told: str, calls: list[ModelCall]
) -> None:
    task: Any = {"agent": "desk"}
    command = config_failed(task, NodeError("optimize_config", kept(error)))
    assert command.goto == "configure_by_rules"
    written: Any = command.update
    [fallback] = written["fallbacks"]
    assert (fallback["error"], fallback["attempts"]) == (told, len(calls))
    assert written["calls"] == calls
    assert written["configs_left"] == ["desk"]


@pytest.mark.parametrize("kept", [lambda error: error, repr], ids=["at once", "after a restart"])
def test_without_a_model_nothing_failed(kept: Any) -> None:
    task: Any = {"agent": "desk"}
    command = config_failed(task, NodeError("optimize_config", kept(NoModelError("No key."))))
    assert command.update == {"configs_left": ["desk"]}
