"""Names that tell whose machine this is: they are taken out of what is given away."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import socket
import sys
from pathlib import Path

_SHORTEST = 2
"""Of one letter nothing would be left standing."""


def private_names() -> tuple[str, ...]:
    """The user's names (login, home folder, full name), and the host's, with and without its domain."""
    found = []
    with contextlib.suppress(OSError, KeyError, ImportError):  # a user id without an entry
        found.append(getpass.getuser())
    with contextlib.suppress(RuntimeError):  # no home folder
        found.append(Path.home().name)
    found += _full_name()
    for host in (socket.gethostname(), platform.node()):
        found += [host, host.partition(".")[0]]
    return tuple(dict.fromkeys(name for name in found if len(name) >= _SHORTEST))


def _full_name() -> list[str]:
    """As the system's list of users has it: whole, and word by word."""
    if sys.platform == "win32":  # which has no such list
        return []
    import pwd

    try:
        whole = pwd.getpwuid(os.getuid()).pw_gecos.partition(",")[0].strip()
    except KeyError:
        return []
    return [whole, *whole.split()]
