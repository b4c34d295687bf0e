"""The errors a person can meet, each with its data, one line of text, a next command and an exit code.

Library code raises these; `launcher.cli.errors` is the only place that prints them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the `gpt-oss` process answers its caller. Documented in the README; never renumbered."""

    DONE = 0
    FAULT = 1
    USAGE = 2
    DOES_NOT_FIT = 3
    NETWORK = 4
    DAMAGED = 5
    ENGINE = 6
    INTERRUPTED = 130


class LauncherError(Exception):
    """A failure that is explained to the user: `message` is one line, `hint` is the next command to run (or None).

    `details` are further lines (a table of what is needed and what is here); `code` ends the process.
    """

    code: ClassVar[ExitCode] = ExitCode.FAULT

    def __init__(self, message: str, *, hint: str | None = None, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details


class UsageError(LauncherError):
    """What was asked makes no sense: an unknown model, quant, setting or a value out of range."""

    code = ExitCode.USAGE


class DoesNotFitError(LauncherError):
    """No placement of what was asked stays within this machine's memory (or disk, for a download)."""

    code = ExitCode.DOES_NOT_FIT

    def __init__(
        self,
        message: str,
        *,
        needs_bytes: int,
        has_bytes: int,
        hint: str | None = None,
        details: tuple[str, ...] = (),
        closest: object = None,
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.needs_bytes = needs_bytes
        self.has_bytes = has_bytes
        self.closest = closest
        """The nearest miss, a `planner.types.Plan` with `fits` false, where there is one."""


class NetworkError(LauncherError):
    """The hub could not be reached, refused, or kept failing. `status` is the HTTP status where there was one."""

    code = ExitCode.NETWORK

    def __init__(
        self,
        message: str,
        *,
        url: str | None = None,
        status: int | None = None,
        hint: str | None = None,
        details: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.url = url
        self.status = status


class DamagedFileError(LauncherError):
    """A file is missing, truncated, corrupt, of another kind, or fails its hash. `path` names it."""

    code = ExitCode.DAMAGED

    def __init__(
        self, message: str, *, path: str | None = None, hint: str | None = None, details: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.path = path


class EngineError(LauncherError):
    """llama.cpp could not load, decode or was not built for this. `log` holds its last lines."""

    code = ExitCode.ENGINE

    def __init__(
        self, message: str, *, log: tuple[str, ...] = (), hint: str | None = None, details: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.log = log


class EngineCrashError(EngineError):
    """A process of an engine crashed. `how` says by what: `Segmentation fault`."""

    def __init__(
        self,
        message: str,
        *,
        how: str,
        log: tuple[str, ...] = (),
        hint: str | None = None,
        details: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, log=log, hint=hint, details=details)
        self.how = how
