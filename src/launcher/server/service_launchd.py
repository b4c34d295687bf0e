"""The service as a launchd agent of a user who is logged in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from launcher.errors import LauncherError, UsageError
from launcher.server.service import (
    LABEL,
    STOP_S,
    Service,
    ServiceStatus,
    launchd_plist,
    number,
    parse_launchd,
    positive,
)
from launcher.server.service_tools import Ran, Runner, write_service

_PAUSE_S = 0.2


class Launchd:
    """launchd's agents of a user who is logged in."""

    def __init__(self, run: Runner, home: Path, uid: int, sleep: Callable[[float], None] = time.sleep) -> None:
        self._run = run
        self._sleep = sleep
        self._domain = f"gui/{uid}"
        self.path = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"

    def install(self, service: Service, *, start: bool) -> None:
        """Write, and load where it is to start: what launchd loads runs at once, and everything here with a login.

        Raises:
            UsageError: there is no launchctl.
            LauncherError: launchd refuses; the file is as it was before.
        """
        content = launchd_plist(service)
        if self._run(("launchctl", "print", self._domain)).code is None:
            raise UsageError("launchctl is not installed", hint="gpt-oss serve --detach")
        Path(service.log_dir).mkdir(parents=True, exist_ok=True)  # launchd makes no folders
        before = self.path.read_bytes() if self.path.exists() else None
        write_service(self.path, content)
        try:
            self._unload()
            if start:
                self._load()
        except BaseException:
            if before is None:
                self.path.unlink(missing_ok=True)
            else:
                write_service(self.path, before)
                self._bootstrap()
            raise

    def remove(self) -> bool:
        """Stop and delete."""
        loaded, here = self._unload(), self.path.exists()
        self.path.unlink(missing_ok=True)
        return here or loaded

    def status(self) -> ServiceStatus:
        """What `launchctl print` tells; it fails where the agent is not loaded."""
        here = self.path.exists()
        ran = self._run(("launchctl", "print", f"{self._domain}/{LABEL}"))
        if ran.code is None:
            return ServiceStatus(manager="launchd", path=self.path, installed=here)
        told = parse_launchd(ran.out) if ran.code == 0 else {}
        return ServiceStatus(
            manager="launchd",
            path=self.path,
            installed=here,
            enabled=here,
            active=told.get("state") == "running",
            state=told.get("state", "not loaded"),
            pid=positive(told.get("pid")),
            last_exit=number(told.get("last exit code")),
        )

    def _unload(self) -> bool:
        """Stop it; False where it was not loaded. launchd answers before the process has ended: wait for that."""
        target = f"{self._domain}/{LABEL}"
        if self._run(("launchctl", "print", target)).code != 0:
            return False
        self._run(("launchctl", "bootout", target))
        for _ in range(round((STOP_S + 1) / _PAUSE_S)):
            if self._run(("launchctl", "print", target)).code != 0:
                break
            self._sleep(_PAUSE_S)
        return True

    def _load(self) -> None:
        self._run(("launchctl", "enable", f"{self._domain}/{LABEL}"))  # it may have been disabled by hand
        ran = self._bootstrap()
        if ran.code != 0:
            raise LauncherError(
                f"launchctl bootstrap: {ran.said}",
                details=("It needs a login at the screen, not one over ssh alone.",),
                hint="gpt-oss service install --no-start",
            )

    def _bootstrap(self) -> Ran:
        return self._run(("launchctl", "bootstrap", self._domain, str(self.path)))
