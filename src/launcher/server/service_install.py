"""Which manager of services this system has."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from launcher.errors import UsageError
from launcher.server.service import Service, ServiceStatus
from launcher.server.service_launchd import Launchd
from launcher.server.service_systemd import Systemd
from launcher.server.service_tools import Runner, run_tool


class Manager(Protocol):
    """What looks after services on a system."""

    path: Path
    """The service's file."""

    def install(self, service: Service, *, start: bool) -> None:
        """Write the file and enable the service; all of it or nothing."""
        ...

    def remove(self) -> bool:
        """Stop the service and take its file away; False where there was none."""
        ...

    def status(self) -> ServiceStatus:
        """How it is."""
        ...


def manager_here(
    *,
    run: Runner = run_tool,
    platform: str = sys.platform,
    home: Path,
    environ: Mapping[str, str],
    uid: int | None = None,
) -> Manager:
    """The manager of this system.

    Raises:
        UsageError: it has none that is known here.
    """
    if platform == "darwin":
        return Launchd(run, home, _uid() if uid is None else uid)
    if platform == "linux":
        config = environ.get("XDG_CONFIG_HOME", "")
        return Systemd(run, Path(config) if config.startswith("/") else home / ".config")
    raise UsageError(
        "user services are written for systemd and launchd, and this system has neither",
        hint="gpt-oss serve --detach",
    )


def _uid() -> int:
    if sys.platform == "win32":
        return 0
    return os.getuid()
