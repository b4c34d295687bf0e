"""How services are written and their managers asked."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LauncherError
from launcher.paths import write_atomic

TIMEOUT_S = 60.0
"""Of one systemctl or launchctl. Stopping a service takes 10 s at the most, everything else a moment."""
_MODE = 0o644  # systemd complains of unit files that others cannot read; nothing secret is in them


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """How a tool ended; `code` is None where there is no such tool."""

    code: int | None
    out: str = ""
    err: str = ""

    @property
    def said(self) -> str:
        """Its complaint, in a line."""
        return " ".join((self.err or self.out).split()) or f"exit status {self.code}"


Runner = Callable[[Sequence[str]], Ran]


def run_tool(argv: Sequence[str]) -> Ran:
    """Run a tool to its end."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C", "SYSTEMD_PAGER": ""},
        )  # fmt: skip
    except FileNotFoundError:
        return Ran(code=None)
    except subprocess.TimeoutExpired:
        return Ran(code=124, err=f"{argv[0]} did not end within {TIMEOUT_S:g} s")
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


def write_service(path: Path, content: str | bytes) -> None:
    """Write a service's file, whole or not at all.

    Raises:
        LauncherError: the folder cannot be written.
    """
    try:
        write_atomic(path, content, mode=_MODE)
    except OSError as error:
        raise LauncherError(
            f"cannot write {path}: {error.strerror or error}", hint=f"ls -ld {shlex.quote(str(path.parent))}"
        ) from error
