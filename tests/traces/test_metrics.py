import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median

import numpy as np
import pytest

from tracetune.traces.analytics.partials import MetricsPartial
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.metrics import (
    compute_metrics,
    count_metrics,
    latency_histogram,
    metrics_of,
)
from tracetune.traces.model import ToolCall, Trace
from tracetune.traces.read import read_traces
from tracetune.traces.reward import RewardRefs, RewardSpec


def run(id: str, *calls: str, **values: object) -> Trace:
    steps = tuple(ToolCall(name, result="ok") for name in calls)
    return Trace(**{"id": id, "agent": "clerk", "steps": steps, **values})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def airline(shared_data: Path) -> list[Trace]:
    folder = shared_data / "tau2-bench"
    return list(read_traces(folder / "airline-gpt-oss-120b-langchain.json.gz"))


def test_a_real_agent(airline: list[Trace]) -> None:
    (found,) = compute_metrics(iter(airline))
    assert (found.n, found.n_known, found.successes) == (50, 50, 19)
    assert found.success_rate == 0.38
    assert found.success_interval == pytest.approx((0.2586, 0.5185), abs=1e-4)
    assert found.latency_p50 == pytest.approx(median(t.latency_s or 0 for t in airline))
    assert found.attempts_mean == pytest.approx(16.94)
    assert found.ended_at_limit == 0.1
    assert found.turns_max_success == max(t.turns or 0 for t in airline if t.success)
    assert found.cost_mean is None
    assert next(iter(found.tools)) == "transfer_to_human_agents"


def test_a_real_tool_that_loops(airline: list[Trace]) -> None:
    (found,) = compute_metrics(airline)
    loop = found.tools["transfer_to_human_agents"]
    first = {
        (t.id, json.dumps(dict(call.arguments), sort_keys=True))
        for t in airline
        for call in t.agent_calls()
        if call.name == "transfer_to_human_agents"
    }
    assert (loop.calls, loop.runs) == (463, 28)
    assert loop.repeated_calls == 463 - len(first)
    assert loop.success_rate_when_used == pytest.approx(15 / 28)
    assert found.tools["book_reservation"].error_rate == pytest.approx(14 / 25)


def test_the_mean_reward_is_the_mean_of_the_rewards(airline: list[Trace]) -> None:
    spec = RewardSpec(latency_weight=-0.4, cap=2)
    (found,) = compute_metrics(airline, reward=spec)
    assert found.refs.latency_s == pytest.approx(median(t.latency_s or 0 for t in airline))
    assert found.refs.attempts == median(t.attempts or 0 for t in airline)
    expected = fmean(spec.reward(t, found.refs) or 0 for t in airline)
    assert found.reward_mean == pytest.approx(expected)
    assert found.terms_left_out == ()


def test_given_references_are_used_and_recorded() -> None:
    refs = RewardRefs(latency_s=10, attempts=2)
    (found,) = compute_metrics(
        [run("1", "look", success=True, latency_s=5.0)], refs={"clerk": refs, "other": RewardRefs()}
    )
    assert found.refs == refs
    assert found.reward_mean == pytest.approx(1 - 0.5 * 0.5 / 3 - 0.3 * 0.5 / 3)


@pytest.mark.parametrize(
    ("traces", "left_out", "mean"),
    [
        pytest.param(
            [run("1", "a", success=True, latency_s=2.0), run("2", "a", success=False)],
            ("latency",),
            0.5 - 0.3 / 3,
            id="one latency is unknown",
        ),
        pytest.param(
            [run("1", "a", success=True, latency_s=2.0), run("2", "a", latency_s=2.0)],
            ("success",),
            -0.5 / 3 - 0.3 / 3,
            id="one outcome is unknown",
        ),
        pytest.param([run("1", success=True)], ("latency", "attempts"), 1.0, id="only the outcome"),
        pytest.param(
            [run("1", success=True, latency_s=2.0, attempts=0)],
            ("attempts",),
            1 - 0.5 / 3,
            id="no call by anybody is no reference",
        ),
        pytest.param([run("1")], ("success", "latency", "attempts"), None, id="nothing is known"),
    ],
)
def test_an_unknown_term_is_left_out_for_all_and_named(
    traces: list[Trace], left_out: tuple[str, ...], mean: float | None
) -> None:
    (found,) = compute_metrics(traces)
    assert found.terms_left_out == left_out
    assert found.reward_mean == (None if mean is None else pytest.approx(mean))


def test_a_term_without_weight_is_not_missed() -> None:
    (found,) = compute_metrics([run("1", "a", success=True)], reward=RewardSpec(latency_weight=0))
    assert found.terms_left_out == ()


def test_unknown_stays_unknown() -> None:
    (found,) = compute_metrics([run("1"), run("2")])
    assert found.n == 2
    assert found.n_known == 0
    unknown = [
        found.success_rate,
        found.success_interval,
        found.latency_p50,
        found.latency_p95,
        found.attempts_mean,
        found.attempts_p95,
        found.turns_max_success,
        found.tokens_in_mean,
        found.tokens_out_mean,
        found.cost_mean,
        found.ended_at_limit,
        found.reward_mean,
    ]
    assert unknown == [None] * len(unknown)


def test_infrastructure_failures_are_counted_apart() -> None:
    broken = run("2", "a", success=False, latency_s=900.0, failure_kind="infrastructure")
    (found,) = compute_metrics([run("1", "a", success=True, latency_s=1.0), broken])
    assert (found.n, found.n_infrastructure, found.n_known) == (2, 1, 1)
    assert found.success_rate == 1.0
    assert found.latency_p95 == 1.0
    assert found.tools["a"].calls == 1


def test_a_group_of_infrastructure_failures_alone_has_no_figures() -> None:
    (found,) = compute_metrics([run("1", "a", latency_s=9.0, failure_kind="infrastructure")])
    assert (found.n, found.n_infrastructure) == (1, 1)
    assert found.latency_p50 is None
    assert found.reward_mean is None
    assert found.tools == {}


@pytest.mark.parametrize(
    ("ended_by", "share"),
    [
        pytest.param(["max_step", "max_steps", "recursion_limit", "user_stop"], 0.75, id="limits"),
        pytest.param(["max_steps", None], 1.0, id="a run that does not say is not counted"),
        pytest.param(["user_stop"], 0.0, id="none at the limit"),
    ],
)
def test_the_share_that_ended_at_the_limit(ended_by: list[str | None], share: float) -> None:
    labels = [{"ended_by": end} if end else {} for end in ended_by]
    (found,) = compute_metrics(run(str(n), labels=label) for n, label in enumerate(labels))
    assert found.ended_at_limit == share


def test_groups_by_columns_and_labels_are_sorted_with_unknown_last() -> None:
    traces = [
        run("1", success=True, labels={"site": "b"}),
        run("2", success=False),
        run("3", success=False, labels={"site": "a"}),
        run("4", success=True, agent="boss", labels={"site": "b"}),
    ]
    found = compute_metrics(traces, by=("agent", "site"))
    assert [(m.group["agent"], m.group["site"], m.success_rate) for m in found] == [
        ("boss", "b", 1.0),
        ("clerk", "a", 0.0),
        ("clerk", "b", 1.0),
        ("clerk", None, 0.0),
    ]


def test_one_group_of_everything() -> None:
    (found,) = compute_metrics([run("1"), run("1", agent="boss")], by=())
    assert (found.group, found.n) == ({}, 2)


@pytest.mark.parametrize(
    ("by", "calls"),
    [
        pytest.param((), {(): 2}, id="everything"),
        pytest.param(("place",), {("x",): 2}, id="by a label"),
        pytest.param(("agent",), {("aide",): 1, ("clerk",): 2}, id="by agent"),
        pytest.param(("part_of",), {("1",): 1, (None,): 2}, id="by what they are part of"),
    ],
)
def test_a_sub_agents_run_counts_beside_its_whole_only_where_asked(
    by: tuple[str, ...], calls: dict[tuple[str | None, ...], int]
) -> None:
    whole = run("1", "look", "ask", labels={"place": "x"})
    part = run("1/2", "ask", agent="aide", labels={"place": "x", "part_of": "1"})

    found = compute_metrics([whole, part], by=by)

    counted = {tuple(m.group.values()): sum(t.calls for t in m.tools.values()) for m in found}
    assert counted == calls


def test_no_traces_give_no_groups() -> None:
    assert compute_metrics([], by=("agent", "any label")) == []


def partial(traces: Iterable[Trace], by: Sequence[str] = ("agent",)) -> MetricsPartial:
    with TraceTables(traces) as tables:
        return count_metrics(tables, by)


@pytest.mark.parametrize("by", [("agent",), ("agent", "ended_by"), ("release", "success"), ()])
def test_twenty_shards_in_any_order_equal_one_pass(shared_data: Path, by: tuple[str, ...]) -> None:
    folder = shared_data / "tau2-bench"
    traces = list(read_traces(folder / "airline-gpt-oss-120b-langchain.json.gz"))
    traces += read_traces(folder / "retail-gpt-4.1-base.json.gz")
    traces = [replace(t, cost_usd=0.1 * n / 7, release=f"r{n % 3}") for n, t in enumerate(traces)]
    whole = partial(traces, by)
    shards = [partial(traces[start::20], by) for start in range(20)]
    random.Random(3).shuffle(shards)
    merged = shards[0].merge(*shards[1:10]).merge(shards[10].merge(*shards[11:]))
    assert merged == whole
    assert metrics_of(merged) == metrics_of(whole)
    assert MetricsPartial.from_json(merged.to_json()) == whole
    assert merged.to_json() == whole.to_json()


def test_partials_by_different_names_do_not_merge() -> None:
    with pytest.raises(ValueError, match=r"by \('agent',\) merge, but got one by \(\)"):
        partial([run("1")]).merge(partial([run("2")], ()))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95, 0.999])
def test_quantiles_of_many_latencies_are_at_most_half_a_percent_off(share: float) -> None:
    chance = random.Random(5)
    latencies = sorted(chance.lognormvariate(3, 2) for _ in range(3000))
    exact = float(np.quantile(latencies, share))
    counts = partial(run(str(n), latency_s=value) for n, value in enumerate(latencies))
    [group] = counts.groups.values()
    assert latency_histogram(group).quantile(share) == pytest.approx(exact, rel=0.005)
    assert len(group.latency) < 2000


def test_no_latency_at_all_is_a_value_too() -> None:
    (found,) = compute_metrics([run("1", latency_s=0.0), run("2", latency_s=0.0)])
    assert found.latency_p50 == 0.0


def test_names_that_look_like_separators_stay_apart() -> None:
    names = ["1:a", "-", "", "a1:b", "2:é1", "-1:x"]
    traces = [run(str(n), agent=name, labels={"l": name}) for n, name in enumerate(names) if name]
    found = compute_metrics(traces, by=("agent", "l"))
    assert {(m.group["agent"], m.group["l"]) for m in found} == {(n, n) for n in names if n}


def test_a_tools_figures_know_who_used_it() -> None:
    (found,) = compute_metrics(
        [
            run("1", "a", "a", success=True),
            run("2", "a", success=False),
            run("3", "b", success=False),
            run("4", "a"),
        ]
    )
    assert (found.tools["a"].calls, found.tools["a"].runs) == (4, 3)
    assert found.tools["a"].success_rate_when_used == 0.5
    assert found.tools["a"].repeated_calls == 1
    assert (found.attempts_mean, found.attempts_p95) == (1.25, pytest.approx(1.85))


def test_real_runs_that_a_models_host_refused_are_infrastructure(shared_data: Path) -> None:
    with TraceTables.read(shared_data / "openinference") as tables:
        (found,) = compute_metrics(tables)
    assert (found.n, found.n_infrastructure, found.n_known) == (13, 11, 0)
