"""Become another program that ends when its parent does, however the parent ends, on a large stack. Linux only.

    python -I deathsig.py PARENT_PID PROGRAM ARG ...

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
    """Ask the kernel for SIGKILL at the parent's death, then become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before it was asked for
        sys.exit(1)
    _soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    size = STACK_BYTES if hard == resource.RLIM_INFINITY else min(STACK_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (size, hard))
    os.execv(program[0], program)  # noqa: S606  # no shell: arguments as they are


if __name__ == "__main__":
    main()
