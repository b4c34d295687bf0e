"""`gpt-oss bench plot`: speed and energy over depth and over streams."""

from pathlib import Path
from typing import Annotated

import typer

from launcher.cli import options


def plot(
    *,
    which: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|FILE]...",
            help="Runs (`last`, `last~1`, ids) or files of records; otherwise the last run.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="An .svg or .png file; otherwise it is drawn here.")
    ] = None,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with plain letters only.")] = False,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """Draw speed over depth and over streams, in the terminal or as an SVG or PNG file; energy where it is known.

    Examples:
      gpt-oss bench plot

      gpt-oss bench plot last before.json -o bench.png
    """
    from dataclasses import replace

    from launcher.bench.chart import charts_of
    from launcher.cli.bench_plot_view import print_charts, save_charts
    from launcher.cli.bench_sources import find_source

    sources = [find_source(name) for name in dict.fromkeys(which or ["last"])]
    # Lines of several sources stay apart, and are called by their source.
    named = {source.name: f"{source.name} " if len(sources) > 1 else "" for source in sources}
    rows = [replace(row, engine=named[source.name] + row.engine) for source in sources for row in source.rows]
    charts = charts_of(rows)
    if output is None:
        print_charts(charts, ascii_only=ascii_only)
    else:
        save_charts(charts, output)
