"""The one error boundary: a line, a hint that is a command, a documented exit code; a traceback only with --debug."""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

from launcher.errors import DamagedFileError, EngineError, ExitCode, LauncherError, NetworkError, UsageError

_ERROR = "error: "
_SHORTEST_TOKEN = 8
"""Less is no token, and taking it out would spoil words."""


def run(app: Callable[[], object]) -> None:
    """Run the command line and end the process with the code that its outcome has."""
    _replace_closed()
    if sys.platform == "win32":
        from launcher.system.console import understand_escapes

        understand_escapes()
    try:
        _run_flushed(app)
    except LauncherError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        _leave_quietly()
    except SystemExit as error:
        # The command line library answers a broken pipe with status 1 of its own.
        if isinstance(error.__context__, BrokenPipeError):
            _leave_quietly()
        raise
    except Exception as error:  # noqa: BLE001  # the last resort of the boundary
        _fail(_unexpected(error))


def _run_flushed(app: Callable[[], object]) -> None:
    """Run it to the last byte: what is still held back for stdout may fail too, and must do so inside the boundary."""
    for stream in (sys.stdout, sys.stderr):
        # A letter that this terminal cannot show is no reason to stop an answer.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
            if sys.platform == "win32" and not stream.isatty():
                # JSON in a pipe or a file is UTF-8, whatever the language of this system.
                stream.reconfigure(encoding="utf-8")
    try:
        app()
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


def _unexpected(error: Exception) -> LauncherError:
    """A failure that nobody foresaw, or one of the system's, such as a full disk behind `> FILE`."""
    hint = _with_debug(sys.argv[1:])
    if not isinstance(error, OSError):
        return LauncherError(f"unexpected {type(error).__name__}: {error}", hint=hint)
    _drop_stdout()
    what = str(error.filename) if error.filename else "the output cannot be written"
    return LauncherError(f"{what}: {error.strerror or error}", hint=hint)


def _fail(error: LauncherError) -> None:
    """Tell the error (with --debug the traceback that is being handled first) and end the process with its code."""
    if "--debug" in sys.argv:
        import traceback

        sys.stderr.write(_masked(traceback.format_exc()))
    print_error(error)
    sys.exit(error.code)


def _replace_closed() -> None:
    """Started with stdout or stderr closed (`>&-`), a program writes nowhere; that is no reason to answer nothing."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # as long as the process
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # as long as the process


def _leave_quietly() -> None:
    """The reader of our output is gone (`| head`): not our fault, and nobody is left to tell."""
    _drop_stdout()
    sys.exit(ExitCode.DONE)


def _drop_stdout() -> None:
    """Send what is still to be flushed at exit nowhere: it would fail again, past every boundary."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _with_debug(args: Sequence[str]) -> str:
    """The command that was typed, with --debug where it counts as an option."""
    end = args.index("--") if "--" in args else len(args)
    return shlex.join(["gpt-oss", *args[:end], "--debug", *args[end:]])


def print_error(error: LauncherError) -> None:
    """One line, which a terminal gets folded, its details, its hint; on stderr."""
    from rich.console import Console
    from rich.text import Text

    from launcher.cli.output import fold, stderr_width
    from launcher.system.shell import as_typed
    from launcher.text import printable

    # Hints are commands, which a break would spoil: they are never folded.
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    width = stderr_width()
    told = fold(f"{_ERROR}{printable(_masked(_message(error)))}", width, indent=" " * len(_ERROR))
    console.print(Text.assemble((_ERROR, "bold red"), told.removeprefix(_ERROR)))
    for line in error.details:
        console.print(Text(fold(f"  {printable(_masked(line))}", width)))
    console.print(Text.assemble(("hint:  ", "bold"), printable(_masked(as_typed(error.hint or _next_command(error))))))


def _masked(text: str) -> str:
    """Without the hub's token: a library's message, or a proxy's page that tells what it was sent, may hold it."""
    from launcher.store.config import stored_token

    token = stored_token(os.environ)
    return text if token is None or len(token) < _SHORTEST_TOKEN else text.replace(token, "***")


def _message(error: LauncherError) -> str:
    """The message, with the file that it is about."""
    if isinstance(error, DamagedFileError) and error.path and PurePath(error.path).name not in error.message:
        return f"{PurePath(error.path).name}: {error.message}"
    return error.message


def _next_command(error: LauncherError) -> str:
    """What to run next, where the error itself does not know better."""
    if isinstance(error, UsageError):
        command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        return f"gpt-oss {command} --help" if command.isalpha() else "gpt-oss --help"
    if isinstance(error, NetworkError):
        return "gpt-oss chat --demo"
    if isinstance(error, DamagedFileError):
        return "gpt-oss plan"
    if isinstance(error, EngineError):
        return "gpt-oss doctor"
    return _with_debug(sys.argv[1:])
