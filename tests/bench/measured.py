"""Real rows of llama-bench, sessions that answer without an engine, and a header of the demo model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher.bench.records import Header
from launcher.bench.session import Case, Sample
from launcher.bench.types import BenchTest, EngineName
from launcher.planner.types import HOST, DeviceMemory
from tests.bench.samples import LLAMA_BENCH_FILE
from tests.builders import cpu_machine
from tests.engines.demo import load_params

PP = BenchTest(n_prompt=32)
TG = BenchTest(n_gen=8)


def real_rows() -> list[dict[str, Any]]:
    """What llama-bench printed of the demo model."""
    rows: list[dict[str, Any]] = json.loads(LLAMA_BENCH_FILE.read_text())
    return rows


class FakeSession:
    """Answers with the time that `answer` gives; notes everything in `log`."""

    def __init__(self, name: str, log: list[str], answer: Callable[[Case], int]) -> None:
        self._name = name
        self._log = log
        self._answer = answer

    def measure(self, case: Case) -> Sample:
        """One repetition."""
        self._log.append(f"{self._name} {case.test.name}")
        return Sample(ns=self._answer(case))


def fake_engine(
    name: EngineName, log: list[str], answer: Callable[[Case], int] = lambda _: 1_000_000
) -> Callable[[], Any]:
    """How such a session is opened."""

    @contextmanager
    def opened() -> Iterator[FakeSession]:
        log.append(f"open {name}")
        try:
            yield FakeSession(name, log, answer)
        finally:
            log.append(f"close {name}")

    return opened


def memory_row(used_bytes: int, *, free_bytes: int = 1000, headroom_bytes: int = 100) -> DeviceMemory:
    """The host's row of a plan."""
    return DeviceMemory(
        name=HOST,
        model_bytes=used_bytes,
        context_bytes=0,
        compute_bytes=0,
        overhead_bytes=0,
        mapped_bytes=0,
        free_bytes=free_bytes,
        headroom_bytes=headroom_bytes,
    )


def header(**fields: Any) -> Header:
    """Of a run on a small machine."""
    given: dict[str, Any] = {
        "run_id": "5eed",
        "launcher_version": "0.1.0",
        "model": "tiny",
        "model_path": Path("/models/tiny.gguf"),
        "model_type": "gpt-oss MXFP4",
        "model_size": 1000,
        "model_n_params": 2000,
        "load_params": load_params(),
        "hardware": cpu_machine(),
        "plan": {"fits": True},
        "predict": lambda test: 1000.0 if test.n_prompt else 100.0,
        "basis": "measured here",
        "memory": (memory_row(640),),
    }
    return Header(**{**given, **fields})
