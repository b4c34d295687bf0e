"""The process that waits for a command which computes, and tells where an engine crashed it. Linux only.

It puts the terminal in order, says which engine it was, and notes it for later plans.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from launcher.errors import EngineError, ExitCode
from launcher.paths import folders
from launcher.tools.jail.kernel import die_with_parent

assert sys.platform == "linux"  # noqa: S101  # type checkers skip what follows elsewhere: nothing there imports this

_WAITED_FOR = frozenset({signal.SIGCHLD, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTERM, signal.SIGHUP})
_SI_KERNEL = 128
"""Where a signal comes from that is the terminal's (siginfo.h)."""
_ORDERLY = "\x1b[0m\x1b[?25h\x1b[?2004l"
"""Plain letters, a cursor that is seen, pastes as they are."""


def forked(run: Callable[[], int]) -> int:
    """Run a command in a child process. Its exit code is given there; here the process ends."""
    parent, terminal = os.getpid(), _terminal()
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    child = os.fork()
    if child == 0:
        _end_with(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED_FOR)
        return run()
    status = _wait(child)
    code = status if status >= 0 else _ended_by(-status, child, terminal)
    # Nothing of this process may run on: it is a copy, and all that it has open is the child's.
    os._exit(code)


def _end_with(parent: int) -> None:
    """Have the kernel kill this process at the end of its parent, however that comes."""
    die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _terminal() -> tuple[int, list[Any]] | None:
    for descriptor in (0, 2):
        with suppress(termios.error, OSError):
            return descriptor, termios.tcgetattr(descriptor)
    return None


def _send(child: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)


def _wait(child: int) -> int:
    """Its exit code, or the signal that ended it, negative. Where it stops, this process does so too."""
    while True:
        got = signal.sigwaitinfo(_WAITED_FOR)
        if got.si_signo != signal.SIGCHLD:
            # The terminal's go to both by themselves, and a second Ctrl-C would mean something else.
            if got.si_code != _SI_KERNEL:
                _send(child, got.si_signo)
            continue
        pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if pid == 0:
            continue
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        os.kill(os.getpid(), signal.SIGSTOP)
        _send(child, signal.SIGCONT)


def _ended_by(number: int, child: int, terminal: tuple[int, list[Any]] | None) -> int:
    """Tell a crash; end as the child did where it was another signal."""
    from launcher.hardware.crashes import crash_of_status

    how = crash_of_status(-number)
    if how is None:
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED_FOR)
        return 128 + number
    _put_in_order(terminal)
    from launcher.cli.errors import print_error

    print_error(_error(how, child))
    sys.stderr.flush()
    return ExitCode.ENGINE


def _put_in_order(terminal: tuple[int, list[Any]] | None) -> None:
    if terminal is None:
        return
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
