"""Ids across machines: what a clock that is ahead leaves behind is never undercut."""

from datetime import UTC, datetime, timedelta

import pytest

from tracetune.stores.ids import id_time, is_id, new_release_id

NOW = datetime(2026, 11, 21, 22, 47, 11, 482000, tzinfo=UTC)


def test_an_id_is_greater_than_the_one_it_must_come_after():
    ahead = f"{datetime.now(UTC) + timedelta(seconds=30):%Y%m%d-%H%M%S}-999-ffffff"
    assert ahead < new_release_id(NOW, after=ahead)


def test_an_id_that_tells_no_time_holds_nothing_up():
    assert new_release_id(NOW, after="an entry of someone else") > ""


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        pytest.param("20261121-224711-482-3f9c07", NOW, id="an id"),
        pytest.param("20261121-224711-482-3f9c07 head", NOW, id="a claim"),
        pytest.param("20261321-224711-482-3f9c07", None, id="a month that is none"),
        pytest.param("theirs", None, id="some word"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_an_id_tells_its_time(text: str, moment: datetime | None):
    assert id_time(text) == moment


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        pytest.param(new_release_id(NOW), True, id="an id"),
        pytest.param(new_release_id(NOW)[:-1], False, id="its beginning"),
        pytest.param(new_release_id(NOW)[-6:], False, id="its end"),
        pytest.param(new_release_id(NOW) + "\n", False, id="an id and a line's end"),
        pytest.param("production", False, id="a label"),
    ],
)
def test_a_whole_id_is_told_from_a_part(text: str, whole: bool):
    assert is_id(text) is whole
