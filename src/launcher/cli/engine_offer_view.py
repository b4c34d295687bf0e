"""What the offer of an engine looks like: sentences folded at words, commands whole and on lines of their own."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from launcher.cli.columns import terminal_width
from launcher.cli.output import say
from launcher.errors import LauncherError
from launcher.text import printable
from launcher.units import format_bytes

if TYPE_CHECKING:
    from launcher.builds.decision import Decision
    from launcher.builds.types import Build
    from launcher.cli.engine_offer import Reply
    from launcher.hardware.types import IdleDevice

_WITHOUT = "Going on without it."


def say_command(gpus: Sequence[IdleDevice]) -> None:
    """One line, for those who are not asked."""
    say(f"{_named(gpus)} {_lies(gpus)} idle; an engine for {_it(gpus)}: {gpus[0].remedy}")


def say_offer(gpus: Sequence[IdleDevice], decision: Decision, effort: str, gain: str | None) -> None:
    """What is seen, what it would bring, what will be done."""
    _tell(f"{_named(gpus)} {_lies(gpus)} idle: {gpus[0].reason.partition(';')[0]}.")
    if gain is not None:
        _tell(f"With an engine for {_it(gpus)}: {gain}.")
    _tell(f"It takes {effort}. It is tested before it is used; the engine that is here stays.")
    for note in decision.notes:
        _tell(note)


def say_in_the_way(gpus: Sequence[IdleDevice], decision: Decision) -> None:
    """An engine that something has to be installed for first."""
    _tell(f"{_named(gpus)} {_lies(gpus)} idle: {gpus[0].reason.partition(';')[0]}.")
    missing = f": {'; '.join(decision.missing)}" if decision.missing else ""
    _tell(f"{decision.why[:1].upper()}{decision.why[1:]}{missing}.")
    if decision.command is not None:
        say(f"  run:  {decision.command}")
        if not decision.command.startswith("gpt-oss engine install"):
            say(f"  then: {_again(decision)}")
    _tell(_WITHOUT)


def say_declined(reply: Reply, decision: Decision) -> None:
    """What follows from a no."""
    asked = "You will not be asked again" if reply == "never" else "You will be asked again in two weeks"
    _tell(f"{_WITHOUT} {asked}; any time:")
    say(f"  {_again(decision)}")


def say_failed(error: LauncherError | OSError, decision: Decision) -> None:
    """An installation that came to nothing."""
    for line in _reasons(error):
        _tell(line)
    _tell(f"{_WITHOUT} To try once more:")
    say(f"  {_again(decision)}")


def say_result(build: Build) -> None:
    """An engine that was made: it computes what it should, or is not used."""
    if build.usable:
        say(f"{build.name} is installed, and passed its self-test.")
        return
    test = build.record.self_test if build.record is not None else None
    _tell(f"{build.name} failed its self-test and is not used: {(test and test.why) or 'it gave no reason'}.")
    _tell(f"{_WITHOUT} To look again:")
    say(f"  gpt-oss engine test {build.name}")


def _reasons(error: LauncherError | OSError) -> Iterator[str]:
    if isinstance(error, LauncherError):
        yield f"It could not be installed: {error.message}."
        yield from error.details
    else:
        yield f"It could not be installed: {error}."


def _tell(text: str) -> None:
    width = terminal_width(sys.stderr)
    text = printable(text)
    for line in [text] if width is None else textwrap.wrap(text, max(20, width - 1), break_on_hyphens=False):
        say(line)


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
