"""What `gpt-oss service` does, and how it tells."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from launcher.cli.output import report_console, say
from launcher.errors import UsageError
from launcher.paths import folders
from launcher.server.service import Service, ServiceStatus, carried
from launcher.server.service_install import Manager, manager_here
from launcher.server.service_systemd import Systemd


def manager() -> Manager:
    """The service manager of this system."""
    return manager_here(home=Path.home(), environ=os.environ)


def install_service(serve_args: tuple[str, ...], *, start: bool) -> None:
    """Install, and say where everything is."""
    here, variables = manager(), carried(os.environ)
    service = Service(
        command=own_command(sys.argv[0], os.environ),
        serve_args=tuple(absolute(word) for word in serve_args),
        environment={name: absolute(value, folder=True) for name, value in variables.environment.items()},
        log_dir=folders().state / "logs",
    )
    here.install(service, start=start)
    say(f"wrote {here.path}")
    if service.environment:
        say(f"with {', '.join(service.environment)} as they are now")
    if variables.left_out:
        say(f"without {', '.join(variables.left_out)}: others may read a service's settings. Instead,")
        say("  keep an API key in a file, -- --api-key-file PATH; keep the hub's token with `hf auth login`")
    say("started, as it is with every login" if start else "it starts with the next login")
    say("how it goes: gpt-oss service status")
    if isinstance(here, Systemd):
        say("to start it before anyone logs in, too: loginctl enable-linger")
        say("what it says: journalctl --user -u gpt-oss -f")
    else:
        say(f"what it says: {service.log_dir / 'service.log'}")


def absolute(word: str, *, folder: bool = False) -> str:
    """A file of this directory (or a folder) by its whole path: a service begins in another one.

    Only words with a slash or an ending can be files: `20b` and `auto` are models, whatever lies here.
    """
    name, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    path = Path(value)
    if path.is_absolute() or not ("/" in value or path.suffix):
        return word
    return f"{name}{equals}{path.absolute()}" if path.is_file() or (folder and path.is_dir()) else word


def own_command(program: str, environ: Mapping[str, str]) -> Path:
    """The absolute path of the `gpt-oss` that runs now; links stay, since an update moves what is behind them.

    Raises:
        UsageError: it was not started by that name and is not on PATH either.
    """
    path = Path(program).absolute()
    if path.name == "gpt-oss" and os.access(path, os.X_OK):
        return path
    found = shutil.which("gpt-oss", path=environ.get("PATH"))
    if found is None:
        raise UsageError("no gpt-oss is on PATH that a service could run", hint="uv run gpt-oss service install")
    return Path(found).absolute()


def print_status(status: ServiceStatus) -> None:
    """A few lines on stdout."""
    from rich.markup import escape

    console = report_console()
    if not status.installed:
        console.print("not installed; gpt-oss service install does it")
        return
    rows = {
        "file": str(status.path),
        "state": status.state or f"not known: {status.manager} does not answer",
        "at login": {True: "starts", False: "does not start", None: None}[status.enabled],
        "pid": status.pid,
        "last exit": status.last_exit if status.last_signal is None else f"by signal {status.last_signal}",
    }
    for name, value in rows.items():
        if value is not None:
            console.print(f"[bold]{name:<10}[/] {escape(str(value))}", soft_wrap=True)
