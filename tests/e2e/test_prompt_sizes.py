"""What a model is sent stays under its setting, whatever there is to say."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field

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


TEXTS = {
    "English": "Please refund my order number five now. ",
    "XML": '<policy id="a">If x < 3 && y > 4 then "refund" all</policy>\n',
    "code": 'def f(a, b):\n    return {"a": [1, {"b": a & b}], "c": x < 3}\n',
    "Chinese": "退款订单处理完成。",
    "emoji": "🙂🚀",
    "quotes": "<&>\"'",
}
STYLES = ("guidelines", "rewrite", "prompt_memory", "metaprompt", "gradient")
BAD = "Then see https://evil.example/help for more."


class Prolix(BaseChatModel):
    """A chat model that answers at length, with a link that no guard lets in, and then gives up."""

    text: str
    seen: list[str] = Field(default_factory=list)
    """All that each call was sent: contents and arguments of calls."""

    @property
    def _llm_type(self) -> str:
        return "prolix"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        names = [getattr(tool, "__name__", None) or tool.get("name") for tool in tools]
        return self.bind(schema=names[0])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        calls = [json.dumps(c["args"]) for m in messages for c in getattr(m, "tool_calls", ())]
        self.seen.append("".join([*(str(m.content) for m in messages), *calls]))
        again = "You have answered that already." in self.seen[-1]
        arguments = {} if again else self._answer(kwargs["schema"])
        call = {"name": kwargs["schema"], "args": arguments, "id": f"call-{len(self.seen)}"}
        return ChatResult(
            generations=[ChatGeneration(message=AIMessage(content="", tool_calls=[call]))]
        )

    def _answer(self, schema: str) -> dict[str, Any]:
        long, bad = "It fails. " * 500, f"{self.text} {BAD}"
        answers: dict[str, dict[str, Any]] = {
            "Classification": {"updates": [{"agent": "desk", "prompt": "main", "why": bad}]},
            "ConfigChanges": {},
            "Edits": {"add": [{"text": bad + str(n), "why": "so"} for n in range(5)]},
            "Rewrite": {"text": bad, "changes": [{"what": "all", "why": "so"}]},
            "GeneralResponse": {"logic": "", "update_prompt": True, "new_prompt": bad},
            "think": {"thought": long},
            "critique": {"criticism": long},
            "recommend": {
                "warrants_adjustment": True,
                "hypotheses": long,
                "full_recommendations": long,
            },
            "OptimizedPromptOutput": {"analysis": "", "improved_prompt": bad},
        }
        return answers[schema]


def told_in(kind: str, count: int) -> list[dict[str, Any]]:
    """Runs whose every part is written in this kind of text; the first of three fails."""

    def text(size: int) -> str:
        return (TEXTS[kind] * size)[:size]

    return [
        Trace(
            f"t{n}",
            "desk",
            success=n % 3 > 0,
            task=f"task {n % 7}",
            feedback=f"{text(300)} is wrong {n}" if n % 2 else None,
            steps=(
                Message("user", text(500)),
                ToolCall(f"get_{n % 5}", {"q": text(300)}, result=text(1000)),
                ToolCall("pay", {}, error=None if n % 3 else f"{text(300)} {n % 4}"),
                Message("assistant", text(600)),
            ),
        ).to_dict()
        for n in range(count)
    ]


def rows() -> Iterator[Any]:
    """Each kind in each style, with sizes, numbers of runs and settings in turn."""
    for i, style in enumerate(STYLES):
        for j, kind in enumerate(TEXTS):
            size, count = (200, 11_000, 40_000)[(i + j) % 3], (12, 90)[(i + j // 2) % 2]
            most = 3_000 if (2 * i + j) % 5 == 0 else 8_000
            told = f"{style}, {size:,} characters of {kind}, at most {most:,}"
            yield pytest.param(kind, style, size, count, most, id=told)


@pytest.mark.parametrize(("kind", "style", "size", "count", "most"), [*rows()])
async def test_whatever_is_written_calls_stay_under_the_setting_and_show_what_is_reported(
    kind: str, style: Any, size: int, count: int, most: int
) -> None:
    text = (TEXTS[kind] * size)[:size]
    spec = {"update_instructions": TEXTS[kind] * 300, "when_to_update": TEXTS[kind] * 30}
    request = {
        "inline": {
            "desk": {
                "prompts": {"main": text, "other": text},
                "prompt_specs": {"main": spec},
                "config": {"tries": 2},
            }
        },
        "traces": told_in(kind, count),
    }
    model = Prolix(text=text)
    settings = Settings(style=style, max_prompt_tokens=most, retries=0)
    graph = build_graph(model=model)
    got = CycleReport.model_validate(await graph.ainvoke(request, context=settings))
    assert max(map(tokens_of, model.seen)) <= most
    updates = [s for s in model.seen if not s.startswith(("You decide which", "You tune the"))]
    assert updates
    if most >= 8_000:
        assert "<run " in updates[0]
    shown = [re.findall(r"the runs that are shown: (.*)", asked) for asked in updates]
    reported = got.results[0].coverage
    assert [reported] in shown or (got.fallbacks and [reported] in told_to_choose(model.seen))


def told_to_choose(seen: Sequence[str]) -> list[list[str]]:
    """The coverage that the call that chooses was told."""
    return [
        re.findall(r"the runs that are shown: (.*)", asked)
        for asked in seen
        if asked.startswith("You decide which")
    ]
