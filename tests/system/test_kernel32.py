"""kernel32 by ctypes: what is called with what, and that every handle is given back."""

from __future__ import annotations

import ctypes

from launcher.system.kernel32 import KILL_ON_JOB_CLOSE, ExtendedLimits, load
from tests.fakes.kernel32 import FakeLibrary


def test_the_structure_is_as_long_as_windows_has_it() -> None:
    # winnt.h on 64 bits: 64 bytes of basic limits, 48 of counters, 4 pointers' worth of memory.
    assert ctypes.sizeof(ctypes.c_void_p) != 8 or ctypes.sizeof(ExtendedLimits) == 144


def test_a_job_ends_its_processes_with_its_last_handle() -> None:
    library = FakeLibrary()
    kernel = load(library)
    assert kernel.create_job() == FakeLibrary.JOB
    assert library.limit_flags == KILL_ON_JOB_CLOSE
    assert library.CreateJobObjectW.restype is ctypes.c_void_p, "an int would cut a handle"  # type: ignore[attr-defined]


def test_a_job_that_cannot_be_limited_is_none() -> None:
    library = FakeLibrary(SetInformationJobObject=0)
    assert load(library).create_job() is None
    assert library.CloseHandle.calls == [(FakeLibrary.JOB,)]  # type: ignore[attr-defined]


def test_a_process_is_opened_with_the_rights_that_a_job_asks_for_and_closed_again() -> None:
    library = FakeLibrary()
    assert load(library).assign(FakeLibrary.JOB, 7)
    assert library.OpenProcess.calls == [(0x101, 0, 7)]  # type: ignore[attr-defined]
    assert library.AssignProcessToJobObject.calls == [(FakeLibrary.JOB, FakeLibrary.PROCESS)]  # type: ignore[attr-defined]
    assert library.CloseHandle.calls == [(FakeLibrary.PROCESS,)]  # type: ignore[attr-defined]


def test_what_is_not_there_is_told() -> None:
    library = FakeLibrary(OpenProcess=None, OpenEventW=None, CreateJobObjectW=None, CreateEventW=None)
    kernel = load(library)
    assert not kernel.assign(1, 7)
    assert not kernel.set_event("x")
    assert kernel.create_job() is None
    assert kernel.create_event("x") is None
    assert library.CloseHandle.calls == []  # type: ignore[attr-defined]


def test_an_event_is_set_by_its_name_and_waited_for() -> None:
    library = FakeLibrary()
    kernel = load(library)
    event = kernel.create_event("Global\\x")
    assert event == FakeLibrary.EVENT
    assert library.CreateEventW.calls == [(None, 1, 0, "Global\\x")]  # type: ignore[attr-defined]
    assert kernel.set_event("Global\\x")
    assert library.OpenEventW.calls == [(0x2, 0, "Global\\x")]  # type: ignore[attr-defined]
    assert library.CloseHandle.calls == [(FakeLibrary.EVENT,)]  # type: ignore[attr-defined]
    assert kernel.wait(event)
    assert library.WaitForSingleObject.calls == [(FakeLibrary.EVENT, 0xFFFFFFFF)]  # type: ignore[attr-defined]


def test_a_wait_that_fails_is_no_answer() -> None:
    assert not load(FakeLibrary(WaitForSingleObject=0xFFFFFFFF)).wait(1)
