"""Asking before the first download, and drawing one while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from launcher.catalogue.request import RELEASES
from launcher.catalogue.types import ModelFile
from launcher.cli.ask import agreed, can_be_asked
from launcher.cli.context import is_offline
from launcher.cli.output import say, talk_console
from launcher.errors import NetworkError, UsageError
from launcher.settings import Settings
from launcher.store.pace import Estimate
from launcher.store.types import LocalModel
from launcher.units import format_bytes, format_duration, format_rate, parse_limit

_NARROW = 64
"""Columns below which a bar would leave no room for what it is about."""
LICENCE = "Apache-2.0, https://huggingface.co/openai/gpt-oss-20b"


def fetch_model(file: ModelFile, settings: Settings, *, to_load: bool = True) -> LocalModel:
    """The file on this disk, downloaded if need be, after asking once on a terminal.

    Args:
        file: what to fetch.
        settings: the connections, and whether to ask.
        to_load: whether it is loaded next, and `gpt-oss models` shall tell so.

    Raises:
        LauncherError: declined, or whatever `store.fetch` refuses.
    """
    from launcher.cli.models_in_use import note_loaded, note_verified

    local = _fetched(file, settings)
    note_verified(local.verified)
    if to_load:
        note_loaded(local.first)
    return local


def _fetched(file: ModelFile, settings: Settings) -> LocalModel:
    from launcher.store.local import check_parts

    if file.repo is None and file.local_path is not None:
        return LocalModel(paths=check_parts(file.local_path))
    if file.local_path is None:
        if is_offline(settings):
            raise NetworkError(
                f"{file.name} is not on this disk, and offline mode is on",
                hint="gpt-oss chat --demo",
                details=("A GGUF that is here runs with: gpt-oss chat --model PATH",),
            )
        _ask(file, settings)
    from launcher.store.download import Pace, fetch

    pace = Pace(
        n_connections=settings.download_connections,
        limit_bytes_per_s=None if settings.limit_rate is None else parse_limit(settings.limit_rate),
    )
    with DownloadBar() as bar:
        return fetch(file, progress=bar, pace=pace, mirrors=settings.mirrors)


def _ask(file: ModelFile, settings: Settings) -> None:
    size = "" if file.size_bytes is None else f": {format_bytes(file.size_bytes)}"
    licence = f"Its licence is told on https://huggingface.co/{file.repo}."
    if file.model in RELEASES:
        licence = f"The model is OpenAI's, licensed {LICENCE}."
    say(f"Downloading {file.name}{size}. {licence}")
    if settings.yes or not can_be_asked():
        return
    if not agreed("Go ahead?", default=True):
        raise UsageError("not downloaded", hint="gpt-oss plan")


class DownloadBar:
    """A store ProgressSink: one bar with rate and time left on a terminal, a line now and then elsewhere."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        console = talk_console()
        self._estimate = Estimate(clock)
        self._narrow = console.width < _NARROW
        # One line, whatever the terminal: the text gives way first.
        text = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))
        numbers = TextColumn("{task.fields[size]}  {task.fields[pace]}", table_column=Column(no_wrap=True))
        self._progress = Progress(
            *((text, numbers) if self._narrow else (text, BarColumn(bar_width=min(40, console.width // 6)), numbers)),
            console=console,
            disable=not console.is_terminal,
            expand=True,
        )
        self._plain = not console.is_terminal
        self._task = self._progress.add_task("", total=None, start=False, pace="", size="")
        self._told = 0
        self._done = 0
        self._total = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if isinstance(error, KeyboardInterrupt):
            say("What has come is kept; the same command goes on from there.")

    def start(self, total_bytes: int, already_bytes: int, label: str) -> None:
        """Begin the bar."""
        self._total, self._done = total_bytes, already_bytes
        self._told = already_bytes * 10 // max(total_bytes, 1)
        self._estimate.update(already_bytes, total_bytes)
        self._progress.start()
        self._progress.start_task(self._task)
        self._progress.update(
            self._task, total=total_bytes, completed=already_bytes, description=label, size=self._size()
        )
        if already_bytes and already_bytes < total_bytes:
            say(f"resuming at {format_bytes(already_bytes)} of {format_bytes(total_bytes)}")

    def advance(self, n_bytes: int) -> None:
        """Move the bar, or tell every tenth where nobody sees one."""
        self._done += n_bytes
        self._estimate.update(self._done, self._total)
        pace = pace_text(self._estimate)
        shown = pace.rpartition(", ")[2] if self._narrow else pace
        self._progress.update(self._task, completed=self._done, pace=shown, size=self._size())
        if self._plain and self._total and self._done * 10 // self._total > self._told:
            self._told = self._done * 10 // self._total
            say(f"  {format_bytes(self._done)} of {format_bytes(self._total)}{pace and f', {pace}'}")

    def phase(self, text: str) -> None:
        """Say what is being done now."""
        self._progress.update(self._task, description=text)
        if self._plain:
            say(text)

    def _size(self) -> str:
        """`98 MiB of 287 MiB`, on a narrow terminal `34%`."""
        if self._narrow:
            return f"{self._done / max(self._total, 1):.0%}"
        return f"{format_bytes(self._done)} of {format_bytes(self._total)}"

    def finish(self) -> None:
        """End the bar."""
        self._progress.stop()


def pace_text(estimate: Estimate) -> str:
    """`48.2 MB/s, 3 min 20 s left`; empty before there is a rate."""
    rate, left_s = estimate.bytes_per_s, estimate.left_s
    if not rate or left_s is None:
        return ""
    return f"{format_rate(rate)}, {format_duration(left_s)} left"
