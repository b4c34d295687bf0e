"""`gpt-oss stop`: end a server."""

from typing import Annotated

import typer

from launcher.cli import options


def stop(
    *,
    port: options.ServerPort = None,
    every: Annotated[bool, typer.Option("--all", help="End all that run.")] = False,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """End a server that runs, in the background or on another terminal.

    Examples:
      gpt-oss stop

      gpt-oss stop --all
    """
    from launcher.cli.output import say
    from launcher.cli.servers import one_server
    from launcher.paths import folders
    from launcher.server.registry import running
    from launcher.server.stop import stop_server

    state_dir = folders().state
    for record in running(state_dir) if every else (one_server(port, "stop"),):
        asked = stop_server(state_dir, record)
        say(f"{record.model} on port {record.port} has ended" + ("" if asked else ", which took force"))
