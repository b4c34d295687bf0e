"""The stages speed and offload: prompts and decoding over depth, and with more and more experts on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from gpu_stages.grid import SpeedCase, offload_cases, speed_cases
from gpu_stages.lab import Lab, each_file
from gpu_stages.records import FileRow, SpeedRow
from launcher.bench.embedded import open_embedded
from launcher.bench.probe import same_load
from launcher.bench.session import Case, Session
from launcher.errors import EngineError
from launcher.planner.throughput import Subject, basis_of, run_ts
from launcher.planner.types import LoadParams

Predict = Callable[[SpeedCase], tuple[float | None, str | None]]
"""Tokens per second and what they rest on."""


class Runs:
    """The loaded model, loaded anew where a case places weights elsewhere."""

    def __init__(
        self, load: Callable[[LoadParams], AbstractContextManager[Session]], predict: Predict, n_repeat: int
    ) -> None:
        self._load = load
        self._predict = predict
        self._n_repeat = n_repeat
        self._stack = ExitStack()
        self._loaded: tuple[LoadParams, Session] | None = None

    def close(self) -> None:
        """Free the memory."""
        self._loaded = None
        self._stack.close()

    def measure(self, case: SpeedCase) -> SpeedRow:
        """Every repetition of one test; a refusal is a row as well."""
        predicted_ts, basis = self._predict(case)
        samples: list[float] = []
        refused = None
        try:
            if self._loaded is None or not same_load(self._loaded[0], case.params):
                self.close()
                self._loaded = (case.params, self._stack.enter_context(self._load(case.params)))
            for _ in range(self._n_repeat):
                sample = self._loaded[1].measure(Case(engine="embedded", test=case.test))
                samples.append(1e9 * case.test.n_tokens / sample.ns)
        except EngineError as error:
            self.close()
            refused = error.message
        return SpeedRow(
            file=case.file, params=case.params, test=case.test, samples_ts=tuple(samples), predicted_ts=predicted_ts,
            basis=basis, refused=refused,
        )  # fmt: skip


def run_speed(lab: Lab) -> int:
    """As planned, over depth; how many cases were left out."""
    return _run(lab, "speed", lambda file, params: speed_cases(file.file, params, lab.grid), n_repeat=lab.grid.n_repeat)


def run_offload(lab: Lab) -> int:
    """With experts of more and more blocks on the host; how many cases were left out."""

    def cases(file: FileRow, params: LoadParams) -> Sequence[SpeedCase]:
        whole = replace(params, n_ctx=lab.grid.contexts[0])
        return offload_cases(file.file, whole, lab.known(file).spec.n_layer, lab.grid)

    # A prompt carries up to 57 GB over the bus each time.
    return _run(lab, "offload", cases, n_repeat=2)


def _run(lab: Lab, stage: str, cases_of: Callable[[FileRow, LoadParams], Sequence[SpeedCase]], *, n_repeat: int) -> int:
    def prepared(file: FileRow) -> tuple[Sequence[SpeedCase], Runs]:
        cases, path = cases_of(file, lab.planned(file)), Path(file.path)
        lab.tell(f"{stage} of {path.name}: {len(cases)} tests")
        load = partial(open_embedded, path, site=lab.engine.site)
        return cases, Runs(load, predictor(lab, file), n_repeat)

    return each_file(lab, stage, prepared)


def predictor(lab: Lab, file: FileRow) -> Predict:
    """The planner's predictions for a file, not calibrated."""
    known, rates = lab.known(file), lab.rates()

    def predict(case: SpeedCase) -> tuple[float | None, str | None]:
        subject = Subject(
            hardware=lab.hardware, spec=known.spec, weights=known.weights, params=case.params, rates=rates
        )
        test = case.test
        found = run_ts(subject, n_prompt=test.n_prompt, n_gen=test.n_gen, n_depth=test.n_depth)
        return found, None if found is None else basis_of(subject)

    return predict
