"""Make the examples' data files from the public originals.

    python examples/make_data.py ORIGINALS [--into examples]

ORIGINALS holds `tau2-bench/airline-gpt-oss-120b-langchain.json.gz` and `stratus/` (with
`agent-traces/` and `configs-2025/`). Where these files come from, under which licence, and what
is left out here: `airline/SOURCE.md` and `stratus/SOURCE.md`. Needs only Python.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

RUNS = Path("tau2-bench", "airline-gpt-oss-120b-langchain.json.gz")
STRATUS = Path("stratus")
AGENTS = ("diagnosis", "localization", "mitigation", "rollback")

INFO = ("git_commit", "num_trials", "max_steps", "max_errors", "seed")
PARTY = ("implementation", "llm")
ENVIRONMENT = ("domain_name", "policy")
SIMULATION = (
    *("id", "task_id", "trial", "seed", "timestamp", "start_time", "end_time", "duration"),
    *("termination_reason", "agent_cost", "user_cost"),
)
REWARD = ("reward", "reward_basis", "reward_breakdown")
MESSAGE = (
    *("role", "content", "tool_calls", "id", "requestor", "error", "turn_idx", "timestamp"),
    *("cost", "usage"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the examples' data files.")
    parser.add_argument("originals", type=Path, help="folder with tau2-bench/ and stratus/")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent, help="examples folder")
    given = parser.parse_args()
    make_airline(given.originals, given.into / "airline")
    make_stratus(given.originals, given.into / "stratus")


def make_airline(originals: Path, folder: Path) -> None:
    """Write `traces.json.gz` and `prompts.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = slim_runs(json.loads(gzip.decompress((originals / RUNS).read_bytes())))
    text = json.dumps(runs, ensure_ascii=False, separators=(",", ":"))
    pack(folder / "traces.json.gz", text.encode())
    policy = runs["info"]["environment_info"]["policy"]
    (folder / "prompts.yaml").write_text(
        "# The airline's policy: the system prompt of every run in traces.json.gz.\n"
        f"policy: {literal(policy)}",
        encoding="utf-8",
    )


def make_stratus(originals: Path, folder: Path) -> None:
    """Write each agent's two YAML files as they are, and the traces, packed one by one."""
    folder.mkdir(parents=True, exist_ok=True)
    for agent in AGENTS:
        for kind in ("prompts", "config"):
            name = f"{agent}_agent_{kind}.yaml"
            (folder / name).write_bytes((originals / STRATUS / "configs-2025" / name).read_bytes())
    for source in sorted((originals / STRATUS / "agent-traces").glob("run_*/*.json")):
        data = source.read_bytes()
        name = short_name(source.name, json.loads(data).get("trace_id", ""))
        pack(folder / "traces" / source.parent.name / f"{name}.gz", data)


def slim_runs(runs: Mapping[str, Any]) -> dict[str, Any]:
    """Keep a result file's shape, but only the named keys of each part."""
    info = runs["info"]
    return {
        "timestamp": runs["timestamp"],
        "info": keep(info, INFO)
        | {
            "agent_info": keep(info["agent_info"], PARTY),
            "user_info": keep(info["user_info"], PARTY),
            "environment_info": keep(info["environment_info"], ENVIRONMENT),
        },
        "tasks": [],
        "simulations": [
            keep(run, SIMULATION)
            | {
                "reward_info": keep(run["reward_info"], REWARD),
                "messages": [keep(message, MESSAGE) for message in run["messages"]],
            }
            for run in runs["simulations"]
        ],
    }


def keep(part: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return the named keys that are there, in the order they stood."""
    return {name: value for name, value in part.items() if name in names}


def short_name(name: str, trace_id: str) -> str:
    """Drop the trace id, which the file itself holds: Windows limits the length of a path."""
    return name.removesuffix(f"_{trace_id}.json") + ".json" if trace_id else name


def literal(text: str) -> str:
    """Write text as a YAML literal block that reads back to exactly the same text."""
    if "\t" in text or text[:1].isspace():
        raise ValueError("a literal block would not keep this text's whitespace")
    ends = len(text) - len(text.rstrip("\n"))
    chomping = "-" if ends == 0 else "" if ends == 1 else "+"
    lines = [f"  {line}" if line else "" for line in text.removesuffix("\n").split("\n")]
    return "\n".join([f"|{chomping}", *lines, ""])


def pack(path: Path, data: bytes) -> None:
    """Write data as gzip, without the time of day in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 9, mtime=0))


if __name__ == "__main__":
    main()
