"""What is known to be bad: `configs/known_bad.toml` read, and compared with what is here. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from launcher.doctor.remedies import Means, as_root, from_nvidia, get_engine, then, unset, version
from launcher.doctor.scene import Scene
from launcher.doctor.types import Check, Versions
from launcher.errors import DamagedFileError
from launcher.records import RecordError, from_jsonable

FILE_NAME = "known_bad.toml"
Subject = Literal[
    "nvidia-driver", "cuda-toolkit", "intel-driver", "linux-firmware", "llama-cpp-python", "variable", "backend"
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """One entry, as the head of the file explains its fields."""

    subject: Subject
    status: Literal["warn", "fail"]
    what: str
    why: str
    sources: tuple[str, ...]
    seen: str
    remedy: Mapping[str, str] = field(default_factory=dict)
    variable: str | None = None
    at_least: str | None = None
    below: str | None = None
    gpu: str | None = None
    backend: str | None = None
    n_gpus: int | None = None
    capability_below: str | None = None
    capability_at_least: str | None = None
    system: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownBad:
    """The whole file."""

    known: tuple[Known, ...]
    cuda_drivers: Mapping[str, str]
    """Oldest driver that runs what a toolkit of a major version compiled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Present:
    """What is here, in the file's words."""

    means: Means
    versions: Mapping[str, str]
    """By subject."""
    variables: tuple[str, ...]
    backends: tuple[str, ...]
    gpus: tuple[str, ...]
    """Names."""
    has_cuda: bool
    """Whether an engine computes with CUDA already."""
    n_nvidia: int
    capabilities: tuple[tuple[int, ...], ...]


def parse_known(text: str) -> KnownBad:
    """Read the file.

    Raises:
        DamagedFileError: it is not as it was shipped.
    """
    try:
        table = tomllib.loads(text)
        entries: list[Any] = table.get("known", [])
        found = tuple(from_jsonable(Known, entry) for entry in entries)
        for entry in found:
            re.compile(entry.gpu or "")
        return KnownBad(known=found, cuda_drivers=table.get("cuda_drivers", {}))
    except (tomllib.TOMLDecodeError, RecordError, re.error, AttributeError, TypeError) as error:
        raise DamagedFileError(
            f"{FILE_NAME}: {error}", path=FILE_NAME, hint="uv sync --reinstall-package gpt-oss-launcher"
        ) from error


def present(scene: Scene, versions: Versions | None) -> Present:
    """Put together what is here; facts that could not be had are left out."""
    found = dict(versions.packages) if versions is not None else {}
    nvidia, engine, toolkit = scene.nvidia, scene.engine, scene.toolkit
    others: dict[Subject, str | None] = {
        "nvidia-driver": nvidia.driver if nvidia is not None else None,
        "cuda-toolkit": toolkit.nvcc if toolkit is not None else None,
        "intel-driver": next((gpu.driver for gpu in scene.seen if gpu.vendor == "Intel" and gpu.probe == "cim"), None),
        "llama-cpp-python": engine.version if engine is not None else None,
    }
    found |= {name: text for name, text in others.items() if text is not None}
    gpus = nvidia.gpus if nvidia is not None else ()
    devices = (engine.devices or ()) if engine is not None else ()
    return Present(
        means=scene.means,
        versions=found,
        variables=versions.variables if versions is not None else (),
        backends=engine.backends if engine is not None else (),
        gpus=(*(gpu.description for gpu in scene.seen), *(device.description for device in devices)),
        has_cuda=any(device.backend == "CUDA" for device in devices),
        n_nvidia=len(gpus),
        capabilities=tuple(gpu.compute_capability for gpu in gpus if gpu.compute_capability is not None),
    )


def concerns(entry: Known, here: Present) -> bool:
    """Whether all that an entry names is here."""
    lowest = version(entry.capability_at_least or "0")
    tests = (
        entry.system in (None, here.means.platform.system),
        entry.n_gpus is None or here.n_nvidia >= entry.n_gpus,
        entry.backend is None or entry.backend in here.backends,
        entry.gpu is None or any(re.search(entry.gpu, name) for name in here.gpus),
        entry.capability_below is None or any(has < version(entry.capability_below) for has in here.capabilities),
        entry.capability_at_least is None or any(has >= lowest for has in here.capabilities),
    )
    return all(tests) and _is_version(entry, here)


def _is_version(entry: Known, here: Present) -> bool:
    if entry.subject == "backend":
        return True
    if entry.subject == "variable":
        return entry.variable in here.variables
    text = here.versions.get(entry.subject)
    if text is None:
        return False
    has = version(text)
    after = entry.at_least is None or has >= version(entry.at_least)
    return after and (entry.below is None or has < version(entry.below))


def remedy_of(entry: Known, here: Present) -> str | None:
    """The command of an entry for this system."""
    ways, platform = entry.remedy, here.means.platform
    if "unset" in ways:
        return unset(ways["unset"], platform)
    if "engine" in ways:
        backend, number = ways["engine"], here.versions.get("llama-cpp-python")
        use = f"gpt-oss engine use {backend}-{number}" if number else None
        return then(get_engine(backend, here.means), use, platform)
    command = ways.get(platform.packages or "")
    if command is None:
        return ways.get("any")
    command = as_root(command, platform)
    return from_nvidia(command, platform) if "cuda-toolkit" in command else command


def toolkit_first(table: KnownBad, here: Present) -> str | None:
    """The command that replaces a CUDA toolkit which does not compile for what is here; None where it does."""
    met = (entry for entry in table.known if entry.subject == "cuda-toolkit" and entry.status == "fail")
    return next((remedy_of(entry, here) for entry in met if concerns(entry, here)), None)


def check_known(table: KnownBad, here: Present) -> tuple[Check, ...]:
    """One line for each entry that is met; one that says so where none is."""
    met = tuple(entry for entry in table.known if concerns(entry, here))
    if not met:
        compared = {"entries": len(table.known), "versions": dict(here.versions)}
        what = f"nothing here is among the {len(table.known)} versions and settings that are known to be bad"
        return (Check(name="known bad", status="ok", what=what, data=compared),)
    return tuple(
        Check(
            name="known bad",
            status="warn" if _is_spare(entry, here) else entry.status,
            what=entry.what,
            why=entry.why,
            remedy=remedy_of(entry, here),
            data={"subject": entry.subject, "version": here.versions.get(entry.subject), "sources": entry.sources},
        )
        for entry in met
    )


def _is_spare(entry: Known, here: Present) -> bool:
    """Whether an entry is of a toolkit that nothing has to be compiled with: engines can be had, or are here."""
    return entry.subject == "cuda-toolkit" and ("cuda" in here.means.ready_made or here.has_cuda)
