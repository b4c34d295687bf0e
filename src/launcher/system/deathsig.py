"""Become another program that ends when its parent does, however the parent ends, on a large stack. Linux only.

    python -I deathsig.py [--ask] PARENT_PID PROGRAM ARG ...

With `--ask` it is SIGTERM, which a program with children of its own can pass on, and the stack stays as it is.

Run as a file of its own: subprocess's preexec_fn would run Python in a fork of a process that has threads.
"""

import ctypes
import os
import resource
import signal
import sys

assert sys.platform != "win32"  # noqa: S101  # type checkers skip what follows there: nothing on Windows imports this

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
STACK_BYTES = 512 * 1024 * 1024
"""Of each thread; memory only where it is used. llama.cpp splits a prompt into words by std::regex, which calls itself
for every character of a word: on the usual 8 MiB one of 30,000 letters, as Base64 holds, ends the process, on this one
of 1,900,000 (270 bytes each, measured)."""


def main() -> None:
    """Ask the kernel for a signal at the parent's death, then become the program."""
    asked = sys.argv[1] == "--ask"
    parent, *program = sys.argv[2:] if asked else sys.argv[1:]
    number = signal.SIGTERM if asked else signal.SIGKILL
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != int(parent):  # it died before it was asked for
        sys.exit(1)
    if not asked:
        _soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
        size = STACK_BYTES if hard == resource.RLIM_INFINITY else min(STACK_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_STACK, (size, hard))
    os.execv(program[0], program)  # noqa: S606  # no shell: arguments as they are


if __name__ == "__main__":
    main()
