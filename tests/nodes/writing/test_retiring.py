"""When guidelines are retired, merged and capped, and that people's are not."""

from typing import Any

import pytest

from tracetune.nodes.guidelines import evidence_row, guideline
from tracetune.nodes.writing.retiring import MOST_GUIDELINES, say_the_same, settle

Json = dict[str, Any]


def row(id: str, effect: float, q: float = 0.01, support: int = 20, **more: Any) -> Json:
    """A pattern as it is found now, or as a guideline keeps it."""
    return {
        "id": id,
        "text": f"does {id}",
        "support": support,
        "success_with": 0.5 + effect / 2,
        "success_without": 0.5 - effect / 2,
        "effect": effect,
        "interval": (effect - 0.1, effect + 0.1),
        "q_value": q,
        "tasks": 0,
        **more,
    }


def line(text: str, *rows: Json, origin: str = "rules") -> Json:
    return guideline("main", text, origin, {"patterns": list(rows)})


def texts(lines: list[Json]) -> list[str]:
    return [one["text"] for one in lines]


def roomy(sentences: Any) -> bool:
    return True


HARD_TASKS = row("pay", -0.2, tasks=90, failing_ids=[]) | {
    "success_with": 0.5,
    "success_without": 0.33,
}
"""What is done more where it is easy, and fails more there than what else is done."""


@pytest.mark.parametrize("earlier", [False, True], ids=["as it is kept", "as it once was kept"])
def test_a_guideline_whose_pattern_stands_within_tasks_stays(earlier: bool) -> None:
    kept = evidence_row(HARD_TASKS)
    if earlier:
        del kept["effect"]
    stands = line("Check what you pay.", kept)
    assert settle([stands], [stands], [HARD_TASKS], roomy).guidelines == [stands]
    turned = HARD_TASKS | {"effect": 0.2, "interval": (0.1, 0.3)}
    assert settle([stands], [stands], [turned], roomy).guidelines == []


LOOP = line("Do not call `x` again.", row("loop", -0.4))


@pytest.mark.parametrize(
    ("findings", "stays"),
    [
        pytest.param([row("loop", -0.3)], True, id="the pattern still stands"),
        pytest.param([row("loop", 0.4)], False, id="it turned round"),
        pytest.param([row("loop", 0.4, q=0.2)], True, id="it may have turned by chance"),
        pytest.param([row("loop", 0.05)], True, id="the interval holds zero"),
        pytest.param([row("other", 0.4)], True, id="it is seen no more, as was asked for"),
        pytest.param([], True, id="nothing was found"),
    ],
)
def test_a_guideline_retires_when_its_pattern_turned_round(
    findings: list[Json], stays: bool
) -> None:
    settled = settle([LOOP], [LOOP], findings, roomy)
    assert (settled.guidelines == [LOOP]) is stays
    assert settled.why == [] if stays else "70% succeeded, 30% of the others" in settled.why[0]


def test_a_guideline_stays_while_one_of_its_patterns_stands() -> None:
    both = line("Take care.", row("one", -0.4), row("two", -0.4))
    assert settle([both], [both], [row("one", 0.4), row("two", -0.4)], roomy).guidelines == [both]
    assert settle([both], [both], [row("one", 0.4)], roomy).guidelines == []


def test_what_a_person_wrote_stays_whatever_is_proposed_or_found() -> None:
    mine = line("Do not call `x` again.", row("loop", -0.4), origin="human")
    assert settle([mine], [], [row("loop", 0.4)], lambda sentences: False).guidelines == [mine]


def test_what_was_just_retired_is_not_taken_again() -> None:
    again = line("Do not call `x` once more again.", row("loop", 0.4), origin="llm")
    settled = settle([LOOP], [LOOP, again], [row("loop", 0.4)], roomy)
    assert settled.guidelines == []
    assert settled.dropped == ["a guideline that says what was just retired"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param("Do this.", "do  this", True, id="case and marks"),
        pytest.param(
            "Always confirm the details before booking.",
            "Please confirm details before booking.",
            True,
            id="other small words",
        ),
        pytest.param("Call `a` before `b`.", "Call `b` before `a`.", False, id="the other order"),
        pytest.param("Call `a` before `b`.", "Call `a` before `c`.", False, id="another tool"),
        pytest.param("Call `a` again.", "Do not call `a` again.", False, id="forbidden"),
        pytest.param("Ask 2 times at most.", "Ask 5 times at most.", False, id="another number"),
        pytest.param(
            "Verify the identity before the payment.",
            "Before the identity, verify the payment.",
            False,
            id="the same words, another sense",
        ),
        pytest.param(
            "When the user wants a refund, check the status of the order first.",
            "When the user wants a change, check the status of the order first.",
            False,
            id="one word that matters",
        ),
        pytest.param("Answer politely.", "List the tables first.", False, id="nothing in common"),
    ],
)
def test_sentences_that_say_the_same(one: str, other: str, same: bool) -> None:
    assert say_the_same(line(one), line(other)) is same
    assert say_the_same(line(other), line(one)) is same


def test_two_ways_to_put_what_the_same_patterns_say_are_one() -> None:
    one, other = (
        "After `x` has answered, end the conversation.",
        "End the conversation once `x` gave its answer.",
    )
    assert not say_the_same(line(one), line(other))
    assert say_the_same(line(one, row("loop", -0.4)), line(other, row("loop", -0.3)))


def test_merging_keeps_the_older_sentence_and_both_evidences() -> None:
    old = line("Confirm the details before booking.", row("one", -0.4))
    new = line("Please confirm details before booking.", row("two", -0.3), row("one", -0.1))
    settled = settle([old], [old, new], [], roomy)
    [kept] = settled.guidelines
    assert kept["text"] == old["text"]
    assert [r["id"] for r in kept["evidence"]["patterns"]] == ["one", "two"]
    assert kept["evidence"]["patterns"][0]["effect"] == -0.4
    assert settled.dropped == [f"a guideline that says the same as {old['id']}"]


def test_merging_two_that_stand_there_says_so_and_a_persons_words_win() -> None:
    ours = line("Confirm the details before booking.", row("one", -0.4))
    mine = line("Please confirm details before booking.", origin="human")
    settled = settle([ours, mine], [ours, mine], [], roomy)
    [kept] = settled.guidelines
    assert (kept["text"], kept["origin"]) == (mine["text"], "human")
    assert [r["id"] for r in kept["evidence"]["patterns"]] == ["one"]
    assert "Merged" in settled.why[0]


def test_the_weakest_goes_first_and_that_is_said() -> None:
    strong = line("Strong.", row("a", -0.4, q=0.001))
    weak = line("Weak.", row("b", -0.4, q=0.09))
    bare = line("No evidence at all.")
    mine = line("Mine.", origin="human")
    current = [weak, mine, bare]
    settled = settle(current, [*current, strong], [], lambda sentences: len(sentences) <= 2)
    assert texts(settled.guidelines) == ["Mine.", "Strong."]
    assert [why.partition(":")[2] for why in settled.why] == [" “No evidence at all.”", " “Weak.”"]


def test_of_equals_the_newest_goes_so_that_what_stands_stays() -> None:
    first, second = line("First.", row("a", -0.4)), line("Second.", row("a", -0.4))
    settled = settle([first], [first, second], [], lambda sentences: len(sentences) <= 1)
    assert settled.guidelines == [first]
    assert settled.dropped == ["a guideline for which there is no room: others rest on more"]


def test_there_are_never_more_than_a_prompt_may_hold() -> None:
    many = [line(f"Mind part number {'bcdefghjklmnopqrstuvwxyzäöü'[n]}.") for n in range(24)]
    assert len(settle([], many, [], roomy).guidelines) == MOST_GUIDELINES


def test_settling_what_is_settled_changes_nothing() -> None:
    lines = [LOOP, line("Mine.", origin="human"), line("Ask first.", row("a", -0.2, q=0.05))]
    findings = [row("loop", -0.3), row("a", -0.2)]
    settled = settle(lines, lines, findings, lambda sentences: len(sentences) <= 2)
    again = settle(settled.guidelines, settled.guidelines, findings, lambda s: len(s) <= 2)
    assert again.guidelines == settled.guidelines
    assert (again.why, again.dropped) == ([], [])
