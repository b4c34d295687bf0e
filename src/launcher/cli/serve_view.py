"""A server for a person: its load as a bar, where it is, what it takes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from launcher.cli.output import say, talk_console
from launcher.planner.types import HOST
from launcher.server.addresses import Interface, interfaces, reachable_at, url_of
from launcher.server.types import ServerRecord, key_command
from launcher.server.usage import host_usage
from launcher.text import printable
from launcher.units import format_bytes

_TENTH = 0.1


class ServeSink:
    """What the supervisor tells, on stderr: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, present: Callable[[ServerRecord], None] | None = None) -> None:
        """Tell on stderr; `present` is called once, when the server answers for the first time."""
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        console = talk_console()
        self._plain = not console.is_terminal
        self._progress = Progress(
            TextColumn("loading"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=self._plain,
            transient=True,
        )
        self._task = self._progress.add_task("", total=1.0)
        self._told = 0.0
        self._bar = False
        self._shown = False
        self._present = present

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def progress(self, value: float) -> None:
        """Move the bar, which ends where all is loaded and begins again where the model is loaded again."""
        if value >= 1.0:
            self._end_bar()
            say("loaded; warming up")
            return
        if not self._bar:
            self._bar, self._told = True, 0.0
            self._progress.start()
        self._progress.update(self._task, completed=value)
        if self._plain and value >= self._told + _TENTH:
            self._told = value
            say(f"loading {value:.0%}")

    def _end_bar(self) -> None:
        self._progress.stop()
        self._bar = False

    def say(self, text: str) -> None:
        """A line, of which llama-server may have written a part."""
        self._progress.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def ready(self, record: ServerRecord) -> None:
        """The bar ends, the address is shown; of a server that is back after a crash or a sleep, that it is."""
        self._end_bar()
        if self._shown:
            say(f"{record.model} is ready again")
        elif not record.detached:
            print_served(record, background=False)
        self._shown = True
        # A server that is back after a crash has its page open already.
        present, self._present = self._present, None
        if present is not None:
            present(record)


def print_served(
    record: ServerRecord, *, background: bool, around: Callable[[], Sequence[Interface]] = interfaces
) -> None:
    """Where it is, a first request to copy, what it takes: talk, but for the URL where that is all there is to know."""
    say(f"{record.model} is ready at {record.endpoint.openai_url}, {record.n_parallel} slots, context {record.n_ctx}")
    others = [f"{url_of(address, record.port)}/v1" for address in reachable_at(record.host, around())]
    if others:
        say(f"Other machines: {', '.join(others)}")
    say(_memory(record))
    say("")
    say(first_request(record))
    say("")
    say("gpt-oss connect lists clients and their settings; gpt-oss top shows what it does.")
    if background:
        say(f"gpt-oss logs -f --port {record.port} follows its log; gpt-oss stop --port {record.port} ends it.")
        sys.stdout.write(record.endpoint.openai_url + "\n")
        sys.stdout.flush()
    else:
        say("Ctrl-C ends it.")


def first_request(record: ServerRecord) -> str:
    """A request to copy into a shell."""
    if sys.platform == "win32":
        return request_on_windows(record)
    key = "" if record.key_file is None else f' \\\n  -H "Authorization: Bearer $({key_command(record.key_file)})"'
    body = '{"messages": [{"role": "user", "content": "Why is the sky blue?"}]}'
    return (
        f"curl {record.endpoint.openai_url}/chat/completions{key} \\\n  -H 'Content-Type: application/json' -d '{body}'"
    )


def request_on_windows(record: ServerRecord) -> str:
    """The same for PowerShell, whose words with quotes in them do not reach other programs whole."""
    body = '{"messages": [{"role": "user", "content": "Why is the sky blue?"}]}'
    file = record.key_file
    key = (
        "" if file is None else f' `\n  -Headers @{{Authorization = "Bearer " + ({key_command(file, system="win32")})}}'
    )
    return (
        f"Invoke-RestMethod {record.endpoint.openai_url}/chat/completions -Method Post{key} `\n"
        f"  -ContentType 'application/json' -Body '{body}'"
    )


def _memory(record: ServerRecord) -> str:
    """`RAM: 11.4 GiB of 12.8 GiB planned (9.8 GiB allocated, 1.6 GiB mapped)`."""
    planned = record.planned_bytes or {}
    used = host_usage(record.server_pid) if record.server_pid is not None else None
    parts = []
    if used is not None:
        mapped = used.mapped_bytes or 0
        kinds = f" ({format_bytes(used.anonymous_bytes)} allocated, {format_bytes(mapped)} mapped)" if mapped else ""
        parts.append(
            f"RAM {format_bytes(used.anonymous_bytes + mapped)} of {format_bytes(planned.get(HOST, 0))} planned{kinds}"
        )
    parts += [f"{name} {format_bytes(n)} planned" for name, n in planned.items() if name != HOST]
    return f"Memory: {', '.join(parts) or 'not told by this system'}"
