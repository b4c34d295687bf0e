"""What the offer of an engine looks like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from launcher.errors import LauncherError
from launcher.text import printable
from launcher.units import format_bytes

if TYPE_CHECKING:
    from launcher.builds.install_types import Decision
    from launcher.builds.types import Build
    from launcher.cli.engine_offer import Reply
    from launcher.hardware.types import IdleDevice


def one_line(gpus: Sequence[IdleDevice]) -> str:
    """For those who are not asked."""
    return f"{_named(gpus)} {_lies(gpus)} idle; an engine for {_it(gpus)}: {gpus[0].remedy}"


def offer(gpus: Sequence[IdleDevice], decision: Decision, effort: str, gain: str | None) -> Iterator[str]:
    """What is seen, what it would bring, what will be done."""
    yield f"{_named(gpus)} {_lies(gpus)} idle: {gpus[0].reason.partition(';')[0]}."
    if gain is not None:
        yield f"With an engine for {_it(gpus)}: {gain}."
    yield f"It would be {effort}, tested before it is used, and kept beside the one that is here."
    for note in decision.notes:
        yield printable(note)


def in_the_way(gpus: Sequence[IdleDevice], decision: Decision) -> Iterator[str]:
    """An engine that something has to be installed for first."""
    yield f"{_named(gpus)} {_lies(gpus)} idle: {gpus[0].reason.partition(';')[0]}."
    missing = f": {'; '.join(decision.missing)}" if decision.missing else ""
    yield f"{_sentence(decision.why)}{missing}."
    if decision.command is not None:
        yield f"Run: {decision.command}"
        yield f"Then: {_again(decision)}"


def declined(reply: Reply, decision: Decision) -> str:
    """What follows from a no."""
    asked = "You will not be asked again" if reply == "never" else "You will be asked again in two weeks"
    return f"Going on without it. {asked}; it is got any time with: {_again(decision)}"


def failed(error: LauncherError | OSError, decision: Decision) -> Iterator[str]:
    """An installation that came to nothing."""
    if isinstance(error, LauncherError):
        yield f"It could not be installed: {printable(error.message)}"
        yield from (f"  {printable(line)}" for line in error.details)
    else:
        yield f"It could not be installed: {printable(str(error))}"
    yield f"Going on without it. To try once more: {_again(decision)}"


def not_usable(build: Build) -> str:
    """An engine that was made and does not compute what it should."""
    return f"{build.name} failed its self-test and is not used. Going on without it; gpt-oss engine list says more."


def _again(decision: Decision) -> str:
    return f"gpt-oss engine install {decision.backend}" if decision.backend else "gpt-oss engine install"


def _named(gpus: Sequence[IdleDevice]) -> str:
    """`2 x NVIDIA GeForce RTX 3090 (24.0 GiB each)`."""
    counted = Counter((gpu.description, gpu.total_bytes) for gpu in gpus)
    return " and ".join(
        f"{printable(name)}{_size(total)}" if n == 1 else f"{n} x {printable(name)}{_size(total, ' each')}"
        for (name, total), n in counted.items()
    )


def _size(total_bytes: int | None, each: str = "") -> str:
    return "" if total_bytes is None else f" ({format_bytes(total_bytes)}{each})"


def _lies(gpus: Sequence[IdleDevice]) -> str:
    return "lies" if len(gpus) == 1 else "lie"


def _it(gpus: Sequence[IdleDevice]) -> str:
    return "it" if len(gpus) == 1 else "them"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
