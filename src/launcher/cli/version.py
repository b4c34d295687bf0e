"""`gpt-oss --version`: launcher, engine, llama.cpp commit and the devices that it can use; other engines."""

from __future__ import annotations

import sys

import typer


def print_version(value: bool) -> None:  # typer's callback protocol
    """Print and exit, when the flag was given."""
    if not value:
        return
    from launcher import __version__
    from launcher.flow import detect_here
    from launcher.hardware.match import best_equipped

    found = best_equipped(detect_here())
    engine = found.engine
    commit = engine.llama_cpp_commit or "commit unknown"
    others = [f"{other.name}{'' if other.left_out is None else ' (not used)'}" for other in found.other_engines]
    lines = [
        f"gpt-oss-launcher {__version__}",
        f"llama-cpp-python {engine.version or 'not installed'} (llama.cpp {commit})",
        f"backends: {', '.join(engine.backends) or 'none'}",
        f"devices:  {', '.join(f'{d.name} {d.description}' for d in found.devices) or 'CPU only'}",
        *([f"engine:   {engine.name}; also here: {', '.join(others)}"] if others else []),
        f"python:   {sys.version.split()[0]}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    raise typer.Exit
