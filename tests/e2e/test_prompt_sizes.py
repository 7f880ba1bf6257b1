"""What a model is sent stays under its setting, whatever there is to say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings
from tracetune.graph.schemas import CycleReport
from tracetune.nodes.evidence.shortening import tokens_of
from tracetune.traces.model import Message, Thought, ToolCall, Trace

CHOOSE = {"updates": [{"agent": "desk", "prompt": "main", "why": "It loops."}]}
PROJECT = """\
project: desks
agents:
  desk:
    prompts_file: prompts.yaml
    config_file: config.yaml
    traces: [runs.jsonl]
"""


def trace(number: int) -> Trace:
    """A run of a few kinds, of one of 50 tasks; every third comes with feedback."""
    kind, task = number % 5, number // 2 % 50
    steps = [
        Message("user", f"Task {task}: please change order #{number} now. " * 6),
        Thought("I look at what is there first. " * 10),
        ToolCall("look", {"order": task}, result="found: " + "item " * 60),
        *[ToolCall("look", {"order": -1}, result="nothing")] * (4 if kind == 1 else 0),
        ToolCall("pay", {"sum": number}, error=f"Card {number} refused" if kind == 3 else None),
        Message("assistant", f"Order {number} is done. " * 12),
    ]
    return Trace(
        f"t{number:05}",
        "desk",
        task=f"task {task}",
        success=kind not in (1, 3),
        latency_s=2.0 + kind,
        turns=len(steps),
        feedback=f"Case {number} was too slow, and nobody said why. " * 5
        if number % 3 == 0
        else None,
        steps=tuple(steps),
    )


def shop(folder: Path, count: int) -> Path:
    """A project with so many runs."""
    folder.mkdir()
    lines = (orjson.dumps(trace(n).to_dict()) for n in range(count))
    (folder / "runs.jsonl").write_bytes(b"\n".join(lines))
    (folder / "prompts.yaml").write_text("main: |\n  You serve customers of a shop.\n")
    (folder / "config.yaml").write_text("retries: 3\n")
    (folder / "tracetune.yaml").write_text(PROJECT)
    return folder


async def test_sizes_are_flat_from_ten_traces_to_ten_thousand(
    tmp_path: Path, scripted: Callable[..., Any]
) -> None:
    sent: dict[int, list[int]] = {}
    for count in (10, 100, 1_000, 10_000):
        model = scripted(Classification=[CHOOSE], Rewrite=[{}], ConfigChanges=[{"changes": []}])
        graph = build_graph(project=shop(tmp_path / str(count), count), model=model)
        report = CycleReport.model_validate(await graph.ainvoke({}))
        # Branches call side by side, in any order.
        sent[count] = sorted(tokens_of(prompt) for prompt in model.seen)
        assert report.fallbacks == []
        [result] = report.results
        assert f" of {count * 2 // 5:,} failures" in result.coverage
        assert " clusters" in result.coverage
    assert all(len(calls) == 3 for calls in sent.values())
    assert max(max(calls) for calls in sent.values()) <= 8_000
    for hundred, most in zip(sent[100], sent[10_000], strict=True):
        assert most <= 1.1 * hundred + 50


@pytest.mark.parametrize(
    ("prompts", "left_out"),
    [
        pytest.param(30, False, id="thirty prompts are all shown"),
        pytest.param(400, True, id="of four hundred those that are blamed most"),
    ],
)
async def test_many_long_prompts_share_one_call(
    prompts: int, left_out: bool, scripted: Callable[..., Any]
) -> None:
    model = scripted(Classification=[{"updates": []}], ConfigChanges=[{"changes": []}])
    texts = {f"part_{n}": f"Part {n} of <all>. " * 300 for n in range(prompts)}
    whens = {name: {"when_to_update": "When it is wrong. " * 40} for name in texts}
    request = {
        "project": "desks",
        "inline": {"desk": {"prompts": texts, "prompt_specs": whens, "config": {"tries": 2}}},
        "traces": [trace(n).to_dict() for n in range(60)],
    }
    got = CycleReport.model_validate(await build_graph(model=model).ainvoke(request))
    asked = model.seen[0]
    assert tokens_of(asked) <= 8_000
    assert got.fallbacks == []
    shown = [name for name in texts if f'name="{name}"' in asked]
    assert (len(shown) < prompts) is left_out
    assert any("were not shown to the model" in note for note in got.notes) is left_out
    assert "<run " in asked


async def test_many_agents_share_one_call(scripted: Callable[..., Any]) -> None:
    names = [f"desk{n}" for n in range(12)]
    model = scripted(Classification=[{"updates": []}])
    rows = [trace(n).to_dict() | {"agent": name} for name in names for n in range(20)]
    request = {
        "project": "desks",
        "inline": {name: {"prompts": {"main": "You answer. " * 200}} for name in names},
        "traces": rows,
    }
    await build_graph(model=model).ainvoke(request, context=Settings(max_prompt_tokens=6000))
    assert tokens_of(model.seen[0]) <= 6_000
    assert all(f'<agent name="{name}">' in model.seen[0] for name in names)
