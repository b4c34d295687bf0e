"""What `gpt-oss engine build` does."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from launcher.builds.compat import remedies
from launcher.builds.compile import compile_build
from launcher.builds.compile_types import CompileRequest
from launcher.builds.prepare import Prepared, Workshop, not_here, prepare
from launcher.builds.source import known_sha256, pinned_version, version_of
from launcher.builds.tool_types import Need
from launcher.builds.types import BACKENDS, Backend, Build
from launcher.cli.context import is_offline, load_settings
from launcher.cli.engine_build_view import CompileBar, document, print_prepared, print_result
from launcher.cli.output import print_json, say
from launcher.errors import EngineError, NetworkError, UsageError
from launcher.paths import folders

LATEST = "latest"
_VERSION = re.compile(r"\d+(?:\.\d+)*(?:[.+-]?[a-z0-9]+)*")
_CUDA_ARCH = re.compile(r"\d{2,3}[af]?(?:-(?:real|virtual))?")
_ROCM_ARCH = re.compile(r"gfx[0-9a-f]{3,5}(?::[a-z0-9:+-]+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What was typed."""

    backend: str
    version: str | None
    jobs: int | None
    arch: tuple[str, ...]
    define: tuple[str, ...]
    source: Path | None
    offline: bool | None


def run_build(wishes: Wishes, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """`gpt-oss engine build`.

    Raises:
        UsageError: something that was typed makes no sense, or was declined.
        LauncherError: see `compile_build`; EngineError as well where the engine failed its self-test.
    """
    request = request_of(wishes)
    own = folders()
    ready = prepare(request, cache_dir=own.cache)
    if as_json and dry_run:
        print_json(document(ready, _commands(ready)))
        return
    if not ready.verdict.possible:
        raise not_here(ready, _commands(ready))
    print_prepared(ready)
    if dry_run:
        return
    if not yes:
        _ask(ready)
    build, took_s = compile_with_progress(request, own.data, own.cache)
    if as_json:
        print_json({"build": build, "took_s": took_s})
    else:
        print_result(build, took_s)
    if not build.usable:
        raise failed_self_test(build)


def compile_with_progress(request: CompileRequest, data_dir: Path, cache_dir: Path) -> tuple[Build, float]:
    """Compile while a bar is drawn; the build, and the seconds that it took. Raises as `compile_build` does."""
    began_s = time.monotonic()
    with CompileBar() as bar:
        build = compile_build(
            request,
            data_dir=data_dir,
            cache_dir=cache_dir,
            on_event=bar.tell,
            workshop=Workshop(package=package),
        )
    return build, time.monotonic() - began_s


def failed_self_test(build: Build) -> EngineError:
    """The error for a build that is kept and will not be used."""
    test = build.record.self_test if build.record is not None else None
    why = test.why if test is not None else None
    return EngineError(
        f"{build.name} failed its self-test, and no plan takes it: {why or 'it gave no reason'}",
        hint=f"gpt-oss engine test {build.name}",
        details=(f"log: {build.site.parent / 'build.log'}",),
    )


def request_of(wishes: Wishes) -> CompileRequest:
    """What was typed, checked. Raises UsageError for what cannot be."""
    backend = _backend(wishes.backend)
    version = _version(wishes)
    settings = load_settings({"offline": wishes.offline})
    return CompileRequest(
        backend=backend,
        version=version,
        sha256=known_sha256(version),
        jobs=wishes.jobs,
        architectures=_architectures(backend, wishes.arch),
        definitions=tuple(_definition(text) for text in wishes.define),
        source=wishes.source,
        offline=is_offline(settings),
    )


def _backend(name: str) -> Backend:
    for backend in BACKENDS:
        if backend == name.lower():
            return backend
    from difflib import get_close_matches

    near = get_close_matches(name.lower(), [*BACKENDS, "hip"], n=1)
    meant = "rocm" if near == ["hip"] else (near or ["cpu"])[0]
    raise UsageError(
        f"no backend is called {name}; there are {', '.join(BACKENDS)}", hint=f"gpt-oss engine build {meant}"
    )


def _version(wishes: Wishes) -> str:
    named = version_of(wishes.source) if wishes.source is not None else None
    version = wishes.version or named or pinned_version()
    if version == LATEST:
        version = _newest(wishes)
    if version is None:
        raise UsageError(
            "the launcher's own metadata names no version of llama-cpp-python: say which",
            hint="gpt-oss engine build cpu --version 0.3.36",
        )
    if not _VERSION.fullmatch(version):
        raise UsageError(f"{version!r} is no version", hint="gpt-oss engine build --help")
    if named is not None and named != version:
        raise UsageError(f"{wishes.source} is version {named}, not {version}", hint="gpt-oss engine build --help")
    return version


def _newest(wishes: Wishes) -> str:
    """The newest on the person's index. Raises NetworkError where that does not answer, or may not be asked."""
    from launcher.cli.engine_install_session import newest_version

    if is_offline(load_settings({"offline": wishes.offline})):
        raise NetworkError(
            "only the package index tells the newest version, and offline mode is on",
            hint="gpt-oss engine build --help",
        )
    return newest_version(folders())


def _architectures(backend: Backend, asked: tuple[str, ...]) -> tuple[str, ...] | None:
    """`89`, `8.9`, `89,90` and `gfx1100` as CMake takes them."""
    names = tuple(name.strip() for text in asked for name in re.split(r"[,;]", text) if name.strip())
    if not names:
        return None
    if backend not in {"cuda", "rocm"}:
        raise UsageError(f"--arch is for cuda and rocm; {backend} has no such thing", hint="gpt-oss engine build cuda")
    pattern = _CUDA_ARCH if backend == "cuda" else _ROCM_ARCH
    plain = tuple(name.replace(".", "") if backend == "cuda" else name for name in names)
    for name, shown in zip(plain, names, strict=True):
        if not pattern.fullmatch(name):
            example = "89" if backend == "cuda" else "gfx1100"
            raise UsageError(
                f"{shown!r} is no architecture of {backend}", hint=f"gpt-oss engine build {backend} --arch {example}"
            )
    return plain


def _definition(text: str) -> tuple[str, str]:
    name, equals, value = text.removeprefix("-D").partition("=")
    name = name.partition(":")[0]
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise UsageError(
            f"--define takes NAME=VALUE, not {text!r}", hint="gpt-oss engine build cpu --define GGML_NATIVE=OFF"
        )
    return name, value


def _commands(ready: Prepared) -> tuple[str, ...]:
    return remedies(ready.verdict, package)


def package(need: Need) -> str | None:
    """What installs a package that compiling needs, on this system."""
    from launcher.cli.engine_install_session import packages_for
    from launcher.doctor.sources import Sources
    from launcher.doctor.system import read_platform

    return packages_for(read_platform(Sources()))[need]


def _ask(ready: Prepared) -> None:
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        return
    import typer

    try:
        agreed = typer.confirm("Go on?" if ready.resumes else "Go ahead?", default=True, err=True)
    except typer.Abort:
        raise KeyboardInterrupt from None  # Ctrl-C or Ctrl-D at the question: told as any other
    if not agreed:
        raise UsageError("not compiled", hint="gpt-oss engine list")
    say("")
