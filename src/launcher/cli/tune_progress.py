"""How far a tune is, and how much of its budget is left; on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from launcher.cli.output import say, talk_console
from launcher.tune.pairs import Step
from launcher.units import format_duration

_REFRESH_PER_S = 2
"""Drawing takes time from a core that is being measured."""


def left_text(step: Step) -> str:
    """`at most 3 min 20 s left`."""
    left = step.budget_s - step.spent_s
    return f"at most {format_duration(left)} left" if left > 0 else "nearly done"


@contextmanager
def showing_progress() -> Iterator[Callable[[Step], None]]:
    """What is told before every measurement: a bar on a terminal, else one line for each part of the search."""
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn

    console = talk_console()
    if not console.is_terminal:
        told = ""

        def line(step: Step) -> None:
            nonlocal told
            part = step.what.partition(":")[0]
            if part != told:
                told = part
                say(f"{part}, {left_text(step)}")

        yield line
        return
    columns = (BarColumn(bar_width=20), TextColumn("{task.fields[left]}"), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, refresh_per_second=_REFRESH_PER_S) as bar:
        task = bar.add_task("loading", total=None, left="")

        def show(step: Step) -> None:
            done = min(step.spent_s, step.budget_s)
            bar.update(task, description=escape(step.what), completed=done, total=step.budget_s, left=left_text(step))

        yield show
