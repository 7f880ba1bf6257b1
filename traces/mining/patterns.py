"""What successful runs have and failed ones lack, or the other way round."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tracetune.errors import InputError
from tracetune.traces.analytics.few import FewTraces
from tracetune.traces.analytics.tables import TraceTables, opened
from tracetune.traces.mining.features import AgentRuns, Feature
from tracetune.traces.mining.few_patterns import count_few_patterns
from tracetune.traces.mining.kept_counts import counts_of
from tracetune.traces.mining.pattern_counts import PatternCounts
from tracetune.traces.mining.pattern_splits import Split, splits
from tracetune.traces.mining.pattern_tables import count_patterns
from tracetune.traces.mining.populations import population, term_population
from tracetune.traces.model import Trace
from tracetune.traces.stats import Interval, benjamini_hochberg

__all__ = [
    "Pattern",
    "PatternCounts",
    "PatternKind",
    "Patterns",
    "count_patterns",
    "mine_patterns",
    "patterns_of",
]

PatternKind = Literal[
    "loop",
    "tool_error",
    "hit_limit",
    "any_error",
    "tool_pair",
    "last_tool",
    "first_tool",
    "long",
    "tool_triple",
    "tool_used",
    "tool_unused",
    "term",
]
_KINDS: dict[str, tuple[int, PatternKind]] = {
    kind: (place, kind)
    for place, kind in enumerate(PatternKind.__args__)  # type: ignore[attr-defined]
}
"""Of patterns that hold for the same runs, the kind that comes first here is kept."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Something runs have, and what it goes along with. Rates are in [0, 1].

    It is an association: runs differ in what they were asked, too, where tasks do not say so.
    """

    id: str
    """The same for the same agent, kind, tools and text, whatever the traces."""
    agent: str
    kind: PatternKind
    subject: tuple[str, ...]
    """The tools it is about, in their order; empty when it is about the run."""
    text: str
    """Completes "the agent …"."""
    support: int
    """Runs with it, among those with a known outcome. For a `term` this and all other figures
    are of half of the runs in a bounded sample: the other half chose the term."""
    success_with: float
    success_without: float
    effect: float
    """Negative where it goes along with failure. Where it was compared within `tasks`, the
    difference in success within them (`risk_differences`); else `success_with` -
    `success_without`, but that a task which always ends the same way counts as one run."""
    interval: Interval
    """Of the effect, 95 %; by Newcombe's method where no task was compared within."""
    long_with: float
    """Share of the runs with it that made more than twice the median number of tool calls."""
    long_without: float
    p_value: float
    """Two-sided, of success: runs are compared within each task that has both outcomes, and
    all other tasks, each as one run, with runs that have none (`stratified_p_values`; Fisher's
    exact test where no task has both). For loops, which cost calls whether or not they cost
    success, the smaller of that and of the test whether runs in a loop go on for longer than
    others of the same task that have come as far (Mantel and Byar 1974), doubled for having looked
    twice. Runs without a task are compared with each other; where nearly all tasks were run once,
    for loops of 10 calls with the runs of these, too."""
    q_value: float
    """`p_value` corrected for the number of patterns tried (Benjamini-Hochberg), loops and all
    others apart (Efron 2008, Ann. Appl. Stat. 2, 197-223)."""
    coverage: float
    """Share of all failures that have it."""
    failing_ids: tuple[str, ...]
    """Up to five failed runs with it, sorted: those with the lowest marks, which are likely to be
    in the sample of whole runs."""
    succeeding_ids: tuple[str, ...]
    tasks: int = 0
    """Tasks with both outcomes in which some runs have it and others lack it; 0: p compares the
    other runs only."""


class Patterns(list[Pattern]):
    """Patterns, strongest evidence first.

    Attributes:
        tried: How many were tested: the number that q-values are corrected for.
        why_empty: One sentence on why there are none; empty where there are some.
    """

    def __init__(self, patterns: Iterable[Pattern] = (), *, why_empty: str = "") -> None:
        super().__init__(patterns)
        self.tried = len(self)
        self.why_empty = why_empty


def mine_patterns(
    traces: Iterable[Trace] | TraceTables | FewTraces,
    *,
    agent: str | None = None,
    min_support: int = 3,
) -> Patterns:
    """Every pattern that was tested, strongest evidence first: by q-value, then effect size.

    Runs are compared within their agent, and only those whose outcome is known and is no
    failure of the infrastructure or the user. Of patterns that hold for the same runs one is
    kept. The list is empty where no agent has both successes and failures, and says so.

    Args:
        agent: Look at this agent's runs only.
        min_support: Leave out what fewer runs have.

    Raises:
        InputError: The traces are none, `agent` is no name, or `min_support` no whole number
            from 1.
    """
    if not isinstance(agent, str | None):
        raise InputError(f"agent is {agent!r:.60}, expected a name, or None for all agents.")
    if not isinstance(min_support, int) or min_support < 1:
        raise InputError(f"min_support is {min_support!r:.40}, expected a whole number from 1.")
    if isinstance(traces, FewTraces):
        counts = count_few_patterns(traces.runs(agent), least=min_support)
    else:
        with opened(traces) as tables:
            counts = counts_of(tables, agent=agent, least=min_support)
    return patterns_of(counts, min_support=min_support)


def patterns_of(counts: PatternCounts, *, min_support: int = 3) -> Patterns:
    """The patterns in what was counted, however many parts it was merged from.

    Args:
        min_support: Leave out what fewer runs have.
    """
    whole = population(counts)
    found = splits(whole, least=min_support)
    for agent, bound in zip(whole.agents, whole.bounds, strict=True):
        said = counts.said.get(agent, ())
        terms = term_population(said, agent, counts.tasks, bound, least=min_support)
        found += splits(terms, least=min_support)
    found = _distinct(found)
    patterns = [
        _pattern(split, q)
        for family in _families(found)
        for split, q in zip(family, benjamini_hochberg([s.p_value for s in family]), strict=True)
    ]
    patterns.sort(key=lambda p: (p.q_value, -abs(p.effect), p.p_value, p.id))
    return Patterns(patterns, why_empty="" if patterns else _why_empty(counts, min_support))


def _families(found: Sequence[Split]) -> Iterator[list[Split]]:
    """Loops and all else: what is wrong by itself needs not to stand out among chance contrasts."""
    for of_loops in (True, False):
        yield [split for split in found if (split.feature.kind == "loop") is of_loops]


def _distinct(found: Iterable[Split]) -> list[Split]:
    """One for each set of runs: the kind that says most, then the first by name."""
    kept: dict[tuple[object, ...], Split] = {}
    for split in sorted(found, key=_informative):
        # A term's runs are half of a sample: no set of theirs is one of all runs.
        of_term = split.feature.kind == "term"
        kept.setdefault((split.feature.agent, of_term, split.runs, split.mark), split)
    return list(kept.values())


def _informative(split: Split) -> tuple[object, ...]:
    feature = split.feature
    # With its text an error says more than without, and two words more than one.
    words = len(feature.detail.split()) if feature.detail and feature.kind == "term" else 0
    return (
        feature.agent,
        _KINDS[feature.kind][0],
        feature.detail is None,
        -words,
        feature.tools,
        feature.detail or "",
    )


def _pattern(split: Split, q_value: float) -> Pattern:
    n_without = split.all_runs - split.runs
    successes_without = split.all_successes - split.successes
    rate_with, rate_without = split.successes / split.runs, successes_without / n_without
    failing, succeeding = split.examples
    return Pattern(
        id=_id(split.feature),
        agent=split.feature.agent,
        kind=_KINDS[split.feature.kind][1],
        subject=split.feature.tools,
        text=_text(split.feature),
        support=split.runs,
        success_with=rate_with,
        success_without=rate_without,
        effect=split.effect[0],
        interval=split.effect[1],
        long_with=split.longs / split.runs,
        long_without=(split.all_longs - split.longs) / n_without,
        p_value=split.p_value,
        q_value=q_value,
        coverage=(split.runs - split.successes) / (split.all_runs - split.all_successes),
        failing_ids=failing,
        succeeding_ids=succeeding,
        tasks=split.tasks,
    )


# Each of the few names is in very many patterns.
_json = functools.lru_cache(maxsize=4096)(json.dumps)


def _id(feature: Feature) -> str:
    agent, kind, tools, detail = feature
    no_more = (None,) * (2 - len(tools))
    # The bound of `long` moves with every new trace; the pattern stays the same one.
    told = (agent, kind, *tools, *no_more, None if kind == "long" else detail)
    content = ", ".join(map(_json, told))
    return hashlib.blake2b(f"[{content}]".encode(), digest_size=6).hexdigest()


_TEXTS = {
    "any_error": "gets an error from a tool",
    "first_tool": "starts with `{0}`",
    "hit_limit": "runs into its step limit",
    "last_tool": "ends with `{0}`",
    "long": "makes more than {detail} tool calls, twice the median",
    "loop": "repeats an identical call of `{0}` at least {detail} times",
    "term": "writes “{detail}”",
    "tool_error": "gets an error from `{0}`",
    "tool_pair": "calls `{1}` right after `{0}`",
    "tool_triple": "calls `{0}`, `{1}` and `{2}` one right after the other",
    "tool_unused": "never calls `{0}`",
    "tool_used": "calls `{0}`",
}


def _text(feature: Feature) -> str:
    tools = [_shown(name) for name in feature.tools]
    if feature.kind == "tool_error" and feature.detail is not None:
        return f'gets from `{tools[0]}` the error "{feature.detail}"'
    return _TEXTS[feature.kind].format(*tools, detail=feature.detail)


@functools.lru_cache(maxsize=4096)
def _shown(name: str) -> str:
    """A tool's name as one short printable line: whoever made the trace chose it."""
    short = name[:80]
    return short if short.isprintable() else "".join(c if c.isprintable() else "?" for c in short)


def _why_empty(counts: PatternCounts, min_support: int) -> str:
    if not counts.agents:
        return "There are no runs."
    outcomes = {name: [0, 0] for name in counts.agents}
    for place, _, failed, succeeded in counts.cells.tolist():
        if counts.features[place].kind == "attempts":
            outcomes[counts.features[place].agent][0] += failed
            outcomes[counts.features[place].agent][1] += succeeded
    reasons = [
        f"{name}: {_lacking(runs, outcomes[name], min_support)}"
        for name, runs in sorted(counts.agents.items())
    ]
    more = f"; and {len(reasons) - 3} more agents" if len(reasons) > 3 else ""
    return f"{'; '.join(reasons[:3])}{more}."


def _lacking(runs: AgentRuns, outcomes: Sequence[int], min_support: int) -> str:
    failed, succeeded = outcomes
    if not runs.known:
        others = f", {runs.excused} of them failures of the infrastructure or the user"
        return f"no outcome is known of {runs.total} runs{others if runs.excused else ''}"
    if not failed or not succeeded:
        return f"all {runs.known} runs with a known outcome {'failed' if failed else 'succeeded'}"
    return (
        f"{succeeded} of {runs.known} runs succeeded, but nothing that at least {min_support} runs"
        " have is lacked by others"
    )
