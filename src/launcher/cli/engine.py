"""`gpt-oss engine`: several builds of llama.cpp side by side, and which of them plans take."""

from typing import Annotated

import typer

from launcher.cli import complete, options
from launcher.cli.engine_build import build
from launcher.cli.engine_install import install

engine_app = typer.Typer(help="Builds of llama.cpp: list, get, test and choose them.", no_args_is_help=True)

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="As `gpt-oss engine list` names them; all.",
        show_default=False,
        autocompletion=complete.tested_engine,
    ),
]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="As `gpt-oss engine list` names it.",
        show_default=False,
        autocompletion=complete.removable_engine,
    ),
]


engine_app.command()(build)
engine_app.command()(install)


@engine_app.command(name="list")
def list_(
    *,
    devices: Annotated[
        bool, typer.Option("--devices", help="Ask each engine what it can compute on; a GPU's driver takes seconds.")
    ] = False,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """List the engines that are here: the one installed with the launcher, and those of the store.

    Exit codes: 0 done.

    Examples:
      gpt-oss engine list

      gpt-oss engine list --devices --json
    """
    from launcher.cli.engine_session import list_engines

    list_engines(devices=devices, as_json=json)


@engine_app.command()
def use(
    *,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="An engine's name, `environment`, or `auto`.",
            show_default=False,
            autocompletion=complete.any_engine,
        ),
    ],
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Choose the engine that every plan takes; `auto`, the default, is the one whose plan is best.

    An engine that failed its self-test, or had none, is refused.

    Exit codes: 0 done, 2 no such engine, 5 damaged, 6 not usable.

    Examples:
      gpt-oss engine use environment

      gpt-oss engine use auto
    """
    from launcher.cli.engine_session import use_engine

    use_engine(name, as_json=json)


@engine_app.command()
def remove(
    *,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001
) -> None:
    """Remove an engine, or what was compiled or downloaded of one. Asks before; without a terminal it takes --yes.

    One that a running program uses is not removed. Where it was the chosen one, the choice goes back to `auto`.

    Exit codes: 0 done, 2 declined, in use, or no such engine.

    Examples:
      gpt-oss engine remove cuda-0.3.36

      gpt-oss engine remove cuda-0.3.36 --yes
    """
    from launcher.cli.engine_session import remove_engine

    remove_engine(name, yes=yes, as_json=json)


@engine_app.command(name="test")
def self_test(*, name: Names = None, json: options.Json = False, debug: options.Debug = False) -> None:  # noqa: ARG001
    """Test engines: compute the demo model on the CPU and on every device, and compare with predictions that ship.

    Takes a second, or minutes where a driver compiles a GPU's programs for the first time. The result is kept: an
    engine that fails is taken by no plan.

    Exit codes: 0 all passed, 2 no such engine, 5 damaged, 6 one failed.

    Examples:
      gpt-oss engine test

      gpt-oss engine test cuda-0.3.36 --json
    """
    from launcher.cli.engine_selftest import run_self_tests

    run_self_tests(tuple(name or ()), as_json=json)
