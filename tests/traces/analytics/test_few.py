"""A few traces in memory answer as tables of them do."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tracetune.errors import InputError, TraceError
from tracetune.traces.analytics import few
from tracetune.traces.analytics.few import FewTraces, few_or_tables, read_records
from tracetune.traces.analytics.sample import COMMENTED
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.metrics import compute_metrics
from tracetune.traces.mining.few_patterns import count_few_patterns
from tracetune.traces.mining.patterns import count_patterns, mine_patterns
from tracetune.traces.model import Message, Step, Thought, ToolCall, Trace
from tracetune.traces.read import read_traces
from tracetune.traces.readers.base import BadRecord
from tracetune.traces.redaction import Redactor

REPO = Path(__file__).parents[3]


def taken(records: Sequence[Any], *, strict: bool = False) -> tuple[Any, list[BadRecord], Redactor]:
    """What is made of the records, what is set aside, and what counted the secrets."""
    bad: list[BadRecord] = []
    redactor = Redactor()
    held = read_records(records, strict=strict, on_bad=bad.append, redactor=redactor)
    return held, bad, redactor


def rows(held: Any, agent: str) -> list[tuple[Any, ...]]:
    columns = [column.tolist() for column in held.rows(agent).values()]
    return sorted(zip(*columns, strict=True), key=repr)


def same(held: FewTraces, tables: TraceTables, traces: Sequence[Trace]) -> None:
    """Fail where the two do not answer alike."""
    labels = sorted({name for trace in traces for name in trace.labels})[:3]
    by_all = (("agent",), (), ("success", "failure_kind"), ("agent", "ended_by"), ("release",))
    for by in (*by_all, *((name, "task") for name in labels)):
        assert held.count(by) == tables.count(by), by
    assert held.agents() == tables.agents()
    for agent in held.agents():
        # What they look like, too: 1 and 1.0 are equal.
        assert repr(held.kept(agent)) == repr(tables.kept(agent))
        assert repr(held.commented(agent)) == repr(tables.commented(agent))
        assert held.tools(agent) == tables.tools(agent)
        assert rows(held, agent) == rows(tables, agent)
        assert mine_patterns(held, agent=agent) == mine_patterns(tables, agent=agent)
    for least in (1, 3):
        counted = count_few_patterns(held.runs(), least=least)
        assert counted == count_patterns(tables, least=least)
    assert mine_patterns(held).why_empty == mine_patterns(tables).why_empty


def real(data: Path, name: str) -> list[Trace]:
    mapping = REPO / "examples" / "mappings" / "who-and-when.yaml"
    return list(read_traces(data / name, mapping=mapping if name == "who-and-when" else None))


@pytest.mark.parametrize(
    "name",
    [
        "stratus/agent-traces",
        "tau-bench/airline-gpt-4o.json.gz",
        "tau2-bench/airline-gpt-oss-120b-langchain.json.gz",
        "tau2-bench/retail-gpt-4.1-base.json.gz",
        "who-and-when",
    ],
)
def test_of_real_runs_both_say_the_same(name: str, shared_data: Path) -> None:
    traces = real(shared_data, name)
    held, bad, _ = taken(traces)
    with TraceTables(traces) as tables:
        same(held, tables, traces)
    assert not bad


def odd_step(chance: random.Random) -> Step:
    said = chance.choice(["hello there world", "no way it failed", "lone \ud800 half", ""])
    if chance.random() < 0.3:
        steps: list[Step] = [Message("user", said), Message("assistant", said), Thought(said)]
        return chance.choice(steps)
    arguments: Any = [{}, {"x": 1}, {"x": 1.0}, {"a": [1, {"z": math.nan}]}, {"y": (1, 2)}, {1: 2}]
    errors = [None, None, "", "bad 12 'x'", "error code: 429", "Traceback (most\nKeyError: 3"]
    return ToolCall(
        chance.choice(["a", "b", "nul\x00", "lone \ud800", "é", "search"]),
        chance.choice(arguments),
        result=chance.choice([None, "", "ok"]),
        error=chance.choice(errors),
        latency_s=chance.choice([None, 0.0, 1.5, math.nan]),
        by=chance.choice(["agent", "agent", "agent", "user"]),
    )


def odd_trace(chance: random.Random, number: int) -> Trace:
    labels: Any = [{}, {"ended_by": "max_steps"}, {"ended_by": "done", "x": "1"}]
    return Trace(
        id=chance.choice([f"r{number}", f"r{number // 2}", f"é{number}"]),
        agent=chance.choice(["one", "two", "three \ud801"]),
        release=chance.choice([None, "v1"]),
        task=chance.choice([None, "t1", "t2", "t3", "t\x004"]),
        latency_s=chance.choice([None, 0, 1e-10, 3, 2.5, math.inf, 1e9]),
        success=chance.choice([True, False, None, True, False]),
        score=chance.choice([None, 1, 0.5]),
        feedback=chance.choice([None, "good", {"k": "v"}]),
        steps=tuple(odd_step(chance) for _ in range(chance.randrange(9))),
        attempts=chance.choice([None, None, 5, 2**40, 2**63]),
        turns=chance.choice([None, 3, 10]),
        tokens_in=chance.choice([None, 7]),
        cost_usd=chance.choice([None, 0.1234567891, 1]),
        failure_kind=chance.choice(["unknown", "agent", "user", "infrastructure"]),
        labels=chance.choice([*labels, {"part_of": "p"}, {"error": "connection refused"}]),
    )


@pytest.mark.parametrize("seed", range(6))
def test_of_odd_runs_both_say_the_same(seed: int) -> None:
    chance = random.Random(seed)
    traces = [odd_trace(chance, n) for n in range((0, 1, 5, 40, 90, 150)[seed])]
    held, bad, redactor = taken(traces)
    also_bad: list[BadRecord] = []
    other = Redactor()
    with TraceTables.read(traces, on_bad=also_bad.append, redactor=other) as tables:
        same(held, tables, traces)
    assert (bad, redactor.counts) == (also_bad, other.counts)


def test_metrics_are_those_of_tables(shared_data: Path) -> None:
    traces = real(shared_data, "tau2-bench/retail-gpt-4.1-sft.json.gz")
    with few_or_tables(traces) as held:
        assert isinstance(held, FewTraces)
        assert compute_metrics(held, by=("task",)) == compute_metrics(traces, by=("task",))
        assert held.has("retail", traces[0].id)
        assert not held.has("retail", "nobody")
        assert not held.has("nobody", traces[0].id)
        with pytest.raises(InputError, match="Cannot group traces by 'mood'; expected: agent, "):
            held.count(["mood"])


def test_the_digest_is_of_the_content_in_any_order() -> None:
    def digest(*traces: Trace) -> str:
        held, _, _ = taken([Trace("other", "boss", score=random.random()), *traces])
        found: str = held.digest_of_agent("desk")
        return found

    one = Trace("1", "desk", steps=(ToolCall("look", {"a": 1, "b": 2}, result="red"),))
    two = Trace("2", "desk", success=True)
    assert digest(one, two) == digest(two, one)
    turned = replace(one, steps=(ToolCall("look", {"b": 2, "a": 1}, result="red"),))
    assert digest(turned, two) == digest(one, two)
    as_long = replace(one, steps=(ToolCall("look", {"a": 1, "b": 2}, result="tan"),))
    lost = replace(two, success=None)
    all_of_them = [digest(one, two), digest(as_long, two), digest(one, lost), digest(one), digest()]
    assert len(set(all_of_them)) == 5
    assert all_of_them[-1] == "0" * 16


def test_of_much_feedback_both_keep_the_same() -> None:
    traces = [Trace(f"{n}", "desk", success=n < 520, feedback="good") for n in range(560)]
    held, _, _ = taken(traces)
    with TraceTables(traces) as tables:
        assert len(held.commented("desk")) == COMMENTED + 40
        assert held.commented("desk") == tables.commented("desk")


@pytest.mark.parametrize(
    ("name", "most"),
    [
        pytest.param("FEW", 5, id="too many"),
        pytest.param("FEW_BYTES", 700, id="too much"),
        pytest.param("KEPT_BYTES", 1600, id="one too large to be kept whole"),
    ],
)
def test_more_than_a_few_go_into_tables(
    name: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few, name, most)
    key = "ghp_" + "a1B2" * 9
    traces = [Trace(f"{n}", "desk", success=n % 3 > 0, task=f"use {key}") for n in range(12)]
    traces[7] = replace(traces[7], steps=(Thought("well " * 100),))
    held, bad, redactor = taken([*traces[:3], traces[1], "?", *traces[3:], traces[2]])
    assert isinstance(held, TraceTables)
    with held:
        assert held.agents() == {"desk": 12}
        assert key not in str(held.kept("desk"))
        assert mine_patterns(held).tried == mine_patterns(traces).tried
    # Each once, however many were looked at before the tables were begun.
    assert len(bad) == 3
    assert sum(redactor.counts.values()) == 14


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        pytest.param(Trace("1", "desk"), "have the id '1'; expected 1", id="an id twice"),
        pytest.param(Trace("2", "desk", turns=2**63), "below 2^63", id="too large a count"),
        pytest.param(Trace("", "desk"), "id is empty", id="no canonical trace"),
        pytest.param({"id": 3}, "no known format", id="nothing known"),
    ],
)
def test_what_cannot_be_used_is_set_aside(record: Any, reason: str) -> None:
    held, [bad], _ = taken([Trace("1", "desk"), record, Trace("4", "desk")])
    assert held.agents() == {"desk": 2}
    assert reason in bad.reason
    with pytest.raises(TraceError, match="records:"):
        taken([Trace("1", "desk"), record], strict=True)


def test_a_trace_that_is_set_aside_keeps_its_id_from_no_other() -> None:
    traces = [Trace("1", "desk", steps=(ToolCall(""),)), Trace("1", "desk", success=True)]
    held, [bad], _ = taken(traces)
    assert "steps[1].name is empty" in bad.reason
    assert held.agents() == {"desk": 1}
    with TraceTables(traces) as tables:
        same(held, tables, traces)


def test_a_text_that_an_object_becomes_is_redacted() -> None:
    class Secret:
        def __str__(self) -> str:
            return "ghp_" + "a1B2" * 9

    trace = Trace("1", "desk", steps=(ToolCall("look", {"x": Secret(), "y": "\ud800"}),))
    held, _, redactor = taken([trace])
    [kept] = held.kept("desk")
    assert kept.steps[0].arguments == {"x": "<redacted: GitHub token>", "y": "?"}
    assert sum(redactor.counts.values()) == 1
