"""Landlock: this process may open nothing but what is named, however it got the name. Linux 5.13 and later.

Numbers are those of linux/landlock.h. Landlock asks for no privilege and works in most containers. It rules over
opening, making and removing files; whether a file exists, and its metadata, stay visible.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterable

from launcher.tools.jail import kernel

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_TRUNCATE = 1 << 14
_IOCTL_DEV = 1 << 15
_ACCESS_BITS = {1: 13, 2: 14, 3: 15, 5: 16}
"""How many rights over files each version of the interface knows, from the one that added some."""
_ON_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE
_EXECUTE = 1 << 0
_ALL_NET = 0b11
_ALL_SCOPES = 0b11
_NET_FROM, _SCOPES_FROM = 4, 6


def version() -> int:
    """Version of the interface. Raises OSError where the kernel has none, or it is switched off."""
    return kernel.syscall("landlock", _CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)


def close_files(readable: Iterable[str], writable: Iterable[str]) -> None:
    """Close everything but these paths; TCP, signals and abstract sockets to others too, where the kernel can.

    Raises:
        OSError: the kernel cannot, or a path cannot be opened.
    """
    abi = version()
    every = (1 << max(bits for since, bits in _ACCESS_BITS.items() if since <= abi)) - 1
    net = _ALL_NET if abi >= _NET_FROM else 0
    scopes = _ALL_SCOPES if abi >= _SCOPES_FROM else 0
    attributes = (ctypes.c_uint64 * 3)(every, net, scopes)
    # An older kernel refuses a structure with more fields than it knows, unless they are zero.
    ruleset = kernel.syscall(
        "landlock_create_ruleset", _CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0
    )
    try:
        for path in readable:
            _allow(ruleset, path, _READ_FILE | _READ_DIR)
        for path in writable:
            _allow(ruleset, path, every & ~_EXECUTE & ~_IOCTL_DEV)
        kernel.syscall("landlock_restrict_self", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


class _PathBeneath(ctypes.Structure):
    """`struct landlock_path_beneath_attr`, which is packed."""

    _pack_ = 1
    _layout_ = "ms"  # 3.14 asks for it beside _pack_; the members are the same
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def _allow(ruleset: int, path: str, rights: int) -> None:
    if sys.platform != "linux":
        raise OSError("Landlock is Linux's")
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _ON_FILES
        rule = _PathBeneath(rights, descriptor)
        kernel.syscall("landlock_add_rule", _ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)
