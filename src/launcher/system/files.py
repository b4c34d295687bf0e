"""Files as Windows has them: one that somebody has open just now cannot be replaced."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

_PAUSES_S = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4)
"""A small file is read in a millisecond, and a virus scanner lets go of a new one within a second."""


def replace(
    source: Path, target: Path, *, system: str = sys.platform, pause: Callable[[float], None] = time.sleep
) -> None:
    """Give `source` the name of `target`, which may be there. On Windows a reader of the target is waited for.

    Raises:
        OSError: it cannot be.
    """
    for seconds in _PAUSES_S if system == "win32" else ():
        try:
            source.replace(target)
        except PermissionError:
            pause(seconds)
        else:
            return
    source.replace(target)
