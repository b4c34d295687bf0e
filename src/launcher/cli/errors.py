"""The one error boundary: a line, a hint that is a command, a documented exit code; a traceback only with --debug."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from launcher.errors import ExitCode, LauncherError


def run(app: Callable[[], object]) -> None:
    """Run the command line and end the process with the code that its outcome has."""
    try:
        app()
    except LauncherError as error:
        if "--debug" in sys.argv:
            raise
        print_error(error)
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output is gone (`| head`): not our fault, and nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.DONE)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        print_error(
            LauncherError(
                f"unexpected {type(error).__name__}: {error}",
                hint=f"{' '.join(['gpt-oss', *sys.argv[1:]])} --debug",
            )
        )
        sys.exit(ExitCode.FAULT)


def print_error(error: LauncherError) -> None:
    """One line, its details, its hint; on stderr."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text.assemble(("error: ", "bold red"), error.message))
    for line in error.details:
        console.print(Text(f"  {line}"))
    if error.hint:
        console.print(Text.assemble(("hint:  ", "bold"), error.hint))
