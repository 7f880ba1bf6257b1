"""Made-up traces in canonical JSON Lines: `python bench/synthetic.py 100000 traces.jsonl`.

About 8 tool calls and 2 KB each, of several agents, tools and tasks, with errors, loops,
thoughts and feedback. The same seed gives the same bytes. What happens in a run moves its chance
of success, so there is something to find.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

AGENTS = ("booking", "claims", "support", "triage")
TASKS = 250
POOL = 400
"""How many different calls of each kind there are per agent."""

_TEXT = (
    "the customer asks to change a flight and wants the refund on the first card before noon so "
    "check policy then compare every open order against what was paid and confirm with them "
    "because baggage fees differ per membership level and no certificate may be used twice"
)
_WORDS = _TEXT.split()
_VERBS = ("find", "get", "list", "book", "pay", "undo", "ask", "note", "end")
_ERRORS = (
    "Error: payment method card_{} not found",
    "Unknown column 'T{}.name' in 'field list'",
    "TimeoutError: no answer within {} seconds",
    "Order #W{} cannot be changed: it is already delivered",
)


def traces(count: int, *, seed: int = 1, first: int = 0) -> Iterator[bytes]:
    """Yield `count` traces, each one line; ids are numbered from `first`."""
    chance = random.Random(f"{seed} {first}")
    # Pools are the same for every range of ids, so that days of one month share their tools.
    stock = [_Stock(agent, random.Random(f"{seed} {agent}")) for agent in AGENTS]
    for number in range(first, first + count):
        yield stock[number % len(stock)].trace(number, chance)


def write(path: Path, count: int, *, seed: int = 1, first: int = 0) -> int:
    """Write `count` traces, gzipped where the name ends so; return the file's size in bytes."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    file: IO[bytes]
    with opener(path, "wb") as file:
        lines = traces(count, seed=seed, first=first)
        while chunk := b"".join(itertools.islice(lines, 2000)):
            file.write(chunk)
    return path.stat().st_size


class _Stock:
    """One agent's ready-made pieces of runs: making them anew each time would take minutes."""

    def __init__(self, agent: str, chance: random.Random) -> None:
        self.agent = agent
        self.tools = [f"{agent}_{verb}" for verb in _VERBS]
        self.calls = [_call(self.tools[n % len(_VERBS)], chance) for n in range(POOL)]
        self.failing = [
            _call(self.tools[n % len(_VERBS)], chance, failed=True) for n in range(POOL)
        ]
        self.thoughts = [_step(kind="thought", text=_words(chance, 6)) for _ in range(POOL)]
        self.asked = [
            _step(kind="message", role="user", text=_words(chance, 16)) for _ in range(POOL)
        ]
        self.hardness = [chance.uniform(0.2, 0.9) for _ in range(TASKS)]

    def trace(self, number: int, chance: random.Random) -> bytes:
        draw = chance.random
        task = int(draw() * TASKS)
        odds = self.hardness[task]
        steps = [self.asked[int(draw() * POOL)]]
        calls = 0
        for _ in range(4 + int(draw() * 8)):
            steps.append(self.thoughts[int(draw() * POOL)])
            if draw() < 0.12:
                steps.append(self.failing[int(draw() * POOL)])
                odds *= 0.75
            else:
                steps.append(self.calls[int(draw() * POOL)])
            calls += 1
        ended = b"done"
        if draw() < 0.05:
            again = 3 + int(draw() * 10)
            steps += [steps[-1]] * again
            calls += again
            odds *= 0.3
            ended = b"max_steps"
        success = b"true" if draw() < odds else b"false"
        return b"".join(
            (
                b'{"id":"run-%08d","agent":"%s","release":"r%d","task":"task-%d",'
                % (number, self.agent.encode(), number % 3, task),
                b'"started_at":"2026-11-%02dT%02d:%02d:00+00:00","latency_s":%.3f,'
                % (1 + number % 28, number % 24, number % 60, chance.lognormvariate(3, 0.7)),
                b'"success":%s,"attempts":%d,"turns":%d,' % (success, calls, calls + 2),
                b'"tokens_in":%d,"tokens_out":%d,"cost_usd":%.5f,'
                % (1500 * calls, 90 * calls, 0.0021 * calls),
                b'"labels":{"ended_by":"%s","site":"s%d"},"steps":[' % (ended, number % 5),
                b",".join(steps),
                b"]}\n",
            )
        )


def _call(tool: str, chance: random.Random, *, failed: bool = False) -> bytes:
    order = chance.randrange(10**6)
    arguments = {"order_id": f"#W{order}", "limit": chance.randrange(50), "why": _words(chance, 2)}
    latency = round(chance.lognormvariate(-1, 0.8), 4)
    if failed:
        error = chance.choice(_ERRORS).format(order)
        end: dict[str, Any] = {"error": error, "latency_s": latency}
    else:
        end = {"result": orjson.dumps({"order": order, "items": _words(chance, 3)}).decode()}
        end["latency_s"] = latency
    return _step(kind="tool_call", name=tool, arguments=arguments, **end)


def _step(**values: Any) -> bytes:
    return orjson.dumps(values)


def _words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choices(_WORDS, k=count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first trace's id")
    asked = parser.parse_args()
    size = write(asked.path, asked.count, seed=asked.seed, first=asked.first)
    print(f"{asked.count:,} traces, {size / asked.count:,.0f} bytes each: {asked.path}")


if __name__ == "__main__":
    main()
