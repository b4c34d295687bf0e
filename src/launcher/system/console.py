"""The console of Windows, which draws colours and moves its cursor by escape sequences once it is asked to.

Windows Terminal does so from the beginning; the older window that `cmd` opens prints them as letters.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_STREAMS = (-11, -12)  # STD_OUTPUT_HANDLE, STD_ERROR_HANDLE of winbase.h
_ESCAPES = 0x0004  # ENABLE_VIRTUAL_TERMINAL_PROCESSING of consoleapi.h


def understand_escapes(library: Any = None) -> int:
    """Ask the console for it, and give how many streams draw them now: none where they go to files or pipes.

    `library` stands in kernel32's place in tests. On other systems nothing is to be asked.
    """
    if library is None:
        if sys.platform != "win32":
            return 0
        library = ctypes.WinDLL("kernel32")
    library.GetStdHandle.restype, library.GetStdHandle.argtypes = ctypes.c_void_p, (ctypes.c_uint32,)
    library.GetConsoleMode.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    library.SetConsoleMode.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    n_drawing = 0
    for stream in _STREAMS:
        handle, mode = library.GetStdHandle(stream & 0xFFFFFFFF), ctypes.c_uint32()
        if handle is not None and library.GetConsoleMode(handle, ctypes.addressof(mode)):
            n_drawing += bool(library.SetConsoleMode(handle, mode.value | _ESCAPES))
    return n_drawing
