import pytest

from tracetune.nodes.guidelines import budget, guideline, outside, read_section, with_section


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Be kind.", id="no newline at the end"),
        pytest.param("Be kind.\n", id="one newline at the end"),
        pytest.param("Be kind.\n\n\n", id="several newlines at the end"),
        pytest.param("Be {name}.\r\n", id="windows line ends"),
        pytest.param("", id="nothing"),
    ],
)
def test_taking_the_section_out_leaves_what_was_there(text: str) -> None:
    learned = with_section(text, ["Do this.", "Do that."])
    assert read_section(learned) == ["Do this.", "Do that."]
    assert outside(learned) == text
    assert with_section(learned, []) == text
    assert with_section(learned, ["Do this.", "Do that."]) == learned


def test_the_same_sentence_has_the_same_id() -> None:
    one = guideline("main", "Do  this.", "llm", {})
    other = guideline("main", "do this", "rules", {})
    assert one["id"] == other["id"]
    assert one["text"] == "Do this."


def test_what_a_person_writes_into_the_section_is_read() -> None:
    text = "Be kind.\n<learned_guidelines>\n* odd\n- Do this.\n\n</learned_guidelines>\ntail"
    assert read_section(text) == ["* odd", "Do this."]
    assert outside(text) == "Be kind.\ntail"


def test_the_budget_does_not_grow_with_what_was_learned() -> None:
    text = "x" * 10_000
    assert budget(text) == 15_000
    assert budget(with_section(text, ["Do this."])) == 15_000
    assert budget("x" * 100) == 2_100
