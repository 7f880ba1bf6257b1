"""What a `when_to_update` says: who may update a prompt, and which others it waits for."""

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from tracetune.nodes.blaming.when_to_update import Leaders, leaders_of, permission_of

NAMES = ("main_agent", "triage-ignore", "search and replace", "tone", "main")


@pytest.mark.parametrize(
    "text",
    [
        "never",
        " Never. ",
        "NEVER!",
        "Never update this prompt.",
        "never, it is legal text",
        "Never, without exception.",
        "Please never touch it.",
        "update: never",
        "Must never be changed.",
        "This prompt must not be edited.",
        "It should never be updated",
        "The text may not be changed by anybody.",
        "Do not update",
        "Do not.",
        "Don\u2019t touch",
        "don't ever change this prompt",
        "Do not automatically update this.",
        "Cannot be changed: it is printed.",
        "Not to be updated",
        "No updates.",
        "no",
        "Do not update when main is updated",
        "Never when main is updated",
    ],
)
def test_what_begins_so_is_never_updated_and_waits_for_nothing(text: str) -> None:
    assert permission_of(text) == "never"
    assert leaders_of(text, NAMES) is None


@pytest.mark.parametrize(
    "text",
    [
        "Never, unless legal asks for it.",
        "Do not change it except for typos.",
        "Never unless main is updated",
        "Must not be updated other than for new prices.",
        "Do not touch it, but when prices change you may.",
        "Do not update for praise alone; update when tone is criticised",
    ],
)
def test_an_exception_to_never_is_left_to_a_model(text: str) -> None:
    assert permission_of(text) == "judged"
    assert leaders_of(text, NAMES) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "When agents never answer.",
        "Never-ending loops occur.",
        "It never greets the user.",
        "This is not what users want.",
        "Do not let it grow: update it when it does.",
        "Whenever something is not understood.",
        "always",
    ],
)
def test_other_sentences_are_open(text: str) -> None:
    assert permission_of(text) == "open"


def waits(*names: str, any_will_do: bool = False) -> Leaders:
    return Leaders(names, any_will_do)


MAIN = waits("main")
TWO = waits("tone", "main")
ANY = waits("tone", "main", any_will_do=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("after main_agent is updated", waits("main_agent"), id="after"),
        pytest.param("Only after main agent.", waits("main_agent"), id="only after, no verb"),
        pytest.param("after main", MAIN, id="after, no verb"),
        pytest.param("Update after the main prompt.", MAIN, id="after the one prompt"),
        pytest.param("after updating main", MAIN, id="after updating"),
        pytest.param("After an update of main.", MAIN, id="after an update"),
        pytest.param("when main changes", MAIN, id="when it changes"),
        pytest.param("once MAIN has changed", MAIN, id="once it has changed, in capitals"),
        pytest.param("After main is updated, not before.", MAIN, id="not before"),
        pytest.param("After main is updated, because tone or style differ", MAIN, id="a reason"),
        pytest.param("After main is updated. Keep it short.", MAIN, id="a sentence more"),
        pytest.param("After main is updated and only if it is rude", MAIN, id="and more"),
        pytest.param(
            "Update this one when the `triage_ignore` prompt is updated.",
            waits("triage-ignore"),
            id="when, in a sentence, quoted, spelled otherwise",
        ),
        pytest.param("once tone and main have been changed", TWO, id="two"),
        pytest.param("after both tone and main are updated", TWO, id="both"),
        pytest.param("after updating tone & main", TWO, id="after updating two"),
        pytest.param("After tone is updated and after main is updated", TWO, id="and after"),
        pytest.param("after either tone or main", ANY, id="either, no verb"),
        pytest.param("after tone and/or main is updated", ANY, id="and/or"),
        pytest.param("After tone is updated, or when main is updated.", ANY, id="or when"),
        pytest.param(
            "after tone, main, or triage-ignore is updated",
            waits("tone", "main", "triage-ignore", any_will_do=True),
            id="one of three",
        ),
        pytest.param(
            "After search and replace is updated",
            waits("search and replace"),
            id="a name that holds a conjunction",
        ),
    ],
)
def test_a_prompt_waits_for_those_its_condition_names(text: str, expected: Leaders) -> None:
    assert leaders_of(text, NAMES) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("after nobody is updated", id="a prompt that does not exist"),
        pytest.param("after tone and nobody is updated", id="one known, one not"),
        pytest.param("after tone, nobody and main are updated", id="two known, one not"),
        pytest.param("when the main agent is rude", id="a condition on the agent"),
        pytest.param("when main changes the subject", id="what an agent does"),
        pytest.param("after main calls a tool", id="what an agent did"),
        pytest.param("whenever emails are updated", id="something else is updated"),
        pytest.param("Update main when asked", id="only named"),
        pytest.param("After main is updated, or when users complain", id="or when"),
        pytest.param("After main, or on complaints", id="no verb, or on"),
        pytest.param("When users complain, or after main is updated", id="or after"),
        pytest.param("After main is updated. Also when users complain.", id="also when"),
        pytest.param("after tone and main are updated or after triage-ignore", id="two or one"),
        pytest.param("Update unless main is updated", id="unless"),
        pytest.param("Not when main is updated", id="not when"),
        pytest.param("if main is not updated", id="is not"),
        pytest.param("Update, even if main is updated", id="even if"),
        pytest.param("After main is updated, do not update this", id="not after"),
        pytest.param("when neither tone nor main is updated", id="neither"),
    ],
)
def test_what_is_no_such_condition_makes_a_prompt_wait_for_nothing(text: str) -> None:
    assert leaders_of(text, NAMES) is None


@pytest.fixture
def in_time() -> Iterator[None]:
    """Fail what takes minutes where it should take milliseconds, instead of waiting for it."""

    def stop(number: int, frame: FrameType | None) -> None:
        pytest.fail("a text takes ever longer to read")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("after " + "main, " * 2000, id="a list without an end"),
        pytest.param("after main" + " " * 20_000 + "x", id="blanks"),
        pytest.param("when the prompt " * 2000 + "main", id="beginnings"),
        pytest.param("after main or " * 2000, id="alternatives"),
    ],
)
def test_odd_texts_are_read_in_linear_time(text: str) -> None:
    assert permission_of(text) == "open"
    leaders_of(text, [*NAMES, *(f"part_{n}" for n in range(100))])
