"""Become the client: its process takes the place of ours, so that signals and the terminal are its own."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping

from launcher.clients.types import Client, Launch
from launcher.errors import LauncherError, UsageError

_MASK = "****"

Execute = Callable[[str, list[str], dict[str, str]], object]


def environment(launch: Launch, environ: Mapping[str, str], key: str | None) -> dict[str, str]:
    """The environment of one run."""
    kept = {name: value for name, value in environ.items() if name not in launch.unset}
    return {**kept, **launch.env, **({} if key is None else dict.fromkeys(launch.key_envs, key))}


def command_line(launch: Launch, *, keyed: bool) -> str:
    """The command as a shell would be given it, with the key masked."""
    unset = [word for name in launch.unset for word in ("-u", name)]
    given = {**launch.env, **(dict.fromkeys(launch.key_envs, _MASK) if keyed else {})}
    variables = [f"{name}={value}" for name, value in given.items()]
    prefix = ["env", *unset, *variables] if unset or variables else []
    return shlex.join([*prefix, launch.program, *launch.args])


def start(
    client: Client,
    launch: Launch,
    *,
    key: str | None,
    environ: Mapping[str, str],
    execute: Execute = os.execvpe,
) -> None:
    """Replace this process by the client. Does not return unless it fails.

    Raises:
        UsageError: the client is not installed.
        LauncherError: the system cannot run it.
    """
    path = shutil.which(launch.program, path=environ.get("PATH"))
    if path is None:
        raise UsageError(f"{client.title} is not installed: no {launch.program} on PATH", hint=client.install)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Python ignores SIGPIPE, and what is ignored stays so in the program that follows.
    ignored = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        execute(path, [launch.program, *launch.args], environment(launch, environ, key))
    except OSError as error:
        raise LauncherError(f"cannot run {path}: {error.strerror or error}", hint=f"ls -l {path}") from error
    finally:
        signal.signal(signal.SIGPIPE, ignored)
