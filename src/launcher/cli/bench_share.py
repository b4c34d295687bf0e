"""`gpt-oss bench share`: a bench as a file with nothing private in it."""

from pathlib import Path
from typing import Annotated

import typer

from launcher.cli import options


def share(
    *,
    which: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="`last`, `last~1` or ids; otherwise the last run.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .json or a .html file; otherwise JSON is printed.")
    ] = None,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """Write runs as one file to give away: no names of user or host, no paths, no settings of the environment.

    `gpt-oss bench compare` reads the JSON. The page holds the tables and the charts, and needs nothing else.

    Examples:
      gpt-oss bench share -o bench.html

      gpt-oss bench share last last~1 -o bench.json
    """
    from launcher.bench.history import find_run
    from launcher.bench.share import share_html, share_json
    from launcher.cli.bench_sources import kept_runs
    from launcher.cli.output import save_text, say
    from launcher.cli.private_names import private_names
    from launcher.errors import UsageError

    kind = ".json" if output is None else output.suffix.lower()
    if kind not in {".json", ".html"}:
        raise UsageError(f"{output}: a shared file ends in .json or .html", hint="gpt-oss bench share -o bench.html")
    runs = kept_runs()
    found = {run.run_id: run for run in (find_run(runs, name) for name in which or ["last"])}
    records = [record for run in found.values() for record in run.records]
    text = (share_html if kind == ".html" else share_json)(records, private_names())
    if output is None:
        typer.echo(text, nl=False)
        return
    save_text(output, text)
    what = f"{len(records)} {'test' if len(records) == 1 else 'tests'}"
    say(f"wrote {output} with {what}; read it before you give it away")
