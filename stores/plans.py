"""What memory does, apart from how a store is reached: all plans of one agent's memory."""

from __future__ import annotations

from tracetune.stores.commits import CommitPlans
from tracetune.stores.heads import NO_HEAD
from tracetune.stores.labels import LabelPlans
from tracetune.stores.reads import Plan

__all__ = ["NO_HEAD", "AgentPlans", "Plan"]


class AgentPlans(CommitPlans, LabelPlans):
    """The plans of one agent's memory; `AgentMemory` documents and runs them."""
