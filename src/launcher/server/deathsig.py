"""Become another program that ends when its parent does, however the parent ends. Linux only.

    python -I deathsig.py PARENT_PID PROGRAM ARG ...

Run as a file of its own: subprocess's preexec_fn would run Python in a fork of a process that has threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Ask the kernel for SIGKILL at the parent's death, then become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before it was asked for
        sys.exit(1)
    os.execv(program[0], program)  # noqa: S606  # no shell: arguments as they are


if __name__ == "__main__":
    main()
