"""The records memory keeps: their JSON forms and their ids."""

import itertools
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tracetune.errors import InputError, StoreError
from tracetune.stores.bundle import Bundle
from tracetune.stores.release import (
    Guideline,
    JournalEntry,
    Release,
    entries_of,
    journalled,
    new_release_id,
)

NOW = datetime(2026, 11, 21, 22, 47, 11, 482000, tzinfo=UTC)
RELEASE = Release(
    id="20261121-224711-482-3f9c07",
    agent="email",
    parent="20261120-000000-000-000000",
    prompts={"main": "Answer {question}.\r\n", "triage": "Sort. "},
    config={"max_steps": 200, "nested": {"z": [1.0, None], "a": True}},
    guidelines=(Guideline("g1", "main", "Book once.", {"traces": ["t1"]}, "rules"),),
    origin="rules",
    why=("It looped.", "It was slow."),
    evidence={"traces": ["t1", "t2"]},
    metrics={"n": 50, "success_rate": 0.38},
    verdict={"decision": "not worse"},
    model="google_genai:x",
    calls=3,
    tokens=1200,
    created_at=NOW,
)


def test_a_release_comes_back_equal_from_its_json():
    row = json.loads(json.dumps(RELEASE.to_dict(), allow_nan=False))
    assert row["version"] == 2
    assert Release.from_dict(row) == RELEASE


def test_a_release_comes_back_equal_from_its_record():
    row = json.loads(json.dumps(RELEASE.to_record(), allow_nan=False))
    assert list(Release.from_record(row).config["nested"]) == ["z", "a"]
    assert Release.from_record(row) == RELEASE


def test_a_time_without_a_zone_in_the_evidence_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        kept, _ = replace(RELEASE, evidence={"at": NOW.replace(tzinfo=None)}).kept(
            by="ann", promoted=True
        )
    finally:
        monkeypatch.undo()
        time.tzset()
    assert kept.evidence == {"at": NOW.isoformat()}


def test_a_release_is_kept_as_its_store_gives_it_back():
    kept, record = replace(RELEASE, metrics={"p": float("nan")}).kept(by="ann\0", promoted=True)
    assert kept == Release.from_record(json.loads(json.dumps(record, allow_nan=False)))
    assert kept.metrics == {"p": None}


def test_a_copy_is_equal_and_shares_nothing():
    copy = RELEASE.copied()
    assert copy == RELEASE
    copy.config["nested"]["z"].append("later")
    copy.evidence["traces"].append("later")
    copy.guidelines[0].evidence["traces"].append("later")
    assert RELEASE.config["nested"]["z"] == [1.0, None]
    assert RELEASE.evidence == {"traces": ["t1", "t2"]}
    assert RELEASE.guidelines[0].evidence == {"traces": ["t1"]}


@pytest.mark.parametrize(
    ("origin", "promoted", "told"),
    [
        pytest.param("human", False, ["committed"], id="a commit"),
        pytest.param("human", True, ["promoted", "committed"], id="a commit put in force with it"),
        pytest.param("import", False, ["imported"], id="an import"),
    ],
)
def test_a_releases_record_tells_of_its_commit(origin: Any, promoted: bool, told: list[str]):
    _, record = replace(RELEASE, origin=origin).kept(by="ann", promoted=promoted)
    entries = entries_of({RELEASE.id: record}, {})
    assert [e.action for e in entries] == told
    said = {(e.id, e.release, e.previous, e.by, e.why, e.at) for e in entries}
    why = "It looped. It was slow."
    assert said == {(RELEASE.id, RELEASE.id, RELEASE.parent, "ann", why, NOW)}
    line = journalled(record)
    assert line is not None
    assert entries_of({}, {RELEASE.id: line}) == entries, "as after it was pruned"
    assert entries_of({RELEASE.id: record}, {RELEASE.id: line}) == entries, "told once"


def test_odd_values_that_were_let_in_once_are_read():
    odd = {"why": [None, 1, "x"], "origin": ["a"], "evidence": 5, "metrics": [1]}
    row = RELEASE.kept(by="ann", promoted=True)[1] | odd
    release = Release.from_record(row)
    assert (release.why, release.origin) == (("None", "1", "x"), "['a']")
    assert (release.evidence, release.metrics) == ({"evidence": 5}, {"metrics": [1]})
    assert [e.why for e in entries_of({RELEASE.id: row}, {})] == ["None 1 x", "None 1 x"]


def test_a_record_whose_commit_cannot_be_read_is_an_error():
    with pytest.raises(StoreError, match="release x cannot be read: 'origin'"):
        entries_of({"x": {"version": 2, "id": "x", "commit": {}}}, {})


def test_a_journal_entry_comes_back_equal_from_its_json():
    entry = JournalEntry("e1", "rolled back", "r1", "r2", "ann", "It lied.", NOW)
    assert JournalEntry.from_dict(json.loads(json.dumps(entry.to_dict()))) == entry


def test_a_release_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        RELEASE.agent = "other"  # type: ignore[misc]


def test_what_is_read_shares_nothing_with_the_row():
    row = RELEASE.to_dict()
    release = Release.from_dict(row)
    row["config"]["nested"]["z"].append("later")
    assert release == RELEASE


def test_the_bundle_and_its_hash_come_from_the_content():
    assert RELEASE.bundle == Bundle(RELEASE.prompts, RELEASE.config)
    assert RELEASE.content_hash == RELEASE.bundle.content_hash


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        pytest.param(float("nan"), None, id="not a number becomes null"),
        pytest.param(float("-inf"), None, id="infinity becomes null"),
        pytest.param((1, 2), [1, 2], id="a tuple becomes a list"),
        pytest.param({"b", "a"}, ["a", "b"], id="a set becomes a sorted list"),
        pytest.param(2**70, str(2**70), id="a huge integer becomes text"),
        pytest.param({3: "x"}, {"3": "x"}, id="a number as name becomes text"),
        pytest.param("a\x00b\ud800", "a\ufffdb\ufffd", id="what no store keeps is replaced"),
        pytest.param(NOW, "2026-11-21T22:47:11.482000+00:00", id="a moment becomes ISO text"),
        pytest.param(Guideline("g", "p", "t"), Guideline("g", "p", "t").to_dict(), id="a record"),
    ],
)
def test_metrics_become_json(value: Any, kept: Any):
    assert replace(RELEASE, metrics={"x": [value]}).to_dict()["metrics"] == {"x": [kept]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"version": 3}, "layout 3, but this tracetune knows only", id="newer layout"),
        pytest.param({"created_at": "soon"}, "soon", id="a stamp that is none"),
        pytest.param({"guidelines": [{"odd": 1}]}, "guideline without an id", id="odd guideline"),
        pytest.param({"surprise": 1}, "surprise", id="an unknown field"),
    ],
)
def test_a_row_that_is_no_release_is_an_error(change: dict[str, Any], message: str):
    with pytest.raises(StoreError, match=message) as caught:
        Release.from_dict(RELEASE.to_dict() | change)
    assert "\n" not in str(caught.value)


def test_ids_show_utc_time_and_noise():
    near = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=5)
    id_ = new_release_id(near.astimezone(timezone(timedelta(hours=9))))
    assert id_.startswith(f"{near:%Y%m%d-%H%M%S}-")
    assert re.fullmatch(r"\d{8}-\d{6}-\d{3}-[0-9a-f]{6}", id_)


def test_ids_rise_while_the_clock_stands_still_or_goes_back():
    moments = [datetime.now(UTC)] * 500 + [NOW - timedelta(days=400)] * 500
    ids = [new_release_id(moment) for moment in moments]
    assert all(a[:19] < b[:19] for a, b in itertools.pairwise(ids))


def test_threads_never_get_the_same_id():
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: new_release_id(NOW)[:19], range(2000)))
    assert len(set(ids)) == len(ids)


class _Text(str):
    """As ruamel's quoted scalars are: text with a memory of its quotes."""


class _Number(float):
    """As ruamel's floats are; JSON encoders refuse it."""


def test_a_storable_bundle_is_a_deep_copy_of_plain_types():
    inner = [_Number(0.5), (1, 2)]
    bundle = Bundle({"main": _Text("Hi.")}, {"a": inner}).storable("email")
    inner.append(3)
    assert bundle == Bundle({"main": "Hi."}, {"a": [0.5, [1, 2]]})
    assert type(bundle.prompts["main"]) is str
    assert type(bundle.config["a"][0]) is float


@pytest.mark.parametrize(
    ("prompts", "config", "message"),
    [
        pytest.param({"main": 3}, {}, "email.prompts.main must be text, but is int 3", id="number"),
        pytest.param({"main": "a\0"}, {}, r"email.prompts.main .* U\+0000 at position 1", id="NUL"),
        pytest.param({"main": "\ud800"}, {}, r"U\+D800 at position 0", id="half a character"),
        pytest.param({"": "x"}, {}, "email.prompts must have text as names", id="empty name"),
        pytest.param({}, {"t": float("nan")}, "email.config.t must be .* float nan", id="NaN"),
        pytest.param({}, {"t": {"u": [0, NOW]}}, r"email.config.t.u\[1\]", id="a date, deep down"),
        pytest.param({}, {"t": 2**64}, "email.config.t must be", id="an integer over 64 bits"),
        pytest.param({}, {"t": {1: "x"}}, "config.t must have text as names", id="number as name"),
    ],
)
def test_what_a_store_would_change_is_refused(prompts: Any, config: Any, message: str):
    with pytest.raises(InputError, match=message):
        Bundle(prompts, config).storable("email")
