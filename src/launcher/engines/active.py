"""The build of llama.cpp that a process computes with: in this process by the search path, in children by PYTHONPATH.

A process has one build, since two copies of ggml in one address space would mix. What a build needs besides itself
(numpy, jinja2) is the environment's.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from launcher.engines.ggml import LOG_ERROR
from launcher.errors import EngineError
from launcher.store.types import without_hub_login

_OTHER_LIBRARIES = "LLAMA_CPP_LIB_PATH"
"""Where the bindings look for libllama instead of beside themselves: meant for the environment's."""


def child_environ(environ: Mapping[str, str], site: str | None) -> dict[str, str]:
    """The environment of a child that computes with the build in `site`; None: with the launcher's own.

    Raises:
        EngineError: the folder's name cannot be part of a search path.
    """
    env = without_hub_login(environ)
    if site is None:
        return env
    if os.pathsep in site:
        raise EngineError(f"an engine in {site} cannot be used: {os.pathsep!r} parts folders", hint="gpt-oss doctor")
    env.pop(_OTHER_LIBRARIES, None)
    env["PYTHONPATH"] = os.pathsep.join([site, *filter(None, [env.get("PYTHONPATH")])])
    return env


def load_llama_cpp(site: str | None = None) -> Any:
    """The bindings of the build in `site`, of what the search path has otherwise, with its backends registered.

    Raises:
        EngineError: another build is loaded in this process already, or this one cannot be.
    """
    loaded = sys.modules.get("llama_cpp")
    if loaded is None:
        loaded = _import(site)
    elif not _is_at(loaded, site):
        raise EngineError(
            f"another llama.cpp is loaded in this process already, from {Path(loaded.__file__ or '').parent}",
            hint="gpt-oss chat --help",
        )
    from llama_cpp import _ggml

    with _errors_alone(loaded):
        register_backends(_ggml.libggml, Path(_ggml.libggml_base_path))
    return loaded


@contextmanager
def _errors_alone(llama_cpp: Any) -> Iterator[None]:
    """Backends tell what they find as they are registered, which the bindings would print: here only errors are."""
    from llama_cpp import _logger

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]  # a ctypes function type
    def tell(level: int, text: bytes, _data: object) -> None:
        if level == LOG_ERROR and sys.stderr is not None:
            sys.stderr.write(text.decode("utf-8", "replace"))

    llama_cpp.llama_log_set(tell, None)
    try:
        yield
    finally:
        # The callback dies with this frame: llama.cpp must not be left with a pointer to it.
        llama_cpp.llama_log_set(_logger.llama_log_callback, None)


def _is_at(loaded: Any, site: str | None) -> bool:
    return _origin(site) == Path(loaded.__file__)


def _origin(site: str | None) -> Path | None:
    """Where the bindings are that would be imported."""
    spec = PathFinder.find_spec("llama_cpp", [site] if site is not None else None)
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


def _import(site: str | None) -> Any:
    kept, path = os.environ.get(_OTHER_LIBRARIES), list(sys.path)
    try:
        if site is not None:
            sys.path.insert(0, site)
            os.environ.pop(_OTHER_LIBRARIES, None)
        return importlib.import_module("llama_cpp")
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        # What was imported before it failed would be taken for the next build's.
        for name in [name for name in sys.modules if name.partition(".")[0] == "llama_cpp"]:
            del sys.modules[name]
        # A child has its build on the search path, and knows no name of it.
        origin = _origin(site)
        which = "llama.cpp" if origin is None else f"the llama.cpp in {origin.parents[1]}"
        raise EngineError(f"{which} cannot be loaded: {error}", hint=_hint(site)) from error
    finally:
        sys.path[:] = path
        if kept is not None:
            os.environ[_OTHER_LIBRARIES] = kept


def _hint(site: str | None) -> str:
    # A build of the store is in a folder of its name.
    return "gpt-oss doctor" if site is None else f"gpt-oss engine test {shlex.quote(Path(site).parent.name)}"


def register_backends(ggml: Any, folder: Path) -> None:
    """Load backends that are separate files, as in releases of llama.cpp: compiled-in ones are there already.

    From the build's own folder only: ggml's default also searches the working directory.
    """
    count = getattr(ggml, "ggml_backend_reg_count", None)
    if count is None:
        return
    count.restype = ctypes.c_size_t
    if count() == 0:
        load = ggml.ggml_backend_load_all_from_path
        load.restype, load.argtypes = None, (ctypes.c_char_p,)
        load(os.fsencode(folder))
