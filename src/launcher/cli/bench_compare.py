"""`gpt-oss bench compare`: two benches side by side, and whether they differ."""

from typing import Annotated

import typer

from launcher.cli import options

_SOURCE = (
    "A file of records (JSON of this command, of `bench share` or of llama-bench), `-` for stdin, or a run: `last`, "
    "`last~1`, an id. `@embedded`, `@llama-bench` or `@server` behind it takes one engine alone."
)


def compare(
    *,
    a: Annotated[str, typer.Argument(metavar="A", help=_SOURCE, show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", help="What is compared with it: the same.", show_default=False)],
    fail_if_slower: Annotated[
        float | None,
        typer.Option(
            "--fail-if-slower",
            metavar="PERCENT",
            min=0,
            max=100,
            help="Exit with 1 where B is slower for certain, and by more than this.",
        ),
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """Compare two benches test by test: the ratio of their speeds, its interval, and whether the difference is real.

    Examples:
      gpt-oss bench compare last~1 last

      gpt-oss bench compare before.json after.json --fail-if-slower 3
    """
    import sys

    from launcher.bench.compare import compare as compared
    from launcher.cli.bench_compare_view import as_json, exit_code, print_comparison
    from launcher.cli.bench_sources import find_source
    from launcher.cli.output import print_json
    from launcher.errors import UsageError

    if fail_if_slower is not None and not 0 <= fail_if_slower <= 100:  # `nan` passes every range
        raise UsageError(f"--fail-if-slower {fail_if_slower}: not a percentage", hint="gpt-oss bench compare --help")
    if a == b == "-":
        raise UsageError("stdin can be read once only", hint="gpt-oss bench compare --help")
    first, second = find_source(a), find_source(b)
    found = compared(first.rows, second.rows)
    if not found.rows:
        raise UsageError(
            f"{a} and {b} have no test in common",
            hint="gpt-oss bench history",
            details=(*(f"only in {a}: {name}" for name in found.only_a), *(f"only in {b}: {n}" for n in found.only_b)),
        )
    if json:
        print_json(as_json(first, second, found))
    else:
        print_comparison(first, second, found, sys.stdout)
    raise typer.Exit(exit_code(found, fail_if_slower))
