"""What will be compiled, how, and what stands in the way: decided before anything is touched."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from launcher.builds.capacity import capacity, expected_s, needed_bytes, usable_cpus
from launcher.builds.compat import judge
from launcher.builds.compile_types import Capacity, CompileRequest, Work
from launcher.builds.recipe import Recipe, recipe
from launcher.builds.tool_types import Need, Toolchain, Verdict
from launcher.builds.toolchain import probe_toolchain
from launcher.builds.types import Build, SelfTest
from launcher.builds.unfinished import work_folder
from launcher.errors import EngineError
from launcher.hardware import linux, psutil_probe
from launcher.hardware.detect import Machine
from launcher.store.disk import free_bytes


def _self_test(build: Build) -> SelfTest:
    from launcher.builds.selftest import self_test

    return self_test(build)


def _memory_bytes() -> int | None:
    machine = Machine()
    found = linux.read_memory(machine.root) if machine.system == "Linux" else None
    return (found or psutil_probe.read_memory()).available_bytes


def _cpus() -> int:
    machine = Machine()
    if machine.system != "Linux":
        return len(machine.affinity()) or os.cpu_count() or 1
    cpu = linux.read_cpu(machine.root, arch=machine.arch, cpus=machine.affinity())
    return usable_cpus(cpu.n_logical, cpu.quota_cores)


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """Everything from outside that compiling takes. The defaults are this machine; tests give fakes."""

    tools: Callable[[], Toolchain] = probe_toolchain
    self_test: Callable[[Build], SelfTest] = _self_test
    memory_bytes: Callable[[], int | None] = _memory_bytes
    n_cpus: Callable[[], int] = _cpus
    free_bytes: Callable[[Path], int] = free_bytes
    package: Callable[[Need], str | None] = lambda _need: None
    """The command that installs what an error says is missing."""
    clock_s: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """What will be done, before anything is."""

    request: CompileRequest
    tools: Toolchain
    verdict: Verdict
    recipe: Recipe
    capacity: Capacity
    needed_bytes: int
    free_bytes: int
    expected_s: float
    """On cores like those of the measurement."""
    resumes: bool
    """Whether an earlier run of the same recipe left a part of the work."""
    work: Work


def prepare(request: CompileRequest, *, cache_dir: Path, workshop: Workshop | None = None) -> Prepared:
    """Decide how a backend would be compiled here. Touches nothing."""
    shop = workshop or Workshop()
    tools = shop.tools()
    work = Work(folder=work_folder(cache_dir, request.name))
    made = recipe(
        request.backend,
        tools,
        version=request.version,
        architectures=request.architectures,
        definitions=dict(request.definitions),
    )
    room = capacity(request.backend, asked=request.jobs, n_cpus=shop.n_cpus(), available_bytes=shop.memory_bytes())
    n = made.n_architectures
    verdict = judge(request.backend, tools, request.architectures)
    if made.cublas is not None:
        note = "this CUDA toolkit has no cuBLAS: it comes from NVIDIA's package, and into the engine"
        verdict = replace(verdict, notes=(*verdict.notes, note))
    return Prepared(
        request=request,
        tools=tools,
        verdict=verdict,
        recipe=made,
        capacity=room,
        needed_bytes=needed_bytes(request.backend, n_architectures=n, cublas=made.cublas is not None),
        free_bytes=shop.free_bytes(cache_dir),
        expected_s=expected_s(request.backend, n_architectures=n, jobs=room.jobs),
        resumes=is_same_recipe(work, made, tools) and work.build.is_dir(),
        work=work,
    )


def not_here(ready: Prepared, package_commands: tuple[str, ...] = ()) -> EngineError:
    """The error for a backend that cannot be compiled here; `package_commands` are what would mend it."""
    troubles = ready.verdict.troubles
    remedy = next(iter(package_commands), None) or next((each.remedy for each in troubles if each.remedy), None)
    return EngineError(
        f"{ready.request.backend} cannot be compiled here: {troubles[0].what}",
        hint=remedy or "gpt-oss doctor",
        details=tuple(each.what for each in troubles[1:]),
    )


def is_same_recipe(work: Work, made: Recipe, tools: Toolchain) -> bool:
    """Whether the build tree that is there was made like this."""
    try:
        return bool(json.loads(work.recipe.read_text(encoding="utf-8")) == recipe_json(made, tools))
    except (OSError, ValueError):
        return False


def recipe_json(made: Recipe, tools: Toolchain) -> dict[str, object]:
    """What decides whether a build tree can be gone on with."""
    return {
        # Machines of two kinds may share a home folder.
        "machine": [tools.system, tools.arch],
        "generator": made.generator,
        "definitions": [list(pair) for pair in made.definitions],
        "environment": [list(pair) for pair in made.environment],
        "cublas": made.cublas,
    }
