"""Many processes find what one finds, in the same order."""

import json
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tracetune.errors import InputError, TraceError
from tracetune.traces.analytics import orders
from tracetune.traces.analytics.orders import PROCESSES, processes_of
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.readers.base import BadRecord
from tracetune.traces.redaction import Redactor


@pytest.fixture(autouse=True)
def small_files_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would take some 50 MB for a second process."""
    monkeypatch.setattr(orders, "_PAYS", 1000)


@pytest.fixture
def sources(shared_data: Path, tmp_path: Path) -> list[Path]:
    """Runs of three formats, one of them with a secret, one read before, and a broken line."""
    token = "ghp_" + "a1B2" * 9
    chats: list[dict[str, Any]] = [
        {"agent": "desk", "id": str(n), "messages": [{"role": "user", "content": f"use {token}"}]}
        for n in range(20)
    ]
    lines = [*map(json.dumps, chats), "no JSON", json.dumps(chats[0])]
    (tmp_path / "chats.jsonl").write_text("\n".join(lines), encoding="utf-8")
    plain = {"id": "1", "agent": "desk", "success": True}
    (tmp_path / "plain.jsonl").write_text(json.dumps(plain) + "\n", encoding="utf-8")
    return [shared_data / "tau-bench", tmp_path, *sorted((shared_data / "tau2-bench").iterdir())]


def read(source: Any, processes: int, **how: Any) -> dict[str, Any]:
    """All that is found, and whether other processes worked for it."""
    bad: list[BadRecord] = []
    redactor = Redactor()
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    with TraceTables.read(
        source, on_bad=bad.append, redactor=redactor, processes=processes, **how
    ) as tables:
        kept = {agent: tables.kept(agent) for agent in tables.agents()}
        found = {"digest": tables.digest, "kept": kept, "bad": bad, "redacted": redactor.counts}
    helped = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > before
    return found | {"helped": helped}


@pytest.mark.parametrize(
    "cached", [pytest.param(False, id="read anew"), pytest.param(True, id="read into a cache")]
)
def test_two_processes_find_what_one_finds(
    sources: list[Path], tmp_path_factory: pytest.TempPathFactory, cached: bool
) -> None:
    caches = [tmp_path_factory.mktemp("cache") if cached else None for _ in range(2)]
    alone = read(sources, 1, cache=caches[0])
    helped = read(sources, 2, cache=caches[1])
    assert (alone.pop("helped"), helped.pop("helped")) == (False, True)
    assert helped == alone
    assert [bad.reason for bad in alone["bad"]][-1].endswith("have the id '1'; expected 1.")
    assert len(alone["bad"]) == 3
    assert alone["redacted"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        pytest.param({"strict": True}, "chats.jsonl:21: ", id="strict: the first bad record"),
        pytest.param({"format": "otlp"}, "no known format", id="named files of no use"),
    ],
)
def test_an_error_in_another_process_is_the_same_error(
    sources: list[Path], how: dict[str, Any], reason: str
) -> None:
    told = []
    for processes in (1, 2):
        with pytest.raises(TraceError, match=reason) as error:
            read(sources[1:], processes, **how)
        told.append(str(error.value))
    assert told[0] == told[1]


def test_a_process_that_ends_too_soon_is_told(
    sources: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(TraceError, match="ended before it was done"):
        read(sources, 2)


@pytest.mark.parametrize(
    ("asked", "said", "count"),
    [
        pytest.param(3, None, 3, id="as asked"),
        pytest.param(3, "2", 3, id="as asked, whatever the environment says"),
        pytest.param(None, "2", 2, id="as the environment says"),
    ],
)
def test_how_many_processes_there_are(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, said: str | None, count: int
) -> None:
    if said is not None:
        monkeypatch.setenv(PROCESSES, said)
    assert processes_of(asked) == count


def test_an_empty_number_of_processes_is_none_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROCESSES, raising=False)
    as_usual = processes_of(None)
    monkeypatch.setenv(PROCESSES, "")
    assert processes_of(None) == as_usual


@pytest.mark.parametrize(
    ("asked", "said", "name"),
    [
        pytest.param(0, None, "processes is 0", id="none"),
        pytest.param(None, "many", f"{PROCESSES} is 'many'", id="no number"),
    ],
)
def test_no_number_of_processes_is_told(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, said: str | None, name: str
) -> None:
    if said is not None:
        monkeypatch.setenv(PROCESSES, said)
    with pytest.raises(InputError, match=name):
        processes_of(asked)
