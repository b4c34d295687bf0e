"""llama.cpp's own llama-bench as a bench session: the yardstick, with the plan's settings."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from launcher.bench.child import death_of, log_of
from launcher.bench.memory import peak_rss_bytes
from launcher.bench.session import Case, Sample
from launcher.bench.types import LLAMA_BENCH_FIELDS, BenchTest
from launcher.engines.params import bench_argv
from launcher.engines.programs import engine_program
from launcher.errors import EngineError
from launcher.hardware.types import EngineBuild
from launcher.planner.types import LoadParams
from launcher.store.types import without_hub_login
from launcher.system.children import OWN_GROUP, Job, with_libraries

_LOOK_S = 0.05
"""How often its memory is looked at: reading one line of /proc costs 50 microseconds."""
_TOLD_S = 1.0
"""Of a run that is over sooner, the last look may have been before the model was loaded."""
_REST_S = 5.0
"""For what is still in the pipe when the program has ended: it is read in no time."""


def find_llama_bench(engine: EngineBuild | None = None) -> Path:
    """The engine's own llama-bench: of another build it would measure another llama.cpp.

    Raises:
        EngineError: the engine was built without its tools.
    """
    program = engine_program("llama-bench", engine)
    if program is None:
        raise EngineError("this engine was built without llama-bench", hint="gpt-oss engine build cpu")
    return program


def command_of(program: Path, model: Path, params: LoadParams, test: BenchTest) -> tuple[str, ...]:
    """One repetition of one test. llama-bench knows one number of threads: a prompt gets that of batches."""
    threads = params.n_threads if test.n_prompt == 0 else params.n_threads_batch
    both = test.n_prompt > 0 and test.n_gen > 0
    return (
        str(program),
        *bench_argv(replace(params, n_threads=threads), model),
        *(() if params.op_offload else ("-nopo", "1")),
        *("-p", "0" if both else str(test.n_prompt)),
        *("-n", "0" if both else str(test.n_gen)),
        *(("-pg", f"{test.n_prompt},{test.n_gen}") if both else ()),
        *("-d", str(test.n_depth), "-r", "1", "-o", "json"),
    )


def parse_row(text: str, test: BenchTest) -> dict[str, Any]:
    """The row of a test in llama-bench's JSON, checked field by field.

    Raises:
        EngineError: it is not there, or not what llama-bench of the pinned commit prints.
    """
    kinds: dict[str, type | tuple[type, ...]] = {"string": str, "bool": bool, "int": int, "float": (int, float)}
    try:
        (row,) = json.loads(text)
        wrong = [name for name, kind in LLAMA_BENCH_FIELDS.items() if not isinstance(row.get(name), kinds[kind])]
        samples = [int(ns) for ns in row["samples_ns"]]
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise EngineError(f"llama-bench's answer cannot be read: {error}", hint="gpt-oss hardware") from error
    if wrong:
        raise EngineError(f"llama-bench's answer lacks {', '.join(wrong)}", hint="gpt-oss hardware")
    if BenchTest(n_prompt=row["n_prompt"], n_gen=row["n_gen"], n_depth=row["n_depth"]) != test or len(samples) != 1:
        raise EngineError("llama-bench measured something else", hint="gpt-oss hardware")
    return {name: row[name] for name in LLAMA_BENCH_FIELDS} | {"samples_ns": samples}


class LlamaBenchSession:
    """Runs the program once for each repetition; it loads the model each time. Made by `open_llama_bench`."""

    def __init__(self, program: Path, model: Path, params: LoadParams) -> None:
        self._program = program
        self._model = model
        self._params = params

    def measure(self, case: Case) -> Sample:
        """One repetition of a test."""
        command = command_of(self._program, self._model, self._params, case.test)
        with tempfile.TemporaryFile() as err:
            done = _run(command, err)
            log = log_of(err)
        if done.status != 0:
            raise death_of(done.status, log)
        row = parse_row(done.answer.text(), case.test)
        ns = row.pop("samples_ns")[0]
        # The row is printed as soon as the clock has stopped; the program takes longer to end.
        start_ns = None if done.answer.came_ns is None else done.answer.came_ns - ns
        return Sample(ns=ns, start_ns=start_ns, pid=done.pid, peak_bytes=done.peak_bytes, fields=row)


@contextmanager
def open_llama_bench(model: Path, params: LoadParams, *, program: Path | None = None) -> Iterator[LlamaBenchSession]:
    """Find the program; nothing is loaded before a test. Raises EngineError where there is none."""
    yield LlamaBenchSession(program or find_llama_bench(), model, params)


class _Answer(threading.Thread):
    """Reads what the program prints, and notes when the row of the test came."""

    def __init__(self, out: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._out = out
        self._data = b""
        self.came_ns: int | None = None

    def run(self) -> None:
        """Until the program closes its end."""
        while piece := os.read(self._out.fileno(), 65536):
            self._data += piece
            if self.came_ns is None and b'"samples_ns"' in self._data:
                self.came_ns = time.perf_counter_ns()

    def text(self) -> str:
        """All of it."""
        return self._data.decode("utf-8", "replace")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Done:
    """A run that has ended."""

    status: int
    pid: int
    peak_bytes: int | None
    answer: _Answer


def _run(command: tuple[str, ...], err: IO[bytes]) -> _Done:
    """Run it to its end, watching its memory."""
    try:
        # A session of its own: Ctrl-C on the terminal is the launcher's.
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            env=with_libraries(command[0], without_hub_login(os.environ)),
            start_new_session=True,
            creationflags=OWN_GROUP,
        )
    except OSError as error:
        raise EngineError(f"{command[0]} cannot be started: {error.strerror or error}") from error
    job = Job()
    job.add(child.pid)
    assert child.stdout is not None  # noqa: S101  # a pipe was asked for
    answer = _Answer(child.stdout)
    answer.start()
    start, peak = time.monotonic(), None
    try:
        while child.poll() is None:
            peak = max(peak or 0, peak_rss_bytes(child.pid) or 0) or None
            with suppress(subprocess.TimeoutExpired):
                child.wait(_LOOK_S)
    finally:
        child.kill()
        child.wait()
        job.end()
        answer.join(_REST_S)
        if not answer.is_alive():  # a script in the program's place may have left one behind that still prints
            child.stdout.close()
    told = time.monotonic() - start > _TOLD_S
    return _Done(status=child.returncode, pid=child.pid, peak_bytes=peak if told else None, answer=answer)
