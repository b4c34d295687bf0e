"""Open a file in the user's editor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from launcher.errors import LauncherError
from launcher.system.shell import split


def open_in_editor(path: Path) -> None:
    """Run VISUAL or EDITOR (else the system's plainest) on `path` and wait for it to end.

    Raises:
        LauncherError: the editor is not there, or ended with an error.
    """
    given = os.environ.get("VISUAL", "").strip() or os.environ.get("EDITOR", "").strip()
    command = given or ("notepad" if sys.platform == "win32" else "vi")
    try:
        words = split(command)
    except ValueError as error:
        raise LauncherError(f"cannot read the editor {command!r}: {error}", hint="gpt-oss config path") from error
    try:
        done = subprocess.run([*words, str(path)], check=False)
    except OSError as error:
        raise LauncherError(
            f"cannot run the editor {command!r}: {error.strerror}", hint="gpt-oss config path"
        ) from error
    if done.returncode:
        raise LauncherError(f"the editor {command!r} ended with {done.returncode}", hint="gpt-oss config path")
