"""`gpt-oss service`: run `gpt-oss serve` from login on."""

from typing import Annotated

import typer

from launcher.cli import options

service_app = typer.Typer(help="Serve from login on: a user service of systemd or launchd.", no_args_is_help=True)

ServeArgs = Annotated[
    list[str] | None,
    typer.Argument(help="After --: options of `gpt-oss serve`.", metavar="[-- SERVE_ARGS]...", show_default=False),
]


@service_app.command()
def install(
    *,
    serve_args: ServeArgs = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it now, too.")] = True,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """Write the service and enable it; an earlier one is replaced.

    The variables HF_HOME, HF_ENDPOINT, GPT_OSS_* and those of folders and devices are written into it as they are now,
    but no secrets.

    Examples:
      gpt-oss service install

      gpt-oss service install --no-start -- --model 20b --port 8081
    """
    from launcher.cli.service_session import install_service

    install_service(tuple(serve_args or ()), start=start)


@service_app.command()
def remove(*, debug: options.Debug = False) -> None:  # noqa: ARG001
    """Stop the service and remove it; models and settings stay.

    Examples:
      gpt-oss service remove

      gpt-oss service remove --debug
    """
    from launcher.cli.output import say
    from launcher.cli.service_session import manager

    here = manager()
    say(f"removed {here.path}" if here.remove() else "no service is installed")


@service_app.command()
def status(*, json: options.Json = False, debug: options.Debug = False) -> None:  # noqa: ARG001
    """Show whether the service is installed, runs, and how it ended last.

    Examples:
      gpt-oss service status

      gpt-oss service status --json
    """
    from launcher.cli.output import print_json
    from launcher.cli.service_session import manager, print_status

    found = manager().status()
    if json:
        print_json(found)
    else:
        print_status(found)
