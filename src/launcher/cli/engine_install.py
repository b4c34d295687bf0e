"""`gpt-oss engine install`: the engine that this machine should have, compiled or ready made, in one command."""

from typing import Annotated

import typer

from launcher.cli import complete, options


def install(
    *,
    backend: Annotated[
        str,
        typer.Argument(
            metavar="BACKEND",
            help="auto, cpu, cuda, vulkan, rocm, metal or sycl.",
            show_default=False,
            autocompletion=complete.backend_or_auto,
        ),
    ] = "auto",
    version: Annotated[
        str | None,
        typer.Option(
            "--version", help="Of llama-cpp-python, or latest; the one that this launcher is made for.", metavar="X"
        ),
    ] = None,
    how: Annotated[
        str | None,
        typer.Option("--how", help="build (compile it here) or prebuilt; by default what is possible.", metavar="HOW"),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option("--mirror", help="Serves files in GitHub's place; what they must be is asked of GitHub."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Install without asking.")] = False,
    offline: options.Offline = None,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """Get the engine for this machine's GPU, or for its CPU, and keep it beside the others.

    It is compiled where everything for that is here; otherwise a release of llama.cpp or a wheel is downloaded and
    verified. It is tested before any plan takes it. `--version latest` is reversible: the older engine stays.

    Exit codes: 0 done, or nothing better is to be had; 2 usage, 3 no room, 4 network, 5 damaged, 6 it cannot be had as
    things are, or failed its self-test.

    Examples:
      gpt-oss engine install

      gpt-oss engine install vulkan --how prebuilt --yes
    """
    from launcher.cli.engine_install_session import InstallWishes, run_install

    wishes = InstallWishes(backend=backend, version=version, how=how, mirror=mirror, offline=offline)
    run_install(wishes, dry_run=dry_run, yes=yes, as_json=json)
