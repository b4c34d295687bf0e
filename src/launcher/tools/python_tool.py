"""The tool `python`: code of the model in a sandbox, each call afresh in a folder that lasts for the conversation."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher.errors import LauncherError
from launcher.tools.folder import empty
from launcher.tools.isolation import Isolation
from launcher.tools.jail.job import FAILED, NOT_CLOSED, TIMED_OUT
from launcher.tools.python_code import PARAMETERS, code_of
from launcher.tools.sandbox import FILE_BYTES, WORK_BYTES, Bounds, Ended, Place, run
from launcher.tools.sandbox_probe import probe
from launcher.tools.text import say_result
from launcher.tools.types import ToolLimits, ToolResult, Verdict
from launcher.units import format_bytes

MAX_CODE_CHARS = 1_000_000
_NOTE_CHARS = 200
"""Kept free of the limit, for the line that says how the code ended."""
_KNOWN = ("numpy", "scipy", "pandas", "sympy", "matplotlib", "networkx", "PIL", "sklearn", "mpmath")
"""Packages that a model may know and like to use, told of where they are installed beside the launcher."""


class PythonTool:
    """Runs Python code for the model. Made by `open_python_tool`."""

    def __init__(
        self, place: Place, isolation: Isolation, limits: ToolLimits, *, verdict: Verdict = "ask", work_bytes: int
    ) -> None:
        self._place = place
        self._limits = limits
        self._work_bytes = work_bytes
        self._verdict = verdict
        self._packages = tuple(name for name in _KNOWN if importlib.util.find_spec(name) is not None)
        self.isolation = isolation
        """What the code cannot reach."""

    @property
    def name(self) -> str:
        """What the model calls it."""
        return "python"

    @property
    def title(self) -> str:
        """What the user knows it by."""
        return "python"

    @property
    def description(self) -> str:
        """What the model is told of it."""
        version = ".".join(map(str, sys.version_info[:2]))
        network = "There is no network. " if self.isolation.network else ""
        alone = "" if self.isolation.forks else "No other programs and no child processes. "
        others = f" and {', '.join(self._packages)}" if self._packages else ""
        return (
            f"Runs Python {version} code and gives back what it prints; the value of a last expression is printed too. "
            "Stateless: each call is a new process without the variables of earlier ones, but files in the current "
            f"folder stay. Importable: the standard library{others}. {network}"
            f"{alone}"
            f"Limits: {self._limits.timeout_s:g} s, {format_bytes(self._limits.memory_bytes)} of memory, "
            f"{self._limits.max_output_chars} characters of output, {format_bytes(self._work_bytes)} of files."
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON schema of its arguments."""
        return PARAMETERS

    @property
    def verdict(self) -> Verdict:
        """Whether a call needs to be confirmed."""
        return self._verdict

    @property
    def folder(self) -> Path:
        """Where the code's files are."""
        return self._place.work

    def call(self, arguments: str, cancelled: threading.Event) -> ToolResult:
        """Run the code in `arguments`, given as JSON or as it is."""
        try:
            code = code_of(arguments)
        except ValueError as error:
            return ToolResult(text=str(error), is_error=True)
        if len(code) > MAX_CODE_CHARS:
            return ToolResult(text=f"the code is longer than {MAX_CODE_CHARS} characters", is_error=True)
        bounds = Bounds(
            timeout_s=self._limits.timeout_s,
            memory_bytes=self._limits.memory_bytes,
            max_output_chars=max(0, self._limits.max_output_chars - _NOTE_CHARS),
            work_bytes=self._work_bytes,
            file_bytes=min(FILE_BYTES, self._work_bytes),
        )
        try:
            ended = run(
                code, self._place, bounds,
                layers=self.isolation.layers, use_seatbelt=self.isolation.seatbelt, cancelled=cancelled,
            )  # fmt: skip
        except OSError as error:
            return ToolResult(text=f"python cannot be started: {error.strerror or error}", is_error=True)
        return self._result(ended)

    def _result(self, ended: Ended) -> ToolResult:
        note = self._note(ended)
        text = ended.text.rstrip("\n")
        if note:
            text = f"{text}\n[{note}]".lstrip("\n")
        text, n_more = say_result(text, self._limits.max_output_chars)
        return ToolResult(
            text=text,
            is_error=bool(note) or ended.status != 0,
            elapsed_s=ended.elapsed_s,
            n_cut=ended.n_cut + n_more,
        )

    def _note(self, ended: Ended) -> str:  # a list of cases
        """What the model cannot see in the output: how the run was ended."""
        if ended.stopped == "cancelled":
            return "the user stopped it"
        if ended.overfull:
            return self._emptied(ended.overfull)
        if ended.stopped == "time" or ended.status == TIMED_OUT:
            return f"stopped after {self._limits.timeout_s:g} s, the time limit"
        if ended.status == NOT_CLOSED:
            return "exit status 70; if it says so above, the sandbox could not be closed and nothing was run"
        if ended.status > 128:
            return f"ended by {_signal_name(ended.status - 128)}"
        # 1 is an exception, whose traceback says more.
        return f"exit status {ended.status}" if ended.status not in {0, FAILED} else ""

    def _emptied(self, what: str) -> str:
        try:
            empty(self._place.work)
        except OSError as error:
            return f"there is {what} in the current folder, which cannot be emptied: {error.strerror}"
        return f"there was {what} in the current folder: all files in it were removed"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def open_python_tool(
    limits: ToolLimits | None = None,
    *,
    verdict: Verdict = "ask",
    unsafe: bool = False,
    isolation: Isolation | None = None,
    work_bytes: int = WORK_BYTES,
) -> Iterator[PythonTool]:
    """The tool, with a folder of its own that goes when the context ends.

    Args:
        limits: What a call may take.
        verdict: Whether a call needs to be confirmed.
        unsafe: Run code also where it can reach the network or the user's files. What can be closed is closed.
        isolation: What is known of this machine already; by default it is tried out.
        work_bytes: Of all files in the folder.

    Raises:
        LauncherError: the code could reach the network or files here, and that was not asked for; or there is no room
            for its folder.
    """
    try:
        base = Path(tempfile.mkdtemp(prefix="gpt-oss-python-")).resolve()
    except OSError as error:
        raise LauncherError(f"no temporary folder for the tool python: {error.strerror or error}") from error
    place = Place(work=base / "files", root=base / "root")
    try:
        place.work.mkdir(mode=0o700)
        place.root.mkdir(mode=0o700)
        try:
            found = probe(place) if isolation is None else isolation
        except OSError as error:
            raise LauncherError(f"the tool python cannot be started: {error.strerror or error}") from error
        if not (found.is_safe or unsafe):
            raise _unsafe(found)
        yield PythonTool(place, found, limits or ToolLimits(), verdict=verdict, work_bytes=work_bytes)
    finally:
        _remove(base, place)


def _unsafe(found: Isolation) -> LauncherError:
    reached = [
        word for word, is_closed in (("the network", found.network), ("your files", found.files)) if not is_closed
    ]
    return LauncherError(
        f"the tool python is off: code of the model could reach {' and '.join(reached)} on this system",
        details=(*found.missing, "--tools python:unsafe runs it all the same; then read each call before you allow it"),
        hint="gpt-oss chat --help",
    )


def _remove(base: Path, place: Place) -> None:
    """Remove the folder, whatever the code left in it; what cannot be removed is left to the system's own cleaning."""
    try:
        empty(place.work)
    except OSError:
        return
    shutil.rmtree(base, ignore_errors=True)
