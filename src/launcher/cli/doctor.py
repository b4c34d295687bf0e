"""`gpt-oss doctor`: what keeps this machine from running models well, and the command that mends it."""

from pathlib import Path
from typing import Annotated

import typer

from launcher.cli import options


def doctor(
    *,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Write a file for a bug report, .md or .json, with nothing private in it."),
    ] = None,
    offline: options.Offline = None,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """Check CPU, memory, engine, GPUs, drivers, disk, hub, port and clock; say what to run where something is wrong.

    Takes no more than ten seconds. Exit code 0 where nothing fails, 1 where something does.

    Examples:
      gpt-oss doctor

      gpt-oss doctor --offline --report doctor.md
    """
    from launcher.cli.doctor_session import check_report_name, examined, save_report
    from launcher.errors import ExitCode

    if report is not None:
        check_report_name(report)
    found = examined(offline=offline)
    if report is not None:
        save_report(found, report)
    if json:
        from launcher.cli.output import print_json

        print_json(found.document)
    else:
        from launcher.cli.doctor_view import print_checks

        print_checks(found.checks)
    if not found.document["ok"]:
        raise typer.Exit(ExitCode.FAULT)
