"""Escape sequences are asked for where a console is, and nowhere else."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from launcher.system.console import understand_escapes

OUT, ERR = 2**32 - 11, 2**32 - 12


class Function:
    """A C function whose types can be set."""

    def __init__(self, body: Callable[..., Any]) -> None:
        self.body = body
        self.restype: Any = None
        self.argtypes: Any = None

    def __call__(self, *arguments: Any) -> Any:
        assert len(arguments) == len(self.argtypes)
        return self.body(*arguments)


class Library:
    """A kernel32 with streams that are consoles, by their handles, with their modes."""

    def __init__(self, consoles: dict[int, int], *, refuses: bool = False) -> None:
        self.modes = consoles
        self.GetStdHandle = Function({OUT: 7, ERR: 8}.get)
        self.GetConsoleMode = Function(self.get)
        self.SetConsoleMode = Function(lambda handle, mode: 0 if refuses else self.set(handle, mode))

    def get(self, handle: int, address: int) -> int:
        if handle not in self.modes:
            return 0
        ctypes.c_uint32.from_address(address).value = self.modes[handle]
        return 1

    def set(self, handle: int, mode: int) -> int:
        self.modes[handle] = mode
        return 1


def test_consoles_draw_and_keep_what_they_had() -> None:
    library = Library({7: 0x3, 8: 0x7})
    assert understand_escapes(library) == 2
    assert library.modes == {7: 0x7, 8: 0x7}


def test_a_pipe_is_left_alone_and_an_old_console_is_no_error() -> None:
    assert understand_escapes(Library({8: 0x3})) == 1
    assert understand_escapes(Library({})) == 0
    assert understand_escapes(Library({7: 0x3}, refuses=True)) == 0


def test_elsewhere_there_is_nothing_to_ask() -> None:
    if sys.platform != "win32":
        assert understand_escapes() == 0
