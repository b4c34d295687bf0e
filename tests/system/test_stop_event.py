"""Asked to end by an event, where no signal asks."""

from __future__ import annotations

import sys
import threading

from launcher.system import stop_event
from tests.fakes.kernel32 import FakeKernel32


def test_who_listens_is_asked_and_nothing_is_left() -> None:
    kernel = FakeKernel32()
    asked = threading.Event()
    with stop_event.listen(asked.set, load=lambda: kernel, pid=7):
        assert not asked.is_set()
        assert not stop_event.ask_to_end(8, load=lambda: kernel), "another process"
        assert stop_event.ask_to_end(7, load=lambda: kernel)
        assert asked.wait(10)
    assert kernel.events == {}


def test_who_was_not_asked_hears_nothing_at_the_end() -> None:
    kernel = FakeKernel32()
    asked = threading.Event()
    with stop_event.listen(asked.set, load=lambda: kernel, pid=7):
        pass
    assert not asked.is_set(), "the end of the block is no request"
    assert kernel.events == {}
    assert not stop_event.ask_to_end(7, load=lambda: kernel)


def test_where_signals_do_it_there_is_no_thread() -> None:
    before = threading.active_count()
    with stop_event.listen(lambda: None, load=lambda: FakeKernel32(refuses=True)):
        assert threading.active_count() == before
    if sys.platform != "win32":
        with stop_event.listen(lambda: None):
            assert threading.active_count() == before
