"""Become the client: its process takes the place of ours, so that signals and the terminal are its own."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping

from launcher.clients.types import Client, Launch
from launcher.errors import LauncherError, UsageError
from launcher.system import shell

_MASK = "****"

Execute = Callable[[str, list[str], dict[str, str]], object]


def environment(launch: Launch, environ: Mapping[str, str], key: str | None) -> dict[str, str]:
    """The environment of one run."""
    kept = {name: value for name, value in environ.items() if name not in launch.unset}
    return {**kept, **launch.env, **({} if key is None else dict.fromkeys(launch.key_envs, key))}


def command_line(launch: Launch, *, keyed: bool, system: str = sys.platform) -> str:
    """The command as a shell would be given it, with the key masked."""
    given = {**launch.env, **(dict.fromkeys(launch.key_envs, _MASK) if keyed else {})}
    return shell.command_line([launch.program, *launch.args], env=given, unset=launch.unset, system=system)


def start(
    client: Client,
    launch: Launch,
    *,
    key: str | None,
    environ: Mapping[str, str],
    execute: Execute = os.execvpe,
) -> None:
    """Replace this process by the client. Does not return unless it fails.

    Windows cannot replace a process: there the client runs while this one waits, and its exit status becomes ours.

    Raises:
        UsageError: the client is not installed.
        LauncherError: the system cannot run it.
    """
    path = shutil.which(launch.program, path=environ.get("PATH"))
    if path is None:
        raise UsageError(f"{client.title} is not installed: no {launch.program} on PATH", hint=client.install)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if sys.platform == "win32":
        execute = run_and_leave if execute is os.execvpe else execute
        _execute(path, launch, environment(launch, environ, key), execute)
        return
    # Python ignores SIGPIPE, and what is ignored stays so in the program that follows.
    ignored = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        _execute(path, launch, environment(launch, environ, key), execute)
    finally:
        signal.signal(signal.SIGPIPE, ignored)


def _execute(path: str, launch: Launch, environ: dict[str, str], execute: Execute) -> None:
    try:
        execute(path, [launch.program, *launch.args], environ)
    except OSError as error:
        raise LauncherError(
            f"cannot run {path}: {error.strerror or error}", hint=f"ls -l {shlex.quote(path)}"
        ) from error


def run_and_leave(path: str, words: list[str], environ: dict[str, str]) -> None:
    """Run a program to its end and leave with its status. Ctrl-C on the terminal is the program's.

    `path` takes the place of the first word: Windows adds `.exe` to a bare name, and no other ending.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        status = subprocess.run([path, *words[1:]], env=environ, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)
    sys.exit(status)
