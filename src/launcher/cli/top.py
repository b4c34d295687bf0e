"""`gpt-oss top`: what a running server does."""

from typing import Annotated

import typer

from launcher.cli import options

_SHORTEST_S = 0.2  # faster than anyone reads


def top(
    *,
    port: options.ServerPort = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print the page once, as plain text; so it is when piped.")
    ] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=_SHORTEST_S, max=3600, help="Seconds between two looks.")
    ] = 1.0,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """Watch a server: tokens per second, slots, queue, KV cache, memory against the plan. `q` leaves.

    Looking neither wakes a server that sleeps nor keeps it awake.

    Examples:
      gpt-oss top

      gpt-oss top --port 8081 --json
    """
    import sys

    from launcher.cli.output import print_json, report_console
    from launcher.cli.servers import one_server
    from launcher.cli.top_screen import keyboard, show, take_page
    from launcher.cli.top_view import as_json
    from launcher.paths import folders
    from launcher.server.watch import Watch

    record, state_dir = one_server(port, "top"), folders().state
    interval = max(_SHORTEST_S, interval)  # `nan` passes every range
    with Watch() as watch:
        if json or once or not sys.stdout.isatty():
            page = take_page(watch, state_dir, record, interval_s=interval)
            if json:
                print_json(as_json(page))
            else:
                report_console().print(page)
            return
        try:
            with keyboard() as key:
                show(watch, state_dir, record, interval_s=interval, key=key)
        except KeyboardInterrupt:
            return  # the way out of a page that has no end
