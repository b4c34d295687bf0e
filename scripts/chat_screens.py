"""Pictures of a real conversation in terminals of 40, 80 and 200 columns.

    uv run python scripts/chat_screens.py

The model plays a script (tests/data/chat), the terminal is real, and what stands on its screen is drawn as SVG.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import tempfile
from itertools import groupby
from pathlib import Path

import pyte
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.cli.terminal import Terminal, terminal  # noqa: E402  # tests are no package of the project's

MODEL = ROOT / "tests" / "data" / "chat" / "chat-gpt-oss.gguf"
COLUMNS = {40: 62, 80: 52, 200: 44}
READY = r">>>\n\s*chat-gpt-oss"
_COLOURS = {"brown": "yellow", "brightbrown": "bright_yellow"}


def play(screen: Terminal) -> None:
    """A question that is answered in Markdown, and one that Python answers."""
    screen.wait_for(READY)
    mark = screen.mark()
    screen.line("Explain bubble sort.")
    screen.wait_for(READY, after=mark)
    mark = screen.mark()
    screen.line("What is 17 times 23?")
    screen.wait_for(r"\[n\]o:", after=mark)
    screen.line("y")
    screen.wait_for("is 391", after=mark)
    screen.wait_for(READY, after=mark)


def style_of(char: pyte.screens.Char) -> Style:
    """A cell's style as rich has it."""
    return Style(
        color=_colour(char.fg), bgcolor=_colour(char.bg), bold=char.bold, italic=char.italics,
        underline=char.underscore, reverse=char.reverse, strike=char.strikethrough,
    )  # fmt: skip


def _colour(name: str) -> str | None:
    if name == "default":
        return None
    if len(name) == len("rrggbb") and all(digit in "0123456789abcdef" for digit in name):
        return f"#{name}"
    return _COLOURS.get(name, name.replace("bright", "bright_") if name.startswith("bright") else name)


def draw(screen: pyte.Screen, path: Path, title: str) -> None:
    """Write the screen as SVG, without the empty rows at its end."""
    rows = []
    for y in range(screen.lines):
        cells = [(screen.buffer[y][x].data, style_of(screen.buffer[y][x])) for x in range(screen.columns)]
        runs = ((style, "".join(data for data, _ in run)) for style, run in groupby(cells, key=lambda cell: cell[1]))
        rows.append(Text.assemble(*((text, style) for style, text in runs)))
    while rows and not rows[-1].plain.strip():
        rows.pop()
    console = Console(record=True, width=screen.columns, file=io.StringIO(), force_terminal=True)
    for line in rows:
        line.rstrip()
        console.print(line, soft_wrap=True)
    # A picture asks nobody for a font.
    plain = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    console.save_svg(str(path), title=title, theme=DIMMED_MONOKAI, code_format=plain)


def main() -> None:
    """Play and draw at every width."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screens")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for columns, rows in COLUMNS.items():
        with tempfile.TemporaryDirectory() as home:
            env = {**os.environ, "GPT_OSS_DATA_DIR": home, "GPT_OSS_STATE_DIR": home, "GPT_OSS_CONFIG_DIR": home}
            words = ("chat", "--model", str(MODEL), "--ctx-size", "8192", "--temp", "0", "--tools", "python")
            with terminal(*words, env=env, cwd=Path(home), columns=columns, rows=rows) as screen:
                play(screen)
                draw(screen.screen, args.out / f"chat-{columns}.svg", "gpt-oss chat")


if __name__ == "__main__":
    main()
