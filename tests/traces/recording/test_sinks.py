"""Files and stores that are not as they should be when a trace comes."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.store.base.batch import AsyncBatchedBaseStore
from langgraph.store.memory import InMemoryStore

from tracetune.traces.model import Message
from tracetune.traces.read import read_traces
from tracetune.traces.recording.recorder import TraceRecorder
from tracetune.traces.recording.sinks import stored_traces

CUT = b'{"id": "a", "agent": "loud"}\n{"id": "b", "age'


def test_line_that_another_process_left_half_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(CUT)
    recorder = TraceRecorder(path, agent="loud")
    for _ in range(2):
        RunnableLambda(str.upper).invoke("hello", {"callbacks": [recorder]})
    bad: list[int] = []
    traces = list(read_traces(path, on_bad=lambda one: bad.append(one.position)))
    assert (len(traces), bad) == (3, [2])
    assert b"\n\n" not in path.read_bytes()


ASYNC_STORE = """
import asyncio
from langchain_core.runnables import RunnableLambda
from langgraph.store.base.batch import AsyncBatchedBaseStore
from tracetune import TraceRecorder


class Store(AsyncBatchedBaseStore):
    async def abatch(self, ops):
        await asyncio.sleep(3600)

    def batch(self, ops):
        return asyncio.run_coroutine_threadsafe(self.abatch(ops), self._loop).result()


async def main():
    recorder = TraceRecorder(Store(), agent="loud", hold={hold})
    await RunnableLambda(str.upper).ainvoke("hello", {{"callbacks": [recorder]}})
    return recorder


loop = asyncio.new_event_loop()
recorder = loop.run_until_complete(main())
assert recorder.flush() is {flushed}
"""


@pytest.mark.parametrize(("hold", "flushed"), [(0, False), (5, True)])
def test_loop_of_a_store_that_stopped_keeps_no_process_alive(hold: int, flushed: bool) -> None:
    code = ASYNC_STORE.format(hold=hold, flushed=flushed)
    ended = subprocess.run(
        [sys.executable, "-c", code], timeout=60, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "RuntimeError: the store's event loop has stopped" in ended.stderr


def test_time_that_a_store_takes_too_long_is_told(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(AsyncBatchedBaseStore):
        async def abatch(self, ops: object) -> list[object]:  # type: ignore[override]
            raise TimeoutError("no connection within 30 s")

        def batch(self, ops: object) -> list[object]:  # type: ignore[override]
            raise NotImplementedError

    async def main() -> int:
        recorder = TraceRecorder(Slow(), agent="loud")
        await RunnableLambda(str.upper).ainvoke("hello", {"callbacks": [recorder]})
        assert await recorder.aflush(10)
        return recorder.dropped

    assert asyncio.run(main()) == 1
    assert "TimeoutError: no connection within 30 s" in caplog.text


class Kept(AsyncBatchedBaseStore):
    """An async store in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.items = InMemoryStore()

    def batch(self, ops: Any) -> Any:
        return self.items.batch(ops)

    async def abatch(self, ops: Any) -> Any:
        return await self.items.abatch(ops)


@pytest.mark.parametrize("way", ["flush", "close"])
def test_loop_of_a_store_is_not_stopped_by_waiting_for_it(way: str) -> None:
    async def main() -> int:
        store = Kept()
        recorder = TraceRecorder(store, agent="loud")
        await RunnableLambda(str.upper).ainvoke("hello", {"callbacks": [recorder]})
        assert not getattr(recorder, way)()
        assert await recorder.aflush(10)
        assert recorder.flush()
        return len(list(stored_traces(store.items, "loud")))

    assert asyncio.run(main()) == 1


def test_loop_of_a_store_that_is_closed_holds_no_trace_up() -> None:
    async def begin() -> Kept:
        return Kept()

    loop = asyncio.new_event_loop()
    recorder = TraceRecorder(loop.run_until_complete(begin()), agent="loud")
    ready: Any = getattr(loop, "_ready")  # noqa: B009 - what it would do next
    before = len(ready)
    RunnableLambda(str.upper).invoke("hello", {"callbacks": [recorder]})
    while len(ready) == before:
        time.sleep(0.01)
    loop.close()
    recorder.flush(10)
    for _ in range(100):
        if recorder.dropped:
            break
        time.sleep(0.05)
    assert (recorder.recorded, recorder.dropped) == (0, 1)


def test_store_is_given_no_nul_which_postgres_refuses() -> None:
    store = InMemoryStore()
    recorder = TraceRecorder(store, agent="loud")
    path = "C:\\u0000"
    config: Any = {"callbacks": [recorder], "metadata": {"odd": "\0\0", "path": path, "b": "\\\0"}}
    RunnableLambda(str.upper).invoke("a\0b", config)
    assert recorder.flush(10)
    (trace,) = read_traces(stored_traces(store, "loud"))
    assert trace.steps == (Message("user", "a\ufffdb"),)
    assert trace.labels == {"odd": "\ufffd\ufffd", "path": path, "b": "\\\ufffd"}


def test_file_stays_where_it_was_when_the_process_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    recorder = TraceRecorder("runs/traces.jsonl", agent="loud")
    monkeypatch.chdir(tmp_path / "elsewhere")
    RunnableLambda(str.upper).invoke("hello", {"callbacks": [recorder]})
    assert len(list(read_traces(tmp_path / "runs" / "traces.jsonl"))) == 1
