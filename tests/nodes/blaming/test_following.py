"""Prompts that are updated only after others."""

import pytest

from tracetune.graph.state import Choice, Measures, Subject
from tracetune.nodes.blaming.following import Leaders, leaders_of, with_followers
from tracetune.nodes.classify_by_rules import choose_by_rules
from tracetune.nodes.classify_prompts import Classification, PromptToUpdate, known_choices

NAMES = ("main_agent", "triage-ignore", "search and replace", "tone")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("after main_agent is updated", Leaders(("main_agent",)), id="after"),
        pytest.param("Only after main agent.", Leaders(("main_agent",)), id="only after, no verb"),
        pytest.param(
            "Update this one when the `triage_ignore` prompt is updated.",
            Leaders(("triage-ignore",)),
            id="when, in a sentence, quoted, spelled otherwise",
        ),
        pytest.param(
            "once tone and main_agent have been changed",
            Leaders(("tone", "main_agent")),
            id="two, both",
        ),
        pytest.param(
            "after tone, main_agent, or triage-ignore is updated",
            Leaders(("tone", "main_agent", "triage-ignore"), any_will_do=True),
            id="three, any",
        ),
        pytest.param(
            "After search and replace is updated",
            Leaders(("search and replace",)),
            id="a name that holds a conjunction",
        ),
        pytest.param("", None, id="nothing"),
        pytest.param("never", None, id="never"),
        pytest.param("after nobody is updated", None, id="a prompt that does not exist"),
        pytest.param("when the main_agent is rude", None, id="a condition on the agent"),
        pytest.param("after tone and nobody is updated", None, id="one known, one not"),
        pytest.param("whenever emails are updated", None, id="something else is updated"),
    ],
)
def test_what_a_prompt_waits_for_is_read_from_its_condition(
    text: str, expected: Leaders | None
) -> None:
    assert leaders_of(text, NAMES) == expected


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
