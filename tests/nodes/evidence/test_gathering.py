"""The traces of a cycle: read once, held as tables, let go of."""

import gc
import queue
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from tracetune.errors import InputError, TraceError
from tracetune.graph.schemas import CycleInput
from tracetune.nodes.blaming.ranking import rank_prompts
from tracetune.nodes.configure_by_rules import tune_config
from tracetune.nodes.evidence.gathering import CACHE, SharedTables, gather
from tracetune.nodes.evidence.shelf import EvidenceShelf
from tracetune.stores.project import AgentSpec, Parameter, Project, load_project
from tracetune.traces.analytics.few import FewTraces
from tracetune.traces.analytics.sample import mark_of
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.metrics import compute_metrics
from tracetune.traces.mining.patterns import mine_patterns
from tracetune.traces.model import ToolCall, Trace
from tracetune.traces.read import read_traces
from tracetune.traces.reward import RewardRefs, RewardSpec

SECRET = "ghp_" + "aB3dE6gH9k" * 3 + "aB3dE6"


def write(folder: Path, traces: list[Trace], name: str = "traces.jsonl") -> Path:
    path = folder / name
    path.write_bytes(b"\n".join(orjson.dumps(trace.to_dict()) for trace in traces) + b"\n")
    return path


def project(folder: Path, *specs: AgentSpec) -> Project:
    return Project(
        name="p",
        root=folder,
        path=folder / "tracetune.yaml",
        model=None,
        store="memory://",
        reward=RewardSpec(),
        min_traces=5,
        agents={spec.name: spec for spec in specs},
    )


def spec(folder: Path, name: str = "desk", trace_agent: str = "") -> AgentSpec:
    return AgentSpec(name, traces=(str(folder / "*.jsonl"),), trace_agent=trace_agent)


def test_tables_say_of_real_runs_what_the_runs_say(airline: Path) -> None:
    found = gather(CycleInput(), load_project(airline / "tracetune.yaml"))["airline"]
    traces = list(read_traces(airline / "traces.json.gz"))
    [metrics] = compute_metrics(traces)
    assert found.metrics(RewardSpec()) == [metrics]
    assert found.patterns() == mine_patterns(traces)
    assert found.sample() == sorted(traces, key=lambda trace: trace.id)
    assert found.n == len(found.runs()) == 50
    assert found.tools() == sorted({c.name for t in traces for c in t.agent_calls()})
    assert found.has(traces[0].id)
    assert not found.has("nobody")


def test_rewards_of_groups_are_measured_against_the_medians_of_all_runs(tmp_path: Path) -> None:
    traces = [
        Trace(f"{release}{n}", "desk", release=release, success=True, latency_s=took)
        for release, took in (("old", 10.0), ("new", 40.0))
        for n in range(5)
    ]
    write(tmp_path, traces)
    found = gather(CycleInput(), project(tmp_path, spec(tmp_path)))["desk"]
    [whole] = found.metrics(RewardSpec())
    new, old = found.metrics(RewardSpec(), by=["release"])
    assert whole.refs == new.refs == old.refs == RewardRefs(25.0, None)
    assert old.reward_mean == pytest.approx(1 - 0.5 * 10 / 25 / 3)
    assert new.reward_mean == pytest.approx(1 - 0.5 * 40 / 25 / 3)


def test_a_limit_is_tuned_on_all_runs_and_not_on_the_sample(tmp_path: Path) -> None:
    # Far more successes than are kept whole; the one that needs many steps is not among those.
    short = [Trace(f"s{i}", "desk", success=True, turns=10, latency_s=1.0) for i in range(6000)]
    lost = [Trace(f"f{i}", "desk", success=False, turns=90, latency_s=9.0) for i in range(40)]
    write(tmp_path, [*short, *lost, Trace("long", "desk", success=True, turns=80)])
    found = gather(CycleInput(), project(tmp_path, spec(tmp_path)))["desk"]
    assert "long" not in {trace.id for trace in found.sample()}
    limit = {"max_steps": Parameter(min=1, step_limit=True)}
    [proposal] = tune_config(found.runs(), {"max_steps": 100}, limit, RewardSpec())
    assert proposal.after == 100
    [sampled] = tune_config(found.sample(), {"max_steps": 100}, limit, RewardSpec())
    assert sampled.after == 15


def test_feedback_that_the_sample_lacks_is_heard(tmp_path: Path) -> None:
    traces = [Trace(f"run-{n}", "clerk", success=False) for n in range(2500)]
    last = sorted(traces, key=lambda trace: mark_of("clerk", trace.id))[-3:]
    said = {trace.id: replace(trace, feedback="Sign as Ana.") for trace in last}
    write(tmp_path, [said.get(trace.id, trace) for trace in traces])
    one = project(tmp_path, spec(tmp_path, "desk", "clerk"))
    found = gather(CycleInput(), one)["desk"]
    assert len(found.sample()) == 2000
    assert not {trace.id for trace in found.sample()} & set(said)
    own = [replace(said[id], agent="desk") for id in sorted(said)]
    assert found.commented() == own
    prompts = [{"name": "main", "prompt": "Sign every answer."}, {"name": "b", "prompt": "Be."}]
    [first, _] = rank_prompts(found.sample(), prompts, commented=found.commented())
    assert (first.name, first.score > 0) == ("main", True)
    assert rank_prompts(found.sample(), prompts)[0].score == 0


def test_run_rows_tune_as_whole_traces_do(airline: Path) -> None:
    found = gather(CycleInput(), load_project(airline / "tracetune.yaml"))["airline"]
    limit, refs = {"max_steps": Parameter(min=5, step_limit=True)}, RewardRefs(50.0, 10.0)
    both = [
        tune_config(runs, {"max_steps": 200}, limit, RewardSpec(), refs)
        for runs in (found.runs(), list(read_traces(airline / "traces.json.gz")))
    ]
    assert both[0] == both[1]
    assert both[0][0].after == 60


def test_agents_that_share_sources_share_tables_and_have_their_own_runs(tmp_path: Path) -> None:
    write(tmp_path, [Trace(f"t{i}", agent) for agent in ("desk", "phone") for i in range(3)])
    specs = spec(tmp_path), spec(tmp_path, "calls", trace_agent="phone"), spec(tmp_path, "none")
    found = gather(CycleInput(), project(tmp_path, *specs))
    assert {name: one.n for name, one in found.items()} == {"desk": 3, "calls": 3, "none": 0}
    assert found["desk"].tables is found["calls"].tables
    assert {trace.agent for trace in found["calls"].sample()} == {"calls"}
    assert found["calls"].metrics(RewardSpec())[0].group == {"agent": "calls"}
    assert found["none"].others == {"desk", "phone"}


def test_an_agent_without_sources_holds_up_no_other(tmp_path: Path) -> None:
    write(tmp_path, [Trace("a", "desk")])
    lone = AgentSpec("lone")
    both, alone = project(tmp_path, spec(tmp_path), lone), project(tmp_path, lone)
    assert list(gather(CycleInput(), both)) == ["desk"]
    for request, known in ((CycleInput(agents=["lone"]), both), (CycleInput(), alone)):
        with pytest.raises(InputError, match=r"agents\.lone\.traces names no source"):
            gather(request, known)
    sent = CycleInput(traces=[Trace("b", "lone").to_dict()])
    assert {name: found.n for name, found in gather(sent, both).items()} == {"desk": 0, "lone": 1}


def test_files_that_did_not_change_are_not_read_again(tmp_path: Path) -> None:
    made = write(tmp_path, [Trace(f"t{i}", "desk") for i in range(3)])
    first = gather(CycleInput(), project(tmp_path, spec(tmp_path)))["desk"]
    parts = {part: part.stat().st_mtime_ns for part in (tmp_path / CACHE).rglob("*.parquet")}
    assert parts
    second = gather(CycleInput(), project(tmp_path, spec(tmp_path)))["desk"]
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / CACHE).rglob("*.parquet")} == parts
    assert second.digest == first.digest
    made.write_bytes(made.read_bytes() + orjson.dumps(Trace("new", "desk").to_dict()))
    third = gather(CycleInput(), project(tmp_path, spec(tmp_path)))["desk"]
    assert (third.n, third.digest == first.digest) == (4, False)


def test_where_nothing_can_be_kept_files_are_read_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, [Trace("t", "desk")])
    (tmp_path / ".tracetune").write_text("a file in the way")
    assert gather(CycleInput(), project(tmp_path, spec(tmp_path)))["desk"].n == 1


def test_strict_stops_at_what_else_is_set_aside(tmp_path: Path) -> None:
    path = write(tmp_path, [Trace("t", "desk"), Trace("u", "desk")])
    path.write_bytes(path.read_bytes() + b'{"id": 3}\n')
    here = project(tmp_path, spec(tmp_path))
    [bad] = gather(CycleInput(), here)["desk"].set_aside
    assert (bad.source, bad.position) == (str(path), 3)
    with pytest.raises(TraceError, match=r"traces\.jsonl:3: "):
        gather(CycleInput(strict=True), here)


@pytest.mark.parametrize("times", [1, 2], ids=["when read", "when known from before"])
def test_redactions_are_counted_and_never_held(times: int, tmp_path: Path) -> None:
    call = ToolCall("look", {}, result=f"token {SECRET}")
    write(tmp_path, [Trace(f"t{i}", "desk", steps=(call,)) for i in range(3)])
    read = [gather(CycleInput(), project(tmp_path, spec(tmp_path))) for _ in range(times)]
    found = read[-1]["desk"]
    assert sum(found.tables.redacted.values()) == 3
    assert SECRET not in str(found.sample())
    for kept in (tmp_path / CACHE).rglob("*"):
        assert kept.is_dir() or SECRET.encode() not in kept.read_bytes()


def test_a_few_runs_that_are_sent_say_what_files_of_them_say(airline: Path, tmp_path: Path) -> None:
    traces = list(read_traces(airline / "traces.json.gz"))
    write(tmp_path, traces)
    rows = [trace.to_dict() for trace in traces]
    here = project(tmp_path, spec(tmp_path, "desk", trace_agent=traces[0].agent))
    sent = gather(CycleInput.model_validate({"traces": rows}), here)["desk"]
    read = gather(CycleInput(), here)["desk"]
    with sent.tables.in_use() as few, read.tables.in_use() as tables:
        assert (type(few), type(tables)) == (FewTraces, TraceTables)
    assert sent.metrics(RewardSpec()) == read.metrics(RewardSpec())
    assert sent.patterns() == read.patterns()
    assert sent.sample() == read.sample()
    assert sorted(map(repr, sent.runs())) == sorted(map(repr, read.runs()))
    assert sent.tools() == read.tools()


def test_the_one_inline_agent_gets_the_runs_whatever_they_call_it() -> None:
    rows = [Trace(f"t{i}", "other", success=i > 2).to_dict() for i in range(6)]
    request = CycleInput.model_validate({"inline": {"desk": {}}, "traces": rows})
    [found] = gather(request, None).values()
    assert (found.agent, found.n) == ("desk", 6)
    assert {trace.agent for trace in (*found.runs(), *found.sample())} == {"desk"}


class Run:
    """Stands for a run of the graph."""


def test_tables_are_closed_once_nobody_holds_them(tmp_path: Path) -> None:
    write(tmp_path, [Trace("t", "desk")])
    shelf, runs = EvidenceShelf(size=1), [Run(), Run()]
    shelf.put("one", gather(CycleInput(), project(tmp_path, spec(tmp_path))), runs[0])
    used = shelf.get("one", runs[0])
    assert used is not None
    with used["desk"].tables.in_use() as first:
        assert isinstance(first, TraceTables)
    shelf.drop("one")
    shelf.put("two", gather(CycleInput(), project(tmp_path, spec(tmp_path))), runs[1])
    assert shelf.get("one", runs[0]) is None
    assert used["desk"].n == len(used["desk"].sample()) == 1  # still open for whoever uses it
    del used
    gc.collect()
    # Closed aside: whoever lets go may be an event loop, and removing files blocks.
    for thread in threading.enumerate():
        if thread.name == "tracetune-close":
            thread.join()
    with pytest.raises(Exception, match="closed"):
        first.query("agent_sums")
    shelf.drop("two")
    assert shelf.get("two", runs[1]) is None


def test_tables_let_go_of_by_a_daemon_are_closed_before_the_interpreter_ends() -> None:
    closed_by: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()

    class Tables:
        def agents(self) -> dict[str, int]:
            return {}

        def close(self) -> None:
            closed_by.put(threading.current_thread())

    held = [SharedTables(cast(Any, Tables()))]
    letting_go = threading.Thread(target=held.clear, daemon=True)
    letting_go.start()
    thread = closed_by.get(timeout=10)
    assert thread is not letting_go
    assert not thread.daemon


def test_many_threads_may_ask_at_once(airline: Path) -> None:
    found = gather(CycleInput(), load_project(airline / "tracetune.yaml"))["airline"]
    expected, got = found.patterns(), []
    threads = [threading.Thread(target=lambda: got.append(found.patterns())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [expected] * 4


def test_runs_pair_by_task_as_their_traces_do() -> None:
    traces = [Trace(f"t{i}", "a", task=f"task {i % 3}", success=i % 2 == 0) for i in range(12)]
    traces += [Trace("x", "a", success=True), replace(traces[0], id="y", task=None)]
    rows = [trace.to_dict() for trace in traces]
    request = CycleInput.model_validate({"inline": {"a": {}}, "traces": rows})
    tasks = [run.task for run in gather(request, None)["a"].runs()]
    assert sorted(tasks.count(task) for task in set(tasks)) == [2, 4, 4, 4]
    assert tasks.count(None) == 2
