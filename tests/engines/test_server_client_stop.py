"""Stopping the HTTP engine, whatever it waits for."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from launcher.engines.server_client import ServerEngine
from launcher.engines.types import (
    TextDelta,
)
from tests.engines.http_helpers import HI, PLAIN, end_of, engine_on, text_of
from tests.fakes.openai_api import (
    DEADLINE_S,
    HOLD,
    STREAM_HEAD,
    Asked,
    answer,
    delta,
    event,
    openai_api,
    says,
    stream,
)


def hanging(*pieces: bytes) -> Callable[[Asked], Any]:
    return lambda _asked: [*pieces, HOLD]


@pytest.mark.parametrize(
    "pieces", [(), (STREAM_HEAD,), (STREAM_HEAD, event(delta(content="x")))], ids=["mute", "head", "text"]
)
def test_cancel_from_a_thread_wakes_a_turn_that_waits(pieces: tuple[bytes, ...]) -> None:
    expects_text = len(pieces) == 2
    with openai_api(hanging(*pieces)) as api, engine_on(api) as engine:
        came = threading.Event()

        def cancel() -> None:
            assert api.holding.wait(DEADLINE_S)
            assert not expects_text or came.wait(DEADLINE_S)
            engine.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()
        found = []
        for delta_ in engine.chat(HI, PLAIN):
            found.append(delta_)
            came.set()
        thread.join()
        assert end_of(found).finish_reason == "cancelled"
        assert text_of(found) == ("x" if expects_text else "")
        assert api.hung_up.wait(DEADLINE_S), "the connection is still open"
        api.handler = lambda _asked: says("again")
        assert text_of(list(engine.chat(HI, PLAIN))) == "again"


def test_ctrl_c_wakes_the_main_thread_out_of_its_read() -> None:
    """The signal comes while the main thread is in recv(): its handler has to end that call."""
    if sys.platform == "win32":
        pytest.skip("Windows has no signal for a thread")
    with openai_api(hanging()) as api, engine_on(api) as engine:
        before = signal.signal(signal.SIGINT, lambda *_: engine.cancel())
        try:

            def interrupt() -> None:
                assert api.holding.wait(DEADLINE_S)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

            thread = threading.Thread(target=interrupt)
            thread.start()
            found = list(engine.chat(HI, PLAIN))
            thread.join()
        finally:
            signal.signal(signal.SIGINT, before)
        assert end_of(found).finish_reason == "cancelled"
        assert api.hung_up.wait(DEADLINE_S)


def test_a_cancel_before_the_first_delta_counts_and_asks_nothing() -> None:
    with openai_api(says()) as api, engine_on(api) as engine:
        deltas = engine.chat(HI, PLAIN)
        engine.cancel()
        assert end_of(list(deltas)).finish_reason == "cancelled"
        assert not api.asked


def test_a_cancel_between_deltas_drops_what_has_arrived_already() -> None:
    with openai_api(stream(*(delta(content=str(i)) for i in range(9)), delta("stop"))) as api, engine_on(api) as engine:
        deltas = iter(engine.chat(HI, PLAIN))
        first = next(deltas)
        engine.cancel()
        rest = list(deltas)
    assert isinstance(first, TextDelta)
    assert len(rest) == 1
    assert end_of(rest).finish_reason == "cancelled"
    assert end_of(rest).timings.predicted_n == 1


def test_closing_the_iterator_hangs_up() -> None:
    with openai_api(hanging(STREAM_HEAD, event(delta(content="x")))) as api, engine_on(api) as engine:
        deltas: Any = engine.chat(HI, PLAIN)
        assert next(deltas)
        deltas.close()
        assert api.hung_up.wait(DEADLINE_S)


def test_a_cancel_ends_a_wait_for_a_model_that_loads() -> None:
    loading = answer(503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}})
    engines: list[ServerEngine] = []
    with openai_api(loading) as api, engine_on(api, sleep=lambda _s: engines[0].cancel()) as engine:
        engines.append(engine)
        assert end_of(list(engine.chat(HI, PLAIN))).finish_reason == "cancelled"
        assert len(api.asked) == 1
