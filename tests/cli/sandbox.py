"""Run the installed `gpt-oss` in folders of a test's own, with no network beyond loopback."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from launcher.cli.app import app

TIMEOUT_S = 60
"""Of one command. The slowest takes two seconds on an idle core; the rest is for a machine that does other things."""
_PLAIN = 'exec "$@"'
"""A line of a shell that runs the command as it is."""
_OF_WINDOWS = ("APPDATA", "COMSPEC", "LOCALAPPDATA", "PATHEXT", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "WINDIR")
"""Variables without which hardly a program starts there."""
_TOOLS = frozenset({"hf", "ls", "npm", "ps", "tasklist", "unset", "uv"})
"""First words of hints that are commands of others."""
_ASSIGNMENT = re.compile(r"[A-Z_]+=")


@dataclass(frozen=True)
class Done:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what is wrong."""
        (line,) = [line for line in self.err.splitlines() if line.startswith("error: ")]
        return line.removeprefix("error: ")

    @property
    def hint(self) -> str:
        """The next command."""
        (line,) = [line for line in self.err.splitlines() if line.startswith("hint:")]
        return line.removeprefix("hint:").strip()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def executable() -> str:
    """The installed command."""
    found = shutil.which("gpt-oss", path=sysconfig.get_path("scripts"))
    assert found, "gpt-oss is not installed"
    return found


class Sandbox:
    """A person's home folder, and commands run in it."""

    def __init__(self, root: Path, endpoint: str | None = None) -> None:
        self.root = root
        self.hub_cache = root / "hf" / "hub"
        self.cache = root / "cache"
        self.config = root / "config"
        for folder in ("home", "config"):
            (root / folder).mkdir()
        self.env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            **{name: os.environ[name] for name in _OF_WINDOWS if name in os.environ},
            "HOME": str(root / "home"),
            "USERPROFILE": str(root / "home"),
            "HF_HOME": str(root / "hf"),
            "HF_ENDPOINT": endpoint or f"http://127.0.0.1:{free_port()}",
            "GPT_OSS_CONFIG_DIR": str(self.config),
            "GPT_OSS_DATA_DIR": str(root / "data"),
            "GPT_OSS_STATE_DIR": str(root / "state"),
            "GPT_OSS_CACHE_DIR": str(self.cache),
            # Otherwise an Ollama that serves this machine is looked into.
            "OLLAMA_MODELS": str(root / "home" / ".ollama" / "models"),
            # Small parallel regions on a busy machine wait for each other longer than they compute.
            "GPT_OSS_THREADS": "1",
            # On a machine whose GPU lies idle, a chat would say so among what a test reads.
            "GPT_OSS_ENGINE_OFFER": "false",
        }

    def start(
        self, *args: object, env: dict[str, str] | None = None, shell: str = _PLAIN, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Begin a command, without input and with its output in pipes unless `options` or a line of `shell` differ."""
        given: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "cwd": self.root,
            "env": {**self.env, **(env or {})},
            **options,
        }
        command = [executable(), *map(str, args)]
        if sys.platform == "win32":
            if shell != _PLAIN:
                pytest.skip("a line of a POSIX shell")
        else:
            command = ["/bin/sh", "-c", shell, "sh", *command]
        return subprocess.Popen(command, **given)

    def run(self, *args: object, stdin: bytes | None = None, env: dict[str, str] | None = None, **options: Any) -> Done:
        """Run a command to its end."""
        if stdin is not None:
            options["stdin"] = subprocess.PIPE
        with self.start(*args, env=env, **options) as process:
            try:
                out, err = process.communicate(stdin, timeout=TIMEOUT_S)
            finally:
                process.kill()
        texts = ((data or b"").decode().replace(os.linesep, "\n") for data in (out, err))
        done = Done(process.returncode, *texts)
        assert "Traceback" not in done.err or "--debug" in args, done.err
        return done

    def refused(self, *args: object, **options: Any) -> Done:
        """Run a command that must fail: one error line and one hint that can be typed, nothing on stdout."""
        done = self.run(*args, **options)
        assert done.code != 0, done
        assert done.out == ""
        assert done.error
        assert_runnable(done.hint)
        return done


def assert_runnable(hint: str) -> None:
    """A hint must be a command that can be typed: one of ours that parses, or a tool's by its name."""
    words = shlex.split(hint)
    if words[0] == "env":
        words = words[1:]
        while words[0] == "-u":
            words = words[2:]
    while _ASSIGNMENT.match(words[0]):
        words = words[1:]
    if words[0] in _TOOLS:
        return
    assert words[0] == "gpt-oss", hint
    _parse(words[1:], hint)


def _parse(words: Sequence[str], hint: str) -> None:
    """Parse, command by command, without running any."""
    command: Any = get_command(app)
    context: Any = None
    name, rest = "gpt-oss", list(words)
    while True:
        try:
            context = command.make_context(name, rest, parent=context)
            if not hasattr(command, "resolve_command"):
                return
            rest = [*context._protected_args, *context.args]
            if not rest and command.invoke_without_command:
                return
            name, command, rest = command.resolve_command(context, rest)
        except typer.Exit:  # --help and --version end here
            return
        except Exception as error:
            raise AssertionError(f"{hint!r} cannot be typed: {error}") from error
