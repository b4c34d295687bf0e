"""A user service that runs `gpt-oss serve`: a unit for systemd, a property list for launchd. Pure.

Quoting follows systemd.syntax(7), systemd.service(5) "Command lines" and systemd.unit(5) "Specifiers".
"""

from __future__ import annotations

import plistlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from launcher.errors import UsageError

UNIT_NAME = "gpt-oss.service"
LABEL = "local.gpt-oss-launcher"
"""launchd wants reversed domain names; `local` is nobody's."""
STOP_S = 10
"""`serve` ends llama-server within 5 s of a signal; more is a process that hangs."""
RESTART_S = 5
"""A crashed server gives its memory back before the next one asks for it."""
_TRIES, _TRIES_S = 5, 300
"""Starts after which systemd gives up. With 5 s in between its default of 5 in 10 s would never be reached."""
_HOPELESS = (2, 3)
"""Exit codes that another start does not change: wrong usage, does not fit."""

_CARRIED = frozenset({"HF_HOME", "HF_ENDPOINT", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"})
_CARRIED_TOO = frozenset({"XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"})
"""Where the launcher's own folders are: else `gpt-oss ps` would look in others than the service writes to."""
_DEVICES = frozenset({"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES"})
_PREFIX = "GPT_OSS_"
_SECRET_WORDS = ("TOKEN", "KEY", "SECRET", "PASSWORD")
_PATH_ENDINGS = ("_FILE", "_DIR", "_DIRS")
"""GPT_OSS_API_KEY_FILE names a file. Left out, a server that asked for a key would ask for none."""
_IN_FRONT = ("--detach", "-d", "--replace", "--dry-run", "--help", "-h")


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """What is to be run, and with which variables."""

    command: PurePath
    """The `gpt-oss` to run, absolute."""
    serve_args: tuple[str, ...] = ()
    environment: Mapping[str, str]
    log_dir: PurePath
    """Where launchd writes what the service says; systemd has its journal."""

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line."""
        return (str(self.command), "serve", *self.serve_args)


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """Variables of the installing shell: those that the service gets, and the names of those that are secret."""

    environment: Mapping[str, str]
    left_out: tuple[str, ...]


def carried(environ: Mapping[str, str]) -> Carried:
    """What decides about models, folders and devices; never a secret, since anyone may read a service's settings."""
    wanted = {
        name: value
        for name, value in environ.items()
        if value and (name in _CARRIED | _CARRIED_TOO | _DEVICES or name.startswith(_PREFIX))
    }
    secret = {name for name, value in wanted.items() if is_secret(name, value)}
    secret |= {name for name in environ if name in {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} and environ[name]}
    return Carried(
        environment={name: wanted[name] for name in sorted(wanted) if name not in secret},
        left_out=tuple(sorted(secret)),
    )


def is_secret(name: str, value: str) -> bool:
    """By its name, or a password in an address."""
    if name.endswith(_PATH_ENDINGS):
        return False
    if any(word in name.upper() for word in _SECRET_WORDS):
        return True
    try:
        return urlsplit(value).password is not None
    except ValueError:
        return False


def check_serve_args(args: Sequence[str]) -> None:
    """Refuse what no service can do, and what no file can hold. All else is `serve`'s to judge.

    Raises:
        UsageError: such an argument.
    """
    for word in args[: args.index("--")] if "--" in args else args:
        if word in _IN_FRONT:
            raise UsageError(f"{word} has no place in a service", hint="gpt-oss service install --help")
    for word in args:
        _check_text(word, "an argument")


def _check_text(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} is not UTF-8, which a service file must be", hint="gpt-oss service --help") from error
    if any(ord(char) < 32 and char not in "\t\n" for char in text):
        raise UsageError(f"{what} holds control characters", hint="gpt-oss service --help")


# systemd


def systemd_unit(service: Service) -> str:
    """The unit file.

    `Type=exec`: started once the command runs; loading a model takes minutes and is no failure. `KillMode=mixed`: the
    launcher is asked to end and ends llama-server itself; what is left then is killed.
    """
    for name, value in service.environment.items():
        _check_text(value, name)
    check_serve_args(service.serve_args)
    _check_text(str(service.command), "the path of gpt-oss")
    # The path of the program is taken as it is but for specifiers: no variable is replaced in it.
    program, *rest = service.argv
    exec_start = " ".join([_quoted(_specifiers(program)), *(_quoted(_specifiers(_variables(word))) for word in rest)])
    lines = [
        "# Written by `gpt-oss service install`, which overwrites it.",
        "[Unit]",
        "Description=GPT OSS endpoint (gpt-oss serve)",
        "After=network.target",
        f"StartLimitIntervalSec={_TRIES_S}",
        f"StartLimitBurst={_TRIES}",
        "",
        "[Service]",
        "Type=exec",
        *(f"Environment={_quoted(_specifiers(f'{name}={value}'))}" for name, value in service.environment.items()),
        f"ExecStart={exec_start}",
        "Restart=on-failure",
        f"RestartSec={RESTART_S}",
        f"RestartPreventExitStatus={' '.join(map(str, _HOPELESS))}",
        f"TimeoutStopSec={STOP_S}",
        "KillMode=mixed",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _variables(text: str) -> str:
    return text.replace("$", "$$")


def _quoted(text: str) -> str:
    """One word, whatever it holds: in double quotes unless it is plain, with C escapes inside."""
    if text and all(char.isalnum() or char in "/._-=:,+@%$" for char in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


# launchd


def launchd_plist(service: Service) -> bytes:
    """The property list of a launch agent."""
    check_serve_args(service.serve_args)
    for name, value in service.environment.items():
        _check_text(value, name)
    log = str(service.log_dir / "service.log")
    table: dict[str, Any] = {
        "Label": LABEL,
        "ProgramArguments": list(service.argv),
        "EnvironmentVariables": dict(service.environment),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": RESTART_S * 2,  # launchd's least
        "ExitTimeOut": STOP_S,
        # A background agent gets less of the processor and of the disk; somebody waits for these answers.
        "ProcessType": "Interactive",
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    return plistlib.dumps(table, sort_keys=False)


# What the managers answer


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceStatus:
    """A service as its manager sees it; None: not told."""

    manager: str
    path: PurePath
    installed: bool
    enabled: bool | None = None
    """Starts with the next login."""
    active: bool | None = None
    state: str | None = None
    """The manager's own word."""
    pid: int | None = None
    last_exit: int | None = None
    """Exit code of the last run that has ended, where it ended by itself."""
    last_signal: int | None = None
    """Number of the signal that ended it."""


def parse_systemd(text: str) -> dict[str, str]:
    """`systemctl show`: a NAME=VALUE a line."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def parse_launchd(text: str) -> dict[str, str]:
    """`launchctl print`: its `name = value` lines, the first of each name. Apple promises nothing of its form."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition(" = ")
        if equals and value != "{":
            found.setdefault(name, value)
    return found


def positive(text: str | None) -> int | None:
    """A number that stands for a process; 0 and words stand for none."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and int(text) > 0 else None


def number(text: str | None) -> int | None:
    """A whole number, else None."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
