"""A trace that is forgotten is in no record any more, and nothing else is lost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tracetune.errors import InputError
from tracetune.stores.archive import dump
from tracetune.stores.backends import open_store
from tracetune.stores.forget import aforget, forget
from tracetune.stores.memory import ProceduralMemory
from tracetune.stores.release import Guideline
from tracetune.traces.model import Trace
from tracetune.traces.recording.sinks import StoreSink, stored_traces

TRACE = "airline-12-3"


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[ProceduralMemory]:
    with open_store("sqlite:///memory.db", base=tmp_path) as store:
        yield ProceduralMemory(store, "shop")


def guideline(name: str, text: str, *traces: str) -> Guideline:
    pattern = {"id": "p1", "text": "loops", "support": len(traces), "traces": list(traces)}
    return Guideline(name, "main", text, {"patterns": [pattern]})


def learned(memory: ProceduralMemory) -> tuple[str, str]:
    """Ids of two releases that rest on the trace; the second is in force."""
    desk = memory.agent("desk")
    resting = guideline("g-1", "Do not loop.", TRACE, "airline-12-30")
    other = guideline("g-2", "Be brief.", "airline-9-1")
    first = desk.commit(
        prompts={"main": "Help.\n- Do not loop.\n- Be brief."},
        guidelines=[resting, other],
        evidence={"traces": 2, "failing": [TRACE, "airline-12-30"], "digest": "d"},
        promote=True,
    )
    second = desk.commit(
        config={"n": 1},
        why=[f"Run {TRACE} failed, airline-12-30 did not."],
        metrics={
            "n": 2,
            "examples": [{"id": TRACE, "quote": "my card is 1234"}, {"id": "airline-9-1"}],
            "worst": {"trace": TRACE, "quote": "my card is 1234"},
            "scores": {TRACE: 0.1, "airline-9-1": 0.9},
        },
        verdict={"decision": "better", "lost": [TRACE], "gained": ["airline-9-1"]},
        promote=True,
        by="ana",
    )
    return first.id, second.id


def test_a_forgotten_trace_is_nowhere_and_the_rest_is_as_it_was(memory: ProceduralMemory) -> None:
    first, second = learned(memory)
    desk = memory.agent("desk")
    before = {release.id: release for release in desk.releases()}
    done = forget(memory, TRACE, by="ana")
    # Ids that only begin like it stay.
    text = json.dumps(dump(memory)).replace("airline-12-30", "")
    assert TRACE not in text
    assert "my card" not in text
    assert done.releases == (second, first)
    for name, old in before.items():
        new = desk.get(name)
        assert (new.prompts, new.config, new.content_hash) == (
            old.prompts,
            old.config,
            old.content_hash,
        )
        assert [g.text for g in new.guidelines] == [g.text for g in old.guidelines]
    assert desk.get(first).evidence == {"traces": 2, "failing": ["airline-12-30"], "digest": "d"}
    new = desk.get(second)
    assert new.why == ("Run [forgotten] failed, airline-12-30 did not.",)
    assert new.metrics == {
        "n": 2,
        "examples": [{"id": "airline-9-1"}],
        "scores": {"airline-9-1": 0.9},
    }
    assert new.verdict == {"decision": "better", "lost": [], "gained": ["airline-9-1"]}


def test_the_journal_says_which_records_were_rewritten_but_not_for_whom(
    memory: ProceduralMemory,
) -> None:
    first, second = learned(memory)
    desk = memory.agent("desk")
    before = desk.history()
    forget(memory, TRACE, by="ana")
    after = desk.history()
    assert {(e.action, e.release, e.by) for e in after[: len(after) - len(before)]} == {
        ("forgotten", first, "ana"),
        ("forgotten", second, "ana"),
    }
    assert [(e.id, e.action) for e in after][-len(before) :] == [(e.id, e.action) for e in before]
    assert not any(TRACE in e.why.replace("airline-12-30", "") for e in after)


def test_the_guidelines_that_rest_on_it_are_listed_and_stay(memory: ProceduralMemory) -> None:
    first, second = learned(memory)
    [resting] = forget(memory, TRACE).guidelines
    assert (resting.agent, resting.id, resting.prompt) == ("desk", "g-1", "main")
    assert resting.in_force
    assert resting.releases == (second, first)
    assert {g.id for g in memory.agent("desk").release.guidelines} == {"g-1", "g-2"}


def test_a_guideline_of_the_past_is_told_apart(memory: ProceduralMemory) -> None:
    learned(memory)
    memory.agent("desk").commit(config={"n": 2}, guidelines=[], promote=True)
    [resting] = forget(memory, TRACE).guidelines
    assert not resting.in_force


def test_a_prompt_that_names_it_is_listed_and_stays(memory: ProceduralMemory) -> None:
    desk = memory.agent("desk")
    desk.commit(prompts={"main": f"Not as in {TRACE}!", "other": "airline-12-30"}, promote=True)
    done = forget(memory, TRACE)
    assert done.prompts == ("desk.main",)
    assert TRACE in desk.prompts["main"]


def test_what_nobody_names_changes_nothing(memory: ProceduralMemory) -> None:
    learned(memory)
    before = dump(memory)
    done = forget(memory, "airline-12")
    assert (done.releases, done.entries, done.guidelines, done.prompts) == ((), 0, (), ())
    assert dump(memory) == before
    forget(memory, TRACE)
    assert forget(memory, TRACE).releases == ()


def test_a_short_id_is_no_word_in_a_sentence_and_no_name_of_a_field(
    memory: ProceduralMemory,
) -> None:
    desk = memory.agent("desk")
    desk.commit(
        prompts={"main": "3"},
        why=["3 runs of rules failed"],
        evidence={"failing": ["3", "33"], "learned_with": "rules", "support": 3},
        promote=True,
    )
    forget(memory, "3")
    forget(memory, "rules")
    assert desk.release.why == ("3 runs of rules failed",)
    assert desk.release.evidence == {"failing": ["33"], "learned_with": "rules", "support": 3}


def test_only_the_agent_that_is_named_is_looked_at(memory: ProceduralMemory) -> None:
    evidence: dict[str, Any] = {"failing": [TRACE]}
    for name in ("desk", "till"):
        memory.agent(name).commit(prompts={"main": "x"}, evidence=evidence, promote=True)
    forget(memory, TRACE, agent="till")
    assert memory.agent("desk").release.evidence == evidence
    assert memory.agent("till").release.evidence == {"failing": []}


def test_what_a_recorder_put_into_the_store_goes_too(memory: ProceduralMemory) -> None:
    memory.agent("desk").commit(prompts={"main": "Help."}, promote=True)
    sink, failed = StoreSink(memory.store), list[str]()
    for name, agent in ((TRACE, "desk"), ("airline-9-1", "desk"), (TRACE, "stranger")):
        sink.write(Trace(name, agent), lambda id, error: failed.append(id))
    assert sink.flush(10)
    assert failed == []
    assert forget(memory, TRACE).recorded == 1
    assert [row["id"] for row in stored_traces(memory.store, "desk")] == ["airline-9-1"]
    assert len(list(stored_traces(memory.store, "stranger"))) == 1  # no agent of this project


@pytest.mark.parametrize("trace_id", ["", " ", None, 5])
def test_an_id_that_is_none_is_refused(memory: ProceduralMemory, trace_id: Any) -> None:
    with pytest.raises(InputError, match="must be text"):
        forget(memory, trace_id)


async def test_the_async_twin_does_the_same(tmp_path: Path) -> None:
    async with open_store("sqlite:///memory.db", base=tmp_path) as store:
        memory = ProceduralMemory(store, "shop")
        desk = memory.agent("desk")
        await desk.acommit(prompts={"main": "x"}, evidence={"failing": [TRACE]}, promote=True)
        assert len((await aforget(memory, TRACE)).releases) == 1
        assert (await desk.areleases())[0].evidence == {"failing": []}
