"""How a process on Windows is asked to end: SIGTERM would end it there and then, with nothing put away.

It makes an event that is called by its process id, and whoever wants it to end sets that.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from launcher.system import kernel32
from launcher.system.kernel32 import Kernel32


def event_name(pid: int) -> str:
    r"""Under `Global\`, since another session of the same person is another namespace: one over ssh, for instance."""
    return f"Global\\gpt-oss-launcher-stop-{pid}"


def ask_to_end(pid: int, *, load: Callable[[], Kernel32] = kernel32.load) -> bool:
    """Ask a process; False where it does not listen."""
    return load().set_event(event_name(pid))


@contextmanager
def listen(
    on_asked: Callable[[], None], *, load: Callable[[], Kernel32] | None = None, pid: int | None = None
) -> Iterator[None]:
    """Call `on_asked`, in a thread, when this process is asked to end. Nothing where signals do the same."""
    loader = load or (kernel32.load if sys.platform == "win32" else None)
    kernel = None if loader is None else loader()
    event = None if kernel is None else kernel.create_event(event_name(pid or os.getpid()))
    if kernel is None or event is None:
        yield
        return
    ended = threading.Event()

    def wait() -> None:
        if kernel.wait(event) and not ended.is_set():
            on_asked()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    try:
        yield
    finally:
        # Set, so that the thread comes back before the handle that it waits for is closed.
        ended.set()
        kernel.set_event(event_name(pid or os.getpid()))
        thread.join()
        kernel.close(event)
