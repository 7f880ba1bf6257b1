import math
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from tracetune.errors import InputError, TraceError
from tracetune.traces.model import ToolCall, Trace
from tracetune.traces.read import read_traces
from tracetune.traces.tables import TraceTables, error_key, opened


def run(id: str, *calls: ToolCall, **values: object) -> Trace:
    return Trace(**{"id": id, "agent": "clerk", "steps": calls, **values})  # type: ignore[arg-type]


def used_calls(tables: TraceTables) -> dict[str, tuple[int, int]]:
    tables.group(["agent"])
    return {row["name"]: (row["calls"], row["runs"]) for row in tables.query("tool_sums")}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param(
            "Error: Payment method certificate_3221322 not found",
            "Error: Payment method <id> not found",
            id="ids of letters and digits",
        ),
        pytest.param(
            "total price is 570, but paid 285.50",
            "total price is <n>, but paid <n>",
            id="numbers",
        ),
        pytest.param(
            "Unknown column 'T1.name' in \"field list\"",
            "Unknown column <value> in <value>",
            id="quoted values",
        ),
        pytest.param("I don't know what can't be", "I don't know what can't be", id="apostrophes"),
        pytest.param(
            "run 13ac416d-9285-4ad0-8bad-0123456789ab failed", "run <id> failed", id="uuid"
        ),
        pytest.param("no /tmp/a/b.txt here", "no <path> here", id="path"),
        pytest.param(
            "Traceback (most recent call last):\n  File x\nKeyError: 'a'\n",
            "KeyError: <value>",
            id="traceback ends with what went wrong",
        ),
        pytest.param("a\x07\n\tb\x1b", "a b", id="control characters"),
        pytest.param("", "", id="an error without a text"),
    ],
)
def test_an_error_key_keeps_what_errors_share(text: str, key: str) -> None:
    assert error_key(text) == key


def test_an_error_key_is_short_even_for_a_megabyte() -> None:
    assert len(error_key("ab " * 400_000)) <= 120


def test_real_traces_fill_both_tables(shared_data: Path) -> None:
    source = shared_data / "tau2-bench" / "airline-gpt-oss-120b-langchain.json.gz"
    traces = list(read_traces(source))
    with TraceTables(iter(traces)) as tables:
        calls = used_calls(tables)
        (known,) = tables.query("known_runs", agent=None)
    assert len(tables) == 50
    assert (known["runs"], known["successes"]) == (50, 19)
    assert calls["transfer_to_human_agents"] == (463, 28)
    assert sum(n for n, _ in calls.values()) == sum(t.attempts or 0 for t in traces)


def test_calls_of_the_user_are_left_out() -> None:
    with TraceTables([run("1", ToolCall("mine"), ToolCall("theirs", by="user"))]) as tables:
        assert used_calls(tables) == {"mine": (1, 1)}


def test_the_digest_is_of_the_content_in_any_order() -> None:
    traces = [run(str(n), ToolCall("look", {"at": n}), success=n > 2) for n in range(6)]
    shuffled = random.Random(1).sample(traces, k=6)
    changed = [*traces[:-1], replace(traces[-1], success=None)]
    digests = [TraceTables(some).digest for some in (traces, shuffled, changed, traces[:-1], [])]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4
    assert all(len(digest) == 16 for digest in digests)


def test_hostile_text_reaches_the_tables_as_data() -> None:
    names = ["'; DROP TABLE runs; --", "nul\x00", "lone \ud800", "line\nbreak", "{'a': \"b\"}"]
    traces = [run(name, ToolCall(name, {"x": "\ud800"}, error=name)) for name in names]
    with TraceTables(traces) as tables:
        assert len(used_calls(tables)) == len(names)
        assert used_calls(tables)[names[0]] == (1, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_latency_that_is_no_number_is_unknown(value: float) -> None:
    with TraceTables([run("1", latency_s=value)]) as tables:
        tables.group([])
        assert tables.query("run_sums")[0]["latency_n"] == 0


def test_one_id_for_two_runs_of_an_agent_is_refused() -> None:
    with pytest.raises(TraceError, match="Two traces of agent 'clerk' have the id '7'"):
        TraceTables([run("7"), run("8"), run("7")])


def test_two_agents_may_share_an_id() -> None:
    with TraceTables([run("7", ToolCall("a")), run("7", ToolCall("b"), agent="boss")]) as tables:
        assert used_calls(tables) == {"a": (1, 1), "b": (1, 1)}


def test_a_value_of_the_wrong_type_is_an_error_of_one_line() -> None:
    with pytest.raises(TraceError, match="soon") as caught:
        TraceTables([run("1", turns="soon")])
    assert "\n" not in str(caught.value)
    assert tempfile.gettempdir() not in str(caught.value)


def test_nothing_stays_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with TraceTables([run("1")]):
        pass
    with pytest.raises(TraceError):
        TraceTables([run("1"), run("1")])
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_fails_is_passed_on_and_cleaned_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def broken():
        yield run("1")
        raise TraceError("line 2 is broken")

    with pytest.raises(TraceError, match="line 2 is broken"):
        TraceTables(broken())
    assert list(tmp_path.iterdir()) == []


def test_tables_that_were_given_stay_open() -> None:
    with TraceTables([run("1", ToolCall("a"))]) as tables:
        with opened(tables) as same:
            assert same is tables
        assert used_calls(tables) == {"a": (1, 1)}


def test_grouping_by_what_no_trace_has_is_refused() -> None:
    with (
        TraceTables([run("1", labels={"site": "x"})]) as tables,
        pytest.raises(InputError, match=r"'agnet'; expected: agent, .*task, site\."),
    ):
        tables.group(["agnet"])
