"""What the terminal view costs: CPU time at a rate of tokens, and how late a token is on the screen.

    uv run python scripts/bench_rendering.py

Answers are streamed in pieces of about four characters to a view that writes into memory, at the pace of `--rate`; and
a long one as fast as it goes. A token is on the screen when a painting ended that began after it was shown. The view
promises less than 5 % of a core, and no token later than 50 ms. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import bisect
import io
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from launcher.chat.screen.code import warm_up
from launcher.chat.screen.spans import Line
from launcher.chat.screen.terminal import TerminalView
from launcher.chat.screen.theme import Theme
from launcher.engines.types import TextDelta

SIZES = ((40, 24), (80, 24), (200, 50))
PROSE = (
    "The **fast** path of a server is the one that `parses` nothing: bytes come in, bytes go out, and what has to be "
    "known of them is read from the *headers*. See [the notes](https://example.org/notes_on_paths) for $O(n)$ details. "
)
CODE = '''def fetch(url: str, *, timeout_s: float = 10.0) -> bytes:
    """Read a URL, at most once a second."""
    with open_url(url, timeout=timeout_s) as reply:  # closes it
        return b"".join(part for part in reply if len(part) > 0)

'''
HOSTILE = ("*a ", "`b ", "[c ", "$d ", "\x1b[2J", "| ", "e\u0301\u202e ", "_f")
LONG_WORDS = "supercalifragilistic" * 20 + "\n\n"


def mixed(rng: random.Random) -> str:
    """Some of everything."""
    parts = [f"## Part {rng.randint(1, 99)}\n", PROSE * rng.randint(1, 3), "\n\n", listing(rng), "\n"]
    parts += [f"```python\n{CODE * rng.randint(1, 3)}```\n\n", table(rng, 6), "\n", "> A quote. " + PROSE + "\n\n"]
    return "".join(parts)


def listing(rng: random.Random) -> str:
    """A list of two levels."""
    return "".join(f"{'  ' * (n % 3 == 2)}- **item {n}**: {PROSE[: rng.randint(20, 160)]}\n" for n in range(6))


def table(rng: random.Random, n_rows: int) -> str:
    """A table of four columns, one wide."""
    rows = [
        f"| {n} | `name_{n}` | {PROSE[4 : rng.randint(30, 90)].replace('`', '')} | {rng.random():.3f} |\n"
        for n in range(n_rows)
    ]
    return f"| # | Name | What it does | Value |\n|--:|:-----|--------------|------:|\n{''.join(rows)}\n"


KINDS: dict[str, Callable[[random.Random], str]] = {
    "mixed": mixed,
    "tables": lambda rng: table(rng, 30),
    "code": lambda _rng: f"```python\n{CODE * 8}```\n\n",
    "long lines": lambda _rng: f"{PROSE * 8}\n\n```js\n{'x=[1,2,3].map(f);' * 80}\n```\n\n{LONG_WORDS * 2}",
    "hostile": lambda rng: "".join(rng.choice(HOSTILE) for _ in range(500)),
}  # fmt: skip


def pieces_of(kind: str, n_tokens: int) -> list[str]:
    """An answer of so many tokens."""
    rng = random.Random(1)
    text: list[str] = []
    n = 0
    while n < 6 * n_tokens:
        text.append(KINDS[kind](rng))
        n += len(text[-1])
    whole, at = "".join(text), 0
    pieces: list[str] = []
    while len(pieces) < n_tokens:
        size = rng.choice((1, 3, 4, 4, 5, 6))
        pieces.append(whole[at : at + size])
        at += size
    return pieces


class Sink(io.StringIO):
    """Memory in place of a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.n_bytes = 0

    def write(self, text: str) -> int:
        """Count, and forget."""
        self.n_bytes += len(text.encode())
        return len(text)


class Watched:
    """A view that knows when each painting ended; one that changes nothing writes nothing, but shows all there is."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.sink = Sink()
        self.view = TerminalView(self.sink, size=lambda: size, theme=Theme(), show_timings=False, warm=False)
        self.paintings: list[float] = []
        painter = self.view._painter  # noqa: SLF001  # nothing else needs to know of paintings
        paint = painter.paint

        def watched(final: Sequence[Line], tail: Sequence[Line]) -> None:
            paint(final, tail)
            self.paintings.append(time.perf_counter())

        painter.paint = watched  # type: ignore[method-assign]

    def delays_s(self, shown: list[float]) -> list[float]:
        """From each token to the end of the next painting."""
        return [self.paintings[bisect.bisect(self.paintings, since)] - since for since in shown]


def measure(kind: str, n_tokens: int, size: tuple[int, int], rate: float | None) -> dict[str, Any]:
    """Stream one answer; `rate` None: as fast as it goes."""
    watched = Watched(size)
    pieces = pieces_of(kind, n_tokens)
    shown: list[float] = []
    parts: list[float] = []
    began, cpu = time.perf_counter(), time.process_time()
    for n, piece in enumerate(_paced(pieces, rate)):
        shown.append(time.perf_counter())
        watched.view.show(TextDelta(channel="final", text=piece))
        if rate is None and (n + 1) % (n_tokens // 10) == 0:
            parts.append(time.process_time() - cpu)
    watched.view.close()
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - began
    result: dict[str, Any] = {
        "answer": kind,
        "columns": size[0],
        "n_tokens": n_tokens,
        "cpu_ms_per_token": round(cpu_s / n_tokens * 1e3, 4),
        "bytes_per_token": round(watched.sink.n_bytes / n_tokens, 1),
        "paintings": len(watched.paintings),
    }
    if rate is None:
        tenths = [b - a for a, b in zip([0.0, *parts], parts, strict=False)]
        return result | {"cpu_s": round(cpu_s, 3), "last_tenth_to_first": round(tenths[-1] / tenths[0], 2)}
    late = sorted(watched.delays_s(shown))
    return result | {
        "cpu_share": round(cpu_s / wall_s, 4),
        "delay_ms_median": round(late[len(late) // 2] * 1e3, 2),
        "delay_ms_p99": round(late[int(len(late) * 0.99)] * 1e3, 2),
        "delay_ms_worst": round(late[-1] * 1e3, 2),
    }


def _paced(pieces: list[str], rate: float | None) -> Iterator[str]:
    began = time.perf_counter()
    for n, piece in enumerate(pieces):
        if rate is not None:
            time.sleep(max(0.0, began + n / rate - time.perf_counter()))
        yield piece


def main() -> None:
    """Measure every kind of answer, then a long one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100.0, help="tokens per second")
    parser.add_argument("--tokens", type=int, default=2000, help="of each paced answer")
    parser.add_argument("--long", type=int, default=50_000, help="tokens of the long answer")
    parser.add_argument("--only", choices=sorted(KINDS), help="one kind of answer")
    parser.add_argument("--columns", type=int, choices=[size[0] for size in SIZES], help="one width")
    chosen = parser.parse_args()
    sizes = [size for size in SIZES if chosen.columns in (None, size[0])]
    kinds = [kind for kind in KINDS if chosen.only in (None, kind)]
    warm_up()
    paced = [measure(kind, chosen.tokens, size, chosen.rate) for kind in kinds for size in sizes]
    long = [measure(kind, chosen.long, sizes[0] if len(sizes) == 1 else SIZES[1], None) for kind in kinds]
    print(json.dumps({"rate": chosen.rate, "paced": paced, "as fast as it goes": long}, indent=2))


if __name__ == "__main__":
    main()
