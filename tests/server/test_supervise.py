"""The supervisor over a child that does as a test says: crashes, silence, signals."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.errors import EngineError
from launcher.hardware.crashes import crash_of
from launcher.server import registry
from launcher.server.child import ChildEvent, Ended, LoadProgress, StateChange, Warned
from launcher.server.log import LogFile
from launcher.server.supervise import DELAYS_S, Job, MemoryRanOutError, _wait_s, supervise
from launcher.server.types import ServerRecord
from tests.systems import POSIX

Script = list[ChildEvent | int]
"""What a child tells, and signals that come then."""
READY = StateChange(state="ready")
CRASHES: Script = [READY, Ended(returncode=-11)]


def new_record(log_path: Path) -> ServerRecord:
    """Of a server that is about to start."""
    return ServerRecord(
        pid=0,
        pid_started_s=0.0,
        host="127.0.0.1",
        port=8080,
        model="gpt-oss-20b",
        file="x",
        n_ctx=4096,
        n_parallel=4,
        started_at="",
        log_path=log_path,
    )


class FakeChild:
    """Says its lines at once; `stop` is remembered."""

    def __init__(self, script: Script, on_event: Callable[[ChildEvent], None], log: list[str]) -> None:
        self.pid = 4242
        self.tail: deque[str] = deque(log)
        self.stopped = False
        for event in script:
            if isinstance(event, int):
                os.kill(os.getpid(), event)
            else:
                on_event(event)

    def stop(self) -> int:
        self.stopped = True
        return 0


class Told:
    """What a person was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.records: list[ServerRecord] = []
        self.values: list[float] = []

    def progress(self, value: float) -> None:
        self.values.append(value)

    def say(self, text: str) -> None:
        self.lines.append(text)

    def ready(self, record: ServerRecord) -> None:
        self.records.append(record)


class Bench:
    """Runs a supervisor over scripted children."""

    def __init__(self, root: Path) -> None:
        self.state = root / "state"
        self.told = Told()
        self.children: list[FakeChild] = []
        self.log: list[str] = []
        self.now = 0.0
        self.healthy = False
        self.build: str | None = None

    def run(self, *scripts: Script, step_s: float = 30.0) -> int:
        left = iter(scripts)

        def spawn(
            _command: tuple[str, ...], _log: LogFile, on_event: Callable[[ChildEvent], None], _env: Mapping[str, str]
        ) -> FakeChild:
            self.children.append(FakeChild(next(left), on_event, self.log))
            return self.children[-1]

        def clock() -> float:
            # Each look takes so long that no test waits for a delay.
            self.now += step_s
            return self.now

        record = replace(new_record(self.state / "logs" / "s.log"), build=self.build)
        job = Job(command=("llama-server",), record=record, state_dir=self.state)
        return supervise(
            job,
            self.told,
            spawn=spawn,  # type: ignore[arg-type]
            healthy=lambda _record: self.healthy,
            clock=clock,
            environ={},
        )

    @property
    def written(self) -> str:
        return (self.state / "logs" / "s.log").read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    # However it ended: no record, and every child that still ran was stopped.
    assert registry.running(made.state) == ()
    assert not list((made.state / "servers").glob("*.json"))


@POSIX
def test_progress_then_ready_then_a_signal(bench: Bench) -> None:
    number = bench.run([LoadProgress(value=0.5), READY, signal.SIGTERM])
    assert number == signal.SIGTERM
    assert bench.told.values == [0.5]
    (record,) = bench.told.records
    assert (record.ready, record.server_pid, record.pid) == (True, 4242, os.getpid())
    assert record.started_at
    assert bench.children[-1].stopped


@POSIX
def test_a_signal_while_it_loads_ends_it(bench: Bench) -> None:
    assert bench.run([LoadProgress(value=0.1), signal.SIGINT]) == signal.SIGINT
    assert bench.children[-1].stopped


@POSIX
def test_after_a_crash_it_is_started_again(bench: Bench) -> None:
    assert bench.run(CRASHES, [READY, signal.SIGTERM]) == signal.SIGTERM
    assert len(bench.told.records) == 2
    assert bench.told.lines == [f"llama-server was ended by SIGSEGV; it is started again in {DELAYS_S[0]:g} s"]
    assert "was ended by SIGSEGV" in bench.written


def test_a_crash_while_it_loads_again_counts_too(bench: Bench) -> None:
    failing: Script = [Ended(returncode=1)]
    with pytest.raises(EngineError, match="crashed 6 times; the last time it ended with status 1"):
        bench.run(CRASHES, *[failing] * 5)
    assert len(bench.children) == 6


def test_it_gives_up_after_so_many_crashes_with_the_last_lines(bench: Bench) -> None:
    bench.log = ["0.00.001.000 E srv  something: broke"]
    with pytest.raises(EngineError, match="crashed 6 times") as caught:
        bench.run(*[CRASHES] * 6)
    assert caught.value.details == ("srv  something: broke",)
    assert caught.value.hint == "gpt-oss logs --port 8080"
    assert "--- llama-server crashed 6 times" in bench.written


@POSIX
def test_an_engine_of_the_store_that_crashes_again_and_again_is_named_and_left_out(bench: Bench) -> None:
    bench.build = "vulkan-0.3.36"
    with pytest.raises(EngineError, match=r"SIGSEGV; plans leave the engine vulkan-0\.3\.36 out") as caught:
        bench.run(*[CRASHES] * 6)
    assert caught.value.hint == "gpt-oss serve --build environment"
    assert [line.partition("; if it goes on: ")[2] for line in bench.told.lines] == [
        *("", "gpt-oss serve --build environment"),
        *("", "", ""),
    ]
    crash = crash_of(bench.state, "vulkan-0.3.36")
    assert crash is not None
    assert (crash.doing, crash.how) == ("server", "Segmentation fault")


@POSIX
@pytest.mark.parametrize(
    ("build", "status", "log"),
    [
        ("environment", -11, ""),
        (None, -11, ""),
        ("vulkan-0.3.36", -9, ""),
        ("vulkan-0.3.36", 1, ""),
        ("vulkan-0.3.36", -6, "ggml_vulkan: OutOfDeviceMemory"),
    ],
)
def test_no_engine_is_left_out_for(bench: Bench, build: str | None, status: int, log: str) -> None:
    """The only one that is left, or another's program; what was killed, refused, or had too little memory."""
    bench.build, bench.log = build, [log]
    with pytest.raises(EngineError) as caught:
        bench.run([Ended(returncode=status)])
    assert "leave" not in caught.value.message
    assert not (bench.state / "engine-crashes").exists()


@POSIX
def test_one_that_ran_for_long_starts_counting_anew(bench: Bench) -> None:
    assert bench.run(*[CRASHES] * 8, [READY, signal.SIGTERM], step_s=601.0) == signal.SIGTERM


def test_one_that_never_came_up_is_not_tried_again(bench: Bench) -> None:
    with pytest.raises(EngineError, match="ended with status 1 before it was ready"):
        bench.run([Warned(text="0.00.001.000 E load: bad"), Ended(returncode=1)])
    assert len(bench.children) == 1
    assert bench.told.lines == []  # the error shows the log; nothing is told twice


def test_where_memory_ran_out_the_error_is_of_a_kind_of_its_own(bench: Bench) -> None:
    bench.log = ["ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory"]
    with pytest.raises(MemoryRanOutError, match="before it was ready: memory ran out") as caught:
        bench.run([Ended(returncode=1)])
    assert caught.value.hint == "gpt-oss logs --port 8080"


def test_without_a_sign_of_life_it_is_ended(bench: Bench) -> None:
    with pytest.raises(EngineError, match="no sign of life"):
        bench.run([LoadProgress(value=0.1)], step_s=700.0)
    assert bench.children[-1].stopped


@POSIX
def test_warnings_are_told_once_it_is_ready(bench: Bench) -> None:
    warned = Warned(text="0.00.001.000 W srv  init: odd")
    bench.run([warned, READY, signal.SIGTERM])
    assert bench.told.lines == ["llama-server: srv  init: odd"]


@POSIX
def test_the_same_warning_is_told_once_in_a_while(bench: Bench) -> None:
    many: Script = [Warned(text=f"0.00.001.000 W srv  init: odd {number}") for number in range(5)]
    bench.run([READY, *many, signal.SIGTERM], step_s=1.0)
    assert bench.told.lines == ["llama-server: srv  init: odd 0"]
    bench.told.lines.clear()
    bench.run([READY, *many[:2], signal.SIGTERM], step_s=301.0)
    assert len(bench.told.lines) == 2


@POSIX
def test_a_model_that_sleeps_and_wakes(bench: Bench) -> None:
    bench.run([READY, StateChange(state="sleeping"), LoadProgress(value=1.0), READY, READY, signal.SIGTERM])
    assert [(record.ready, record.sleeping) for record in bench.told.records] == [(True, False)] * 2
    assert bench.told.lines == ["no request for a while: the model leaves memory until the next one"]


def test_one_that_somebody_else_ended_is_not_started_again(bench: Bench) -> None:
    assert bench.run([READY, Ended(returncode=0)]) == 0
    assert len(bench.children) == 1


@POSIX
def test_handlers_of_signals_are_given_back(bench: Bench) -> None:
    before = signal.getsignal(signal.SIGTERM)
    bench.run([READY, signal.SIGTERM])
    assert signal.getsignal(signal.SIGTERM) is before


def test_windows_looks_up_from_its_waiting_for_ctrl_c() -> None:
    assert _wait_s(100.0, ready=True, system="linux") is None
    assert _wait_s(100.0, ready=True, system="win32") == 1.0
    assert _wait_s(0.25, ready=False, system="linux") == 0.25
    assert _wait_s(-3.0, ready=False, system="win32") == 0.0
