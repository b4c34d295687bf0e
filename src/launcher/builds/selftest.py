"""Whether a build computes what it should: the demo model in a child process, held against a reference that ships."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from launcher.builds.program import ask_version, server_in
from launcher.builds.reference import REFERENCE_FILE, Reference
from launcher.builds.selftest_child import MARK
from launcher.builds.selftest_judge import Heard, devices_of, fault, heard, is_full, program_fault, worst
from launcher.builds.types import ENVIRONMENT, Build, SelfTest
from launcher.demo import demo_model_path
from launcher.engines.active import child_environ
from launcher.errors import EngineError
from launcher.hardware import nvidia
from launcher.hardware.detect import Machine
from launcher.records import from_jsonable
from launcher.system.children import tied

DEADLINE_S = 300.0
"""A CPU takes half a second. A driver that has to compile a GPU's programs, since the build has none for it, takes
minutes the first time; one that hangs answers never."""
_GRACE_S = 0.5
"""A process that was killed is gone in milliseconds, or stays for as long as the kernel does not let go of it."""


def reference_path() -> Path:
    """The reference, beside the demo model."""
    return demo_model_path().with_name(REFERENCE_FILE)


def read_reference() -> Reference:
    """What a sound build predicts."""
    table = json.loads(reference_path().read_text(encoding="utf-8"))
    table.pop("schema")
    return from_jsonable(Reference, table)


def driver_of_gpus() -> str | None:
    """`NVIDIA 550.54.14`; None where NVIDIA's driver is not there, or does not answer."""
    machine = Machine()
    if not nvidia.driver_present(machine.root, machine.system):
        return None
    try:
        gpus, _ = nvidia.read_gpus()
    except Exception:  # noqa: BLE001  # NVML's library may be missing or another one: then nothing is known
        return None
    return next((f"NVIDIA {gpu.driver}" for gpu in gpus if gpu.driver), None)


def self_test(
    build: Build,
    *,
    deadline_s: float = DEADLINE_S,
    python: str = sys.executable,
    environ: Mapping[str, str] = os.environ,
    model: Path | None = None,
    driver: Callable[[], str | None] = driver_of_gpus,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> SelfTest:
    """Compute on the CPU and on every device of the build. Whatever the build does wrong becomes the result's `why`."""
    # As the child will tell it: without `..`, and with links as they are.
    build = replace(build, site=Path(os.path.abspath(build.site)))  # noqa: PTH100
    order = {"model": str(model or demo_model_path()), "reference": str(reference_path())}
    status, output, complaints = _run(build, json.dumps(order), deadline_s, python, environ)
    said = heard(output, MARK)
    reference = read_reference()
    why = fault(said, status, complaints, build, reference)
    full = why is not None and is_full(said, status, complaints, build, reference)
    if status is None and why is not None and why.startswith("it hung"):
        why += f": no answer within {deadline_s:g} s"
    server = server_in(build.site)
    if why is None and server.is_file():
        status, told = ask_version(server, environ)
        why = program_fault(status, told, build)
    return SelfTest(
        passed=why is None,
        date=now().isoformat(timespec="seconds"),
        why=why,
        max_kl=_rounded(worst([case.found.max_kl for case in said.cases])),
        mean_kl=_rounded(worst([case.found.mean_kl for case in said.cases])),
        n_same_top=min((case.found.n_same_top for case in said.cases), default=None),
        n_positions=next((case.found.n_positions for case in said.cases), None),
        devices=devices_of(said),
        same_text=_same_text(said, reference),
        full=full,
        driver=driver(),
    )


def _same_text(said: Heard, reference: Reference) -> bool | None:
    return all(text == tuple(reference.continued) for text in said.texts) if said.texts else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def _run(
    build: Build, order: str, deadline_s: float, python: str, environ: Mapping[str, str]
) -> tuple[int | None, str, str]:
    """Exit status (None: too late), stdout, stderr."""
    # -P: the working directory, which may hold anything, is not searched for modules. Tied: a driver that hangs would
    # keep it for ever where the launcher is killed.
    command = tied([python, "-P", "-m", "launcher.builds.selftest_child"])
    pipe = subprocess.PIPE
    output, complaints = b"", b""
    try:
        given = child_environ(environ, None if build.name == ENVIRONMENT else str(build.site))
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=given)
        try:
            output, complaints = process.communicate(f"{order}\n".encode(), timeout=deadline_s)
            status: int | None = process.returncode
        except subprocess.TimeoutExpired:
            status = None
        finally:
            process.kill()
            # A driver that hangs inside the kernel keeps its process from ending: that is not waited for.
            with suppress(subprocess.TimeoutExpired):
                output, complaints = process.communicate(timeout=_GRACE_S)
    except EngineError as error:
        return 1, "", error.message
    except OSError as error:
        return 1, "", f"{python}: {error.strerror or error}"
    return status, output.decode(errors="replace"), complaints.decode(errors="replace")
