"""A command that computes in its own process, with somebody left to tell where a driver crashes it.

On Linux the process forks before anything is loaded, and the parent only waits. Where the child crashes it puts the
terminal in order, tells which engine it was, and notes it. Elsewhere, and where no engine of the store could be taken,
nothing is forked: what faulthandler writes is found by the next plan.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from launcher.errors import EngineError, ExitCode
from launcher.paths import folders

_PASSED_ON = (signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else []))
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_ORDERLY = "\x1b[0m\x1b[?25h\x1b[?2004l"
"""Plain letters, a cursor that is seen, pastes as they are."""


def watched(run: Callable[[], int], *, program: str | None = None) -> int:
    """Run a command, in a child process where an engine might crash it. Gives its exit code.

    Args:
        run: the command.
        program: what this process was started as: only the launcher's own command is forked.
    """
    if sys.platform != "linux" or not _may_crash(sys.argv[0] if program is None else program):
        return run()
    parent, terminal = os.getpid(), _terminal()
    signals = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, *_PASSED_ON}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    child = os.fork()
    if child == 0:
        _end_with(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        return run()
    # The terminal sends them to both. Where the child stops, this process follows it: by itself it might do so twice.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    for number in _PASSED_ON:
        signal.signal(number, lambda got, _frame: _send(child, got))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    status = _wait(child)
    code = status if status >= 0 else _ended_by(-status, child, terminal)
    # Nothing of this process may run on: it is a copy, and all that it has open is the child's.
    os._exit(code)


def _may_crash(program: str) -> bool:
    """Whether this is the launcher itself, alone in its process, with engines to choose from."""
    if Path(program).name != "gpt-oss" or threading.active_count() > 1:
        return False
    with suppress(OSError):
        return any(not each.name.startswith(".") and each.is_dir() for each in (folders().data / "engines").iterdir())
    return False


def _end_with(parent: int) -> None:
    """Have the kernel kill this process at the end of its parent, however that comes."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def _terminal() -> tuple[int, list[Any]] | None:
    import termios

    for descriptor in (0, 2):
        with suppress(termios.error, OSError):
            return descriptor, termios.tcgetattr(descriptor)
    return None


def _send(child: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)


def _wait(child: int) -> int:
    """Its exit code, or the signal that ended it, negative. Where it stops itself, this process does so too."""
    while True:
        _, status = os.waitpid(child, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        os.kill(os.getpid(), signal.SIGSTOP)
        _send(child, signal.SIGCONT)


def _ended_by(number: int, child: int, terminal: tuple[int, list[Any]] | None) -> int:
    """Tell a crash; end as the child did where it was another signal."""
    from launcher.hardware.crashes import crash_of_status

    how = crash_of_status(-number)
    if how is None:
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        os.kill(os.getpid(), number)
        return 128 + number
    _put_in_order(terminal)
    from launcher.cli.errors import print_error

    print_error(_error(how, child))
    sys.stderr.flush()
    return ExitCode.ENGINE


def _put_in_order(terminal: tuple[int, list[Any]] | None) -> None:
    if terminal is None:
        return
    import termios

    descriptor, modes = terminal
    with suppress(termios.error, OSError):
        termios.tcsetattr(descriptor, termios.TCSADRAIN, modes)
    if sys.stderr.isatty():
        sys.stderr.write(f"{_ORDERLY}\n")


def _error(how: str, child: int) -> EngineError:
    from launcher.hardware.crashes import keep_crash, use_of

    state_dir = folders().state
    found = use_of(state_dir, child)
    if found is None:
        return EngineError(f"gpt-oss crashed ({how})", hint="gpt-oss doctor")
    use, crash = found
    if crash is not None and crash.of_memory:
        return EngineError(
            f"memory ran out, and the engine {use.name} ended ({how})",
            details=crash.complaints[-3:],
            hint="gpt-oss plan",
        )
    if crash is None:  # it had no stack left for faulthandler
        keep_crash(state_dir, use.name, use.doing, how, pid=child)
    return EngineError(
        f"the engine {use.name} crashed ({how})",
        details=("Plans that do not name it leave it out from now on, and take another engine.",),
        hint=f"gpt-oss engine test {shlex.quote(use.name)}",
    )
