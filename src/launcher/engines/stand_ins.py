"""Loopback ggml-rpc-servers that stand for devices which are not here: llama.cpp places layers on them as on any."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from launcher.errors import EngineError

READY_S = 20.0
"""A server listens within a second; on a machine at its limit it may take some."""
_STEP_S = 0.05
_KILL_S = 5.0
_ENDS_WITH_US = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
"""PR_SET_PDEATHSIG, SIGKILL (linux/prctl.h), kept over exec: no block below is left where the launcher is killed."""


@contextmanager
def stand_ins(count: int, *, program: Path | None = None, ready_s: float = READY_S) -> Iterator[list[str]]:
    """Endpoints of `count` servers, which end with the block.

    Args:
        count: none for 0, which needs no program.
        program: ggml-rpc-server; None for the engine's own.
        ready_s: until a server must listen.

    Raises:
        EngineError: the engine has no ggml-rpc-server, or one does not start.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(_server(program or server_program(), ready_s)) for _ in range(count)]


def server_program() -> Path:
    """Where the engine's own ggml-rpc-server is: of another build it would speak another protocol."""
    from importlib.util import find_spec

    spec = find_spec("llama_cpp")
    folder = Path(spec.origin).parents[1] / "bin" if spec is not None and spec.origin else Path()
    return folder / ("ggml-rpc-server.exe" if sys.platform == "win32" else "ggml-rpc-server")


@contextmanager
def _server(program: Path, ready_s: float) -> Iterator[str]:
    if not program.is_file():
        raise EngineError("this engine has no ggml-rpc-server to stand for other devices", hint="gpt-oss plan")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [str(program), "-H", "127.0.0.1", "-p", str(port), "-t", "1"]
    if sys.platform.startswith("linux"):
        command = [sys.executable, "-I", "-S", "-c", _ENDS_WITH_US, *command]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(child, port, ready_s)
        yield f"127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait(_KILL_S)


def _wait(child: subprocess.Popen[bytes], port: int, ready_s: float) -> None:
    deadline = time.monotonic() + ready_s
    while child.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(_STEP_S)
    raise EngineError(f"a stand-in for a device did not start on port {port}", hint="gpt-oss plan")
