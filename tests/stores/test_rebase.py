"""Rebase: both sides' changes together, and what cannot be."""

from typing import Any

import pytest

from tracetune.stores.bundle import Bundle
from tracetune.stores.rebase import ABSENT, Clash, rebase, rebase_guidelines
from tracetune.stores.release import Guideline


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "merged"),
    [
        pytest.param({"a": "1"}, {"a": "2"}, {"a": "1"}, {"a": "2"}, id="only mine changed"),
        pytest.param({"a": "1"}, {"a": "1"}, {"a": "2"}, {"a": "2"}, id="only theirs changed"),
        pytest.param({"a": "1"}, {"a": "2"}, {"a": "2"}, {"a": "2"}, id="both the same way"),
        pytest.param({}, {"a": "1"}, {"b": "2"}, {"b": "2", "a": "1"}, id="each added one"),
        pytest.param({"a": "1"}, {}, {"a": "1"}, {}, id="mine took one away"),
        pytest.param({"a": "1"}, {"a": "1"}, {}, {}, id="theirs took one away"),
        pytest.param({"a": "1"}, {}, {}, {}, id="both took it away"),
        pytest.param(
            {"a": "1", "b": "1"}, {"a": "2", "b": "1"}, {"a": "1", "b": "2"}, {"a": "2", "b": "2"},
            id="each changed another",
        ),
    ],
)  # fmt: skip
def test_changes_to_different_things_merge(
    base: dict[str, str], mine: dict[str, str], theirs: dict[str, str], merged: dict[str, str]
):
    prompts = rebase(Bundle(base), Bundle(mine), Bundle(theirs))
    assert (prompts.bundle, prompts.clashes) == (Bundle(merged), ())
    assert list(prompts.bundle.prompts) == list(merged)
    config = rebase(Bundle({}, base), Bundle({}, mine), Bundle({}, theirs))
    assert (config.bundle, config.clashes) == (Bundle({}, merged), ())


@pytest.mark.parametrize(
    ("base", "mine", "theirs"),
    [
        pytest.param("1", "2", "3", id="both changed"),
        pytest.param(ABSENT, "1", "2", id="both added"),
        pytest.param("1", "2", ABSENT, id="mine changed what theirs took away"),
        pytest.param("1", ABSENT, "2", id="theirs changed what mine took away"),
        pytest.param(1, 2, 1.0, id="a number made another kind"),
        pytest.param(1, 2, True, id="a number made a truth value"),
        pytest.param({"x": [1]}, {"x": [2]}, {"x": [3]}, id="nested values"),
        pytest.param(1, None, 2, id="a null is a value"),
    ],
)
def test_what_both_changed_is_told_with_all_three(base: Any, mine: Any, theirs: Any):
    def bundle(value: Any) -> Bundle:
        return Bundle({"same": "text"}, {} if value is ABSENT else {"a": value})

    rebased = rebase(bundle(base), bundle(mine), bundle(theirs))
    assert rebased.clashes == (Clash("config", "a", base, mine, theirs),)
    assert rebased.bundle == bundle(theirs)


def test_a_null_that_only_one_side_set_merges():
    rebased = rebase(Bundle({}, {"a": 1}), Bundle({}, {"a": None}), Bundle({}, {"a": 1}))
    assert (rebased.bundle.config, rebased.clashes) == ({"a": None}, ())


def test_clashes_in_prompts_come_first_each_part_by_name():
    def bundle(value: str) -> Bundle:
        return Bundle({"z": value, "b": value}, {"a": value})

    clashes = rebase(bundle("1"), bundle("2"), bundle("3")).clashes
    assert [(c.part, c.name) for c in clashes] == [
        ("prompts", "b"),
        ("prompts", "z"),
        ("config", "a"),
    ]


def test_guidelines_go_with_the_text_they_stand_in():
    base, mine = Bundle({"a": "1", "b": "1"}), Bundle({"a": "2", "b": "1"})
    in_mine = [Guideline("m1", "a", "New."), Guideline("m2", "b", "Old.")]
    in_theirs = [Guideline("t1", "a", "Old."), Guideline("t2", "b", "Newer.")]
    kept = rebase_guidelines(base, mine, in_mine, in_theirs)
    assert [line.id for line in kept] == ["t2", "m1"]
