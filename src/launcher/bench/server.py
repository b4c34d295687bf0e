"""llama-server as a bench session: what a reader of its stream waits for, with one request and with several at a time.

The server is started with the plan's arguments and as many slots as the most streams. Prompts are token ids, never
reused from the cache but for the depth, and every answer is as long as was asked (`ignore_eos`). Answers are the
likeliest tokens. Of a model of random blocks these are mostly pieces of letters, which llama-server keeps until the
rest comes: where the first answer shows that, answers are letters, drawn at random. No trained model is asked so.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from string import ascii_letters
from typing import IO, Any

from launcher.bench.child import death_of, log_of
from launcher.bench.memory import peak_rss_bytes
from launcher.bench.session import Case, Sample
from launcher.engines.params import server_argv
from launcher.engines.programs import find_llama_server
from launcher.errors import EngineError
from launcher.planner.types import LoadParams
from launcher.store.types import without_hub_login
from launcher.system.children import OWN_GROUP, with_libraries

_HOST = "127.0.0.1"
_JSON = {"Content-Type": "application/json"}
_READY_S = 900.0
"""60 GB from a slow disk take ten minutes; a server that died is noticed at once."""
_STEP_S = 0.02
_STOP_S = 5.0
"""For a clean end; it holds no conversation that could be lost."""
_SILENCE_S = 600.0
"""Between two tokens, or before the first: a long prompt on a CPU takes minutes."""
_SEED = 1
_N_WARM = 8
"""Tokens of the answer that warms it up, at most: enough to see what it keeps back."""
_BIAS = 100.0
"""Of letters, where answers are made of them: far beyond any logit."""


class SilentError(EngineError):
    """An answer whose tokens were all kept back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """When the tokens of one answer came, in seconds from its request."""

    arrivals_s: tuple[float, ...]
    """One entry for each event, in order."""
    n_tokens: tuple[int, ...]
    """Tokens of each event: those that make up one letter come together."""

    @property
    def ttft_ms(self) -> float:
        """Time to the first token."""
        return self.arrivals_s[0] * 1e3

    @property
    def itl_ms(self) -> tuple[float, ...]:
        """Time from one token to the next; tokens that came together share theirs."""
        pairs = zip(self.arrivals_s, self.arrivals_s[1:], self.n_tokens[1:], strict=False)
        return tuple((b - a) / n * 1e3 for a, b, n in pairs for _ in range(n))


def read_events(lines: Iterator[bytes], clock: Any, start: float) -> Stream:
    """The tokens of llama-server's stream of /completion.

    Raises:
        SilentError: no token was told.
        EngineError: it tells an error, ends early, or is no such stream.
    """
    arrivals, counts, told = [], [], 0
    for line in lines:
        field, _, value = line.decode("utf-8", "replace").strip().partition(": ")
        if field == "error":
            raise EngineError(f"llama-server: {value[:200]}", hint="gpt-oss plan")
        if field != "data":
            continue
        try:
            event = json.loads(value)
            tokens, stop = event.get("tokens", ()), event["stop"]
            # Only the last of several that come together is named.
            n_predicted = int(event.get("tokens_predicted", told + len(tokens)))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise EngineError(f"llama-server's stream cannot be read: {value[:80]!r}", hint="gpt-oss plan") from error
        if tokens and not stop:
            arrivals.append(clock() - start)
            counts.append(max(n_predicted - told, 1))
            told = n_predicted
        if stop:
            if not arrivals:
                raise SilentError("llama-server answered without a token", hint="gpt-oss plan")
            return Stream(arrivals_s=tuple(arrivals), n_tokens=tuple(counts))
    raise EngineError("llama-server's stream ended early", hint="gpt-oss plan")


def letter_tokens(ask: Callable[[str, str, Any], Any]) -> list[int]:
    """The tokens of single letters; `ask` sends a request: method, path and body."""
    told = [ask("POST", "/tokenize", {"content": letter})["tokens"] for letter in ascii_letters]
    return [tokens[0] for tokens in told if len(tokens) == 1]


def in_letters(letters: Sequence[int], *, seed: int) -> dict[str, Any]:
    """What has llama-server answer in these tokens, drawn: the likeliest would always be one, by the same experts."""
    return {"temperature": 1.0, "seed": seed, "logit_bias": [[token, _BIAS] for token in letters]}


class ServerSession:
    """A running llama-server. Made by `open_server`."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes], port: int) -> None:
        self._process = process
        self._log = log
        self._port = port
        self._random = random.Random(_SEED)  # noqa: S311  # tokens, not secrets
        self._n_vocab = 0
        self._warm = False
        self._letters: list[int] = []
        """Tokens that answers are made of; none: whatever is likeliest."""

    def wait(self) -> None:
        """Until it answers. Raises EngineError where it ends instead, or never answers."""
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise self._death()
            with suppress(OSError, http.client.HTTPException):
                if self._ask("GET", "/health").get("status") == "ok":
                    self._n_vocab = int(self._ask("GET", "/v1/models")["data"][0]["meta"]["n_vocab"])
                    return
            time.sleep(_STEP_S)
        raise EngineError(f"llama-server was not ready after {_READY_S:.0f} s", hint="gpt-oss plan")

    def measure(self, case: Case) -> Sample:
        """As many requests at the same time as the case says; the time is from the first to the end of the last."""
        if not self._warm:
            self._warm_up(case)
            self._warm = True
        depths = [self._tokens(case.test.n_depth) for _ in range(case.n_streams)]
        for slot, depth in enumerate(depths):
            if depth:
                self._complete(depth, n_predict=1, slot=slot, reuse=False)
        prompts = [[*depth, *self._tokens(case.test.n_prompt)] for depth in depths]
        gate = threading.Barrier(case.n_streams + 1)

        def one(slot: int) -> Stream:
            gate.wait()
            return self._complete(prompts[slot], n_predict=case.test.n_gen, slot=slot, reuse=bool(depths[slot]))

        with ThreadPoolExecutor(case.n_streams) as pool:
            futures = [pool.submit(one, slot) for slot in range(case.n_streams)]
            gate.wait()
            start = time.perf_counter_ns()
            try:
                streams = [future.result() for future in futures]
            except KeyboardInterrupt:
                # The threads wait for answers that nobody wants any more; without a server there are none.
                self._process.kill()
                raise
            ns = time.perf_counter_ns() - start
        return Sample(
            ns=ns,
            start_ns=start,
            pid=self._process.pid,
            peak_bytes=peak_rss_bytes(self._process.pid),
            ttft_ms=tuple(stream.ttft_ms for stream in streams),
            itl_ms=tuple(ms for stream in streams for ms in stream.itl_ms),
        )

    def _warm_up(self, case: Case) -> None:
        n_predict, n_shown = min(_N_WARM, case.test.n_gen), 0
        with suppress(SilentError):
            stream = self._complete(self._tokens(case.test.n_prompt or 1), n_predict=n_predict, slot=0, reuse=False)
            n_shown = len(stream.arrivals_s)
        if 2 * n_shown <= n_predict:
            self._letters = letter_tokens(self._ask)

    def _tokens(self, n: int) -> list[int]:
        return [self._random.randrange(self._n_vocab) for _ in range(n)]

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection(_HOST, self._port, timeout=_SILENCE_S)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), _JSON)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def _complete(self, prompt: Sequence[int], *, n_predict: int, slot: int, reuse: bool) -> Stream:
        body = {
            "prompt": prompt,
            "n_predict": n_predict,
            "id_slot": slot,
            "cache_prompt": reuse,
            "ignore_eos": True,
            "temperature": 0.0,
            "stream": True,
            "return_tokens": True,
        }
        if self._letters:
            body = {**body, **in_letters(self._letters, seed=slot)}
        connection = http.client.HTTPConnection(_HOST, self._port, timeout=_SILENCE_S)
        try:
            start = time.perf_counter()
            connection.request("POST", "/completion", json.dumps(body), _JSON)
            reply = connection.getresponse()
            if reply.status != http.client.OK:
                raise EngineError(f"llama-server: {reply.read(300).decode('utf-8', 'replace')}", hint="gpt-oss plan")
            return read_events(iter(reply.readline, b""), time.perf_counter, start)
        except (OSError, http.client.HTTPException) as error:
            if self._process.poll() is not None:
                raise self._death() from error
            raise EngineError(f"llama-server does not answer: {error}", hint="gpt-oss plan") from error
        finally:
            connection.close()

    def _death(self) -> EngineError:
        return death_of(self._process.returncode, log_of(self._log))


@contextmanager
def open_server(
    model: Path, params: LoadParams, *, program: Path | None = None, environ: Mapping[str, str] = os.environ
) -> Iterator[ServerSession]:
    """Start a llama-server on a port of loopback and wait for it; it ends with the block.

    Raises:
        EngineError: there is none, or it cannot load the model.
    """
    found = program or find_llama_server(None)
    with socket.socket() as free:
        free.bind((_HOST, 0))
        port: int = free.getsockname()[1]
    command = [*server_argv(params, model, program=str(found)), "--host", _HOST, "--port", str(port), "--offline"]
    # llama.cpp's own settings would change the plan; as the child of a router it ends where its stdin does.
    env = {name: value for name, value in without_hub_login(environ).items() if not name.startswith("LLAMA_")}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=with_libraries(command[0], {**env, "LLAMA_SERVER_ROUTER_PORT": "0"}),
            start_new_session=True,  # Ctrl-C on the terminal is the launcher's
            creationflags=OWN_GROUP,
        )
        try:
            session = ServerSession(process, log, port)
            session.wait()
            yield session
        finally:
            if process.stdin is not None:
                process.stdin.close()  # its thread that reads there would keep it from leaving
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
            process.kill()
            process.wait()
