"""Charts on a terminal and as a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from launcher.bench.chart import Chart
from launcher.bench.plot import to_svg
from launcher.bench.plot_text import Piece, to_lines
from launcher.cli.columns import BOLD, is_styled, styled, terminal_width
from launcher.cli.output import save_text, say
from launcher.errors import UsageError

_COLOURS = tuple(f"\x1b[{code}m" for code in (36, 33, 32, 35, 34, 31, 37))
_PIPED_WIDTH = 80
_BRAILLE = "\u28ff│└┴"


def print_charts(charts: Sequence[Chart], *, ascii_only: bool = False) -> None:
    """Draw on stdout, in plain letters where it cannot show others."""
    width, colours = terminal_width(sys.stdout) or _PIPED_WIDTH, is_styled(sys.stdout)
    plain = ascii_only or not _shows(_BRAILLE, sys.stdout.encoding)
    for n, chart in enumerate(charts):
        lines = to_lines(chart, width, ascii_only=plain)
        texts = ["".join(_coloured(piece, on=colours) for piece in line) for line in lines]
        texts[0] = styled(BOLD, texts[0], on=colours)
        sys.stdout.writelines(text + "\n" for text in ([""] if n else []) + texts)


def save_charts(charts: Sequence[Chart], path: Path) -> None:
    """Write all of them as one SVG file.

    Raises:
        UsageError: the file's name says that it is something else.
        LauncherError: the folder cannot be written.
    """
    if path.suffix.lower() != ".svg":
        raise UsageError(f"{path}: a plot is an .svg file", hint="gpt-oss bench plot -o bench.svg")
    save_text(path, to_svg(charts, title="gpt-oss bench"))
    say(f"wrote {path}")


def _coloured(piece: Piece, *, on: bool) -> str:
    if piece.series is None or not piece.text.strip():
        return piece.text
    return styled(_COLOURS[piece.series % len(_COLOURS)], piece.text, on=on)


def _shows(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
