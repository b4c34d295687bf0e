"""The service under systemd's user manager."""

from __future__ import annotations

from pathlib import Path

from launcher.errors import LauncherError, UsageError
from launcher.server.service import UNIT_NAME, Service, ServiceStatus, number, parse_systemd, positive, systemd_unit
from launcher.server.service_tools import Ran, Runner, write_service

_EXITED, _KILLED = "1", ("2", "3")
"""ExecMainCode is the si_code of sigaction(2): CLD_EXITED, CLD_KILLED, CLD_DUMPED; 0 before anything has ended."""


class Systemd:
    """systemd's user manager."""

    def __init__(self, run: Runner, config_home: Path) -> None:
        self._run = run
        self.path = config_home / "systemd" / "user" / UNIT_NAME
        # What `enable` makes. It has to go too where no manager is left to do it.
        self._link = self.path.parent / "default.target.wants" / UNIT_NAME

    def install(self, service: Service, *, start: bool) -> None:
        """Write, reload, enable, and start where asked; a service that runs already starts again with what is new.

        Raises:
            UsageError: there is no user manager here.
            LauncherError: it refuses; the file is as it was before.
        """
        text = systemd_unit(service)
        self._check_bus()
        before = self.path.read_bytes() if self.path.exists() else None
        ran_before = self._run(("systemctl", "--user", "is-active", "--quiet", UNIT_NAME)).code == 0
        write_service(self.path, text)
        try:
            self._ctl("daemon-reload")
            self._ctl("enable", UNIT_NAME)
            if start:
                self._forget_failures()
                self._ctl("restart", UNIT_NAME)
        except BaseException:
            self._take_back(before, ran_before=ran_before)
            raise

    def remove(self) -> bool:
        """Stop, disable, delete. Without a user manager nothing runs, and the files are all there is to remove.

        Raises:
            LauncherError: the manager refuses to stop it; the file is still there.
        """
        if not self.path.exists() and not self._link.is_symlink():
            return False
        reached = self._reach()
        if reached.code == 0 and self.path.exists():
            self._ctl("disable", "--now", UNIT_NAME)
        self._link.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        if reached.code == 0:
            self._ctl("daemon-reload")
            self._forget_failures()
        return True

    def status(self) -> ServiceStatus:
        """What `systemctl show` tells; nothing of it without a user manager."""
        here = self.path.exists()
        names = "ActiveState,SubState,UnitFileState,MainPID,ExecMainCode,ExecMainStatus"
        ran = self._run(("systemctl", "--user", "show", UNIT_NAME, f"--property={names}"))
        if ran.code != 0:
            return ServiceStatus(manager="systemd", path=self.path, installed=here)
        told = parse_systemd(ran.out)
        active, sub = told.get("ActiveState"), told.get("SubState")
        how, code = told.get("ExecMainCode"), number(told.get("ExecMainStatus"))
        return ServiceStatus(
            manager="systemd",
            path=self.path,
            installed=here,
            enabled=told.get("UnitFileState") == "enabled",
            active=active == "active",
            state=f"{active} ({sub})" if active and sub else active,
            pid=positive(told.get("MainPID")),
            last_exit=code if how == _EXITED else None,
            last_signal=code if how in _KILLED else None,
        )

    def _take_back(self, before: bytes | None, *, ran_before: bool) -> None:
        if before is None:
            self._run(("systemctl", "--user", "disable", UNIT_NAME))
            self._run(("systemctl", "--user", "stop", UNIT_NAME))  # it may be between two tries
            self._link.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
        else:
            write_service(self.path, before)
        self._run(("systemctl", "--user", "daemon-reload"))
        if before is not None and ran_before:
            self._run(("systemctl", "--user", "restart", UNIT_NAME))

    def _forget_failures(self) -> None:
        """Else what has failed too often is not started; the command fails where nothing has."""
        self._run(("systemctl", "--user", "reset-failed", UNIT_NAME))

    def _reach(self) -> Ran:
        return self._run(("systemctl", "--user", "show", "--property=Version"))

    def _check_bus(self) -> None:
        reached = self._reach()
        if reached.code == 0:
            return
        details: tuple[str, ...]
        if reached.code is None:
            what = "there is no systemd here (systemctl is not installed)"
            details = (
                "In a container let `gpt-oss serve` be its process; elsewhere let this system's own init run it.",
            )
        else:
            what = f"no user manager of systemd answers: {reached.said}"
            details = (
                "WSL: put `systemd=true` under `[boot]` in /etc/wsl.conf, then run `wsl --shutdown` in Windows.",
                "A container: let its process be `gpt-oss serve`, and its engine start it again.",
                "After `su` or `sudo`: log in as this user, or run `sudo loginctl enable-linger USER` first.",
            )
        raise UsageError(what, details=details, hint="gpt-oss serve --detach")

    def _ctl(self, *words: str) -> None:
        ran = self._run(("systemctl", "--user", *words))
        if ran.code != 0:
            raise LauncherError(
                f"systemctl --user {' '.join(words)}: {ran.said}",
                details=(f"The journal says more: journalctl --user -u {UNIT_NAME} -n 50",),
                hint="gpt-oss service status",
            )
