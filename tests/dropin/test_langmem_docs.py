"""langmem's own examples, run against our optimizers with nothing changed but their import."""

import ast
import inspect
import re
import textwrap
from typing import Any

import langchain.chat_models
import pytest
from langmem.prompts import optimization
from scripted import ScriptedModel

ADDED = "Give a code example and a clear structure."


def rewritten(sent: str) -> str:
    found = re.search(r"<current_prompt>\n(.*?)\n</current_prompt>", sent, re.DOTALL)
    assert found, sent
    return f"{found.group(1)}. {ADDED}"


def everything(sent: str) -> dict[str, Any]:
    names = re.findall(r'<prompt name="([^"]+)"', sent)
    return {"updates": [{"agent": "agent", "prompt": n, "why": "feedback"} for n in names]}


def model() -> ScriptedModel:
    return ScriptedModel(
        answers={
            "Classification": everything,
            "OptimizedPromptOutput": lambda t: {"analysis": "", "improved_prompt": rewritten(t)},
            "recommend": {
                "warrants_adjustment": True,
                "hypotheses": "No structure.",
                "full_recommendations": "Ask for structure.",
            },
            "think": {"thought": "Hm."},
            "GeneralResponse": lambda t: {
                "logic": "",
                "update_prompt": True,
                "new_prompt": rewritten(t),
            },
        }
    )


def blocks(function: Any) -> list[str]:
    """The Python blocks of a docstring, as they stand there."""
    found = re.findall(r"^( *)```python\n(.*?)^ *```$", function.__doc__, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for _, block in found]


EXAMPLES = [
    pytest.param(block, id=f"{function.__name__} {number}")
    for function in (
        optimization.create_prompt_optimizer,
        optimization.create_multi_prompt_optimizer,
    )
    for number, block in enumerate(blocks(function), start=1)
]


def test_there_are_examples_to_run() -> None:
    assert len(EXAMPLES) == 6


@pytest.mark.parametrize("block", EXAMPLES)
async def test_a_documented_example_runs(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = model()
    monkeypatch.setattr(langchain.chat_models, "init_chat_model", lambda *_, **__: scripted)
    ours = block.replace("from langmem import", "from tracetune import")
    assert ours != block
    code = compile(ours, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    space: dict[str, Any] = {}
    if (running := eval(code, space)) is not None:
        assert inspect.iscoroutine(running)
        await running
    if "prompts" in space:
        got = space.get("better_prompts") or space["improved_prompts"]
        before = space["prompts"]
        assert [p["name"] for p in got] == [p["name"] for p in before]
        texts = [(p["prompt"], old["prompt"]) for p, old in zip(got, before, strict=True)]
    else:
        got = space.get("better_prompt") or space["improved_prompt"]
        texts = [(got, got.split(".")[0])]
    assert all(new == f"{old}. {ADDED}" for new, old in texts)
    assert scripted.sent


# The guides' examples, in their shapes and our words.


async def test_improving_one_prompt_from_a_conversation() -> None:
    from tracetune import create_prompt_optimizer

    conversation = [
        {"role": "user", "content": "What is a monad?"},
        {"role": "assistant", "content": "A monoid in the category of endofunctors."},
        {"role": "user", "content": "That does not help me."},
    ]
    optimizer = create_prompt_optimizer(model(), kind="metaprompt")
    got = await optimizer.ainvoke(
        {"trajectories": [(conversation, None)], "prompt": "You teach programming"}
    )
    assert got == f"You teach programming. {ADDED}"


def test_improving_the_agents_of_a_pipeline_together() -> None:
    from tracetune import create_multi_prompt_optimizer

    conversation = [
        {"role": "user", "content": "Report on tides."},
        {"role": "assistant", "content": "Tides go up and down."},
    ]
    prompts = [
        {
            "name": "researcher",
            "prompt": "You look things up",
            "update_instructions": "Only add what was missing.",
            "when_to_update": "When sources are missing.",
        },
        {"name": "writer", "prompt": "You write reports", "when_to_update": None},
    ]
    optimizer = create_multi_prompt_optimizer(
        model(), kind="gradient", config={"max_reflection_steps": 2}
    )
    got = optimizer.invoke(
        {"trajectories": [(conversation, {"depth": "no sources", "score": 0})], "prompts": prompts}
    )
    assert [p["prompt"] for p in got] == [
        f"You look things up. {ADDED}",
        f"You write reports. {ADDED}",
    ]
    assert {key: got[0][key] for key in ("update_instructions", "when_to_update")} == {
        "update_instructions": "Only add what was missing.",
        "when_to_update": "When sources are missing.",
    }


def test_conversations_as_one_text() -> None:
    from tracetune import create_prompt_optimizer

    told = "user: how do I list files?\nassistant: use a tool\nfeedback: name the command"
    optimizer = create_prompt_optimizer(model(), kind="prompt_memory")
    got = optimizer.invoke({"trajectories": told, "prompt": {"prompt": "You help at a shell"}})
    assert got == f"You help at a shell. {ADDED}"
