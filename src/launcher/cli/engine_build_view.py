"""What compiling an engine looks like: what will be done, a bar while it is, and what came of it."""

from __future__ import annotations

import shlex
import time
from types import TracebackType
from typing import Any, Self

from launcher.builds.compile_types import Event, Step
from launcher.builds.prepare import Prepared
from launcher.builds.types import Build
from launcher.cli.output import say, talk_console
from launcher.units import format_bytes, format_duration

_EVERY_S = 60.0
"""Where nobody sees a bar, a line at least this often: a single file of CUDA may take longer."""


def document(ready: Prepared, commands: tuple[str, ...]) -> dict[str, Any]:
    """What `--dry-run --json` prints."""
    return {
        "name": ready.request.name,
        "possible": ready.verdict.possible,
        "troubles": ready.verdict.troubles,
        "install": commands,
        "notes": ready.verdict.notes,
        "definitions": dict(ready.recipe.definitions),
        "generator": ready.recipe.generator,
        "jobs": ready.capacity.jobs,
        "needed_bytes": ready.needed_bytes,
        "free_bytes": ready.free_bytes,
        "expected_s": ready.expected_s,
        "resumes": ready.resumes,
        "work": ready.work.folder,
    }


def print_prepared(ready: Prepared) -> None:
    """What will be done, on stderr."""
    verb = "goes on being compiled" if ready.resumes else "is to be compiled"
    say(f"{ready.request.name} {verb}:")
    for name, value in _lines(ready):
        say(f"  {name:<10}{value}")
    for note in ready.verdict.notes:
        say(f"  note      {note}")


def _lines(ready: Prepared) -> list[tuple[str, str]]:
    request, tools = ready.request, ready.tools
    checked = "verified" if request.sha256 else "checked by pip against its index"
    where = str(request.source) if request.source is not None else f"from your package index, {checked}"
    lines = [("source", f"llama-cpp-python {request.version}, {where}")]
    compilers = [f"{each.kind} {each.version or ''}".strip() for each in tools.compilers[:1]]
    if request.backend == "cuda" and tools.cuda is not None:
        compilers.append(f"CUDA {tools.cuda.nvcc.version or ''}".strip())
    if request.backend == "rocm" and tools.rocm is not None:
        compilers.append(f"ROCm {tools.rocm.version or ''}".strip())
    if request.backend == "vulkan" and tools.vulkan is not None and tools.vulkan.headers is not None:
        compilers.append(f"Vulkan {tools.vulkan.headers}")
    if compilers:
        lines.append(("with", ", ".join(compilers)))
    definitions = dict(ready.recipe.definitions)
    named = definitions.get("CMAKE_CUDA_ARCHITECTURES") or definitions.get("GPU_TARGETS")
    if named:
        lines.append(("for", named.replace(";", ", ")))
    lines.append(("jobs", f"{ready.capacity.jobs}" if ready.capacity.why is None else ready.capacity.why))
    lines.append(("disk", f"about {format_bytes(ready.needed_bytes)}, of {format_bytes(ready.free_bytes)} free"))
    if not ready.resumes:
        lines.append(("time", f"{_about(ready.expected_s)}, by what a server's cores took"))
    return lines


def _about(seconds: float) -> str:
    """An estimate that claims no minute: `about 40 min`, `about 4 h`."""
    minutes = seconds / 60
    if minutes < 10:
        return f"about {max(1, round(minutes))} min"
    return f"about {round(minutes / 5) * 5} min" if minutes < 100 else f"about {round(minutes / 60)} h"


class CompileBar:
    """A bar with the time that is left on a terminal, a line for every tenth elsewhere."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        console = talk_console()
        self._plain = not console.is_terminal
        text = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"))
        numbers = TextColumn("{task.fields[count]}", table_column=Column(no_wrap=True))
        self._progress = Progress(
            text,
            BarColumn(bar_width=min(40, max(8, console.width - 50))),
            numbers,
            console=console,
            disable=self._plain,
            transient=True,
        )
        self._task = self._progress.add_task("", total=1.0, count="")
        self._told_tenth = 0
        self._told_s = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if isinstance(error, KeyboardInterrupt):
            say("What is compiled is kept in the cache; the same command goes on from there.")

    def tell(self, event: Event) -> None:
        """Show what the compilation says."""
        if isinstance(event, Step):
            self._step(event)
        else:
            self._progress.update(self._task, description=event.what, completed=0.0, count="")
            self._told_tenth = 0
            if self._plain:
                say(event.what)

    def _step(self, step: Step) -> None:
        left = "" if step.left_s is None else f", {format_duration(step.left_s)} left"
        count = f"{step.done} of {step.total}{left}"
        self._progress.update(self._task, completed=step.share, count=count)
        now = time.monotonic()
        tenth = int(step.share * 10)
        if self._plain and (tenth > self._told_tenth or now >= self._told_s + _EVERY_S):
            self._told_tenth, self._told_s = tenth, now
            say(f"  {step.share:.0%}: {count}")


def print_result(build: Build, took_s: float) -> None:
    """What came of it, on stderr."""
    from launcher.builds.disk import size_bytes

    size = format_bytes(size_bytes(build.site.parent))
    say(f"{build.name} is compiled: {format_duration(took_s)}, {size} in {build.site.parent}")
    test = build.record.self_test if build.record is not None else None
    if not build.usable or test is None:
        return
    where = f"the CPU and {', '.join(test.devices)}" if test.devices else "the CPU; it found no device of its own"
    say(f"It passed its self-test on {where}.")
    name = shlex.quote(build.name)
    say(f"Plans take it where it is the best. Always: gpt-oss engine use {name}; never: gpt-oss engine remove {name}")
