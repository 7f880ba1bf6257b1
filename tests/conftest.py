"""Fixtures that every folder of tests uses."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field

_MADE = shutil.ignore_patterns(".tracetune", "__pycache__")

REPO = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def repo() -> Path:
    """The checkout the tests run in."""
    return REPO


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real traces kept beside the checkout; tests that need them are skipped without."""
    folder = REPO.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data beside the checkout")
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs to mount a small disk, which takes root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


class ScriptedChat(BaseChatModel):
    """A chat model that answers each schema from its script, and fails on what is not scripted."""

    script: dict[str, list[Any]]
    """Schema name -> answers in order: arguments as a dict, an exception, or f(prompt text)."""
    seen: list[str] = Field(default_factory=list)
    """Every prompt that was sent."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind(schema=tools[0].__name__)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        schema, prompt = kwargs["schema"], str(messages[-1].content)
        self.seen.append(prompt)
        if not self.script.get(schema):
            pytest.fail(f"Unscripted call for {schema}:\n{prompt}")
        answer = self.script[schema].pop(0)
        if callable(answer):
            answer = answer(prompt)
        if isinstance(answer, Exception):
            raise answer
        message = AIMessage(
            content=answer if isinstance(answer, str) else "",
            tool_calls=[]
            if isinstance(answer, str)
            else [{"name": schema, "args": answer, "id": f"call-{len(self.seen)}"}],
            usage_metadata={"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


@pytest.fixture
def scripted() -> Callable[..., ScriptedChat]:
    """Make a chat model that answers from a script: `scripted(Classification=[{…}], Edits=[…])`."""

    def make(**script: list[Any]) -> ScriptedChat:
        return ScriptedChat(script=script)

    return make


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches a provider: what needs a key sets its own."""
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY", "LANGSMITH_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def airline(repo: Path, tmp_path: Path) -> Path:
    """A copy of the airline example that a test may write in."""
    return Path(shutil.copytree(repo / "examples" / "airline", tmp_path / "airline", ignore=_MADE))


@pytest.fixture
def stratus(repo: Path, tmp_path: Path) -> Path:
    """A copy of the Stratus example that a test may write in."""
    return Path(shutil.copytree(repo / "examples" / "stratus", tmp_path / "stratus", ignore=_MADE))


@pytest.fixture
def golden(repo: Path) -> Callable[[str, str], str]:
    """Return a golden file's text; with UPDATE_GOLDEN=1, write what was got first."""

    def read(name: str, got: str) -> str:
        path = repo / "tests" / "golden" / name
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(got, encoding="utf-8")
        return path.read_text(encoding="utf-8")

    return read


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run a command with --json, which must end well, and return its document."""

    from tracetune.cli import main

    def run(*arguments: object) -> Any:
        code = main([*map(str, arguments), "--json"])
        out, err = capsys.readouterr()
        assert code == 0, err
        return json.loads(out)

    return run
