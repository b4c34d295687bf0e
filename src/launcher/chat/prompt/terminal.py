"""The terminal as prompt_toolkit draws on it."""

from __future__ import annotations

from typing import TextIO

from prompt_toolkit.output import Output, create_output
from prompt_toolkit.output.vt100 import Vt100_Output


def open_output(stream: TextIO | None) -> Output:
    """Draws on `stream`, and asks the terminal nothing.

    Where the cursor is need not be known, and answers that come late, over a slow ssh, end up in a shell's input.
    """
    output = create_output(stream)
    if isinstance(output, Vt100_Output):
        output.enable_cpr = False
    return output
