"""Where a Stratus checkout keeps what, and what of it may be tuned."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tracetune.errors import ProjectError, WriteError
from tracetune.stores.bundle import Bundle
from tracetune.stores.files import write_together
from tracetune.stores.project import AgentSpec, Parameter, Project, PromptSpec, read_bundle
from tracetune.stores.yaml_files import read_text, read_yaml
from tracetune.traces.reward import RewardSpec

__all__ = ["AGENTS", "MEMORY", "Checkout"]

AGENTS = ("diagnosis", "localization", "mitigation", "rollback")
MEMORY = "stratus"
"""What memory is kept under."""

_WHEN = {
    "diagnosis": "When the fault is missed, or one is reported that is not there.",
    "localization": "When a fault is found but the wrong component or cause is named.",
    "mitigation": "When the application is still broken after the repair was submitted.",
    "rollback": "When changes are left behind, or undone that should have stayed.",
}
_KEEP = (
    "Keep what is submitted, and how, as it is. The text is never filled in: a placeholder in "
    "braces would reach the agent as it stands."
)
_FILLED_IN = ("user", "retry_user")
_NEVER = "never"

_BOUNDS = {"max_step": (5, 60), "max_retry_attempts": (1, 20), "max_loop_count": (10, 100)}
_MEANINGS = {
    "max_step": "Tool calls the agent may make before it must submit.",
    "max_retry_attempts": "Times mitigation is tried anew.",
    "max_loop_count": "Rounds of the agent, so that it ends at all.",
}
_RETRY_MODES = ("naive", "validate", "none")
_VERSION = re.compile(r"_v(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Checkout:
    """A checkout of Stratus; its files are looked for when they are asked for."""

    root: Path
    """Absolute."""

    @property
    def configs(self) -> Path:
        """The folder of the agents' prompts and configs."""
        return self.root / "clients" / "stratus" / "configs"

    @property
    def backups(self) -> Path:
        """The folder of their originals."""
        return self.configs / "backups"

    @property
    def versions(self) -> Path:
        """The folder of their copies after each update."""
        return self.root / "meta_agent" / "versions"

    @property
    def traces(self) -> Path:
        """The folder that runs are put into, unless told otherwise."""
        return self.root / "meta_agent" / "traces"

    def prompts_file(self, agent: str) -> Path:
        """The agent's prompts; the file need not be there."""
        return self.configs / f"{agent}_agent_prompts.yaml"

    def config_file(self, agent: str) -> Path:
        """The agent's config; the file need not be there."""
        return self.configs / f"{agent}_agent_config.yaml"

    def agents(self) -> list[str]:
        """The agents there are prompts for, in the order they work in.

        Raises:
            ProjectError: There are none.
        """
        found = [agent for agent in AGENTS if self.prompts_file(agent).is_file()]
        if not found:
            raise ProjectError(
                f"{self.configs} holds no *_agent_prompts.yaml; expected those of a Stratus "
                "checkout (root names its folder)."
            )
        return found

    def project(
        self,
        traces: Path,
        reward: RewardSpec,
        *,
        prompts: bool = True,
        configs: bool = True,
        write: bool = True,
    ) -> Project:
        """Return the checkout as a project.

        Args:
            traces: A folder, or one file.
            prompts: Whether prompts may change; so for `configs`.
            write: Whether promotions are written into the agents' files.

        Raises:
            ProjectError: There are no prompts, or a file cannot be read.
        """
        home = self.root / "meta_agent"
        return Project(
            name=MEMORY,
            root=home,
            path=self.configs,
            model=None,
            store=f"sqlite:///{home / '.tracetune' / 'memory.db'}",
            reward=reward,
            min_traces=1,
            agents={
                agent: self._agent(agent, traces, prompts, configs, write)
                for agent in self.agents()
            },
        )

    def _agent(
        self, agent: str, traces: Path, prompts: bool, configs: bool, write: bool
    ) -> AgentSpec:
        texts = read_yaml(self.prompts_file(agent))
        config = self.config_file(agent)
        values = read_yaml(config) if config.is_file() else {}
        return AgentSpec(
            name=agent,
            prompts_file=self.prompts_file(agent),
            config_file=config if values else None,
            traces=(str(traces),),
            prompts={
                name: _prompt_spec(agent, name, tuned=prompts)
                for name, text in texts.items()
                if isinstance(text, str)
            },
            parameters={
                name: _parameter(agent, name, value) if configs else Parameter(frozen=True)
                for name, value in values.items()
            },
            write_files=write,
        )

    def back_up(self, agents: Sequence[str]) -> None:
        """Copy each agent's files to `configs/backups/`, those that have no copy there yet.

        Raises:
            ProjectError: A file cannot be read.
            WriteError: A copy cannot be made; then none is.
        """
        files = [file for agent in agents for file in self._files(agent)]
        copies = {self.backups / file.name: file for file in files}
        _copy({copy: file for copy, file in copies.items() if not copy.exists()})

    def keep_version(self, agent: str) -> str:
        """Copy the agent's files to `versions/` as they are; return the number they got.

        The first is 1.0.0, and the last part counts on. The prompts lie in
        `AGENT_vNUMBER.yaml`, the config in `AGENT_config_vNUMBER.yaml`.

        Raises:
            ProjectError: A file cannot be read.
            WriteError: A copy cannot be made; then none is.
        """
        number = self._next_number(agent)
        copies = self._version_files(agent, number)
        _copy(dict(zip(copies, self._files(agent), strict=False)))
        return number

    def _next_number(self, agent: str) -> str:
        known = [
            tuple(map(int, found.groups()))
            for path in self.versions.glob(f"{agent}_v*.yaml")
            if (found := _VERSION.fullmatch(path.stem.removeprefix(agent)))
        ]
        major, minor, patch = max(known, default=(1, 0, -1))
        return f"{major}.{minor}.{patch + 1}"

    def version(self, spec: AgentSpec, number: str) -> Bundle | None:
        """Return the agent's bundle as that version has it, or None when there is no such one.

        It has the names that the agent's files have now: what the version lacks is as it lies
        there, and so is the config where the version is of the prompts alone.

        Raises:
            ProjectError: A file cannot be read.
        """
        if not _VERSION.fullmatch(f"_v{number}"):
            return None
        prompts, config = self._version_files(spec.name, number)
        return _restored(spec, prompts, config if config.is_file() else None)

    def original(self, spec: AgentSpec) -> Bundle | None:
        """Return the agent's bundle with the prompts of its backup; None when there is none."""
        return _restored(spec, self.backups / self.prompts_file(spec.name).name, None)

    def _files(self, agent: str) -> list[Path]:
        config = self.config_file(agent)
        return [self.prompts_file(agent), *([config] if config.is_file() else [])]

    def _version_files(self, agent: str, number: str) -> tuple[Path, Path]:
        names = (f"{agent}_v{number}.yaml", f"{agent}_config_v{number}.yaml")
        return self.versions / names[0], self.versions / names[1]


def _prompt_spec(agent: str, name: str, *, tuned: bool) -> PromptSpec:
    if name in _FILLED_IN:
        return PromptSpec(when_to_update=_NEVER, template_format="f-string")
    if name == "system":
        when = _WHEN[agent]
    elif name.endswith("summary_prompt"):
        when = "When the summary handed on leaves out what the next agent needs."
    else:
        return PromptSpec(when_to_update=_NEVER)  # no agent reads it
    return PromptSpec(
        when_to_update=when if tuned else _NEVER,
        update_instructions=_KEEP,
        template_format="none",
    )


def _parameter(agent: str, name: str, value: Any) -> Parameter:
    if name == "retry_mode" and value in _RETRY_MODES:
        return Parameter(choices=_RETRY_MODES, description="What a new attempt begins with.")
    if name not in _BOUNDS or isinstance(value, bool) or not isinstance(value, int):
        # Paths and tools are looked up by name: another one would be no tool at all.
        return Parameter(frozen=True)
    low, high = _BOUNDS[name]
    # The rollback agent fails when it reaches its limit, so that is never lowered.
    kept = agent == "rollback" and name == "max_step"
    return Parameter(
        type="int",
        min=value if kept else min(low, value),
        max=max(high, value),
        # In mitigation it limits each attempt, and a trace counts the steps of all attempts.
        step_limit=name == "max_step" and agent != "mitigation",
        description=_MEANINGS[name],
    )


def _restored(spec: AgentSpec, prompts: Path, config: Path | None) -> Bundle | None:
    if not prompts.is_file():
        return None
    now = read_bundle(spec)
    bare = replace(spec, prompts={}, parameters={}, mirror=())
    old = read_bundle(replace(bare, prompts_file=prompts, config_file=config))
    return Bundle(_over(now.prompts, old.prompts), _over(now.config, old.config))


def _over(now: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    return {name: old.get(name, value) for name, value in now.items()}


def _copy(copies: Mapping[Path, Path]) -> None:
    """Copy files, given as copy -> original, byte for byte; make the folders they go to."""
    for folder in {copy.parent for copy in copies}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"{folder} cannot be made: {error.strerror}.") from error
    write_together({copy: read_text(file) for copy, file in copies.items()})
