"""`gpt-oss bench history`: what was measured here before."""

from typing import Annotated

import typer

from launcher.cli import options


def history(
    *,
    which: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="`last`, `last~1` or an id: that run.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many runs at most.")] = 20,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """List the benches that were kept, the newest first; or show one again.

    Examples:
      gpt-oss bench history

      gpt-oss bench history last --json
    """
    from launcher.bench.history import find_run, read_history
    from launcher.cli.bench_history_view import as_json, print_runs
    from launcher.cli.bench_sources import kept_runs, told
    from launcher.cli.bench_view import print_records
    from launcher.cli.output import print_json, say
    from launcher.paths import folders

    if which is not None:
        run = find_run(kept_runs(), which)
        if json:
            print_json({"records": run.records})
        else:
            print_records(run.records)
        return
    found = told(read_history(folders().state))
    runs = found.runs[::-1][:limit]
    if json:
        print_json({"runs": as_json(runs), "n_runs": len(found.runs), "problems": found.problems})
    elif runs:
        print_runs(runs)
        if len(found.runs) > len(runs):
            n_older = len(found.runs) - len(runs)
            say(f"{n_older} older {'run is' if n_older == 1 else 'runs are'} kept; --limit {len(found.runs)} shows all")
    else:
        say("no bench has been kept yet; gpt-oss bench measures one")
