"""How far a bench is, and how long it still takes; on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from launcher.bench.run import Step
from launcher.cli.output import say, talk_console
from launcher.units import format_duration

_REFRESH_PER_S = 2
"""Drawing takes time from a core that is being measured."""


def left_text(step: Step) -> str:
    """`about 3 min 20 s left`; nothing before anything was measured."""
    return "" if step.left_s is None else f"about {format_duration(step.left_s)} left"


@contextmanager
def showing_progress() -> Iterator[Callable[[Step], None]]:
    """What is told of every step: a bar on a terminal, else one line for each round."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = talk_console()
    if not console.is_terminal:
        told = 0

        def line(step: Step) -> None:
            nonlocal told
            if step.repetition != told:
                told = step.repetition
                left = left_text(step)
                say(f"round {step.repetition}, {step.n_done} of {step.n_steps} done" + (f", {left}" if left else ""))

        yield line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=_REFRESH_PER_S) as bar:
        task = bar.add_task("loading", total=None, left="")

        def show(step: Step) -> None:
            bar.update(
                task, description=step.case.name, completed=step.n_done, total=step.n_steps, left=left_text(step)
            )

        yield show
