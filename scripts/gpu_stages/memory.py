"""The stage memory: what each placement takes, as planned, as llama.cpp states it, and as the driver says."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from gpu_stages.grid import MemoryCase, memory_cases
from gpu_stages.lab import Lab, each_file, resident
from gpu_stages.records import FileRow, Held, HostHeld, MemoryRow
from launcher.bench.child import Child, open_child
from launcher.bench.probe import same_load
from launcher.catalogue.headers import KnownFile
from launcher.engines.oracle import OracleRow, ask
from launcher.errors import EngineError
from launcher.hardware.seen import read_text
from launcher.planner.table import memory_table
from launcher.planner.types import DeviceMemory, LoadParams
from launcher.records import to_jsonable

_END_S = 20.0
"""For a child to give 60 GB back."""


class Loaded(Protocol):
    """A process with a model loaded."""

    def open(self, params: LoadParams) -> tuple[OracleRow, ...]:
        """Make a context; what llama.cpp allocated."""
        ...

    def run(self, *, deep: bool) -> None:
        """Compute in it."""
        ...

    def close(self) -> None:
        """Free it."""
        ...

    def host(self) -> HostHeld | None:
        """What the process holds of RAM."""
        ...


OpenLoad = Callable[[LoadParams], AbstractContextManager[Loaded]]
"""Loads the file as the parameters say; raises EngineError where llama.cpp refuses, as all steps do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A case with what is known of it before anything is loaded."""

    case: MemoryCase
    planned: tuple[DeviceMemory, ...]
    stated: tuple[OracleRow, ...]
    backends: tuple[str, ...]

    @property
    def key(self) -> str:
        """The case's."""
        return self.case.key


class Loads:
    """The loaded model, loaded anew where a case places weights elsewhere."""

    def __init__(
        self, open_load: OpenLoad, now: Callable[[str], int], settled: Callable[[], Mapping[str, int]]
    ) -> None:
        self._open_load = open_load
        self._now = now
        self._settled = settled
        self._stack = ExitStack()
        self._params: LoadParams | None = None
        self._loaded: Loaded | None = None
        self._before: Mapping[str, int] = {}
        self._with_model: Mapping[str, int] = {}
        self._first = True

    def close(self) -> None:
        """End the process."""
        self._params = self._loaded = None
        self._stack.close()

    def measure(self, asked: Asked) -> MemoryRow:
        """One case; a refusal is a row as well."""
        case = asked.case
        told: dict[str, Any] = {"allocated": (), "devices": (), "host": None, "first": True}
        try:
            told = self._measured(case)
        except EngineError as error:
            self.close()
            told["refused"] = error.message
        return MemoryRow(
            file=case.file, params=case.params, deep=case.deep, backends=asked.backends, planned=asked.planned,
            stated=asked.stated, **told,
        )  # fmt: skip

    def _measured(self, case: MemoryCase) -> dict[str, Any]:
        if self._loaded is None or self._params is None or not same_load(self._params, case.params):
            self.close()
            self._before = self._settled()
            self._loaded = self._stack.enter_context(self._open_load(case.params))
            self._params, self._first = case.params, True
            self._with_model = self._all(case)
        first, self._first = self._first, False
        allocated = self._loaded.open(case.params)
        opened = self._all(case)
        self._loaded.run(deep=case.deep)
        ran, host = self._all(case), self._loaded.host()
        freed: dict[str, int] = {}
        try:
            self._loaded.close()
            freed = self._all(case)
        except EngineError:
            # What was measured until then is true all the same.
            self.close()
        held = tuple(
            Held(
                device=name,
                before_bytes=self._before[name],
                loaded_bytes=self._with_model[name],
                opened_bytes=opened[name],
                ran_bytes=ran[name],
                freed_bytes=freed.get(name),
            )
            for name in case.params.devices
        )
        return {"allocated": allocated, "devices": held, "host": host, "first": first}

    def _all(self, case: MemoryCase) -> dict[str, int]:
        return {name: self._now(name) for name in case.params.devices}


class _Process:
    """The child as `Loaded`."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def open(self, params: LoadParams) -> tuple[OracleRow, ...]:
        """Make a context."""
        rows = self._child.ask({"open": to_jsonable(params)})["rows"].items()
        return tuple(OracleRow(device=d, model_bytes=m, context_bytes=c, compute_bytes=b) for d, (m, c, b) in rows)

    def run(self, *, deep: bool) -> None:
        """Compute in it."""
        self._child.ask({"run": deep})

    def close(self) -> None:
        """Free it."""
        self._child.ask({"close": True})

    def host(self) -> HostHeld | None:
        """By the kernel."""
        found = resident(read_text(Path(f"/proc/{self._child.pid}/status")) or "")
        if "RssAnon" not in found:
            return None
        return HostHeld(
            anon_bytes=found["RssAnon"], file_bytes=found.get("RssFile", 0), shmem_bytes=found.get("RssShmem", 0)
        )


@contextmanager
def open_load(path: Path, endpoints: Sequence[str], site: str | None, params: LoadParams) -> Iterator[Loaded]:
    """Load a model in a child, which ends with the block. Raises EngineError where llama.cpp refuses."""
    with open_child("gpu_stages.memory_child", python=sys.executable, site=site) as child:
        child.ask({"model": str(path), "load_params": to_jsonable(params), "endpoints": list(endpoints)})
        yield _Process(child)
        child.leave(_END_S)


def run(lab: Lab) -> int:
    """All files; how many cases were left out."""

    def prepared(file: FileRow) -> tuple[Sequence[Asked], Loads]:
        cases = asked_cases(lab, file, lab.known(file))
        lab.tell(f"memory of {Path(file.path).name}: {len(cases)} placements")
        load = partial(open_load, Path(file.path), lab.endpoints, lab.engine.site)
        return cases, Loads(load, lab.now, lab.settled)

    return each_file(lab, "memory", prepared)


def asked_cases(lab: Lab, file: FileRow, known: KnownFile) -> tuple[Asked, ...]:
    """The cases that fit by the plan, with llama.cpp's own statement of those that are not measured yet."""
    (device,) = lab.hardware.devices
    base = _base(lab)
    cases = memory_cases(file.file, base, known.spec.n_layer, lab.grid)
    hardware = lab.hardware_for(file)
    tables = [memory_table(hardware, known.spec, known.weights, case.params) for case in cases]
    fitting = [(case, table) for case, table in zip(cases, tables, strict=True) if all(row.fits for row in table)]
    lab.tell(f"{len(cases) - len(fitting)} of {len(cases)} placements of {file.file} do not fit and are left out")
    wanted = [case for case, _ in fitting if not lab.kept.has("memory", case.key)]
    stated: dict[str, tuple[OracleRow, ...]] = {}
    if wanted:
        try:
            params = [case.params for case in wanted]
            answers = ask(Path(file.path), params, n_stand_ins=len(lab.endpoints), engine=lab.engine)
            stated = {case.key: answer.rows for case, answer in zip(wanted, answers, strict=True)}
        except EngineError as error:
            lab.tell(f"  llama.cpp was not asked: {error.message}")
    return tuple(
        Asked(case=case, planned=table, stated=stated.get(case.key, ()), backends=(device.backend,))
        for case, table in fitting
    )


def _base(lab: Lab) -> LoadParams:
    n_threads = lab.hardware.cpu.n_threads
    return LoadParams(
        n_gpu_layers=0, n_cpu_moe=0, n_ctx=4096, n_batch=2048, n_ubatch=512, n_parallel=1, n_threads=n_threads,
        n_threads_batch=n_threads, type_k="f16", type_v="f16", flash_attn=True, offload_kqv=True, swa_full=False,
        kv_unified=False, n_outputs_max=1, load_mode="mmap", repack=False,
        devices=tuple(device.name for device in lab.hardware.devices),
    )  # fmt: skip
