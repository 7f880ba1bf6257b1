"""How the spans of one trace hang together, and which agent each of them belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter

import msgspec

from tracetune.traces.readers.base import shown
from tracetune.traces.readers.scores import Score
from tracetune.traces.readers.span import Span

__all__ = ["Tree"]

_LAST = 1 << 63  # after any point in time
_TIMES = attrgetter("start", "end")


class _Place(msgspec.Struct, frozen=True):
    """Where in the tree a span stands."""

    owner: Span | None
    """The agent it belongs to; None when there is none above it."""
    shell: Span | None
    """The outermost model or tool call around it, up to its agent."""


_TOP = _Place(None, None)


class Tree(msgspec.Struct, frozen=True):
    """The spans of one trace."""

    spans: list[Span]
    """In order of their start."""
    root: Span
    rooted: bool
    """Whether the root is the whole run: false when only parts below it are there."""
    agent: str
    """Whose run it was."""
    own: frozenset[str | None]
    """Ids of the agent spans that are the run's own agent at work."""
    sub_agents: list[Span]
    leaves: list[Span]
    """The agents' own model and tool calls, in order."""
    counted: list[Span]
    """Every model call that used tokens of its own, at any depth."""
    places: Mapping[str, _Place]

    @staticmethod
    def of(
        spans: list[Span],
        agent: str | None,
        service: str | None,
        set_aside: Callable[[str], None],
    ) -> Tree:
        """Return the tree; a span that is given twice is taken once.

        A span whose parent is missing, or that is its own ancestor, hangs at the top. The root
        is the first span that names no parent, and is no model or tool call if there are several:
        none of those is the whole run. Where there is none, a single top span stands for it; of
        several the first does, and the tree is not rooted.

        Args:
            agent: Whose run it was, where the format says so.
            service: The same, where no span names an agent.
        """
        by_id = _unique(spans, set_aside)
        ordered = _in_time(by_id.values())
        tops = [s for s in ordered if s.parent is None or s.parent not in by_id] or ordered[:1]
        parentless = [span for span in tops if not span.parent]
        around = [span for span in parentless if span.kind not in ("llm", "tool")]
        root = (around or parentless or tops)[0]
        places = _places(ordered, by_id)
        agents = [span for span in ordered if span.kind == "agent"]
        name = agent or _name_of(root, [s for s in agents if places[s.id].owner is None], service)
        own, sub_agents = _agents(agents, root, name, places)
        calls = [span for span in ordered if span.kind in ("llm", "tool")]
        return Tree(
            spans=ordered,
            root=root,
            rooted=bool(around) or len(parentless) == 1 or len(tops) == 1,
            agent=name,
            own=own,
            sub_agents=sub_agents,
            leaves=[span for span in calls if places[span.id].shell is None],
            counted=_counted(calls, places),
            places=places,
        )

    @property
    def first(self) -> Span:
        """What began first: the root, else the first of the parts that are there."""
        return self.root if self.rooted else self.spans[0]

    def owner_id(self, span: Span) -> str | None:
        """The id of the agent span it belongs to; its own for an agent."""
        owner = span if span.kind == "agent" else self.places[span.id].owner
        return owner.id if owner else None

    def actor(self, span: Span) -> str | None:
        """Who of several agents made the call; None for the run's own."""
        owner = self.places[span.id].owner
        if owner is not None and owner.id not in self.own:
            return owner.agent or owner.name
        return span.agent if span.agent != self.agent else None

    def within(self, agent: Span) -> set[str | None]:
        """The ids of a sub-agent's span and of all agents it called, save the run's own."""
        below = [s for s in self.spans if s.kind == "agent" and s.id not in self.own]
        ids: set[str | None] = {agent.id}
        ids.update(s.id for s in below if agent in _chain(s.id, self.places))
        return ids

    def scores(self, owners: frozenset[str | None]) -> dict[str, Score]:
        """Scores of the agents themselves; those of single calls judge no run."""
        told: dict[str, Score] = {}
        for span in self.spans:
            if span.scores and (span is self.root or span.kind not in ("llm", "tool")):
                told |= span.scores if self.owner_id(span) in owners else {}
        return told


def _time(span: Span) -> tuple[int, int]:
    start = span.start if span.start is not None else span.end
    return (_LAST if start is None else start, _LAST if span.end is None else span.end)


def _in_time(spans: Iterable[Span]) -> list[Span]:
    try:
        return sorted(spans, key=_TIMES)  # the same, and quicker, where all times are known
    except TypeError:
        return sorted(spans, key=_time)


def _unique(spans: list[Span], set_aside: Callable[[str], None]) -> dict[str, Span]:
    by_id = {span.id: span for span in spans}
    if len(by_id) == len(spans):
        return by_id
    by_id = {}
    for span in spans:
        before = by_id.setdefault(span.id, span)
        if before is span or before == span:
            continue
        # Tracers send a span when it starts and again when it ends: the later one has it all.
        if before.end is None and span.end is not None:
            by_id[span.id] = span
        elif span.end is not None:
            set_aside(f"span {shown(span.id)} is given twice: the first was taken")
    return by_id


def _places(spans: Iterable[Span], by_id: Mapping[str, Span]) -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    below: dict[str | None, _Place] = {}
    for span in spans:
        id = span.id
        if (place := below.get(span.parent, _TOP)) is not _TOP and id not in places:
            places[id] = place  # as nearly always
            continue
        path: list[Span] = []
        above: Span | None = span
        while above is not None and above.id not in places:
            path.append(above)
            places[above.id] = _TOP  # until it is known; so a circle ends here
            above = by_id.get(above.parent) if above.parent is not None else None
        while path:
            if above is None:
                place = _TOP
            elif (place := below.get(above.id, _TOP)) is _TOP:
                place = below[above.id] = _below(above, places[above.id])
            above = path.pop()
            places[above.id] = place
    return places


def _below(span: Span, place: _Place) -> _Place:
    """Return where the children of a span stand, which itself stands at `place`."""
    if span.kind == "agent":
        return _Place(span, None)
    if span.kind == "other" or place.shell is not None:
        return place
    return _Place(place.owner, span)


def _chain(id: str, places: Mapping[str, _Place]) -> Iterator[Span]:
    """Yield the agents above a span, innermost first."""
    above = places[id].owner
    while above is not None:
        yield above
        above = places[above.id].owner


def _agents(
    agents: list[Span], root: Span, name: str, places: Mapping[str, _Place]
) -> tuple[frozenset[str | None], list[Span]]:
    """Return the ids of the run's own agent, and the sub-agents."""
    own: set[str | None] = {None}
    sub_agents: list[Span] = []
    for span in agents:
        called = span.agent or span.name
        if span is root or called == name:
            own.add(span.id)  # also where its own sub-agent calls it
        elif all((above.agent or above.name) != called for above in _chain(span.id, places)):
            sub_agents.append(span)  # within one of its own name it is part of that
    return frozenset(own), sub_agents


def _name_of(root: Span, tops: list[Span], service: str | None) -> str:
    if root.kind == "agent":
        return root.agent or root.name
    names = {span.agent or span.name for span in tops}
    if len(names) == 1:
        return names.pop()
    return root.agent or (root.name if names else service or root.name)


def _counted(calls: list[Span], places: Mapping[str, _Place]) -> list[Span]:
    """Return the model calls whose tokens to add up: of one traced twice, only one."""
    models = [span for span in calls if span.kind == "llm"]
    inner: dict[str, list[Span]] = {}
    for span in models:
        shell = places[span.id].shell
        if shell is not None and shell.kind == "llm":
            inner.setdefault(shell.id, []).append(span)
    if not inner:
        return models
    dropped: set[str] = set()
    for outer, within in inner.items():
        telling = [span for span in within if span.tokens_in is not None]
        dropped |= {span.id for span in within if span not in telling}
        dropped |= {outer} if telling else set()
    return [span for span in models if span.id not in dropped]
