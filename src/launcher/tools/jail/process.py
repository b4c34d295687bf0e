"""The jail itself: closes the layers it is told to, runs the code in a child, and leaves nothing running behind.

1. It asks to die with its parent, and to be given orphans of its descendants.
2. It enters the namespaces and starts the child, which moves into its own file system, limits itself, gives up its
   rights, closes files and system calls, and only then runs the code.
3. It waits for the child or for SIGTERM, then kills whatever descends from it. In a namespace of process identifiers
   the child is the first process there, and the kernel kills all others with it.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

from launcher.tools.jail.job import NOT_CLOSED, Job

assert sys.platform != "win32"  # noqa: S101  # type checkers skip what follows there: nothing on Windows imports this

_WAITED = (signal.SIGTERM, signal.SIGCHLD)
_DEVICES = ("/dev/null", "/dev/zero")
_MAX_FILES = 64
_MAX_THREADS = 256
"""Of this user in the namespace; address space for their stacks runs out earlier."""


def main() -> None:
    """Read a job on stdin and do it."""
    job = Job.from_json(sys.stdin.buffer.read())
    sys.exit(do(job))


def do(job: Job) -> int:
    """Run the job and end all that came of it. Gives the exit status; 128 and more for a signal, as shells have it."""
    if not sys.platform.startswith("linux"):
        # Its sandbox lets nobody fork, and so nothing can be left behind.
        return _be_child(job)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    try:
        _tie(job)
    except OSError as error:
        return _not_closed(error)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED)
        return _be_child(job)
    status = _wait(child)
    _end_descendants()
    return status


def _tie(job: Job) -> None:
    from launcher.tools.jail import kernel, namespaces

    kernel.die_with_parent(signal.SIGKILL)
    if os.getppid() != job.parent:  # it died before it was asked for
        os._exit(NOT_CLOSED)
    kernel.adopt_orphans()
    with suppress(OSError):
        # Whoever runs out of memory: it is not the model that shall be killed.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    if "namespaces" in job.layers:
        namespaces.leave()


def _wait(child: int) -> int:
    """Wait for the child to end, or end it when told to."""
    while True:
        if signal.sigwait(_WAITED) == signal.SIGTERM:
            os.kill(child, signal.SIGKILL)
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _end_descendants() -> None:
    """Kill what the child left behind until nothing is left: its orphans are children of this process."""
    while True:
        for pid in _children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while True:
                os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    me = str(os.getpid())
    found = []
    with suppress(OSError):  # the namespaces' file system has no /proc, and no descendants are left in them
        for entry in os.listdir("/proc"):  # noqa: PTH208
            with suppress(OSError, ValueError, IndexError):
                # The name, in brackets, may hold anything; state and parent come after it.
                fields = Path("/proc", entry, "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
                if fields.split()[1] == me:
                    found.append(int(entry))
    return found


def _be_child(job: Job) -> int:
    try:
        _close(job)
    except (OSError, ValueError) as error:
        return _not_closed(error)
    from launcher.tools.jail.run import run

    # One stream, so that what is printed and what goes wrong stand in their order, and line by line, for a time limit.
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stdout
    status = run(job.code, work=job.work, timeout_s=job.timeout_s)
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    return status


def _not_closed(error: Exception) -> int:
    sys.stderr.write(f"the sandbox cannot be closed: {error}\n")
    return NOT_CLOSED


def _close(job: Job) -> None:
    """Close everything, in the order in which each step is still allowed."""
    # Imported while all files are in sight.
    from launcher.tools.jail import run  # noqa: F401

    on_linux = sys.platform.startswith("linux")
    if on_linux:
        from launcher.tools.jail import kernel, landlock, namespaces, seccomp

        kernel.die_with_parent(signal.SIGKILL)
        if "namespaces" in job.layers:
            namespaces.move_in(job.root, job.readable, job.work)
    os.chdir(job.work)
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.closerange(3, max(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 4096))
    _limit(job)
    if on_linux:
        kernel.drop_capabilities()
        kernel.forbid_new_privileges()
        if "landlock" in job.layers:
            landlock.close_files(job.readable, [job.work, *_DEVICES])
        if "seccomp" in job.layers:
            seccomp.close_calls(metadata="namespaces" not in job.layers)
    # The launcher's own modules need not be there for the code.
    sys.path[:] = [*sys.path[1:], job.work]
    sys.argv[:] = [""]


def _limit(job: Job) -> None:
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_FSIZE, job.file_bytes)
    _set(resource.RLIMIT_NOFILE, _MAX_FILES)
    # Several threads may use it up; the time limit is kept by a clock.
    _set(resource.RLIMIT_CPU, int(2 * job.timeout_s) + 2)
    if "namespaces" in job.layers:
        _set(resource.RLIMIT_NPROC, _MAX_THREADS)
    if sys.platform != "darwin":  # where it is not kept
        _set(resource.RLIMIT_AS, job.memory_bytes)
    # A file that grows too large is an error of the code, not the end of it.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _set(limit: int, value: int) -> None:
    _soft, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))
