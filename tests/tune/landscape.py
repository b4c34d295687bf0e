"""An engine whose speeds are a function of its settings, with noise, on a clock of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from launcher.bench.probe import Probe, Timing
from launcher.errors import EngineError
from launcher.hardware.types import Hardware
from launcher.planner.types import LoadParams, PlanRequest, Purpose
from launcher.tune.board import Judge, Verdict
from launcher.tune.measure import Meter
from launcher.tune.pairs import Step
from launcher.tune.search import Search
from launcher.tune.sizes import typical
from launcher.tune.space import Ground, space
from launcher.tune.types import Space
from tests.builders import cpu_machine
from tests.planner.builders import SPEC_20B, load_params, weights_of

Landscape = Callable[[LoadParams], tuple[float, float]]
"""Prompt and decode tokens per second of a setting."""
PLAN = load_params(n_ctx=32_768)
MACHINE = cpu_machine(ram_gib=64)


def flat(_: LoadParams) -> tuple[float, float]:
    """No setting changes anything. The speeds are those of a 20b on two cores."""
    return 35.0, 12.0


def ground(params: LoadParams = PLAN, hardware: Hardware = MACHINE, **wish: Any) -> Ground:
    """The 20b on a machine."""
    return Ground(
        hardware=hardware, spec=SPEC_20B, weights=weights_of("gpt-oss-20b"), request=PlanRequest(**wish), params=params
    )


@cache
def whole_space() -> Space:
    """Around the plan of these tests."""
    return space(ground())


@dataclass(slots=True)
class World:
    """A clock that only measurements move, and an engine that has a landscape."""

    landscape: Landscape = flat
    noise: float = 0.01
    seed: int = 1
    load_s: float = 15.0
    crash: Callable[[LoadParams], bool] = lambda _: False
    interrupt_at: int | None = None
    """Which probe Ctrl-C comes in, from 1."""
    now_s: float = 1000.0
    probes: list[Probe] = field(default_factory=list)
    loads: list[LoadParams] = field(default_factory=list)
    n_open: int = 0
    steps: list[Step] = field(default_factory=list)
    random: Random = field(default_factory=Random)

    def __post_init__(self) -> None:
        self.random.seed(self.seed)

    @contextmanager
    def open(self, _model: Path, params: LoadParams) -> Iterator[World]:
        """A load."""
        self.loads.append(params)
        self.now_s += self.load_s
        self.n_open += 1
        assert self.n_open == 1, "two models are never loaded at the same time"
        try:
            yield self
        finally:
            self.n_open -= 1

    def probe(self, probe: Probe) -> Timing:
        """As long as the landscape says, give or take."""
        self.probes.append(probe)
        if len(self.probes) == self.interrupt_at:
            raise KeyboardInterrupt
        if self.crash(probe.params):
            raise EngineError("the engine was ended by signal 9")
        pp, tg = self.landscape(probe.params)
        prompt_s = probe.test.n_prompt / pp * self._factor()
        gen_s = probe.n_streams * probe.test.n_gen / tg * self._factor()
        self.now_s += (probe.n_warm or 0) / pp + prompt_s + gen_s
        return Timing(start_ns=0, prompt_ns=int(prompt_s * 1e9), gen_ns=int(gen_s * 1e9))

    def _factor(self) -> float:
        return math.exp(self.random.gauss(0, self.noise))

    def search(
        self,
        *,
        budget_s: float = 450.0,
        purpose: Purpose = "chat",
        where: Space | None = None,
        judge: Callable[[LoadParams, LoadParams], Verdict] | None = None,
        plan: LoadParams = PLAN,
    ) -> Search:
        """Run one search to its end."""
        check = judge or (lambda _reference, _candidate: Verdict(passes=True, text="the same"))
        with Meter(Path("model.gguf"), open_prober=self.open) as meter:
            search = Search(
                plan,
                where or whole_space(),
                typical(purpose, plan),
                budget_s,
                meter=meter,
                judge=Judge(check=check, takes_s=lambda _speeds, load_s: 2 * load_s + 30),
                fits=lambda _: True,
                clock=lambda: self.now_s,
                tell=self.steps.append,
            )
            search.run()
        assert self.n_open == 0, "nothing is left running"
        return search
