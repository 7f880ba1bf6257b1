"""What of the evidence a prompt has room for."""

from collections.abc import Callable
from typing import Any

import pytest

from tracetune.graph.state import Measures, PromptTask
from tracetune.nodes.calling.calls import Branch
from tracetune.nodes.evidence.briefing import brief, shown_evidence, trajectories
from tracetune.nodes.evidence.shortening import shorten_to, tokens_of
from tracetune.nodes.evidence.showing import coverage_text, cut_evenly, fit_evidence
from tracetune.nodes.writing.guideline_edits import Edits, NewGuideline, by_guidelines
from tracetune.nodes.writing.rewriting import fits, rewriting_prompt

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


@pytest.mark.parametrize("text", ["abc " * 900, "订单在哪里" * 900], ids=["English", "Chinese"])
def test_a_text_is_shortened_to_its_tokens(text: str) -> None:
    assert tokens_of(shorten_to(text, 300)) <= 300
    assert shorten_to("short", 300) == "short"


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
        assert tokens_of(rewriting_prompt(task)) <= most
        assert text.strip() in rewriting_prompt(task)
        assert tokens_of(trajectories(task)) + tokens_of(text) <= most
    told = brief(task, text[:most])
    assert tokens_of("".join(told.values())) <= most


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


def test_evidence_of_nothing_is_short(update_task: Callable[..., PromptTask]) -> None:
    shown = shown_evidence(update_task("Be kind."), "Be kind.")
    assert shown.runs == shown.coverage == ""
    assert "no pattern stands out" in shown.evidence
