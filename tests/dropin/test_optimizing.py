"""Which runs and what of them the drop-in shows, as a cycle does."""

import re
from typing import Any

import pytest
from scripted import ScriptedModel

from tracetune import create_prompt_optimizer
from tracetune.dropin.trajectories import read_trajectories


def run(asked: str, *tools: str, ok: bool | None = None, said: str = "", error: str = "") -> Any:
    messages: list[Any] = [{"role": "user", "content": asked}]
    for number, tool in enumerate(tools):
        call = {"id": str(number), "type": "function"}
        call |= {"function": {"name": tool, "arguments": "{}"}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        result = {"role": "tool", "tool_call_id": str(number), "content": error or "fine"}
        messages.append(result | ({"status": "error"} if error else {}))
    messages.append({"role": "assistant", "content": "Done."})
    told = {"success": ok, "comment": said}
    return messages, {name: value for name, value in told.items() if value not in (None, "")}


def shown(runs: Any, kind: Any = "rewrite") -> tuple[str, str]:
    """What a model is sent, and what the outcome says of it."""
    model = ScriptedModel(
        answers={
            "Rewrite": {"text": "", "changes": []},
            "GeneralResponse": {"logic": "", "update_prompt": False, "new_prompt": ""},
        }
    )
    done = create_prompt_optimizer(model, kind=kind).run(
        {"trajectories": runs, "prompt": "You book flights."}
    )
    return model.sent[0], done.outcome.coverage


def booking(count: int) -> list[Any]:
    """Runs of several tasks, each with both outcomes, that fail in two ways."""
    runs = []
    for n in range(count):
        asked = f"Book me a flight to city {n % 20}."
        if n % 4 == 0:
            runs.append(run(asked, "find", "book", ok=False, error=f"no seat {n}"))
        elif n % 4 == 1:
            runs.append(run(asked, "find", ok=False, said=f"Nothing was booked, case {n}."))
        else:
            runs.append(run(f"Book me a flight to city {(n - 2) % 20}.", "find", "book", ok=True))
    return runs


@pytest.mark.parametrize("kind", ["rewrite", "prompt_memory"])
def test_failures_stand_beside_successes_of_their_task(kind: Any) -> None:
    sent, coverage = shown(booking(80), kind)
    pairs = re.findall(r'<run outcome="two runs of one task"', sent)
    assert len(pairs) >= 2
    assert re.search(r"^- call book.*no seat", sent, re.MULTILINE)
    assert re.fullmatch(r"\d+ of 40 failures, 2 of 2 clusters", coverage)
    assert f"the runs that are shown: {coverage}" in sent


def test_every_cluster_of_failures_is_shown() -> None:
    runs = [run(f"Do {n}.", "find", ok=False, error="timed out") for n in range(30)]
    runs += [run(f"Do {n} now.", "find", "pay", ok=False) for n in range(3)]
    runs += [run(f"Do {n} too.", "find", "send", ok=True) for n in range(30)]
    sent, coverage = shown(runs)
    assert coverage.endswith("of 33 failures, 2 of 2 clusters")
    assert "call pay" in sent


def test_feedback_stands_beside_the_run_it_is_about() -> None:
    sent, _ = shown(booking(40))
    assert re.search(
        r"</run>\n<feedback>\nsuccess=False, comment=Nothing was booked, case \d+\.\n</feedback>",
        sent,
    )


def test_where_little_tells_failures_apart_other_runs_are_shown_too() -> None:
    runs = [run(f"Say {n}.", ok=n % 2 == 0, said=f"Note {n} on it.") for n in range(100)]
    sent, coverage = shown(runs)
    assert len(re.findall("<run ", sent)) == 6
    failed = sent.count('<run outcome="failed"')
    assert coverage == f"{failed} of 50 failures, 1 of 1 clusters"


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param([run(f"Say {n}.", said=f"Note {n}.") for n in range(20)], id="none is known"),
        pytest.param([run(f"Say {n}.", ok=True) for n in range(20)], id="all succeeded"),
    ],
)
def test_without_failures_nothing_is_said_of_them(runs: Any) -> None:
    sent, coverage = shown(runs)
    assert coverage == ""
    assert "of 0 failures" not in sent
    assert len(re.findall("<run ", sent)) == 6


def test_runs_of_unknown_outcome_stay_beside_failures() -> None:
    runs = [run("Pay it.", "pay", ok=False), *(run(f"Say {n}.", said="Nice.") for n in range(9))]
    sent, coverage = shown(runs)
    assert coverage == "1 of 1 failures, 1 of 1 clusters"
    assert sent.count('<run outcome="unknown"') == 5


def test_runs_that_begin_alike_are_of_one_task() -> None:
    system = {"role": "system", "content": "You book."}
    asked = {"role": "user", "content": "Book it."}
    other = {"role": "user", "content": "Pay it."}
    given = [[system, asked], [asked, other], [other], [system], "Book it.", []]
    tasks = [trace.task for trace in read_trajectories(given)]
    assert tasks == ["Book it.", "Book it.", "Pay it.", None, None]
