"""Fixtures of the tests of nodes."""

from collections.abc import Callable
from typing import Any

import pytest

from tracetune.graph.context import Settings
from tracetune.graph.state import Choice, Measures, PromptTask, Subject


@pytest.fixture
def update_task() -> Callable[..., PromptTask]:
    """Make what a `generate_update` branch is sent: `update_task("Be kind.", style="rewrite")`."""

    def make(
        text: str,
        *,
        others: dict[str, str] | None = None,
        spec: dict[str, Any] | None = None,
        tools: tuple[str, ...] = ("get_order",),
        patterns: tuple[dict[str, Any], ...] = (),
        runs: tuple[str, ...] = (),
        feedback: tuple[str, ...] = (),
        first_size: int | None = None,
        **settings: Any,
    ) -> PromptTask:
        subject = Subject(
            agent="desk",
            prompts={"main": text, **(others or {})},
            config={},
            prompt_specs={"main": spec or {}},
            parameters={},
            guidelines=[],
            first_sizes={} if first_size is None else {"main": first_size},
            refs={},
            base=None,
            in_files=False,
            source_hash="",
            tools=list(tools),
            traces=30,
            set_aside=0,
            digest="",
            learner="scripted",
            skip="",
            detail="",
        )
        measures = Measures(
            metrics={"n": 30, "tools": {}},
            patterns=list(patterns),
            blames=[],
            proposals=[],
            runs=list(runs),
            feedback=list(feedback),
        )
        return PromptTask(
            choice=Choice(agent="desk", prompt="main", why="Its runs fail."),
            settings=Settings(**settings).model_dump(),
            cycle="",
            calls=[],
            subject=subject,
            measures=measures,
        )

    return make
