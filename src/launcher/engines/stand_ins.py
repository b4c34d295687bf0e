"""Loopback ggml-rpc-servers that stand for devices which are not here: llama.cpp places layers on them as on any."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from launcher.engines.programs import engine_program
from launcher.errors import EngineError
from launcher.hardware.types import EngineBuild
from launcher.store.types import without_hub_login
from launcher.system.children import Job, tied

READY_S = 20.0
"""A server listens within a second; on a machine at its limit it may take some."""
_STEP_S = 0.05
_KILL_S = 5.0


@contextmanager
def stand_ins(count: int, engine: EngineBuild | None = None) -> Iterator[list[str]]:
    """Endpoints of `count` servers of a build, by default the environment's, which end with the block.

    Raises:
        EngineError: the engine has no ggml-rpc-server, or one does not start.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(_server(engine)) for _ in range(count)]


def server_program(engine: EngineBuild | None = None) -> Path:
    """The engine's own ggml-rpc-server: of another build it would speak another protocol."""
    program = engine_program("ggml-rpc-server", engine)
    if program is None:
        raise EngineError(
            "this engine has no ggml-rpc-server to stand for other devices", hint="gpt-oss engine build cpu"
        )
    return program


@contextmanager
def _server(engine: EngineBuild | None) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [str(server_program(engine)), "-H", "127.0.0.1", "-p", str(port), "-t", "1"]
    nothing = subprocess.DEVNULL
    env = without_hub_login(os.environ)
    job = Job()
    # Ended by the system where this process is killed: it knows no other end.
    child = subprocess.Popen(tied(command), stdin=nothing, stdout=nothing, stderr=nothing, env=env)
    job.add(child.pid)
    try:
        _wait(child, port)
        yield f"127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait(_KILL_S)
        job.end()


def _wait(child: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + READY_S
    while child.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(_STEP_S)
    raise EngineError(f"a stand-in for a device did not start on port {port}", hint="gpt-oss plan")
