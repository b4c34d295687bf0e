"""llama.cpp's own programs: the engine's, which are of the same commit, or another that a person names."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from launcher.errors import DamagedFileError, EngineError
from launcher.hardware.types import EngineBuild


def engine_program(name: str, engine: EngineBuild | None = None) -> Path | None:
    """A program that was built with the engine, by default the environment's; None where it was built without."""
    folder = _bin_dir(engine)
    program = folder / (f"{name}.exe" if sys.platform == "win32" else name) if folder is not None else Path()
    return program if program.is_file() else None


def _bin_dir(engine: EngineBuild | None) -> Path | None:
    if engine is not None and engine.site is not None:
        return Path(engine.site) / "bin"
    from importlib.util import find_spec

    spec = find_spec("llama_cpp")
    return Path(spec.origin).parents[1] / "bin" if spec is not None and spec.origin else None


def find_llama_server(named: Path | None, engine: EngineBuild | None = None, *, search_path: str | None = None) -> Path:
    """The llama-server to run: the one that is named, the engine's own, or the first on PATH.

    Raises:
        DamagedFileError: what is named is no program.
        EngineError: there is none.
    """
    if named is not None:
        path = named.expanduser()
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise DamagedFileError(
                f"--llama-server {named} is no program", path=str(named), hint="gpt-oss serve --help"
            )
        return path.absolute()
    found = engine_program("llama-server", engine)
    if found is not None:
        return found
    on_path = shutil.which("llama-server", path=search_path)
    if on_path is None and engine is not None and engine.site is not None:
        raise EngineError(
            f"the engine {engine.name} has no llama-server, and there is none on PATH",
            details=("--llama-server names another; --build takes another engine.",),
            hint=f"gpt-oss engine build {engine.name.partition('-')[0]}",  # the store names them by their backend
        )
    if on_path is None:
        raise EngineError(
            "this engine was built without llama-server, and there is none on PATH",
            details=("--llama-server names another; `uv run` in a checkout has one.",),
            hint="gpt-oss engine build cpu",
        )
    return Path(on_path)
