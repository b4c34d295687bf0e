"""Ask a build's programs what they are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from launcher.store.types import without_hub_login

PROGRAM_DEADLINE_S = 60.0
"""llama-server tells its version at once; a GPU's libraries take seconds to come from a slow disk."""


def server_in(site: Path, system: str = sys.platform) -> Path:
    """A build's llama-server, there or not."""
    return site / "bin" / ("llama-server.exe" if system == "win32" else "llama-server")


def ask_version(
    program: Path, environ: Mapping[str, str], *, deadline_s: float = PROGRAM_DEADLINE_S
) -> tuple[int | None, str]:
    """Exit status (None: too late) and words of `llama-server --version`, which loads all that it needs to serve."""
    try:
        done = subprocess.run(  # noqa: PLW1510 -- its status is judged
            [str(program), "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=program.parent,  # it looks for backends where it is started, too
            env=without_hub_login(environ),
            timeout=deadline_s,
        )
    except subprocess.TimeoutExpired:
        return None, ""
    except OSError as error:  # not executable, or for another system
        return 1, f"{program.name}: {error.strerror or error}"
    return done.returncode, done.stdout.decode(errors="replace")
