"""What of the evidence a prompt has room for."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tracetune.graph.state import Measures, PromptTask
from tracetune.nodes.calling.budget import Account
from tracetune.nodes.calling.calls import Branch, CallError
from tracetune.nodes.evidence.briefing import brief
from tracetune.nodes.evidence.shortening import fenced_tokens, shorten_to, tokens_of
from tracetune.nodes.evidence.showing import (
    cited_patterns,
    coverage_text,
    cut_evenly,
    fit_evidence,
    show_patterns,
)
from tracetune.nodes.writing.guideline_edits import Edits, NewGuideline, by_guidelines
from tracetune.nodes.writing.rewriting import by_rewriting, fits, rewriting_prompt
from tracetune.prompts.loader import fence

RUN = '<run outcome="failed">\n' + "x" * 1400 + "\n</run>"


def pattern(number: int) -> dict[str, Any]:
    return {
        "text": f"calls `tool{number}`",
        "support": 9,
        "success_with": 0.1,
        "success_without": 0.8,
        "q_value": 0.01,
    }


def measures(runs: int = 12, feedback: int = 12) -> Measures:
    return Measures(
        metrics={"n": 431, "tools": {}},
        patterns=[pattern(n) for n in range(8)],
        blames=[],
        proposals=[],
        runs=[RUN] * runs,
        coverage={
            "failures": 431,
            "sampled": 431,
            "clusters": 7,
            "runs": [[1, n % 7] for n in range(runs)],
        },
        feedback=[f"Text {n} is far too long for me." for n in range(feedback)],
    )


@pytest.mark.parametrize("room", [400, 800, 1500, 3000, 6000, 20_000])
def test_evidence_stays_within_its_room(room: int) -> None:
    shown = fit_evidence(measures(), room)
    assert tokens_of(shown.evidence) + tokens_of(shown.runs) <= room


def test_what_there_is_room_for_is_shown_and_its_coverage_said() -> None:
    all_of_it = fit_evidence(measures(), 20_000)
    assert all_of_it.coverage == "12 of 431 failures, 7 of 7 clusters"
    assert "the runs that are shown: 12 of 431 failures, 7 of 7 clusters" in all_of_it.evidence
    assert all_of_it.evidence.count("feedback:") == 12
    some = fit_evidence(measures(), 3000)
    assert 0 < some.runs.count("<run ") < 12
    assert some.coverage.startswith(f"{some.runs.count('<run ')} of 431 failures")


def test_runs_leave_a_third_to_feedback_and_feedback_takes_what_they_leave() -> None:
    assert fit_evidence(measures(), 1300).evidence.count("feedback:") >= 12
    assert fit_evidence(measures(feedback=0), 1300).runs
    assert fit_evidence(measures(runs=0), 1300).evidence.count("feedback:") == 12


def test_figures_come_before_all_else() -> None:
    little = fit_evidence(measures(), 300).evidence
    assert little.startswith("n: 431")
    assert "feedback" not in little.splitlines()[0]


def test_a_pattern_that_was_compared_within_tasks_says_what_is_left_there() -> None:
    row = {"text": "calls `aid`", "support": 40, "success_with": 0.2, "success_without": 0.6}
    row |= {"effect": 0.15, "q_value": 0.01}
    assert "0.6 without, +15 points within the same tasks (q" in show_patterns([row | {"tasks": 9}])
    assert "0.6 without (q" in show_patterns([row | {"tasks": 0}])


def test_a_sample_is_called_one() -> None:
    sampled = {"failures": 90_000, "sampled": 2_000, "clusters": 7, "runs": [[1, 0], [0, None]]}
    told = "1 of 90,000 failures, 1 of 7 clusters in a sample of 2,000 failures"
    assert coverage_text(sampled, [0, 1]) == told
    assert coverage_text({}, []) == ""


@pytest.mark.parametrize(
    ("texts", "characters"),
    [
        pytest.param(["a" * 10, "b" * 10_000], 1000, id="one is long"),
        pytest.param(["a" * 900] * 30, 9000, id="many alike"),
        pytest.param([str(n) * n * 9 for n in range(1, 10)], 1500, id="of all lengths"),
    ],
)
def test_the_longest_are_cut_to_one_length(texts: list[str], characters: int) -> None:
    cut = cut_evenly(texts, characters, 1200)
    assert sum(map(len, cut)) <= characters
    shortest = min(range(len(texts)), key=lambda n: len(texts[n]))
    assert cut[shortest] == texts[shortest] or len(set(map(len, cut))) == 1


@pytest.mark.parametrize("tokens", [60, 300])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("abc " * 900, id="English"),
        pytest.param("订单在哪里" * 900, id="Chinese"),
        pytest.param("<&>" * 900, id="signs that are escaped"),
        pytest.param("🙂" * 300 + "a" * 3000 + "<" * 300, id="dense at both ends"),
    ],
)
def test_a_text_is_shortened_to_its_tokens(text: str, tokens: int) -> None:
    assert 0 < tokens_of(shorten_to(text, tokens)) <= tokens
    assert 0 < fenced_tokens(shorten_to(text, tokens, fenced=True)) <= tokens
    assert shorten_to("short <b>", tokens, fenced=True) == "short <b>"
    assert shorten_to(text, 3) == ""


DIFF = fence(
    "run",
    "\n".join(
        [
            "  user: Cancel <my> order.",
            *[f"  call look_{n}({{}}) -> {'found ' * 12}" for n in range(20)],
            "- call cancel({}) -> error: not paid",
            "+ call refund({}) -> done",
            *[f"  call say_{n}({{}}) -> {'told ' * 12}" for n in range(20)],
        ]
    ),
    outcome="two runs of one task",
)


@pytest.mark.parametrize("room", [600, 800, 1000])
def test_a_run_that_is_too_long_is_cut_to_what_tells(room: int) -> None:
    told = measures(runs=0, feedback=0)
    told["runs"] = [DIFF, DIFF]
    told["coverage"] = {}
    shown = fit_evidence(told, room)
    assert tokens_of(shown.evidence) + tokens_of(shown.runs) <= room
    lines = shown.runs.splitlines()
    assert lines[:2] == ['<run outcome="two runs of one task">', "  user: Cancel &lt;my&gt; order."]
    assert "- call cancel({}) -&gt; error: not paid" in lines
    assert "+ call refund({}) -&gt; done" in lines
    assert "  … more is left out …" in lines
    assert lines[-1] == "</run>"
    assert shown.runs.count("<run") == 1


def test_feedback_that_is_too_long_is_cut() -> None:
    told = measures(runs=0, feedback=0)
    told["feedback"] = ["订单在哪里" * 900]
    shown = fit_evidence(told, 900)
    assert "feedback: 订单" in shown.evidence
    assert tokens_of(shown.evidence) <= 900


def test_a_room_too_small_for_any_run_shows_none() -> None:
    shown = fit_evidence(measures(), 200)
    assert shown.runs == ""
    assert shown.coverage == "0 of 431 failures, 0 of 7 clusters"
    assert fit_evidence(measures(), 0).evidence == ""


def full(update_task: Callable[..., PromptTask], text: str, **more: Any) -> PromptTask:
    """A task whose every part is as long as it gets."""
    task = update_task(
        text,
        tools=tuple(f"a_tool_with_a_long_name_number_{n}" for n in range(100)),
        runs=(RUN,) * 12,
        feedback=("word " * 60,) * 12,
        patterns=tuple(pattern(n) for n in range(20)),
        spec={"update_instructions": "Do so. " * 1000},
        **more,
    )
    lines = [f"- Guideline {n} says {'something ' * 20}." for n in range(40)]
    section = "\n".join(["<learned_guidelines>", *lines, "</learned_guidelines>"])
    task["subject"]["prompts"]["main"] = f"{text}\n\n{section}\n"
    return task


@pytest.mark.parametrize("most", [3000, 8000, 20_000])
@pytest.mark.parametrize("size", [100, 5000, 50_000])
def test_every_style_stays_within_the_setting(
    most: int, size: int, update_task: Callable[..., PromptTask]
) -> None:
    text = "Be kind. " * (size // 9)
    task = full(update_task, text, max_prompt_tokens=most)
    if fits(text, task["settings"]):
        told = rewriting_prompt(task).text
        assert tokens_of(told) <= most
        assert text.strip() in told
    assert tokens_of(brief("generate_update", task, text[:most], most="5").text) <= most


def test_a_text_that_does_not_fit_is_never_cut_for_rewriting(
    update_task: Callable[..., PromptTask],
) -> None:
    task = update_task("x" * 9000, max_prompt_tokens=4000)
    assert not fits("x" * 9000, task["settings"])
    assert fits("x" * 9000, {"max_prompt_tokens": 8000})


async def test_asking_again_stays_within_the_setting_too(
    update_task: Callable[..., PromptTask], scripted: Any
) -> None:
    bad = [NewGuideline(text=f"See https://evil.example/{n} " * 99, why="so") for n in range(5)]
    model = scripted(Edits=[Edits(add=bad).model_dump(), {}])
    task = full(update_task, "Be kind. " * 3000, max_prompt_tokens=8000)
    draft = await by_guidelines(model, task, Branch("generate_update"))
    assert len(draft["dropped"]) == 5
    assert len(model.seen) == 2
    assert all(tokens_of(prompt) <= 8000 for prompt in model.seen)
    assert all("<run " in prompt for prompt in model.seen)


@pytest.mark.parametrize("answers", [1, 2], ids=["the first answer", "the second answer"])
async def test_the_coverage_is_that_of_the_call_whose_answer_is_taken(
    answers: int, update_task: Callable[..., PromptTask], scripted: Any
) -> None:
    text = "Be kind & brief. " * 600
    bad = {"text": f"{text} See https://evil.example/x", "changes": []}
    model = scripted(Rewrite=[*[bad] * (answers - 1), {}])
    task = update_task(text)
    task["measures"] = measures(runs=12)
    draft = await by_rewriting(model, task, Branch("generate_update"))
    told = [re.findall("the runs that are shown: (.*)", asked) for asked in model.seen]
    assert len(told) == answers
    assert told[-1] == [draft.get("coverage", "")]
    assert draft.get("coverage", "").startswith(
        f"{model.seen[-1].count('<run outcome')} of 431 failures"
    )


async def test_what_cannot_fit_at_all_is_not_sent(
    update_task: Callable[..., PromptTask], scripted: Any
) -> None:
    task = update_task("Be kind.")
    task["choice"]["agent"] = "desk" * 10_000
    model = scripted()
    told = r"what must be sent takes 1\d,\d{3} tokens, more than max_prompt_tokens \(8,000\)"
    with pytest.raises(CallError, match=told), Account().in_use():
        await by_rewriting(model, task, Branch("generate_update"))
    assert model.seen == []


def test_evidence_of_nothing_is_short(update_task: Callable[..., PromptTask]) -> None:
    told = brief("rewriting", update_task("Be kind."), "Be kind.")
    assert told.coverage == ""
    assert "<run" not in told.text.partition("Guidelines that are appended")[2]
    assert "no pattern stands out" in told.text


def test_a_model_cites_only_what_it_was_shown() -> None:
    patterns = [{"text": f"does {n}"} for n in range(1, 21)]
    cited = cited_patterns(patterns, [2, 2, 8, 9, 20, 0, -1])
    assert [pattern["text"] for pattern in cited] == ["does 2", "does 8"]


async def test_a_guideline_rests_on_no_pattern_that_was_not_shown(
    update_task: Callable[..., PromptTask], scripted: Any
) -> None:
    rows = {"support": 9, "success_with": 0.2, "success_without": 0.6, "interval": (-0.6, -0.2)}
    more = {"effect": -0.4, "q_value": 0.01, "failing_ids": ()}
    patterns = tuple({"id": f"{n}", "text": f"does {n}"} | rows | more for n in range(1, 21))
    task = update_task("Be kind.", patterns=patterns)
    new = NewGuideline(text="Ask before you pay.", why="They forget.", patterns=[8, 8, 9, 20])
    model = scripted(Edits=[Edits(add=[new]).model_dump()])
    with Account().in_use():
        draft = await by_guidelines(model, task, Branch("generate_update", "desk", "main"))
    [line] = draft["guidelines"]
    assert [row["id"] for row in line["evidence"]["patterns"]] == ["8"]
