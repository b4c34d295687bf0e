"""Answers that may take long, asked where nobody waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> Future[T]:
    """Begin `work` in a thread that nobody waits for when the prompt, or the program, ends."""
    future: Future[T] = Future()

    def run() -> None:
        future.set_running_or_notify_cancel()
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # handed to whoever asks for the result
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="completion").start()
    return future


@dataclass(slots=True)
class Once(Generic[T]):
    """The answer of a slow callable, which is asked once."""

    ask: Callable[[], T]
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _answers: list[T] = field(default_factory=list, init=False)

    def __call__(self) -> T:
        """The answer; whoever comes while it is being asked waits for it."""
        with self._lock:
            if not self._answers:
                self._answers.append(self.ask())
            return self._answers[0]
