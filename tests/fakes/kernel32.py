"""A kernel32 without Windows: jobs and events as records, and a library of C functions below them."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

from launcher.system.kernel32 import ExtendedLimits


class FakeKernel32:
    """Jobs with the processes in them, and named events that threads wait for."""

    def __init__(self, *, alive: tuple[int, ...] = (), refuses: bool = False) -> None:
        self.alive = set(alive)
        self.refuses = refuses
        self.jobs: dict[int, set[int]] = {}
        self.events: dict[int, tuple[str, threading.Event]] = {}
        self._next = 100

    def create_job(self) -> int | None:
        if self.refuses:
            return None
        self._next += 1
        self.jobs[self._next] = set()
        return self._next

    def assign(self, job: int, pid: int) -> bool:
        if pid in self.alive:
            self.jobs[job].add(pid)
        return pid in self.alive

    def terminate_job(self, job: int) -> bool:
        self.alive -= self.jobs[job]
        return True

    def close(self, handle: int) -> None:
        if handle in self.jobs:
            self.alive -= self.jobs.pop(handle)
        else:
            del self.events[handle]

    def create_event(self, name: str) -> int | None:
        if self.refuses:
            return None
        self._next += 1
        self.events[self._next] = (name, threading.Event())
        return self._next

    def set_event(self, name: str) -> bool:
        found = [event for called, event in self.events.values() if called == name]
        for event in found:
            event.set()
        return bool(found)

    def wait(self, handle: int) -> bool:
        return self.events[handle][1].wait(10)


class _Function:
    """A C function: it answers, and keeps what it was called with. ctypes sets its types as on a real one."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.calls = answer, list[tuple[Any, ...]]()
        self.restype: Any = None
        self.argtypes: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any) -> Any:
        assert len(arguments) == len(self.argtypes), "as many arguments as the prototype has"
        self.calls.append(arguments)
        return self.answer(*arguments) if callable(self.answer) else self.answer


class FakeLibrary:
    """What `ctypes.WinDLL("kernel32")` would be. Handles are larger than 32 bits, as some are."""

    PROCESS, JOB, EVENT = 0x1_0000_0001, 0x1_0000_0002, 0x1_0000_0003

    def __init__(self, **answers: Any) -> None:
        self.limit_flags: int | None = None

        def limits(_job: int, kind: int, address: int, size: int) -> int:
            assert (kind, size) == (9, ctypes.sizeof(ExtendedLimits))
            self.limit_flags = ExtendedLimits.from_address(address).basic.limit_flags
            return 1

        usual = {
            "CreateJobObjectW": self.JOB, "SetInformationJobObject": limits, "OpenProcess": self.PROCESS,
            "AssignProcessToJobObject": 1, "TerminateJobObject": 1, "CloseHandle": 1, "CreateEventW": self.EVENT,
            "OpenEventW": self.EVENT, "SetEvent": 1, "WaitForSingleObject": 0,
        }  # fmt: skip
        for name, answer in (usual | answers).items():
            setattr(self, name, _Function(answer))
