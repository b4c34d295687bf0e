"""Compile an engine: source, configure, build, install, self-test, and into the store. What is interrupted goes on."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from launcher.builds import disk, store
from launcher.builds.carry import cublas_definitions, finish_site, get_cublas, named_cublas
from launcher.builds.cmake import CMake, get_cmake
from launcher.builds.compile_types import CompileRequest, Event, Phase
from launcher.builds.failures import Failure, explain
from launcher.builds.pip import Pip
from launcher.builds.prepare import Prepared, Workshop, not_here, prepare, recipe_json
from launcher.builds.program import server_in
from launcher.builds.progress import Watch, planned_steps
from launcher.builds.record import SITE
from launcher.builds.shelf import read_shelf
from launcher.builds.source import PACKAGE, Unpacked, commit_definitions, get_source
from launcher.builds.steps import Outcome, run_step
from launcher.builds.stragglers import end_left, marked
from launcher.builds.types import Build, BuildRecord, SelfTest, Source
from launcher.errors import DoesNotFitError, EngineError, LauncherError
from launcher.hardware.engine_devices import read_engine
from launcher.paths import write_atomic
from launcher.system.children import tied
from launcher.units import format_bytes

_AS_EXPECTED = {"NINJA_STATUS": "[%f/%t] ", "LC_ALL": "C", "VSLANG": "1033"}
"""What is read here is ninja's usual status, and compilers' errors in English (Visual Studio has a number for it)."""


def compile_build(
    request: CompileRequest,
    *,
    data_dir: Path,
    cache_dir: Path,
    on_event: Callable[[Event], object] = lambda _event: None,
    workshop: Workshop | None = None,
) -> Build:
    """Compile a backend and put it into the store. It may have failed its self-test: see `Build.usable`.

    Raises:
        EngineError: it cannot be compiled here, or the compilation failed; the log is named.
        NetworkError: the source cannot be downloaded.
        DamagedFileError: it is another one than expected.
        DoesNotFitError: there is no room on the disk.
        UsageError: another process compiles the same engine, or one has the older one in use.
        LauncherError: the store cannot be written.
    """
    shop = workshop or Workshop()
    ready = prepare(request, cache_dir=cache_dir, workshop=shop)
    if not ready.verdict.possible:
        raise not_here(ready)
    store.check(data_dir, request.name)
    with disk.locked(ready.work.folder.parent, request.name) as alone:
        if alone:
            end_left(ready.work.folder)
        return _Compilation(ready, data_dir=data_dir, on_event=on_event, shop=shop).run()


class _Compilation:
    """One run, with what its parts share."""

    def __init__(self, ready: Prepared, *, data_dir: Path, on_event: Callable[[Event], object], shop: Workshop) -> None:
        self._ready = ready
        self._request = ready.request
        self._recipe = ready.recipe
        self._work = ready.work
        self._data_dir = data_dir
        self._tell = on_event
        self._shop = shop
        self._pip = Pip(
            command=ready.tools.pip, log=ready.work.log, environ={**shop.environ, **marked(ready.work.folder)}
        )

    def run(self) -> Build:
        """All of it, from what an earlier run left."""
        with disk.told(self._work.folder):
            self._work.folder.mkdir(parents=True, exist_ok=True)
        if not self._ready.resumes:
            self._start_afresh()
        self._check_room()
        self._tell(Phase(what="getting the source"))
        source = get_source(self._request, self._work, self._pip)
        cublas = named_cublas(self._recipe, self._ready.tools.cuda)
        if self._recipe.cublas is not None:
            self._tell(Phase(what="getting cuBLAS"))
            cublas = get_cublas(self._recipe.cublas, self._work.folder / "cublas", self._pip)
        with self._explained():
            cmake = get_cmake(self._ready.tools, self._work.folder.parent / "tools", self._pip)
            self._configure(cmake, cublas, source)
            self._build(cmake)
            self._install(cmake, cublas)
        return self._store(source)

    def _start_afresh(self) -> None:
        """Another recipe, or none: objects that were compiled otherwise do not mix."""
        with disk.told(self._work.folder):
            shutil.rmtree(self._work.build, ignore_errors=True)
            self._work.log.unlink(missing_ok=True)
            write_atomic(self._work.recipe, json.dumps(recipe_json(self._recipe, self._ready.tools), indent=1) + "\n")

    def _check_room(self) -> None:
        done = disk.size_bytes(self._work.folder)
        missing = self._ready.needed_bytes - done
        free = self._shop.free_bytes(self._work.folder)
        if missing > free:
            raise DoesNotFitError(
                f"compiling {self._request.name} takes about {format_bytes(self._ready.needed_bytes)} on disk; "
                f"{self._work.folder} has {format_bytes(free)} free",
                needs_bytes=missing,
                has_bytes=free,
                hint="GPT_OSS_CACHE_DIR=/folder/on/a/larger/disk " + again(self._request),
                details=tuple(self._unfinished()),
            )

    def _unfinished(self) -> Iterator[str]:
        """Other compilations that were interrupted and hold room."""
        for recipe in sorted(self._work.folder.parent.glob(f"*/{self._work.recipe.name}")):
            if recipe.parent != self._work.folder:
                size = format_bytes(disk.size_bytes(recipe.parent))
                yield f"An unfinished compilation holds {size}: {recipe.parent}"

    def _configure(self, cmake: CMake, cublas: Path | None, source: Unpacked) -> None:
        self._tell(Phase(what="configuring"))
        pinned = read_shelf().pinned.get(self._request.version) if source.known else None
        told = commit_definitions(self._work.source, self._shop.environ, pinned=pinned.commit if pinned else None)
        definitions = told | dict(self._recipe.definitions)
        if cublas is not None and self._recipe.cublas is not None:
            definitions |= cublas_definitions(cublas, definitions.get("CMAKE_CUDA_FLAGS"))
        definitions |= {"SKBUILD_PLATLIB_DIR": str(self._work.site), "CMAKE_INSTALL_PREFIX": str(self._work.site)}
        if cmake.ninja is not None and self._recipe.generator == "Ninja":
            definitions["CMAKE_MAKE_PROGRAM"] = cmake.ninja
        # Relative folders: a compiler's cache then knows the files again, wherever the work folder is.
        words = ["-S", self._work.source.name, "-B", self._work.build.name]
        words += ["-G", self._recipe.generator] if self._recipe.generator else []
        self._step([cmake.cmake, *words, *(f"-D{name}={value}" for name, value in definitions.items())])

    def _build(self, cmake: CMake) -> None:
        self._tell(Phase(what="compiling"))
        planned: tuple[str, ...] = ()
        if cmake.ninja is not None and self._recipe.generator == "Ninja":
            listing = self._step([cmake.ninja, "-C", self._work.build.name, "-n"], log=Path(os.devnull))
            planned = planned_steps("\n".join(listing.lines))
        watch = Watch(planned, self._shop.clock_s)

        def read(line: str) -> None:
            step = watch.read(line)
            if step is not None:
                self._tell(step)

        jobs = str(self._ready.capacity.jobs)
        if cmake.ninja is not None and self._recipe.generator == "Ninja":
            # Not through CMake: ninja itself has to be asked, since nobody else ends its compilers when we are killed.
            self._step(tied([cmake.ninja, "-C", self._work.build.name, "-j", jobs], ask=True), read)
        else:
            command = [cmake.cmake, "--build", self._work.build.name, "--config", "Release"]
            self._step([*command, "--parallel", jobs], read)

    def _install(self, cmake: CMake, cublas: Path | None) -> None:
        self._tell(Phase(what="installing"))
        with disk.told(self._work.folder):
            shutil.rmtree(self._work.site, ignore_errors=True)
        self._step([cmake.cmake, "--install", self._work.build.name, "--config", "Release"])
        with disk.told(self._work.folder):
            finish_site(self._work.site, self._work.source, self._recipe, self._ready.tools.cuda, cublas)
        server = server_in(self._work.site)
        if server.is_file():
            self._step([str(server), "--version"])

    def _step(
        self, command: list[str], on_line: Callable[[str], object] = lambda _line: None, *, log: Path | None = None
    ) -> Outcome:
        environ = {**self._cache_settings(), **self._shop.environ, **dict(self._recipe.environment)}
        environ |= _AS_EXPECTED | marked(self._work.folder)
        outcome = run_step(command, cwd=self._work.folder, log=log or self._work.log, environ=environ, on_line=on_line)
        if outcome.returncode != 0:
            raise _Failed(explain(outcome.lines), outcome)
        return outcome

    def _cache_settings(self) -> dict[str, str]:
        """For ccache, which ggml uses where it is: with relative paths it knows a source again in another folder."""
        return {"CCACHE_BASEDIR": str(self._work.folder), "CCACHE_NOHASHDIR": "1"} if self._ready.tools.ccache else {}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except _Failed as failed:
            raise self._error(failed) from None

    def _error(self, failed: _Failed) -> LauncherError:
        failure = failed.failure
        message = f"compiling {self._request.name} failed"
        message = f"{message}: {failure.means}" if failure.means else message
        hint = (self._shop.package(failure.need) if failure.need is not None else None) or "gpt-oss doctor"
        if failure.fewer_jobs:
            fewer = max(1, self._ready.capacity.jobs // 2)
            hint = again(replace(self._request, jobs=fewer))
        first = (f"first error: {failure.first}",) if failure.first else ()
        return EngineError(
            message, log=failed.outcome.lines[-40:], hint=hint, details=(*first, f"log: {self._work.log}")
        )

    def _store(self, source: Unpacked) -> Build:
        self._tell(Phase(what="testing"))
        package = self._work.site / "llama_cpp"
        report = read_engine(package)
        record = BuildRecord(
            name=self._request.name,
            backend=self._request.backend,
            version=report.version or self._request.version,
            commit=report.commit,
            source=Source(
                kind="source", what=f"{PACKAGE} {self._request.version}", sha256=source.sha256 if source.known else None
            ),
            options=self._recipe.options,
            system=self._ready.tools.system,
            arch=self._ready.tools.arch,
            made_at=self._shop.now().isoformat(timespec="seconds"),
            self_test=None,
        )
        tested = Build(name=record.name, site=self._work.site, record=record)
        result = self._shop.self_test(tested)
        record = replace(record, self_test=result)
        if not result.passed:
            self._keep_older(result)
        with store.staged(self._data_dir, record.name) as filling, disk.told(self._work.folder):
            self._tell(Phase(what="keeping it"))
            # Moved, which is nothing on one file system, and a copy to another.
            shutil.move(self._work.site, filling / SITE)
            shutil.copyfile(self._work.log, filling / self._work.log.name)
            if (self._work.folder / "licences").is_dir():
                shutil.move(self._work.folder / "licences", filling / "licences")
            build = store.add(filling, record)
        shutil.rmtree(self._work.folder, ignore_errors=True)
        return build

    def _keep_older(self, result: SelfTest) -> None:
        """One that works is not given up for one that does not."""
        older = [build for build in store.installed(self._data_dir)[0] if build.name == self._request.name]
        if any(build.usable for build in older):
            raise EngineError(
                f"the new {self._request.name} failed its self-test, and the older one is kept: {result.why}",
                hint="gpt-oss engine list",
                details=(f"log: {self._work.log}",),
            )


def again(request: CompileRequest) -> str:
    """The command that asks for the same, so that it goes on with what is compiled."""
    words = ["gpt-oss", "engine", "build", request.backend, "--version", request.version]
    words += [word for name in request.architectures or () for word in ("--arch", name)]
    words += [word for name, value in request.definitions for word in ("--define", f"{name}={value}")]
    words += ["--source", str(request.source)] if request.source is not None else []
    words += ["--jobs", str(request.jobs)] if request.jobs is not None else []
    return shlex.join(words)


class _Failed(Exception):  # noqa: N818  # it never leaves this module
    """A step that ended with an error."""

    def __init__(self, failure: Failure, outcome: Outcome) -> None:
        super().__init__(failure.first)
        self.failure = failure
        self.outcome = outcome
