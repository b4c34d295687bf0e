"""The offer on the first run: an engine for a GPU that lies idle, asked for once on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from launcher import __version__
from launcher.builds.types import AUTO
from launcher.cli.ask import can_be_asked
from launcher.cli.output import say
from launcher.errors import DoesNotFitError, LauncherError
from launcher.hardware.types import Hardware, IdleDevice
from launcher.paths import folders
from launcher.planner.types import Plan
from launcher.settings import Settings

if TYPE_CHECKING:
    from launcher.builds.decision import Decision
    from launcher.builds.types import Build
    from launcher.flow import Prepared

Reply = Literal["yes", "no", "never"]


def _decide() -> Decision:
    from launcher.cli.engine_offer_means import decide

    return decide()


def _install(decision: Decision) -> Build:
    from launcher.cli.engine_offer_means import install

    return install(decision)


def _gain(
    hardware: Hardware, now: Plan | None, gpus: Sequence[IdleDevice], decision: Decision, settings: Settings
) -> str | None:
    from launcher.cli.engine_offer_means import gain

    return gain(hardware, now, gpus, decision, settings)


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """What getting an engine takes."""

    words: str
    """`a download of about 563 MiB (a release of llama.cpp)`."""
    is_long: bool
    """Whether it takes so long that the return key alone is no yes."""


def _effort(decision: Decision) -> Effort:
    from launcher.cli.engine_offer_means import effort

    return effort(decision)


def _chosen() -> str:
    from launcher.builds.store import chosen

    return chosen(folders().data)


def _read_line() -> str:
    return sys.stdin.readline()


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """What an offer takes from outside; tests give fakes."""

    state_dir: Path = field(default_factory=lambda: folders().state)
    is_terminal: Callable[[], bool] = can_be_asked
    read_line: Callable[[], str] = _read_line
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    chosen: Callable[[], str] = _chosen
    """What `gpt-oss engine use` chose."""
    decide: Callable[[], Decision] = _decide
    """Which engine this machine should get."""
    effort: Callable[[Decision], Effort] = _effort
    gain: Callable[[Hardware, Plan | None, Sequence[IdleDevice], Decision, Settings], str | None] = _gain
    """What it would bring; empty for nothing to speak of, None where that cannot be told."""
    install: Callable[[Decision], Build] = _install


def planned(
    plan_now: Callable[[], Prepared], settings: Settings, *, asks: bool = True, means: Means | None = None
) -> Prepared:
    """Plan; where a GPU lies idle and the engine for it was wanted and is here now, plan once more.

    Args:
        plan_now: makes the plan.
        settings: say whether, and for what, it may be asked.
        asks: whether this command may ask at all; others say the command in one line.
        means: of asking and installing.

    Raises:
        LauncherError: what `plan_now` refuses.
    """
    means = means or Means()
    try:
        prepared = plan_now()
    except DoesNotFitError as error:
        closest = error.closest
        if isinstance(closest, Plan) and _offered(closest.hardware, None, settings, asks=asks, means=means):
            return plan_now()
        raise
    plan = prepared.plan
    return plan_now() if _offered(plan.hardware, plan, settings, asks=asks, means=means) else prepared


def idle_gpus(hardware: Hardware) -> tuple[IdleDevice, ...]:
    """GPUs that an engine which is not here would use to some effect."""
    if not hardware.idle_devices:
        return ()
    from launcher.builds.decision import SMALLEST_GPU_BYTES

    return tuple(
        gpu
        for gpu in hardware.idle_devices
        if gpu.remedy is not None
        and gpu.engine is None
        and (gpu.total_bytes is None or gpu.total_bytes >= SMALLEST_GPU_BYTES)
        and "decoding gains little" not in gpu.reason
    )


def _offered(hardware: Hardware, now: Plan | None, settings: Settings, *, asks: bool, means: Means) -> bool:
    """Whether an engine was installed."""
    from launcher.builds.offers import is_due, read_answer
    from launcher.cli import engine_offer_view as view
    from launcher.cli.context import is_offline

    gpus = idle_gpus(hardware)
    pinned = settings.build not in (None, AUTO) or settings.device is not None or settings.n_gpu_layers == 0
    if not gpus or pinned or not settings.engine_offer or means.chosen() != AUTO:
        return False
    answer = read_answer(means.state_dir)
    if answer is not None and answer.never:
        return False
    if not asks or settings.yes or is_offline(settings) or not means.is_terminal():
        view.say_command(gpus)
        return False
    names = [gpu.description for gpu in gpus]
    if not is_due(answer, launcher=__version__, gpus=names, now=means.now()):
        return False
    return _asked(hardware, now, gpus, settings, means)


def _asked(
    hardware: Hardware, now: Plan | None, gpus: tuple[IdleDevice, ...], settings: Settings, means: Means
) -> bool:
    from launcher.cli import engine_offer_view as view

    try:
        decision = means.decide()
        effort = means.effort(decision) if decision.do in {"build", "prebuilt"} else None
    except (LauncherError, OSError):  # the command says what is wrong: no reason to keep a chat from its answer
        view.say_command(gpus)
        return False
    if decision.do == "nothing":
        return False
    served = tuple(gpu for gpu in gpus if _vendor_of(decision, gpus) in (None, gpu.vendor))
    if effort is None:
        view.say_in_the_way(served, decision)
        _keep("no", gpus, means)
        return False
    gain = means.gain(hardware, now, served, decision, settings)
    if gain == "":
        return False
    view.say_offer(served, decision, effort.words, gain)
    reply = _reply(means, default="no" if effort.is_long else "yes")
    if reply != "yes":
        view.say_declined(reply, decision)
        _keep(reply, gpus, means)
        return False
    return _installed(decision, gpus, means)


def _vendor_of(decision: Decision, gpus: Sequence[IdleDevice]) -> str | None:
    return next((gpu.vendor for gpu in gpus if gpu.description == decision.gpu), None)


def _reply(means: Means, *, default: Reply) -> Reply:
    """Read until it is an answer. The end of the input is Ctrl-D, told as Ctrl-C is."""
    while True:
        sys.stderr.write(f"Get it now? [{'Y/n' if default == 'yes' else 'y/N'}/never] ")
        sys.stderr.flush()
        try:
            line = means.read_line()
        except KeyboardInterrupt:
            line = ""
        if not line:
            say("")  # what follows begins on a line of its own
            raise KeyboardInterrupt
        match line.strip().lower():
            case "":
                return default
            case "y" | "yes":
                return "yes"
            case "n" | "no":
                return "no"
            case "never":
                return "never"
        say("Please answer y, n or never.")


def _installed(decision: Decision, gpus: Sequence[IdleDevice], means: Means) -> bool:
    from launcher.cli import engine_offer_view as view

    try:
        build = means.install(decision)
    except (LauncherError, OSError) as error:
        view.say_failed(error, decision)
        _keep("no", gpus, means)
        return False
    view.say_result(build)
    if not build.usable:
        _keep("no", gpus, means)
    return build.usable


def _keep(reply: Reply, gpus: Sequence[IdleDevice], means: Means) -> None:
    from launcher.builds.offers import Answer, keep_answer

    date = means.now().isoformat(timespec="seconds")
    names = tuple(gpu.description for gpu in gpus)
    try:
        keep_answer(means.state_dir, Answer(never=reply == "never", date=date, launcher=__version__, gpus=names))
    except OSError as error:
        say(f"The answer cannot be kept: {error}")
