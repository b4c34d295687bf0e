"""The stage serve: tokens per second of more and more streams, through `gpt-oss serve` as clients see it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from gpu_stages.grid import Grid, ServeCase, serve_cases
from gpu_stages.kept import each
from gpu_stages.lab import Lab
from gpu_stages.records import FileRow, ServeRow
from launcher.bench.server import ServerSession
from launcher.bench.session import Case, Session
from launcher.bench.stats import percentile
from launcher.bench.types import BenchTest

_HOST_ADDRESS = "127.0.0.1"
_STOP_S = 30.0
"""For the supervisor to end llama-server and free 60 GB."""
_COMMAND = "from launcher.cli.app import main; main()"


@contextmanager
def open_serve(lab: Lab, file: FileRow, n_slots: int) -> Iterator[Session]:
    """`gpt-oss serve` with as many slots on a port of loopback; it ends with the block.

    Raises:
        EngineError: it ended instead of answering.
    """
    with socket.socket() as free:
        free.bind((_HOST_ADDRESS, 0))
        port: int = free.getsockname()[1]
    command = [
        *(sys.executable, "-c", _COMMAND, "serve"),
        *("--model", str(Path(file.path).absolute()), "--offline", "--yes", "--no-tuned", "--port", str(port)),
        *("--parallel", str(n_slots), "--ctx-size", str(n_ctx(lab.grid, n_slots))),
        *("--device", ",".join(device.name for device in lab.hardware.devices if device.backend != "RPC") or "none"),
        *("--build", lab.engine.name),
    ]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=dict(os.environ), start_new_session=True
        )
        try:
            session = ServerSession(process, log, port)
            session.wait()
            yield session
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()


def n_ctx(grid: Grid, n_slots: int) -> int:
    """Room for as many prompts and answers, twice over."""
    return max(4096, n_slots * 4 * grid.serve_tokens)


def measured(session: Session, case: ServeCase, grid: Grid) -> ServeRow:
    """Every repetition with as many streams."""
    test = BenchTest(n_prompt=grid.serve_tokens, n_gen=grid.serve_tokens)
    samples = [
        session.measure(Case(engine="server", test=test, n_streams=case.n_streams)) for _ in range(grid.n_repeat)
    ]
    ttft = [ms for sample in samples for ms in sample.ttft_ms]
    itl = [ms for sample in samples for ms in sample.itl_ms]
    return ServeRow(
        file=case.file, n_streams=case.n_streams, n_prompt=test.n_prompt, n_gen=test.n_gen,
        output_ts=tuple(1e9 * test.n_gen * case.n_streams / sample.ns for sample in samples),
        ttft_ms=percentile(ttft, 50),
        itl_p50_ms=percentile(itl, 50), itl_p90_ms=percentile(itl, 90), itl_p99_ms=percentile(itl, 99),
    )  # fmt: skip


class Streams:
    """The server, started with the first case that is measured."""

    def __init__(self, start: Callable[[], AbstractContextManager[Session]], grid: Grid) -> None:
        self._start = start
        self._grid = grid
        self._stack = ExitStack()
        self._session: Session | None = None

    def close(self) -> None:
        """Stop it."""
        self._session = None
        self._stack.close()

    def measure(self, case: ServeCase) -> ServeRow:
        """One number of streams. Raises EngineError where the server failed."""
        if self._session is None:
            self._session = self._stack.enter_context(self._start())
        return measured(self._session, case, self._grid)


def run(lab: Lab) -> int:
    """All files; how many cases were left out."""
    left = 0
    for file in lab.files:
        cases = serve_cases(file.file, lab.grid)
        lab.tell(f"serve {Path(file.path).name}: up to {lab.grid.streams[-1]} streams")
        streams = Streams(partial(open_serve, lab, file, lab.grid.streams[-1]), lab.grid)
        try:
            left += each("serve", cases, streams.measure, kept=lab.kept, budget=lab.budget, tell=lab.tell)
        finally:
            streams.close()
    return left
