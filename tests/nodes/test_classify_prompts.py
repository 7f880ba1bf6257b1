"""The model's choice of prompts: what it can only mean is taken, what it invents is told."""

from typing import Any

import pytest

from tracetune.graph.state import PromptTask, Subject
from tracetune.nodes.classify_prompts import Classification, known_choices

ONE = {"mail": ["main", "Triage-Ignore"]}
TWO = {"mail": ["main", "tone"], "desk": ["main", "greeting"]}


@pytest.fixture
def subjects(update_task: Any) -> Any:
    """Make agents with prompts of these names."""

    def make(agents: dict[str, list[str]]) -> dict[str, Subject]:
        task: PromptTask = update_task("Be kind.")
        return {
            agent: Subject(**{**task["subject"], "prompts": dict.fromkeys(names, "Be kind.")})
            for agent, names in agents.items()
        }

    return make


def chosen(updates: list[dict[str, str]], known: dict[str, Subject]) -> list[str]:
    answer = Classification.model_validate({"updates": [{"why": "w", **u} for u in updates]})
    return [f"{choice['agent']}/{choice['prompt']}" for choice in known_choices(answer, known)[0]]


@pytest.mark.parametrize(
    ("agents", "said", "meant"),
    [
        pytest.param(ONE, {"agent": "mail", "prompt": "main"}, ["mail/main"], id="as it is"),
        pytest.param(ONE, {"prompt": "main"}, ["mail/main"], id="no agent, one there"),
        pytest.param(ONE, {"agent": "", "prompt": "main"}, ["mail/main"], id="an empty agent"),
        pytest.param(ONE, {"agent": "email", "prompt": "main"}, ["mail/main"], id="one it made up"),
        pytest.param(TWO, {"agent": "email", "prompt": "tone"}, [], id="made up, two there"),
        pytest.param(TWO, {"agent": '"Mail"', "prompt": "tone"}, ["mail/tone"], id="quoted"),
        pytest.param(TWO, {"prompt": "tone"}, ["mail/tone"], id="no agent, one has it"),
        pytest.param(TWO, {"prompt": "main"}, [], id="no agent, two have it"),
        pytest.param(TWO, {"agent": "desk", "prompt": "tone"}, [], id="another agent's prompt"),
        pytest.param(ONE, {"prompt": "`triage-ignore` "}, ["mail/Triage-Ignore"], id="backticks"),
        pytest.param(ONE, {"prompt": "“MAIN”"}, ["mail/main"], id="curly quotes, capitals"),
        pytest.param(ONE, {"prompt": "mane"}, [], id="nearly a name is none"),
        pytest.param({"a": ["Main", "MAIN"]}, {"prompt": "main"}, [], id="two fit"),
        pytest.param({"a": ["Main", "main"]}, {"prompt": "main"}, ["a/main"], id="one exactly"),
        pytest.param({"a": ["Q&A"]}, {"prompt": "Q&amp;A"}, ["a/Q&A"], id="escaped, as shown"),
    ],
)
def test_a_name_is_taken_where_it_can_only_mean_one(
    agents: dict[str, list[str]], said: dict[str, str], meant: list[str], subjects: Any
) -> None:
    assert chosen([said], subjects(agents)) == meant


def test_a_prompt_that_is_said_twice_is_chosen_once(subjects: Any) -> None:
    said = [{"agent": "mail", "prompt": "main"}, {"prompt": "'Main'"}]
    assert chosen(said, subjects(ONE)) == ["mail/main"]


def test_the_model_is_asked_for_the_agent_all_the_same() -> None:
    row = Classification.model_json_schema()["$defs"]["PromptToUpdate"]
    assert row["required"] == ["agent", "prompt", "why"]


@pytest.mark.parametrize(
    ("invented", "told"),
    [
        pytest.param(0, [], id="none"),
        pytest.param(2, ["'mail' 'ghost0'.", "'mail' 'ghost1'."], id="a few, one by one"),
        pytest.param(
            1500,
            [
                *(f"'mail' 'ghost{n}'." for n in range(3)),
                "The model chose 1,497 more prompts of that kind.",
            ],
            id="more, counted",
        ),
    ],
)
def test_names_that_do_not_exist_are_told_briefly(
    invented: int, told: list[str], subjects: Any
) -> None:
    said = [{"agent": "mail", "prompt": f"ghost{n}", "why": "w"} for n in range(invented)] * 2
    answer = Classification.model_validate({"updates": said})
    _, notes = known_choices(answer, subjects(ONE))
    before = "The model chose a prompt that does not exist or must not change: "
    assert [note.removeprefix(before) for note in notes] == told
