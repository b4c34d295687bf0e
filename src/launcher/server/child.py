"""One llama-server process: started so that it cannot outlive the launcher, listened to, and ended.

llama-server can be the child of a router of its own (server-models.cpp, `server_child`), which is what the launcher is
to it: with LLAMA_SERVER_ROUTER_PORT set it tells its state and its progress of loading in lines on stdout, ends on a
line of stdin, and ends where stdin does. The kernel ends it too where the launcher is killed while it still loads.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from launcher.errors import EngineError
from launcher.server.log import LogFile, is_warning
from launcher.store.types import without_hub_login
from launcher.system.children import OWN_GROUP, Job, tied, with_libraries

STOP_S = 2.5
"""For a clean end: answers under way are cut, memory is given back. A server that needs longer is stuck."""
KILL_S = 1.0
"""For the kernel to end it: together with STOP_S within the 5 s that a stop may take."""
TAIL_LINES = 40
_STATE = "cmd_child_to_router:state:"
_EXIT = b"cmd_router_to_child:exit\n"
_CLEANING = re.compile(r"cleaning up before exit")
_FOREIGN_SETTING = "LLAMA_ARG_"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadProgress:
    """How far the weights are loaded, 0 to 1."""

    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StateChange:
    """`loading`, `ready` or `sleeping`, as llama-server says it."""

    state: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Warned:
    """A line of the log that a person should see."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The process is gone; `returncode` as subprocess has it, negative for a signal."""

    returncode: int


ChildEvent = LoadProgress | StateChange | Warned | Ended


class Child:
    """A running llama-server. Events come from threads of its own, `Ended` last and once."""

    def __init__(
        self, command: Sequence[str], log: LogFile, on_event: Callable[[ChildEvent], None], env: Mapping[str, str]
    ) -> None:
        self._log = log
        self._on_event = on_event
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        """Last lines of its log."""
        try:
            self._process = subprocess.Popen(
                tied(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=with_libraries(command[0], child_env(env)),
                # Ctrl-C on the terminal is the launcher's: it decides how the server ends.
                start_new_session=True,
                creationflags=OWN_GROUP,
            )
        except OSError as error:
            raise EngineError(f"{command[0]} cannot be started: {error.strerror or error}") from error
        self._job = Job()
        self._job.add(self._process.pid)
        self._pumps = [threading.Thread(target=pump, daemon=True) for pump in (self._read_states, self._read_log)]
        for pump in self._pumps:
            pump.start()
        threading.Thread(target=self._wait, daemon=True).start()

    @property
    def pid(self) -> int:
        """Of llama-server."""
        return self._process.pid

    def stop(self) -> int:
        """End it: asked by its own protocol, then by a signal, then without asking. Gives the return code."""
        with suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.write(_EXIT)
                self._process.stdin.flush()
        # While it still loads, nobody reads its stdin. On Windows there is no signal that asks.
        if sys.platform != "win32":
            self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(KILL_S)
        self._close_stdin()
        self._job.end()
        return self._process.returncode

    def _close_stdin(self) -> None:
        with suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _read_states(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  # a pipe was asked for
        for raw in self._process.stdout:
            line = raw.decode("utf-8", "replace").strip()
            if not line.startswith(_STATE):
                if line:
                    self._log.write(line)
                continue
            event = parse_state(line.removeprefix(_STATE))
            if event is not None:
                self._on_event(event)

    def _read_log(self) -> None:
        assert self._process.stderr is not None  # noqa: S101  # a pipe was asked for
        for raw in self._process.stderr:
            line = raw.decode("utf-8", "replace").rstrip()
            self._log.write(line)
            self.tail.append(line)
            if _CLEANING.search(line):
                # Asked to end by somebody else: its thread that reads stdin would keep it from leaving.
                self._close_stdin()
            if is_warning(line):
                self._on_event(Warned(text=line))

    def _wait(self) -> None:
        returncode = self._process.wait()
        for pump in self._pumps:
            pump.join(KILL_S)
        self._close_stdin()
        self._on_event(Ended(returncode=returncode))


def child_env(environ: Mapping[str, str]) -> dict[str, str]:
    """The child's environment: without llama.cpp's own settings, which would change a plan behind its back.

    Nor does it need the login of the hub: it is started with --offline.
    """
    kept = {name: value for name, value in without_hub_login(environ).items() if not name.startswith(_FOREIGN_SETTING)}
    kept.pop("LLAMA_API_KEY", None)
    return {**kept, "LLAMA_SERVER_ROUTER_PORT": "0"}


def foreign_settings(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Names of llama.cpp's own settings that are left out."""
    return tuple(sorted(name for name in environ if name.startswith(_FOREIGN_SETTING)))


def parse_state(text: str) -> ChildEvent | None:
    """What llama-server says of itself; None for what is not understood."""
    try:
        table = json.loads(text)
        state = str(table["state"])
        payload = table.get("payload") or {}
        if state == "loading" and isinstance(payload, dict) and "value" in payload:
            return LoadProgress(value=float(payload["value"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return StateChange(state=state)
