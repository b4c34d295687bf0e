"""`gpt-oss --version`: launcher, engine, llama.cpp commit and the devices that it can use; other engines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from launcher.errors import LauncherError

if TYPE_CHECKING:
    from launcher.hardware.types import Hardware


def print_version(value: bool) -> None:  # typer's callback protocol
    """Print and exit, when the flag was given."""
    if not value:
        return
    from launcher import __version__
    from launcher.hardware.match import best_equipped
    from launcher.hardware.types import ENVIRONMENT

    found = best_equipped(_detected())
    engine = found.engine
    commit = engine.llama_cpp_commit or "commit unknown"
    others = [f"{other.name}{'' if other.left_out is None else ' (not used)'}" for other in found.other_engines]
    also = f"; also here: {', '.join(others)}" if others else ""
    lines = [
        f"gpt-oss-launcher {__version__}",
        f"llama-cpp-python {engine.version or 'not installed'} (llama.cpp {commit})",
        f"backends: {', '.join(engine.backends) or 'none'}",
        f"devices:  {', '.join(f'{d.name} {d.description}' for d in found.devices) or 'CPU only'}",
        *([f"engine:   {engine.name}{also}"] if others or engine.name != ENVIRONMENT else []),
        f"python:   {sys.version.split()[0]}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    raise typer.Exit


def _detected() -> tuple[Hardware, ...]:
    """This machine by the builds that plans may take: for a bug report, so that no wrong setting is in its way."""
    from launcher.cli.context import load_settings, world
    from launcher.cli.output import say
    from launcher.flow import detect_here

    try:
        return world(load_settings({})).detect()
    except LauncherError as error:
        say(error.message)
        return detect_here(tell=say)
