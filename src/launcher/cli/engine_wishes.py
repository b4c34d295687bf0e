"""What `gpt-oss engine build` and `install` have in common: reading what was typed, asking, and the end."""

from __future__ import annotations

import re
from difflib import get_close_matches

from launcher.builds.pip import Pip
from launcher.builds.source import PACKAGE, pinned_version
from launcher.builds.toolchain import probe_toolchain
from launcher.builds.types import AUTO, BACKENDS, Backend, Build
from launcher.cli.ask import agreed, can_be_asked
from launcher.errors import EngineError, UsageError
from launcher.paths import Folders

LATEST = "latest"
_VERSION = re.compile(r"\d+(?:\.\d+)*(?:[.+-]?[a-z0-9]+)*")


def backend_named(text: str, *, auto: bool = False) -> Backend | None:
    """A backend, as it is typed; None for `auto`, which `install` takes.

    Raises:
        UsageError: there is none of that name.
    """
    if auto and text.lower() == AUTO:
        return None
    for backend in BACKENDS:
        if backend == text.lower():
            return backend
    near = get_close_matches(text.lower(), [*BACKENDS, AUTO, "hip"], n=1)
    usual = AUTO if auto else "cpu"
    meant = "rocm" if near == ["hip"] else next((each for each in near if auto or each != AUTO), usual)
    there = ", ".join(BACKENDS) + (", and auto" if auto else "")
    hint = f"gpt-oss engine install {meant}" if auto else f"gpt-oss engine build {meant}"
    raise UsageError(f"no backend is called {text}; there are {there}", hint=hint)


def version_named(text: str | None) -> str:
    """A version of llama-cpp-python as it is typed; for None the one that the launcher is made for.

    Raises:
        UsageError: it is none, or the launcher's metadata names none.
    """
    version = text or pinned_version()
    if version is None:
        raise UsageError(
            "the launcher's own metadata names no version of llama-cpp-python: say which",
            hint="gpt-oss engine install --version latest",
        )
    if not _VERSION.fullmatch(version):
        raise UsageError(f"{version!r} is no version", hint="gpt-oss engine install --version latest")
    return version


def newest_version(own: Folders, pip: tuple[str, ...] | None = None) -> str:
    """The newest llama-cpp-python on the person's package index, by the pip that is here.

    Raises:
        NetworkError: it does not answer.
    """
    folder = own.cache / "engines"
    folder.mkdir(parents=True, exist_ok=True)
    command = probe_toolchain().pip if pip is None else pip
    return Pip(command=command, log=folder / "pip.log").newest(PACKAGE, folder)


def confirm(question: str, *, yes: bool, refused: str) -> bool:
    """Ask on a terminal, unless `yes` is said already; whether it was asked. Raises UsageError for a no."""
    if yes or not can_be_asked():
        return False
    if not agreed(question, default=True):
        raise UsageError(refused, hint="gpt-oss engine list")
    return True


def failed_self_test(build: Build) -> EngineError:
    """The error for a build that is kept and will not be used."""
    test = build.record.self_test if build.record is not None else None
    why = test.why if test is not None else None
    log = build.site.parent / "build.log"
    return EngineError(
        f"{build.name} failed its self-test, and no plan takes it: {why or 'it gave no reason'}",
        hint=f"gpt-oss engine test {build.name}",
        details=(f"log: {log}",) if log.is_file() else (),
    )
