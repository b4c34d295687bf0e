"""The few functions of Windows' kernel32 that are needed here: jobs, which end processes together, and events.

Everything above it takes a `Kernel32`, so that tests give one that is no Windows.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Protocol

KILL_ON_JOB_CLOSE = 0x2000
"""JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE of winnt.h: the processes of a job end with its last handle."""
_EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
_TERMINATE_AND_SET_QUOTA = 0x0001 | 0x0100  # what AssignProcessToJobObject asks for
_EVENT_MODIFY_STATE = 0x0002
_INFINITE = 0xFFFFFFFF


class _BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION."""

    _fields_ = (
        ("per_process_user_time_limit", ctypes.c_int64),
        ("per_job_user_time_limit", ctypes.c_int64),
        ("limit_flags", ctypes.c_uint32),
        ("minimum_working_set_size", ctypes.c_size_t),
        ("maximum_working_set_size", ctypes.c_size_t),
        ("active_process_limit", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        ("priority_class", ctypes.c_uint32),
        ("scheduling_class", ctypes.c_uint32),
    )


class ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = (
        ("basic", _BasicLimits),
        ("io", ctypes.c_uint64 * 6),
        ("process_memory_limit", ctypes.c_size_t),
        ("job_memory_limit", ctypes.c_size_t),
        ("peak_process_memory_used", ctypes.c_size_t),
        ("peak_job_memory_used", ctypes.c_size_t),
    )


class Kernel32(Protocol):
    """What is asked of it. A handle is a number; None says that it was refused."""

    def create_job(self) -> int | None:
        """A job whose processes end when its last handle is closed."""
        ...

    def assign(self, job: int, pid: int) -> bool:
        """Put a process into a job; those that it starts from then on are in it too."""
        ...

    def terminate_job(self, job: int) -> bool:
        """End all processes of a job."""
        ...

    def close(self, handle: int) -> None:
        """Give a handle back."""
        ...

    def create_event(self, name: str) -> int | None:
        """An event that others find by its name."""
        ...

    def set_event(self, name: str) -> bool:
        """Set the event of this name; False where there is none."""
        ...

    def wait(self, handle: int) -> bool:
        """Wait until an event is set; False where that cannot be."""
        ...


def load(library: Any = None) -> Kernel32:
    """The system's own. `library` stands in its place in tests.

    Raises:
        OSError: this is not Windows.
    """
    if library is None:
        if sys.platform != "win32":
            raise OSError("kernel32 is a library of Windows")
        library = ctypes.WinDLL("kernel32", use_last_error=True)
    return _Library(library)


class _Library:
    """Kernel32 by ctypes. Handles are pointers: without their types they would be cut to 32 bits."""

    def __init__(self, library: Any) -> None:
        self._library = library
        handle, number, flag, name = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_wchar_p
        for function, result, arguments in (
            ("CreateJobObjectW", handle, (handle, name)),
            ("SetInformationJobObject", flag, (handle, flag, handle, number)),
            ("OpenProcess", handle, (number, flag, number)),
            ("AssignProcessToJobObject", flag, (handle, handle)),
            ("TerminateJobObject", flag, (handle, number)),
            ("CloseHandle", flag, (handle,)),
            ("CreateEventW", handle, (handle, flag, flag, name)),
            ("OpenEventW", handle, (number, flag, name)),
            ("SetEvent", flag, (handle,)),
            ("WaitForSingleObject", number, (handle, number)),
        ):
            entry = getattr(library, function)
            entry.restype, entry.argtypes = result, arguments

    def create_job(self) -> int | None:
        job: int | None = self._library.CreateJobObjectW(None, None)
        if job is None:
            return None
        limits = ExtendedLimits()
        limits.basic.limit_flags = KILL_ON_JOB_CLOSE
        size = ctypes.sizeof(limits)
        if not self._library.SetInformationJobObject(job, _EXTENDED_LIMITS, ctypes.addressof(limits), size):
            self.close(job)
            return None
        return job

    def assign(self, job: int, pid: int) -> bool:
        process = self._library.OpenProcess(_TERMINATE_AND_SET_QUOTA, 0, pid)
        if process is None:
            return False
        try:
            return bool(self._library.AssignProcessToJobObject(job, process))
        finally:
            self.close(process)

    def terminate_job(self, job: int) -> bool:
        return bool(self._library.TerminateJobObject(job, 1))

    def close(self, handle: int) -> None:
        self._library.CloseHandle(handle)

    def create_event(self, name: str) -> int | None:
        event: int | None = self._library.CreateEventW(None, 1, 0, name)
        return event

    def set_event(self, name: str) -> bool:
        event = self._library.OpenEventW(_EVENT_MODIFY_STATE, 0, name)
        if event is None:
            return False
        try:
            return bool(self._library.SetEvent(event))
        finally:
            self.close(event)

    def wait(self, handle: int) -> bool:
        return bool(self._library.WaitForSingleObject(handle, _INFINITE) == 0)
