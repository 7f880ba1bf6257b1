"""What the report says of one agent."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from tracetune.graph.state import CycleState, PromptTask
from tracetune.nodes.report import agent_result


@pytest.mark.parametrize(
    ("drafts", "expected"),
    [
        pytest.param({}, "3 of 9", id="no update was asked for: what the choice was shown"),
        pytest.param({"main": ""}, "3 of 9", id="an update by rules: the same"),
        pytest.param({"main": "5 of 9"}, "5 of 9", id="what the update was shown"),
        pytest.param({"main": "5 of 9", "tone": "5 of 9"}, "5 of 9", id="two, the same"),
        pytest.param(
            {"tone": "2 of 9", "main": "5 of 9"}, "main: 5 of 9; tone: 2 of 9", id="two, each"
        ),
    ],
)
def test_coverage_is_what_the_model_was_really_shown(
    drafts: dict[str, str], expected: str, update_task: Callable[..., PromptTask]
) -> None:
    state: dict[str, Any] = {
        "subjects": {"desk": update_task("Be kind.")["subject"]},
        "shown": {"desk": "3 of 9"},
        "prompt_drafts": [
            {"agent": "desk", "prompt": prompt, "coverage": told} for prompt, told in drafts.items()
        ],
    }
    assert agent_result("desk", cast(CycleState, state)).coverage == expected
