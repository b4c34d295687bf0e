"""What a jail is told: the code, its folder, the layers to close and the limits. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

Layer = Literal["namespaces", "landlock", "seccomp"]
LAYERS: tuple[Layer, ...] = ("namespaces", "landlock", "seccomp")

USER_FILE = "<python>"
"""What the code is called in its tracebacks."""
FAILED = 1
"""Exit status after an exception of the code, as Python's own."""
NOT_CLOSED = 70
"""Exit status where a layer could not be closed, and so no code was run (sysexits.h, EX_SOFTWARE)."""
TIMED_OUT = 124
"""Exit status after the time limit, as timeout(1) has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One run of code in a jail."""

    code: str
    work: str
    """Folder that the code may write to, and begins in."""
    root: str
    """Empty folder, on which the jail builds what it sees of the file system."""
    readable: tuple[str, ...]
    """Folders and files that Python itself needs."""
    layers: tuple[Layer, ...]
    """Those that must hold: where one cannot be closed, nothing is run."""
    parent: int
    """Process that the jail must not outlive."""
    timeout_s: float
    memory_bytes: int
    file_bytes: int
    """Of one file."""

    def to_json(self) -> str:
        """As the jail reads it on stdin."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Job:
        """Read what `to_json` wrote."""
        table = json.loads(text)
        return cls(**{**table, "readable": tuple(table["readable"]), "layers": tuple(table["layers"])})
