"""What tests of real clients share: a server on the scripted model, a way out that is shut, and the clients' commands.

The model knows one task of each client (scripts/tiny_gpt_oss/scripted.py; scripts/train_scripted_gpt_oss.py makes it).
Clients run in the sandbox's home folder, behind a proxy that refuses everything and keeps what it was asked: what a
client wants from others shows, and nothing of it depends on a network.
"""

from __future__ import annotations

import os
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cli.sandbox import Done
from tests.server.conftest import Served

SCRIPTED = Path(__file__).parents[1] / "data" / "live" / "scripted-gpt-oss.gguf"
N_CTX = 32_768
"""Codex's first request is 40 kB: with the scripted model's small vocabulary, more than 10,000 tokens."""
TIMEOUT_S = 240.0
"""Of one client from start to end. Codex takes 15 s where a core is free, and a minute where three others want it."""
CODEX_TASK = "Create hello.txt with the text hi"
LLM_TASK = "What is the capital of France?"
PARIS = "The capital of France is Paris."
AIDER_TASK = "Make hello.py print hi"


class Refusing(socketserver.StreamRequestHandler):
    """A proxy that lets nothing through."""

    def handle(self) -> None:
        # CONNECT host:port HTTP/1.1
        words = self.rfile.readline().decode(errors="replace").split()
        self.server.asked.append(words[1] if len(words) > 1 else "")  # type: ignore[attr-defined]
        self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@dataclass(frozen=True)
class WayOut:
    """The proxy that clients are given, and whom they wanted to reach through it."""

    port: int
    asked: list[str]

    @property
    def env(self) -> dict[str, str]:
        """What makes a client ask the proxy for everything but this machine."""
        url = f"http://127.0.0.1:{self.port}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        proxies = {spelling: url for name in names for spelling in (name, name.lower())}
        return {**proxies, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


@contextmanager
def shut_way_out() -> Iterator[WayOut]:
    """The proxy, for as long as a test runs."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusing) as server:
        asked: list[str] = []
        server.asked = asked  # type: ignore[attr-defined]
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield WayOut(port=server.server_address[1], asked=asked)
        finally:
            server.shutdown()
            thread.join()


def serve_scripted(serve: Callable[..., Served], *args: object) -> Served:
    """The scripted model, served greedily: it is too small to be sampled."""
    return serve("--model", SCRIPTED, "--ctx-size", N_CTX, *args, env={"GPT_OSS_TEMPERATURE": "0"})


def client(name: str) -> str:
    """The real client's command."""
    found = shutil.which(name)
    assert found, f"{name} is not installed: scripts/test-live installs it"
    return found


def run(served: Served, way_out: WayOut, folder: Path, *command: object, env: dict[str, str] | None = None) -> Done:
    """Run a client, or the launcher that becomes one, in a folder, to its end."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**served.sandbox.env, "PATH": os.environ["PATH"], **way_out.env, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def n_requests(served: Served) -> int:
    """How many requests the model has been given, by llama-server's log."""
    log = served.sandbox.run("logs", "--lines", 100_000, "--port", served.port)
    return sum("launch_slot_" in line and "processing task" in line for line in log.out.splitlines())
