"""seccomp: system calls that code of a model has no business with fail, whatever it runs as. Linux only.

No child process, no other program, no socket, no signal to others, no look into others, none of the kernel's doors that
need not be there. With no child process the limit of memory of one process is a limit of all.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator

from launcher.tools.jail import kernel
from launcher.tools.jail.syscalls import AUDIT_ARCH, LAST, table

_FORBIDDEN = """
fork vfork execve execveat ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd pidfd_open pidfd_send_signal
mount umount2 pivot_root chroot setns unshare mount_setattr move_mount open_tree open_tree_attr fsopen fsmount fsconfig
fspick bpf perf_event_open keyctl add_key request_key userfaultfd io_uring_setup io_uring_enter io_uring_register
open_by_handle_at name_to_handle_at kexec_load kexec_file_load init_module finit_module delete_module swapon swapoff
reboot syslog acct quotactl quotactl_fd iopl ioperm modify_ldt socket tkill rt_sigqueueinfo rt_tgsigqueueinfo
setpriority sched_setscheduler sched_setparam sched_setattr sched_setaffinity ioprio_set migrate_pages move_pages
fanotify_init memfd_create memfd_secret shmget msgget semget mq_open vmsplice process_madvise process_mrelease
"""
_METADATA = """
chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat setxattr lsetxattr fsetxattr removexattr lremovexattr
fremovexattr setxattrat removexattrat utime utimes futimesat utimensat truncate file_setattr
"""
"""Landlock does not rule over these, so where it alone closes the files, nobody may change metadata."""

_PR_SET_SECCOMP = 22  # linux/prctl.h
_MODE_FILTER = 2
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000  # linux/seccomp.h
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h: ld/jmp/ret, on words
_NR, _ARCH, _ARG0, _ARG0_HIGH = 0, 4, 16, 20  # struct seccomp_data; both architectures are little-endian
_X32 = 0x40000000
_CLONE_THREAD = 0x00010000
_AF_UNIX = 1

_Step = tuple[int, int, int, int]
"""Code, jump if true, jump if not, operand: `struct sock_filter`."""


def close_calls(*, metadata: bool) -> None:
    """Close the forbidden calls for this process and all it starts; `metadata`: those that change metadata as well.

    Raises:
        OSError: the kernel cannot, or the architecture is not known here.
    """
    program = b"".join(struct.pack("HBBI", *step) for step in build(platform.machine(), os.getpid(), metadata=metadata))
    text = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HP", len(program) // 8, ctypes.addressof(text))
    result = kernel.libc().prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), header, 0, 0)
    kernel.check(result, "seccomp")


def build(machine: str, pid: int, *, metadata: bool) -> list[_Step]:
    """The filter as a program of the kernel's packet filter. Pure."""
    numbers = table(machine)
    steps = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, AUDIT_ARCH[machine]), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NR)]
    # Another way to make the same calls, on x86 with numbers of its own; and calls that are newer than this list.
    steps += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    steps += [(_AT_LEAST, 0, 1, LAST + 1), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    for name in (_FORBIDDEN + (_METADATA if metadata else "")).split():
        if name in numbers:
            steps += _when(numbers[name], [(_RETURN, 0, 0, _ERRNO | errno.EPERM)])
    # The C library then takes clone, whose flags can be read here.
    steps += _when(numbers["clone3"], [(_RETURN, 0, 0, _ERRNO | errno.ENOSYS)])
    steps += _when(numbers["clone"], [(_LOAD, 0, 0, _ARG0), (_ANY_BIT, 1, 0, _CLONE_THREAD), *_refuse_or_allow()])
    # asyncio talks to itself through a pair.
    steps += _when(numbers["socketpair"], _first_argument(_AF_UNIX))
    for name in ("kill", "tgkill"):
        steps += _when(numbers[name], _first_argument(pid))
    # getrlimit of the C library is this call with 0 for oneself.
    steps += _when(numbers["prlimit64"], _first_argument(0))
    return [*steps, (_RETURN, 0, 0, _ALLOW)]


def _when(number: int, then: list[_Step]) -> Iterator[_Step]:
    yield _EQUAL, 0, len(then), number
    yield from then


def _first_argument(value: int) -> list[_Step]:
    """Allow the call where its first argument, an int, is this value."""
    return [(_LOAD, 0, 0, _ARG0), (_EQUAL, 1, 0, value), *_refuse_or_allow()]


def _refuse_or_allow() -> list[_Step]:
    return [(_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
