"""What `gpt-oss engine install` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from launcher.builds import store
from launcher.builds.compile_types import CompileRequest, Work
from launcher.builds.decision import Decision, How, Wish
from launcher.builds.facts import read_facts
from launcher.builds.fetching import Fetcher
from launcher.builds.install import propose
from launcher.builds.pip import Pip
from launcher.builds.prebuilt import Found, Means, environment_bindings, look_up
from launcher.builds.prebuilt import install as install_prebuilt
from launcher.builds.releases import COMPILE, GitHub, checked_address
from launcher.builds.selftest import self_test
from launcher.builds.shelf import Shelf, read_shelf
from launcher.builds.source import get_source, known_sha256, pinned_version
from launcher.builds.toolchain import probe_toolchain
from launcher.builds.types import AUTO, Backend, Build
from launcher.builds.unfinished import DOWNLOADS, forget_source, work_folder
from launcher.cli.context import is_offline, load_settings
from launcher.cli.download import DownloadBar
from launcher.cli.engine_build_session import Wishes, run_build
from launcher.cli.engine_install_view import print_decision, print_found, print_installed
from launcher.cli.engine_wishes import LATEST, backend_named, confirm, failed_self_test, newest_version, version_named
from launcher.cli.output import print_json, say
from launcher.doctor.remedies import from_nvidia
from launcher.doctor.types import Platform
from launcher.errors import EngineError, LauncherError, NetworkError, UsageError
from launcher.hardware.packages import NEEDS, Need, install
from launcher.paths import Folders, folders


@dataclass(frozen=True, kw_only=True, slots=True)
class InstallWishes:
    """What was typed."""

    backend: str = AUTO
    version: str | None = None
    how: str | None = None
    mirror: str | None = None
    offline: bool | None = None


def run_install(wishes: InstallWishes, *, dry_run: bool, yes: bool, as_json: bool, shelf: Shelf | None = None) -> None:
    """`gpt-oss engine install`; `shelf` is the one that ships by default.

    Raises:
        UsageError: something that was typed makes no sense, or was declined.
        EngineError: no such engine can be had as things are, or it failed its self-test.
        LauncherError: it could not be fetched or compiled.
    """
    own = folders()
    if wishes.mirror is not None:
        checked_address(wishes.mirror, "--mirror")
    offline = is_offline(load_settings({"offline": wishes.offline}))
    decision = decide(wishes, own, offline=offline, shelf=shelf)
    if decision.do == "prebuilt" and not offline:
        with _compiling_named(decision):
            found = look_up_for(decision, wishes.mirror, shelf=shelf)
            if as_json and dry_run:
                print_json({"decision": decision, "assets": found.assets})
                return
            print_decision(decision)
            print_found(found)
            _go_on(found, own, wishes, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    if as_json and (dry_run or decision.do == "nothing"):
        print_json({"decision": decision, "assets": None, "build": None} if not dry_run else {"decision": decision})
        return
    if decision.do != "packages":
        print_decision(decision)
    if decision.do == "build":
        compile_decided(decision, wishes, dry_run=dry_run, yes=yes, as_json=as_json)
    elif decision.do == "packages":
        raise not_to_be_had(decision)
    elif decision.do == "prebuilt":
        raise NetworkError(
            f"{decision.name} is to be downloaded, and offline mode is on",
            hint=decision.other_way or "gpt-oss engine list",
        )


@contextmanager
def _compiling_named(decision: Decision) -> Iterator[None]:
    """Where what is ready made cannot be had, compiling is the other way: of the same engine, not of the best here."""
    try:
        yield
    except LauncherError as error:
        if error.hint == COMPILE:
            version = "" if decision.version == pinned_version() else f" --version {decision.version}"
            error.hint = f"gpt-oss engine install {decision.backend}{version} --how build"
        raise


def compile_decided(decision: Decision, wishes: InstallWishes, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Compile what was decided. Raises as `run_build` does; where it fails, the way without a compiler is named."""
    asked = Wishes(
        backend=str(decision.backend), version=decision.version, jobs=None, arch=(), define=(), source=None,
        offline=wishes.offline,
    )  # fmt: skip
    try:
        run_build(asked, dry_run=dry_run, yes=yes, as_json=as_json)
    except EngineError as error:
        if decision.other_way is None:
            raise
        details = (*error.details, f"Ready made instead: {decision.other_way}")
        raise EngineError(error.message, log=error.log, hint=error.hint, details=details) from error


def decide(
    wishes: InstallWishes,
    own: Folders,
    *,
    offline: bool = False,
    shelf: Shelf | None = None,
    newest: Callable[[Folders], str] = newest_version,
) -> Decision:
    """Which engine this machine should get; asks the package index where the newest version is wished for.

    Raises:
        UsageError: there is no such backend or way.
        NetworkError: the newest version is wished for, and cannot be told.
    """
    from launcher.doctor.sources import Sources
    from launcher.doctor.system import read_platform

    version = _newest(newest, own, wishes, offline=offline) if wishes.version == LATEST else wishes.version
    version = version_named(version)
    backend = backend_named(wishes.backend, auto=True)
    wish = Wish(backend=backend, how=_how(wishes.how), version=version)
    facts = read_facts(own.data, packages=packages_for(read_platform(Sources())))
    return propose(facts, wish, shelf or read_shelf())


def packages_for(platform: Platform) -> dict[Need, str | None]:
    """What to type on this system for what compiling takes."""
    found = {need: install(need, platform) for need in NEEDS}
    found["nvidia's cuda toolkit"] = from_nvidia(found["nvidia's cuda toolkit"], platform)
    if platform.packages in {"dnf", "zypper"} or platform.wsl:
        # These have none of their own, and in WSL theirs brings a driver that must not be there.
        found["cuda toolkit"] = found["nvidia's cuda toolkit"]
    return found


def look_up_for(decision: Decision, mirror: str | None = None, *, shelf: Shelf | None = None) -> Found:
    """The files that a decision for a ready-made engine means. Raises NetworkError, and EngineError for none."""
    shelf = shelf or read_shelf()
    github = GitHub(shelf.where, mirror=mirror)
    return look_up(decision.archives, decision.version, shelf=shelf, github=github)


def install_found(found: Found, own: Folders) -> Build:
    """Fetch and lay out a ready-made engine, with a bar; it may have failed its self-test.

    Raises:
        LauncherError: it could not be fetched, or does not fit this system.
    """
    from launcher.hardware.detect import Machine

    machine = Machine()
    with DownloadBar() as bar:
        fetcher = Fetcher(
            folder=work_folder(own.cache, DOWNLOADS),
            retry=f"gpt-oss engine install {found.archive.backend} --how prebuilt",
            progress=bar,
        )
        means = Means(
            data_dir=own.data,
            fetcher=fetcher,
            bindings=lambda version: bindings(version, found.archive.backend, own),
            self_test=self_test,
            system=machine.system,
            arch=machine.arch,
            tell=say,
        )
        build = install_prebuilt(found, means)
    with suppress(LauncherError):  # the engine is there all the same
        forget_source(own.cache, found.name)
    return build


def bindings(version: str, backend: Backend, own: Folders) -> Path:
    """The folder with llama-cpp-python's Python files of a version: the environment's, or those of its source."""
    here = environment_bindings(version)
    if here is not None:
        return here
    request = CompileRequest(backend=backend, version=version, sha256=known_sha256(version))
    work = Work(folder=work_folder(own.cache, request.name))
    work.folder.mkdir(parents=True, exist_ok=True)
    get_source(request, work, Pip(command=probe_toolchain().pip, log=work.log))
    return work.source / "llama_cpp"


def not_to_be_had(decision: Decision) -> EngineError:
    """The error for an engine that something else has to be installed for first."""
    others = (f"Slower, and possible now: {decision.other_way}",) if decision.other_way else ()
    return EngineError(decision.why, details=(*decision.missing, *others), hint=decision.command or "gpt-oss doctor")


def _go_on(found: Found, own: Folders, wishes: InstallWishes, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    if dry_run:
        return
    confirm("Go ahead?", yes=yes or load_settings({}).yes, refused="nothing installed")
    build = install_found(found, own)
    if as_json:
        print_json({"build": build})
    else:
        print_installed(build, store.chosen(own.data), is_other=wishes.version is not None)
    if not build.usable:
        raise failed_self_test(build)


def _how(text: str | None) -> How | None:
    for how in get_args(How):
        if text in {None, how}:
            return None if text is None else how
    raise UsageError(f"--how takes build or prebuilt, not {text!r}", hint="gpt-oss engine install --how prebuilt")


def _newest(newest: Callable[[Folders], str], own: Folders, wishes: InstallWishes, *, offline: bool) -> str:
    if offline:
        raise NetworkError(
            "the newest version is asked of your package index, and offline mode is on",
            hint=f"gpt-oss engine install {wishes.backend} --version latest",
        )
    say("asking your package index for the newest llama-cpp-python")
    found = newest(own)
    say(f"{found} is the newest" + (", which this launcher is made for" if found == pinned_version() else ""))
    return found
