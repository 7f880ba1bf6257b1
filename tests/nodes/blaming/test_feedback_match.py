"""Which document a text is about: by its words, and by vectors where there are any."""

from collections.abc import Sequence
from typing import Any

import pytest

from tracetune.errors import InputError
from tracetune.nodes.blaming.feedback_match import match_feedback

BOTH = ["ignore newsletters", "write politely"]


@pytest.mark.parametrize(
    ("text", "best"),
    [
        pytest.param("Yet another Newsletter!", 0, id="another form of the word"),
        pytest.param("That was impolite.", 1, id="the word within another"),
        pytest.param("triage_ignore failed", 0, id="a part of an identifier"),
    ],
)
def test_a_text_goes_to_the_document_that_shares_its_words(text: str, best: int) -> None:
    [shares] = match_feedback([text], BOTH)
    assert shares[best] == max(shares) > 0
    assert sum(shares) < 1


@pytest.mark.parametrize(
    ("texts", "documents"),
    [
        pytest.param(["", "!?", "the of and"], BOTH, id="texts without a telling word"),
        pytest.param(["xylophone"], BOTH, id="words that none has"),
        pytest.param(["newsletters"], ["", "the"], id="empty documents"),
    ],
)
def test_what_matches_nothing_gets_no_share(texts: list[str], documents: list[str]) -> None:
    assert match_feedback(texts, documents) == [[0.0, 0.0]] * len(texts)


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        pytest.param("Web-surfer guessed.", ["web_surfer", "coder"], [0.8, 0.0], id="one"),
        pytest.param("coder, web surfer: no!", ["web_surfer", "coder"], [0.4, 0.4], id="both"),
        pytest.param("The web is slow.", ["web_surfer", "coder"], [0.0, 0.0], id="half a name"),
        pytest.param("It is a bad one.", ["a", "the"], [0.0, 0.0], id="names that tell nothing"),
        pytest.param("Coders err.", ["web_surfer", "coder"], [0.0, 0.0], id="a longer word"),
    ],
)
def test_a_text_that_says_a_document_s_name_is_about_it(
    text: str, names: list[str], expected: list[float]
) -> None:
    assert match_feedback([text], ["xyzzy", "plugh"], names=names) == [expected]


def test_any_script_is_matched() -> None:
    [shares] = match_feedback(["日本語のメールは無視"], ["write politely", "日本語のメール"])
    assert shares[0] == 0 < shares[1]


def one_hot(texts: Sequence[str]) -> list[list[float]]:
    """Vectors that know that junk is what newsletters are."""
    return [[1.0, 0.0] if {"junk", "newsletters"} & set(t.split()) else [0.0, 1.0] for t in texts]


def test_vectors_find_what_shares_no_word() -> None:
    assert match_feedback(["junk"], BOTH) == [[0.0, 0.0]]
    [shares] = match_feedback(["junk"], BOTH, embed=one_hot)
    assert shares[0] > shares[1] > 0
    assert sum(shares) <= 1


@pytest.mark.parametrize(
    "vectors",
    [
        pytest.param([[1.0, 1.0]] * 3, id="all the same"),
        pytest.param([[0.0, 0.0]] * 3, id="all zero"),
    ],
)
def test_vectors_that_tell_nothing_change_nothing(vectors: list[list[float]]) -> None:
    assert match_feedback(["junk"], BOTH, embed=lambda _: vectors) == [[0.0, 0.0]]


@pytest.mark.parametrize(
    "vectors",
    [
        pytest.param([], id="none"),
        pytest.param([[1.0]], id="too few"),
        pytest.param([[1.0], [1.0, 2.0], [1.0]], id="of different lengths"),
        pytest.param([[float("nan")], [1.0], [1.0]], id="not a number"),
        pytest.param(["a", "b", "c"], id="texts"),
        pytest.param(None, id="nothing"),
    ],
)
def test_what_are_no_vectors_is_refused(vectors: Any) -> None:
    with pytest.raises(InputError, match="embed must return one vector"):
        match_feedback(["junk"], BOTH, embed=lambda _: vectors)
