"""A real `langgraph dev` server on loopback."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

STARTS_WITHIN_S = 120


@pytest.fixture(scope="session")
def serve() -> Callable[[Path, dict[str, Any]], AbstractContextManager[str]]:
    """Start a server: `with serve(folder, what langgraph.json says) as address`."""
    return _serve


@contextlib.contextmanager
def _serve(folder: Path, served: dict[str, Any]) -> Iterator[str]:
    folder.mkdir(exist_ok=True)
    (folder / "langgraph.json").write_text(json.dumps(served), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload"]
    quiet = {"LANGGRAPH_CLI_NO_ANALYTICS": "1", "LANGGRAPH_NO_VERSION_CHECK": "true"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=folder,
            env=os.environ | quiet,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(process, port, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/ok").is_success:
                return
        time.sleep(0.2)
    pytest.fail(f"The server did not start:\n{log.read_text()}")
