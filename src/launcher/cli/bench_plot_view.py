"""Charts on a terminal and as a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from launcher.bench.chart import Chart
from launcher.bench.plot import to_svg
from launcher.bench.plot_png import to_png
from launcher.bench.plot_text import Piece, to_lines
from launcher.cli.columns import BOLD, is_styled, styled, terminal_width
from launcher.cli.output import save_text, say
from launcher.errors import LauncherError, UsageError

_COLOURS = tuple(f"\x1b[{code}m" for code in (36, 33, 32, 35, 34, 31, 37))
_PIPED_WIDTH = 80
_TITLE = "gpt-oss bench"
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
    """Write all of them as one SVG or PNG file, by the ending of its name.

    Raises:
        UsageError: the file's name says that it is something else.
        LauncherError: the folder cannot be written, or this Python cannot draw a PNG.
    """
    kind = path.suffix.lower()
    if kind == ".svg":
        save_text(path, to_svg(charts, title=_TITLE))
    elif kind == ".png":
        _save_png(charts, path)
    else:
        raise UsageError(f"{path}: a plot is an .svg or a .png file", hint="gpt-oss bench plot -o bench.svg")
    say(f"wrote {path}")


def _save_png(charts: Sequence[Chart], path: Path) -> None:
    try:
        data = to_png(charts, title=_TITLE)
    except ImportError as error:  # a Pillow that was built without its fonts
        raise LauncherError(f"no PNG can be drawn here: {error}", hint="gpt-oss bench plot -o bench.svg") from error
    save_text(path, data)


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
