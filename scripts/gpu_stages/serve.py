"""The stage serve: tokens per second of more and more streams, through `gpt-oss serve` as clients see it."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from gpu_stages.grid import Grid, ServeCase, serve_cases
from gpu_stages.lab import Lab, each_file
from gpu_stages.records import FileRow, ServeRow
from launcher.bench.child import death_of, log_of
from launcher.bench.server import Stream, in_letters, letter_tokens, read_events
from launcher.bench.session import Case, Sample, Session
from launcher.bench.stats import percentile
from launcher.bench.types import BenchTest
from launcher.errors import EngineError

HOST = "127.0.0.1"
_STOP_S = 30.0
"""For the supervisor to end llama-server and free 60 GB."""
_STEP_S = 0.1
_SILENCE_S = 120.0
"""Between two tokens, or before the first: 64 prompts at the same time."""
_SEED = 1
_JSON = {"Content-Type": "application/json"}
_COMMAND = "from launcher.cli.app import main; main()"


@contextmanager
def open_serve(lab: Lab, file: FileRow, n_slots: int) -> Iterator[Session]:
    """`gpt-oss serve` with as many slots on a port of loopback; it ends with the block.

    Raises:
        EngineError: it ended instead of answering.
    """
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
    devices = [device.name for device in lab.hardware.devices if device.backend != "RPC"]
    command = [
        *(sys.executable, "-c", _COMMAND, "serve"),
        *("--model", str(Path(file.path).absolute()), "--offline", "--yes", "--no-tuned", "--port", str(port)),
        *("--parallel", str(n_slots), "--ctx-size", str(n_ctx(lab.grid, n_slots))),
        *("--device", ",".join(devices) or "none", "--build", lab.engine.name),
    ]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(os.environ), start_new_session=True
        )
        try:
            client = Client(port)
            client.wait(process, log, lab.sleep)
            yield client
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
            process.kill()
            process.wait()


class Client:
    """Many readers of one server. Answers are letters, drawn at random.

    A model of random blocks would say tokens of half a letter each, which llama-server keeps until the rest comes; and
    the same ones over and over, by the same experts, were the likeliest always taken.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._random = random.Random(_SEED)
        self._n_vocab = 0
        self._letters: list[int] = []

    def wait(self, process: subprocess.Popen[bytes], log: IO[bytes], sleep: Callable[[float], None]) -> None:
        """Until it answers; a stage's time is its end. Raises EngineError where it ended instead."""
        while not self._n_vocab:
            if process.poll() is not None:
                raise death_of(process.returncode, log_of(log), " before it served")
            with suppress(OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
                self._n_vocab = int(self._ask("GET", "/v1/models")["data"][0]["meta"]["n_vocab"])
            sleep(_STEP_S)
        self._letters = letter_tokens(self._ask)

    def measure(self, case: Case) -> Sample:
        """As many requests at the same time as the case says. Raises EngineError where one fails."""
        prompts = [self._tokens(case.test.n_prompt) for _ in range(case.n_streams)]
        gate = threading.Barrier(case.n_streams + 1)

        def one(number: int) -> Stream:
            gate.wait()
            return self.complete(prompts[number], case.test.n_gen, seed=number)

        pool = ThreadPoolExecutor(case.n_streams)
        try:
            futures = [pool.submit(one, number) for number in range(case.n_streams)]
            gate.wait()
            start = time.perf_counter_ns()
            streams = [future.result() for future in futures]
            ns = time.perf_counter_ns() - start
        finally:
            # Where the stage's time is over, the others wait for answers until the server is gone.
            pool.shutdown(wait=False)
        return Sample(
            ns=ns,
            ttft_ms=tuple(stream.ttft_ms for stream in streams),
            itl_ms=tuple(ms for stream in streams for ms in stream.itl_ms),
        )

    def complete(self, prompt: Sequence[int], n_predict: int, *, seed: int) -> Stream:
        """One answer of just so many tokens. Raises EngineError where the server does not give it."""
        body = {
            "prompt": prompt, "n_predict": n_predict, "cache_prompt": False, "ignore_eos": True, "stream": True,
            "return_tokens": True, **in_letters(self._letters, seed=seed),
        }  # fmt: skip
        connection = http.client.HTTPConnection(HOST, self._port, timeout=_SILENCE_S)
        try:
            start = time.perf_counter()
            connection.request("POST", "/completion", json.dumps(body), _JSON)
            reply = connection.getresponse()
            if reply.status != http.client.OK:
                raise EngineError(f"the server: {reply.read(300).decode('utf-8', 'replace')}")
            return read_events(iter(reply.readline, b""), time.perf_counter, start)
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(f"the server does not answer: {error}") from error
        finally:
            connection.close()

    def _tokens(self, n: int) -> list[int]:
        return [self._random.randrange(self._n_vocab) for _ in range(n)]

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=_SILENCE_S)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), _JSON)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


def n_ctx(grid: Grid, n_slots: int) -> int:
    """Room for as many prompts and answers, twice over."""
    return max(4096, n_slots * 4 * grid.serve_tokens)


def measured(session: Session, case: ServeCase, grid: Grid) -> ServeRow:
    """Every repetition with as many streams."""
    test = BenchTest(n_prompt=grid.serve_tokens, n_gen=grid.serve_tokens)
    # The first is not counted: no number of streams pays for kernels that are loaded when they are first needed.
    _, *samples = (
        session.measure(Case(engine="server", test=test, n_streams=case.n_streams)) for _ in range(grid.n_repeat + 1)
    )
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

    def prepared(file: FileRow) -> tuple[Sequence[ServeCase], Streams]:
        lab.tell(f"serve {Path(file.path).name}: up to {lab.grid.streams[-1]} streams")
        return serve_cases(file.file, lab.grid), Streams(partial(open_serve, lab, file, lab.grid.streams[-1]), lab.grid)

    return each_file(lab, "serve", prepared)
