"""The sandbox profile for macOS, which sandbox-exec takes. Pure.

Written from Apple's own profiles in /System/Library/Sandbox/Profiles. Whether it closes what it should is found out on
the machine itself, before any code of a model runs (`launcher.tools.sandbox.probe`).
"""

from __future__ import annotations

from collections.abc import Iterable

PROGRAM = "/usr/bin/sandbox-exec"


def profile(readable: Iterable[str], writable: str, programs: str) -> str:
    """Deny everything but reading what Python needs, one folder to write to, and starting Python itself."""
    lines = ["(version 1)", "(deny default)", '(import "system.sb")', "(allow file-read-metadata)"]
    lines += [f"(allow file-read* (subpath {_quoted(path)}))" for path in (*readable, programs)]
    lines += [
        f"(allow file-read* file-write* (subpath {_quoted(writable)}))",
        f"(allow process-exec (subpath {_quoted(programs)}))",
        "(deny process-fork)",
        "(deny network*)",
        "(deny signal (target others))",
    ]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
