"""Namespaces: a process of its own user, with no network, no other process and hardly a file in sight. Linux 5.12 up.

They need no privilege where the system allows user namespaces; some distributions and most containers do not.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from launcher.tools.jail import kernel
from launcher.tools.jail.syscalls import number

_CLONE_NEWNS = 0x00020000  # linux/sched.h, as the others
_CLONE_NEWCGROUP = 0x02000000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_ALL = _CLONE_NEWNS | _CLONE_NEWCGROUP | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWUSER | _CLONE_NEWPID | _CLONE_NEWNET

_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18  # linux/mount.h, as the others
_MNT_DETACH = 2
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV, _ATTR_NOEXEC = 1, 2, 4, 8
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_ROOT_OPTIONS = "size=1m,mode=755"
"""The root holds nothing but empty folders to mount on."""


def leave() -> None:
    """Enter namespaces of one's own. The process identifiers' one begins with the next child.

    Raises:
        OSError: the system does not allow it.
    """
    if sys.platform != "linux":
        raise OSError("namespaces are Linux's")
    uid, gid = os.geteuid(), os.getegid()
    kernel.syscall("unshare", number("unshare"), _ALL)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")


def move_in(root: str, readable: Iterable[str], writable: str) -> None:
    """Build a file system of these paths alone on the empty folder `root`, and leave every other behind.

    Raises:
        OSError: something cannot be mounted.
    """
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, _ROOT_OPTIONS)
    for path in readable:
        # A device file behind NODEV could not be opened.
        device = 0 if path.startswith("/dev/") else _ATTR_NODEV
        _bind(path, root + path, _ATTR_RDONLY | _ATTR_NOSUID | device)
    _bind(writable, root + writable, _ATTR_NOSUID | _ATTR_NODEV | _ATTR_NOEXEC)
    _set_attributes(root, _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV, recursive=False)
    os.chdir(root)
    # The new root on the old one, which is then taken off from above it: no folder for the old one is needed.
    kernel.syscall("pivot_root", number("pivot_root"), b".", b".")
    kernel.check(kernel.libc().umount2(b".", _MNT_DETACH), "umount2")
    os.chdir("/")


def _bind(source: str, target: str, attributes: int) -> None:
    if Path(source).is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        # A file below a folder that is mounted already is there, and may not be touched.
        with suppress(OSError):
            Path(target).touch()
    _mount(source, target, None, _MS_BIND | _MS_REC)
    _set_attributes(target, attributes, recursive=True)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, options)]
    result = kernel.libc().mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])
    kernel.check(result, f"mount {target}")


def _set_attributes(path: str, attributes: int, *, recursive: bool) -> None:
    """`mount_setattr`, which unlike a remount keeps the other attributes, and reaches mounts below."""
    fields = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    kernel.syscall(
        "mount_setattr",
        number("mount_setattr"),
        _AT_FDCWD,
        os.fsencode(path),
        flags,
        ctypes.byref(fields),
        ctypes.sizeof(fields),
    )
