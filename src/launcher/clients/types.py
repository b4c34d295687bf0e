"""What a client of the server is, what it must be told, and how it is started. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from launcher.server.types import Endpoint, key_command

KEY_ENV = "GPT_OSS_API_KEY"
"""Variable that holds the server's key: configurations name it instead of holding the key."""
NO_KEY = "none"
"""What clients are given that insist on a key where the server wants none."""
PROVIDER = "gpt-oss"
"""Name of the server in configurations that list several."""
PROVIDER_TITLE = "GPT OSS (local)"

Format = Literal["toml", "yaml", "json"]
Language = Literal["toml", "yaml", "json", "python", "javascript", "sh", "powershell"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The endpoint that a client is pointed at."""

    endpoint: Endpoint
    keyed: bool
    """Whether the server wants a key."""
    system: str = sys.platform
    """Of the client, as `sys.platform` spells it: which shell its commands are for."""

    @property
    def key_command(self) -> str:
        """Shell command that prints the key."""
        file = self.endpoint.key_file
        if file is not None:
            return key_command(file, system=self.system)
        return f"cmd /c echo %{KEY_ENV}%" if self.system == "win32" else f"printenv {KEY_ENV}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigFile:
    """Where a client keeps its settings."""

    path: str
    """Below the home folder, with `/`: `.codex/config.toml`."""
    format: Format
    macos_path: str | None = None
    """Where it is on macOS, if not there."""
    windows_path: str | None = None
    """Where it is on Windows, if not there."""
    folder_env: str | None = None
    """Variable that names another folder for it: `CODEX_HOME`."""
    other_names: tuple[str, ...] = ()
    """What else the client reads in that folder: taken where there is no file of the first name."""
    hides: str | None = None
    """File of that folder that the client stops reading as soon as this one is there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patch:
    """What a settings file must hold; everything else in it stays."""

    file: ConfigFile
    values: Mapping[str, Any] | Sequence[Any]
    """Nested tables; a value that is None is to be removed."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Set only where the file says nothing."""
    identity: str = "name"
    """Member by which an element of a list of tables is recognised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snippet:
    """A text to be pasted or run."""

    language: Language
    text: str
    file: ConfigFile | None = None
    """The settings file that it is for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """A client's command for one run."""

    program: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    """Variables that are set for it, without the key."""
    key_envs: tuple[str, ...] = ()
    """Variables that carry the key, where there is one."""
    unset: tuple[str, ...] = ()
    """Variables that would lead it elsewhere, or hand another service's key to this server."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """A program or a library that can use the server."""

    name: str
    """What it is called on the command line: `codex`."""
    title: str
    prints: str
    """What `gpt-oss connect NAME` prints, in a few words."""
    files: tuple[ConfigFile, ...] = ()
    """Its settings files; none where there is nothing to merge into."""
    install: str | None = None
    """Command that installs it, where `gpt-oss launch` can start it."""
    aliases: tuple[str, ...] = ()
    key_env: str | None = KEY_ENV
    """Variable in which it looks for the key; None where it learns the key otherwise."""
    use: str | None = None
    """How it is used once configured, with `{model}` for the model."""

    @property
    def launchable(self) -> bool:
        """Whether `gpt-oss launch` can start it."""
        return self.install is not None
