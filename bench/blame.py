"""How often the rules blame the right agent and prompt: prints the tables of docs/blame.md.

    python bench/blame.py [FOLDER]

FOLDER holds who-and-when/algorithm-generated.jsonl.gz; by default it is ../shared/data beside the
checkout.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tracetune.nodes.blaming.feedback_match import Embed
from tracetune.nodes.blaming.ranking import rank_prompts
from tracetune.traces.model import Message, Trace
from tracetune.traces.read import read_traces
from tracetune.traces.stats import wilson

__all__ = ["Case", "Hits", "email_cases", "half", "hits", "ngram_embedding", "who_and_when"]

REPO = Path(__file__).parent.parent
TERMINAL = "Computer_terminal"

Ranking = Callable[["Case"], list[str]]


@dataclass(frozen=True, slots=True)
class Case:
    """One question about blame, and its answer, which no ranking sees."""

    trace: Trace
    prompts: tuple[Any, ...]
    """What `rank_prompts` takes; for agents, their names."""
    guilty: str


@dataclass(frozen=True, slots=True)
class Hits:
    """How often the guilty one came first, and among the first two."""

    n: int
    first: int
    second: int
    """First or second."""

    def __str__(self) -> str:
        low, high = wilson(self.first, self.n)
        return (
            f"{self.n:4}   {self.first / self.n:6.1%} ({low:.0%} to {high:.0%})"
            f"   {self.second / self.n:6.1%}"
        )


def who_and_when(folder: Path, *, told: bool = False) -> list[Case]:
    """The 126 algorithm-generated logs: who said what, and whom people held guilty.

    Args:
        told: Keep as feedback what people wrote about the log, which often names the guilty agent.
    """
    source = folder / "who-and-when" / "algorithm-generated.jsonl.gz"
    mapping = REPO / "examples" / "mappings" / "who-and-when.yaml"
    return [_log(trace, told) for trace in read_traces(source, mapping=mapping)]


def _log(trace: Trace, told: bool) -> Case:
    agents = dict.fromkeys(step.agent for step in trace.steps if step.agent != TERMINAL)
    shown = replace(trace, feedback=trace.feedback if told else None, labels={})
    return Case(shown, tuple(agents), trace.labels["guilty_agent"])


def email_cases(path: Path) -> list[Case]:
    """What people said of an email agent's runs, and the prompt it is about."""
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [
        Case(Trace(text, "email", feedback=text), tuple(told["prompts"]), name)
        for name, texts in told["feedback"].items()
        for text in texts
    ]


def half(case: Case) -> str:
    """`tune` or `report`: fixed by a hash of the question's id (or of the sentence)."""
    digest = hashlib.sha256(case.trace.id.encode()).hexdigest()
    return "report" if int(digest, 16) % 2 else "tune"


def by_rules(case: Case, embed: Embed | None = None) -> list[str]:
    """The names that anything points at, the most blamed first."""
    blames = rank_prompts([case.trace], case.prompts, patterns=(), embed=embed)
    return [blame.name for blame in blames if blame.score > 0]


def by_feedback(case: Case) -> list[str]:
    """The same, where nobody said that the run failed."""
    return by_rules(replace(case, trace=replace(case.trace, success=None)))


def by_frequency(case: Case) -> list[str]:
    """Agents by how often they spoke: a floor."""
    spoke = [step.agent for step in case.trace.steps]
    return sorted(case.prompts, key=lambda name: -spoke.count(name))


def by_first_error(case: Case) -> list[str]:
    """Whoever spoke before the first error of the terminal, then by frequency: the best floor."""
    latest: str | None = None
    for step in case.trace.steps:
        if step.agent != TERMINAL:
            latest = step.agent
        elif isinstance(step, Message) and re.match("exitcode: [1-9]", step.text):
            return sorted(by_frequency(case), key=lambda name: name != latest)
    return by_frequency(case)


def hits(cases: Iterable[Case], ranking: Ranking) -> Hits:
    """Count the cases whose guilty one comes first, and among the first two."""
    found = [(ranking(case), case.guilty) for case in cases]
    first = sum(names[:1] == [guilty] for names, guilty in found)
    return Hits(len(found), first, sum(guilty in names[:2] for names, guilty in found))


def ngram_embedding(texts: Sequence[str]) -> list[list[float]]:
    """Counts of hashed trigrams of characters: spelling, no meaning. It proves the path alone."""
    return [_trigrams(f" {text.casefold()} ") for text in texts]


def _trigrams(text: str, size: int = 512) -> list[float]:
    vector = [0.0] * size
    for start in range(len(text) - 2):
        digest = hashlib.blake2b(text[start : start + 3].encode(), digest_size=4).digest()
        vector[int.from_bytes(digest, "big") % size] += 1.0
    return vector


def table(cases: Sequence[Case], rankings: dict[str, Ranking]) -> Iterator[str]:
    """One line per ranking and half: n, first right with its 95 % interval, in the first two."""
    for name, ranking in rankings.items():
        for part in ("tune", "report", "all"):
            chosen = [case for case in cases if part in (half(case), "all")]
            yield f"{name:27} {part:6} {hits(chosen, ranking)}"


def main(arguments: Sequence[str]) -> None:
    """Print the tables."""
    folder = Path(arguments[0]) if arguments else REPO.parent / "shared" / "data"
    print("Who&When, algorithm-generated: which agent is guilty")
    floors: dict[str, Ranking] = {
        "rules": by_rules,
        "floor: speaks most": by_frequency,
        "floor: before first error": by_first_error,
    }
    print("\n".join(table(who_and_when(folder), floors)))
    print("\nThe same, with what people said of the run as its feedback")
    heard: dict[str, Ranking] = {"rules": by_rules, "feedback, outcome unknown": by_feedback}
    print("\n".join(table(who_and_when(folder, told=True), heard)))
    print("\nEmail agent: which of four prompts a sentence is about")
    ways: dict[str, Ranking] = {
        "words (BM25)": by_rules,
        "words and hashed trigrams": lambda case: by_rules(case, ngram_embedding),
    }
    sentences = email_cases(REPO / "tests" / "nodes" / "blaming" / "email_feedback.yaml")
    print("\n".join(table(sentences, ways)))


if __name__ == "__main__":
    main(sys.argv[1:])
