"""`gpt-oss engine build`: compile llama.cpp for a backend, from the pinned source, into the store of engines."""

from pathlib import Path
from typing import Annotated

import typer

from launcher.cli import complete, options


def build(
    *,
    backend: Annotated[
        str,
        typer.Argument(
            metavar="BACKEND",
            help="cpu, cuda, vulkan, rocm, metal or sycl.",
            show_default=False,
            autocompletion=complete.backend,
        ),
    ],
    version: Annotated[
        str | None,
        typer.Option(
            "--version", help="Of llama-cpp-python, or latest; the one that this launcher is made for.", metavar="X"
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Compilers at once; as many as CPUs and memory bear.")
    ] = None,
    arch: Annotated[
        list[str] | None,
        typer.Option("--arch", help="GPUs to compile for: 89 (CUDA), gfx1100 (ROCm); those that are here."),
    ] = None,
    define: Annotated[
        list[str] | None, typer.Option("--define", "-D", metavar="K=V", help="A CMake definition of your own.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--source", metavar="FILE", help="A source archive of llama-cpp-python that is here.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Compile without asking.")] = False,
    offline: options.Offline = None,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """Compile an engine and keep it beside the others.

    The source comes from your package index and is verified; the engine is tested before any plan takes it. What is
    interrupted goes on with the same command.

    Exit codes: 0 done, 2 usage, 3 no room, 4 no source, 5 another source, 6 not compiled or self-test failed.

    Examples:
      gpt-oss engine build cuda

      gpt-oss engine build cuda --arch 89 --jobs 4 --yes
    """
    from launcher.cli.engine_build_session import Wishes, run_build

    wishes = Wishes(
        backend=backend,
        version=version,
        jobs=jobs,
        arch=tuple(arch or ()),
        define=tuple(define or ()),
        source=source,
        offline=offline,
    )
    run_build(wishes, dry_run=dry_run, yes=yes, as_json=json)
