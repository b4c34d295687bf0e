"""A supervisor in the background: the launcher starts it, watches until the server answers, and leaves.

The job goes in as JSON on stdin, what happens comes out as JSON lines on stdout, until `ready` or `failed`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from typing import Any

from launcher.errors import EngineError, LauncherError
from launcher.records import from_jsonable, to_jsonable
from launcher.server.front import front_of
from launcher.server.supervise import Job, MemoryRanOutError, Sink, supervise
from launcher.server.types import ServerRecord
from launcher.store.types import without_hub_login
from launcher.system.children import start_in_background


def start_detached(job: Job, sink: Sink) -> ServerRecord:
    """Start a supervisor of its own, and wait until its server answers.

    Raises:
        EngineError: the server did not start; nothing of it is left.
        KeyboardInterrupt: Ctrl-C while it loads ends it too.
    """
    job.record.log_path.parent.mkdir(parents=True, exist_ok=True)
    job.record.log_path.touch(mode=0o600)
    with job.record.log_path.open("ab") as log:
        # What it writes to stderr is a traceback that nobody foresaw, which is found in the log.
        process = start_in_background(
            [sys.executable, "-m", "launcher.server.daemon"], log=log, env=without_hub_login(os.environ)
        )
    assert process.stdin is not None  # noqa: S101  # pipes were asked for
    assert process.stdout is not None  # noqa: S101
    try:
        process.stdin.write(json.dumps(to_jsonable(job)).encode())
        process.stdin.close()
        for line in process.stdout:
            found = json.loads(line)
            if found["event"] == "progress":
                sink.progress(found["value"])
            elif found["event"] == "say":
                sink.say(found["text"])
            else:
                return _outcome(found)
    except BaseException:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        raise
    finally:
        process.stdout.close()
        # It is not waited for: the system's first process inherits it. Python would warn of that.
        if process.poll() is None:
            process.returncode = 0
    raise EngineError(
        "the server in the background ended without a word", hint=f"gpt-oss logs --port {job.record.port}"
    )


def _outcome(found: dict[str, Any]) -> ServerRecord:
    if found["event"] == "failed":
        kind = MemoryRanOutError if found["memory"] else EngineError
        raise kind(found["message"], details=tuple(found["details"]), hint=found["hint"])
    return from_jsonable(ServerRecord, found["record"])


class _Lines(Sink):
    """Tells the launcher that started it, until it is ready; afterwards the log."""

    def __init__(self) -> None:
        self._listened = True

    def _tell(self, event: str, **more: object) -> None:
        if not self._listened:
            return
        try:
            sys.stdout.write(json.dumps({"event": event, **more}) + "\n")
            sys.stdout.flush()
        except OSError:  # the launcher was ended; the server goes on
            self.leave()

    def leave(self) -> None:
        """Nobody listens any more."""
        self._listened = False
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  # a descriptor is wanted
            os.dup2(nowhere.fileno(), 1)

    def progress(self, value: float) -> None:
        self._tell("progress", value=value)

    def say(self, text: str) -> None:
        self._tell("say", text=text)

    def ready(self, record: ServerRecord) -> None:
        if self._listened:
            self._tell("ready", record=to_jsonable(record))
            self.leave()

    def failed(self, error: LauncherError) -> None:
        """It did not come up."""
        memory = isinstance(error, MemoryRanOutError)
        self._tell("failed", message=error.message, details=list(error.details), hint=error.hint, memory=memory)


def main() -> None:
    """Run one job to its end."""
    job = from_jsonable(Job, json.loads(sys.stdin.read()))
    sink = _Lines()
    try:
        supervise(job, sink, front=front_of)
    except LauncherError as error:
        sink.failed(error)
        sys.exit(error.code)


if __name__ == "__main__":
    main()
