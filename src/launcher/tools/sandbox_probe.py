"""Finds out, once, what keeps code in on this machine: each layer is closed, and its escape tried."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from launcher.tools import seatbelt
from launcher.tools.isolation import Isolation
from launcher.tools.jail.job import LAYERS, NOT_CLOSED, Layer
from launcher.tools.sandbox import Bounds, Ended, Place, run
from launcher.tools.text import clean_line

_BOUNDS = Bounds(timeout_s=10.0, memory_bytes=1 << 30, max_output_chars=2_000)
"""Time for a loaded machine to start Python; it takes a tenth of a second otherwise."""
_ESCAPE = """
import socket
def tried(what, attempt):
    try:
        attempt()
    except OSError:
        return
    print(what)
tried("network", lambda: socket.create_connection(("127.0.0.1", {port}), timeout=1))
tried("files", lambda: open({file!r}))
print("done")
"""


def probe(
    place: Place,
    *,
    layers: tuple[Layer, ...] | None = None,
    platform: str = sys.platform,
    runner: Callable[..., Ended] = run,
) -> Isolation:
    """Try to close every layer, or the given ones, and to get out. `place` is left as it was.

    Raises:
        OSError: Python cannot be started.
    """
    use_seatbelt = platform == "darwin" and Path(seatbelt.PROGRAM).exists()
    wanted = layers if layers is not None else LAYERS if platform.startswith("linux") else ()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        canary = place.work.parent / "canary"
        canary.write_text("not for the code", encoding="ascii")
        code = _ESCAPE.format(port=listener.getsockname()[1], file=str(canary))
        try:
            return _try_out(code, place, wanted, use_seatbelt=use_seatbelt, runner=runner)
        finally:
            canary.unlink()


def _try_out(
    code: str, place: Place, wanted: tuple[Layer, ...], *, use_seatbelt: bool, runner: Callable[..., Ended]
) -> Isolation:
    def attempt(layers: tuple[Layer, ...]) -> Ended:
        never = threading.Event()
        return runner(code, place, _BOUNDS, layers=layers, use_seatbelt=use_seatbelt, cancelled=never)

    ended = attempt(wanted)
    missing: tuple[str, ...] = ()
    if not _holds(ended):
        wanted, missing = _each_alone(wanted, attempt)
        ended = attempt(wanted)
    if not _holds(ended):
        use_seatbelt = False
        missing = (*missing, _line("sandbox", ended))
        ended = attempt(())
    words = ended.text.split() if _holds(ended) else ["network", "files"]
    return Isolation(
        network="network" not in words,
        files="files" not in words,
        processes=bool({"namespaces", "seccomp"} & set(wanted)) or use_seatbelt,
        memory=sys.platform != "darwin",
        layers=wanted,
        seatbelt=use_seatbelt,
        missing=missing,
    )


def _each_alone(
    wanted: tuple[Layer, ...], attempt: Callable[[tuple[Layer, ...]], Ended]
) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    closed: list[Layer] = []
    missing = []
    for layer in wanted:
        ended = attempt((layer,))
        if _holds(ended):
            closed.append(layer)
        else:
            missing.append(_line(layer, ended))
    return tuple(closed), tuple(missing)


def _holds(ended: Ended) -> bool:
    """Whether Python ran in it, to the end."""
    return ended.status == 0 and ended.text.rstrip().endswith("done")


def _line(what: str, ended: Ended) -> str:
    text = ended.text if ended.status == NOT_CLOSED else f"Python does not run in it ({ended.text})"
    return f"{what}: {clean_line(text.rpartition('closed: ')[2], 200)}"
