"""`gpt-oss logs`: what a server wrote."""

from typing import Annotated

import typer

from launcher.cli import options


def logs(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with the lines that come.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Begin with so many of the last lines.")] = 50,
    port: options.ServerPort = None,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """Print the log of a server, of one that has ended too.

    Examples:
      gpt-oss logs

      gpt-oss logs -f --port 8081
    """
    from launcher.cli import log_view
    from launcher.cli.servers import log_of
    from launcher.server.registry import is_alive

    path, record = log_of(port)
    if follow:
        log_view.follow(path, n_lines=lines, until=lambda: record is None or not is_alive(record))
    else:
        log_view.print_tail(path, lines)
