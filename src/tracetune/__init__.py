"""tracetune learns from the traces of running agents and improves their prompts and configs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracetune.dropin.email_agent import aupdate_prompts_in_store, update_prompts_in_store
    from tracetune.dropin.langmem import create_multi_prompt_optimizer, create_prompt_optimizer
    from tracetune.dropin.stratus import LLMMetaAgent
    from tracetune.dropin.stratus_config import LLMMetaAgentConfig
    from tracetune.errors import (
        ConflictError,
        InputError,
        ModelError,
        NoModelError,
        NotFoundError,
        ProjectError,
        ReplyError,
        StoreError,
        TraceError,
        TraceTuneError,
        WriteError,
    )
    from tracetune.graph.build import build_graph
    from tracetune.graph.context import Settings
    from tracetune.graph.schemas import CycleInput, CycleReport
    from tracetune.nodes.blaming.ranking import Blame, rank_prompts
    from tracetune.nodes.configure_by_rules import ConfigProposal, tune_config
    from tracetune.nodes.guarding.guards import Violation, check_prompt
    from tracetune.stores.backends import open_store
    from tracetune.stores.bundle import Bundle
    from tracetune.stores.memory import AgentMemory, ProceduralMemory
    from tracetune.stores.middleware import TunedPrompt, atuned, stamp, tuned
    from tracetune.stores.parameter import Parameter
    from tracetune.stores.project import Project, load_project
    from tracetune.stores.project_file import PromptSpec
    from tracetune.stores.release import Guideline, JournalEntry, Release
    from tracetune.traces.compare import Verdict, compare_runs
    from tracetune.traces.metrics import Metrics, ToolMetrics, compute_metrics
    from tracetune.traces.mining.patterns import Pattern, mine_patterns
    from tracetune.traces.model import Message, Thought, ToolCall, Trace
    from tracetune.traces.read import read_traces
    from tracetune.traces.readers.base import BadRecord
    from tracetune.traces.recording.recorder import TraceRecorder
    from tracetune.traces.redaction import Redactor
    from tracetune.traces.reward import RewardRefs, RewardSpec

__version__ = "0.1.0"

_HOMES = {
    "dropin.email_agent": ("aupdate_prompts_in_store", "update_prompts_in_store"),
    "dropin.langmem": ("create_multi_prompt_optimizer", "create_prompt_optimizer"),
    "dropin.stratus": ("LLMMetaAgent",),
    "dropin.stratus_config": ("LLMMetaAgentConfig",),
    "errors": (
        "ConflictError",
        "InputError",
        "ModelError",
        "NoModelError",
        "NotFoundError",
        "ProjectError",
        "ReplyError",
        "StoreError",
        "TraceError",
        "TraceTuneError",
        "WriteError",
    ),
    "graph.build": ("build_graph",),
    "graph.context": ("Settings",),
    "graph.schemas": ("CycleInput", "CycleReport"),
    "nodes.blaming.ranking": ("Blame", "rank_prompts"),
    "nodes.configure_by_rules": ("ConfigProposal", "tune_config"),
    "nodes.guarding.guards": ("Violation", "check_prompt"),
    "stores.backends": ("open_store",),
    "stores.bundle": ("Bundle",),
    "stores.memory": ("AgentMemory", "ProceduralMemory"),
    "stores.middleware": ("TunedPrompt", "atuned", "stamp", "tuned"),
    "stores.parameter": ("Parameter",),
    "stores.project": ("Project", "load_project"),
    "stores.project_file": ("PromptSpec",),
    "stores.release": ("Guideline", "JournalEntry", "Release"),
    "traces.compare": ("Verdict", "compare_runs"),
    "traces.metrics": ("Metrics", "ToolMetrics", "compute_metrics"),
    "traces.model": ("Message", "Thought", "ToolCall", "Trace"),
    "traces.mining.patterns": ("Pattern", "mine_patterns"),
    "traces.read": ("read_traces",),
    "traces.readers.base": ("BadRecord",),
    "traces.recording.recorder": ("TraceRecorder",),
    "traces.redaction": ("Redactor",),
    "traces.reward": ("RewardRefs", "RewardSpec"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AgentMemory",
    "BadRecord",
    "Blame",
    "Bundle",
    "ConfigProposal",
    "ConflictError",
    "CycleInput",
    "CycleReport",
    "Guideline",
    "InputError",
    "JournalEntry",
    "LLMMetaAgent",
    "LLMMetaAgentConfig",
    "Message",
    "Metrics",
    "ModelError",
    "NoModelError",
    "NotFoundError",
    "Parameter",
    "Pattern",
    "ProceduralMemory",
    "Project",
    "ProjectError",
    "PromptSpec",
    "Redactor",
    "Release",
    "ReplyError",
    "RewardRefs",
    "RewardSpec",
    "Settings",
    "StoreError",
    "Thought",
    "ToolCall",
    "ToolMetrics",
    "Trace",
    "TraceError",
    "TraceRecorder",
    "TraceTuneError",
    "TunedPrompt",
    "Verdict",
    "Violation",
    "WriteError",
    "atuned",
    "aupdate_prompts_in_store",
    "build_graph",
    "check_prompt",
    "compare_runs",
    "compute_metrics",
    "create_multi_prompt_optimizer",
    "create_prompt_optimizer",
    "load_project",
    "mine_patterns",
    "open_store",
    "rank_prompts",
    "read_traces",
    "stamp",
    "tune_config",
    "tuned",
    "update_prompts_in_store",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: an agent that only reads its prompts should not pay for the graph.
    if name not in _HOME_OF:
        raise AttributeError(f"module 'tracetune' has no attribute {name!r}")
    value = getattr(import_module(f"tracetune.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
