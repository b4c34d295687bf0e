"""`gpt-oss --version`: launcher, engine, llama.cpp commit and the devices that it can use."""

from __future__ import annotations

import sys

import typer


def print_version(value: bool) -> None:  # typer's callback protocol
    """Print and exit, when the flag was given."""
    if not value:
        return
    from launcher import __version__
    from launcher.hardware.engine_devices import find_package, read_engine

    engine = read_engine(find_package())
    devices = [device for device in engine.devices or () if device.type != "CPU"]
    lines = [
        f"gpt-oss-launcher {__version__}",
        f"llama-cpp-python {engine.version or 'not installed'} (llama.cpp {engine.commit or 'commit unknown'})",
        f"backends: {', '.join(engine.backends) or 'none'}",
        f"devices:  {', '.join(f'{d.name} {d.description}' for d in devices) or 'CPU only'}",
        f"python:   {sys.version.split()[0]}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    raise typer.Exit
