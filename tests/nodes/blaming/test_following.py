"""Prompts that are updated only after others."""

import pytest

from tracetune.graph.state import Choice, Measures, Subject
from tracetune.nodes.blaming.following import with_followers
from tracetune.nodes.classify_by_rules import choose_by_rules
from tracetune.nodes.classify_prompts import Classification, PromptToUpdate, known_choices
from tracetune.nodes.subjects import updatable

AFTER_A = "after a is updated"
AFTER_B = "after b is updated"
EITHER = "after a or b is updated"


@pytest.mark.parametrize(
    ("chosen", "conditions", "expected"),
    [
        pytest.param(["b", "a"], {"a": "", "b": AFTER_A}, ["a", "b"], id="behind its leader"),
        pytest.param(["b"], {"a": "", "b": AFTER_A}, [], id="left out without it"),
        pytest.param(["a"], {"a": "", "b": AFTER_A}, ["a"], id="never brought along"),
        pytest.param(
            ["c", "b"], {"a": "", "b": AFTER_A, "c": AFTER_B}, [], id="a chain falls whole"
        ),
        pytest.param(
            ["c", "b", "a"],
            {"a": "", "b": AFTER_A, "c": AFTER_B},
            ["a", "b", "c"],
            id="a chain is put in order",
        ),
        pytest.param(["a", "b"], {"a": AFTER_B, "b": AFTER_A}, ["b", "a"], id="a circle, chosen"),
        pytest.param(["a"], {"a": AFTER_B, "b": AFTER_A}, [], id="half a circle"),
        pytest.param(["a"], {"a": AFTER_A}, ["a"], id="itself"),
        pytest.param(["c", "b"], {"a": "", "b": "", "c": EITHER}, ["b", "c"], id="one of two"),
        pytest.param(["c"], {"a": "", "b": "", "c": EITHER}, [], id="none of two"),
        pytest.param(["z", "a"], {"a": "", "z": ""}, ["z", "a"], id="otherwise as it was"),
    ],
)
def test_a_prompt_is_updated_only_with_and_behind_what_it_waits_for(
    chosen: list[str], conditions: dict[str, str], expected: list[str]
) -> None:
    assert with_followers(chosen, conditions) == expected


def subject(**conditions: str) -> Subject:
    """An agent whose prompts may be updated on these conditions."""
    return Subject(
        agent="mail",
        prompts=dict.fromkeys(conditions, "Be kind."),
        config={},
        prompt_specs={n: {"when_to_update": text} for n, text in conditions.items() if text},
        parameters={},
        guidelines=[],
        first_sizes={},
        refs={},
        base=None,
        in_files=False,
        source_hash="",
        tools=[],
        traces=1,
        set_aside=0,
        digest="",
        learner="rules",
        skip="",
        detail="",
    )


def answer(*names: str) -> Classification:
    return Classification(
        updates=[PromptToUpdate(agent="mail", prompt=name, why="Rude.") for name in names]
    )


def test_the_model_s_choice_of_a_follower_comes_behind_and_says_so() -> None:
    chosen, notes = known_choices(answer("b", "a"), {"mail": subject(a="", b=AFTER_A)})
    told = "Rude. (It follows a, which is updated at the same time.)"
    assert chosen == [
        Choice(agent="mail", prompt="a", why="Rude."),
        Choice(agent="mail", prompt="b", why=told),
    ]
    assert notes == []


def test_the_model_s_choice_of_a_follower_alone_is_left_out_with_a_note() -> None:
    chosen, notes = known_choices(answer("b"), {"mail": subject(a="", b=AFTER_A)})
    assert chosen == []
    assert notes == [
        "mail/b was chosen and left as it is: it may be updated only after a prompt that was not "
        "chosen."
    ]


def measures(*blamed: str) -> Measures:
    """What blames these prompts, the first most."""
    blames = [
        {"name": name, "score": 0.9 - 0.1 * place, "evidence": [f"{name} did it"]}
        for place, name in enumerate(blamed)
    ]
    return Measures(metrics={}, patterns=[], blames=blames, proposals=[], runs=[], feedback=[])


@pytest.mark.parametrize(
    ("blamed", "expected"),
    [
        pytest.param(["a", "b"], "a", id="the most blamed"),
        pytest.param(["b", "a"], "a", id="not one that waits for another"),
        pytest.param(["b"], None, id="none, where the only one waits"),
        pytest.param([], None, id="none, where nothing is blamed"),
    ],
)
def test_the_rules_choose(blamed: list[str], expected: str | None) -> None:
    choice = choose_by_rules(subject(a="", b=AFTER_A), measures(*blamed))
    assert (choice["prompt"] if choice else None) == expected


@pytest.mark.parametrize(
    ("condition", "by_model", "by_rules"),
    [
        pytest.param("Never update this prompt.", False, False, id="never is for both"),
        pytest.param("Do not update, unless b is wrong.", True, False, id="an exception, judged"),
        pytest.param("After b is updated, or when users complain.", True, True, id="either"),
        pytest.param("After b is updated.", True, False, id="it waits"),
        pytest.param("When it is wrong.", True, True, id="a condition in words"),
    ],
)
def test_who_may_update_on_a_condition(condition: str, by_model: bool, by_rules: bool) -> None:
    agent = subject(a=condition, b="")
    assert ("a" in updatable(agent)) is by_model
    choice = choose_by_rules(agent, measures("a"))
    assert (choice is not None) is by_rules
