"""What `gpt-oss engine build` does."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from launcher.builds.compat import remedies
from launcher.builds.compile import compile_build
from launcher.builds.compile_types import CompileRequest
from launcher.builds.prepare import Prepared, Workshop, not_here, prepare
from launcher.builds.source import known_sha256, version_of
from launcher.builds.tool_types import Need
from launcher.builds.types import Backend, Build
from launcher.cli.context import is_offline, load_settings
from launcher.cli.engine_build_view import CompileBar, document, print_prepared, print_result
from launcher.cli.engine_wishes import (
    LATEST,
    backend_named,
    confirm,
    failed_self_test,
    newest_version,
    version_named,
)
from launcher.cli.output import print_json, say
from launcher.errors import NetworkError, UsageError
from launcher.paths import folders

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
    question = "Go on?" if ready.resumes else "Go ahead?"
    if confirm(question, yes=yes or load_settings({}).yes, refused="not compiled"):
        say("")
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


def request_of(wishes: Wishes) -> CompileRequest:
    """What was typed, checked. Raises UsageError for what cannot be."""
    backend = backend_named(wishes.backend)
    assert backend is not None  # noqa: S101  # auto is none here
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


def _version(wishes: Wishes) -> str:
    named = version_of(wishes.source) if wishes.source is not None else None
    asked = _newest(wishes) if wishes.version == LATEST else wishes.version
    version = version_named(asked or named)
    if named is not None and named != version:
        raise UsageError(f"{wishes.source} is version {named}, not {version}", hint="gpt-oss engine build --help")
    return version


def _newest(wishes: Wishes) -> str:
    """The newest on the person's index. Raises NetworkError where that does not answer, or may not be asked."""
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
