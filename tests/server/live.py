"""llama-server itself on the demo model, with the record that `serve` would keep of it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from launcher.demo import demo_model_path
from launcher.engines.programs import find_llama_server
from launcher.server import registry
from launcher.server.types import ServerRecord
from tests.cli.sandbox import free_port

START_S = 60.0
"""Until it answers: half a second on an idle core."""
PLANNED = {"CPU": 64 * 1024**2}


@dataclass(frozen=True)
class Live:
    """A llama-server that answers."""

    record: ServerRecord
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.record.port}"

    def complete(self, n_predict: int = 8, prompt: str = "one two three") -> int:
        """Ask for exactly so many tokens; gives how many came."""
        headers = {}
        if self.record.key_file is not None:
            headers["Authorization"] = f"Bearer {self.record.key_file.read_text().splitlines()[0]}"
        body = {"prompt": prompt, "n_predict": n_predict, "ignore_eos": True, "cache_prompt": False}
        answer = httpx.post(f"{self.url}/completion", json=body, headers=headers, timeout=60)
        return int(answer.json()["tokens_predicted"])


def record_of(port: int, server_pid: int | None, log_path: Path, key_file: Path | None = None) -> ServerRecord:
    """A record as `serve` writes it, with the test's own process in the launcher's place."""
    started = registry.process_started_s(os.getpid())
    assert started is not None
    return ServerRecord(
        pid=os.getpid(),
        pid_started_s=started,
        host="127.0.0.1",
        port=port,
        model="gpt-oss-demo",
        file=str(demo_model_path()),
        n_ctx=2048,
        n_parallel=2,
        started_at=datetime.now(UTC).isoformat(),
        log_path=log_path,
        server_pid=server_pid,
        key_file=key_file,
        planned_bytes=PLANNED,
        ready=True,
    )


@contextmanager
def llama_server(state_dir: Path, *flags: str, key_file: Path | None = None, port: int | None = None) -> Iterator[Live]:
    """Runs from here to the end of the block; it answers before the block begins."""
    port = free_port() if port is None else port
    state_dir.mkdir(parents=True, exist_ok=True)
    log = state_dir / f"{port}.log"
    command = (
        *(str(find_llama_server(None)), "-m", str(demo_model_path()), "--port", str(port), "-t", "1", "--offline"),
        *("--metrics", "--slots", "--fit", "off", "-c", "4096", "--parallel", "2"),
        *(("--api-key-file", str(key_file)) if key_file is not None else ()),
        *flags,
    )
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        live = Live(record_of(port, process.pid, log, key_file), process)
        _wait_until_it_answers(live)
        registry.save(state_dir, live.record)
        yield live
    finally:
        registry.remove(state_dir, port)
        process.kill()
        process.wait()


def _wait_until_it_answers(live: Live) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert live.process.poll() is None, live.record.log_path.read_text()
        try:
            if httpx.get(f"{live.url}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError(live.record.log_path.read_text())
