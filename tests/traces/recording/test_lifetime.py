"""Recorders that are forgotten, and recorders in processes that are forked."""

import asyncio
import gc
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import thread as pool
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.store.base.batch import AsyncBatchedBaseStore
from langgraph.store.memory import InMemoryStore

from tracetune.traces import redaction
from tracetune.traces.model import Trace
from tracetune.traces.read import read_traces
from tracetune.traces.recording.recorder import TraceRecorder
from tracetune.traces.recording.sinks import stored_traces
from tracetune.traces.redaction import Redactor


class AsyncStore(AsyncBatchedBaseStore):
    async def abatch(self, ops: Any) -> Any:
        raise NotImplementedError

    def batch(self, ops: Any) -> Any:
        raise NotImplementedError


def run(recorder: TraceRecorder) -> None:
    RunnableLambda(str.upper).invoke("hello", {"callbacks": [recorder]})


def in_child(act: Callable[[], bool]) -> int:
    """Return the exit code of a forked process: 0 when the act was well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if child == 0:
        signal.alarm(30)
        well = False
        try:
            well = act()
        finally:
            os._exit(0 if well else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_recorder_that_is_forgotten_writes_what_it_holds(tmp_path: Path) -> None:
    recorder = TraceRecorder(tmp_path / "traces.jsonl", agent="loud", hold=10)
    run(recorder)
    del recorder
    gc.collect()
    assert len(list(read_traces(tmp_path / "traces.jsonl"))) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_process_writes_into_the_store_again() -> None:
    recorder = TraceRecorder(InMemoryStore(), agent="loud")
    run(recorder)
    assert recorder.flush(10)

    def again() -> bool:
        run(recorder)
        return recorder.flush(5) and recorder.dropped == 0

    assert in_child(again) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_process_does_not_record_what_its_parent_holds(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    recorder = TraceRecorder(path, agent="loud", hold=10)
    run(recorder)

    def end() -> bool:
        run(recorder)
        recorder.close()
        return len(list(read_traces(path))) == 1

    assert in_child(end) == 0
    recorder.close()
    assert len({trace.id for trace in read_traces(path)}) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_process_is_not_stopped_by_a_lock_that_was_held() -> None:
    def sink(trace: Trace) -> None:
        raise OSError("gone")

    recorder = TraceRecorder(sink, agent="loud")

    def again() -> bool:
        run(recorder)
        return recorder.dropped == 1

    with recorder._lock, recorder._keeper._lock:
        assert in_child(again) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_process_redacts_although_a_thread_was_counting() -> None:
    def clean() -> bool:
        return "hunter" not in Redactor().text("password=hunter2hunter2")

    held, done = threading.Event(), threading.Event()

    def count() -> None:
        with redaction._counting:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=count)
    thread.start()
    held.wait()
    try:
        assert in_child(clean) == 0
    finally:
        done.set()
        thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_recorder_that_is_collected_while_a_pool_is_given_work_stops_nothing() -> None:
    def forget() -> bool:
        store = InMemoryStore()
        recorder = TraceRecorder(store, agent="loud", hold=1)
        run(recorder)
        with vars(pool)["_global_shutdown_lock"]:
            del recorder
            gc.collect()
        while not list(stored_traces(store, "loud")):
            time.sleep(0.01)
        return True

    assert in_child(forget) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_process_waits_for_no_event_loop_of_its_parent() -> None:
    async def main() -> int:
        store = AsyncStore()
        recorder = TraceRecorder(store, agent="loud")

        def again() -> bool:
            run(recorder)
            return recorder.flush(5) and (recorder.recorded, recorder.dropped) == (0, 1)

        return await asyncio.to_thread(in_child, again)

    assert asyncio.run(main()) == 0
