"""Styles and signs of the screen: 16 colours that can be read on dark and on light grounds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BOLD, DIM, ITALIC, UNDERLINE, STRIKE = "1", "2", "3", "4", "9"

# No yellow, no white, no blue: each of them vanishes on one of the two grounds. Nothing is told by colour alone.
_CODE = {
    "Comment": "2;3",
    "Keyword": "35",
    "Keyword.Constant": "36",
    "Operator.Word": "35",
    "Name.Builtin": "36",
    "Name.Class": "1",
    "Name.Decorator": "35",
    "Name.Exception": "36",
    "Name.Function": "1",
    "Name.Tag": "35",
    "Name.Attribute": "36",
    "Literal.String": "32",
    "Literal.Number": "36",
    "Generic.Deleted": "31",
    "Generic.Inserted": "32",
    "Generic.Heading": "1",
    "Generic.Subheading": "35",
    "Generic.Emph": "3",
    "Generic.Strong": "1",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Theme:
    """How things look on one kind of terminal."""

    colour: bool = True
    """False with NO_COLOR: bold, dim, italic and underlined stay."""
    unicode: bool = True
    """False where the terminal's encoding has no boxes and bullets."""
    links: bool = True
    """Whether URLs can be clicked (OSC 8); they are always shown as well."""

    @property
    def code(self) -> str:
        """Style of code in a line; its backticks stay, so that it does not depend on colour."""
        return "36" if self.colour else ""

    @property
    def math(self) -> str:
        """Style of formulas, which keep their delimiters."""
        return "36" if self.colour else ""

    @property
    def error(self) -> str:
        """Style of what went wrong; a word says so as well."""
        return "31" if self.colour else BOLD

    @property
    def bar(self) -> str:
        """Before quotes and between columns."""
        return "│" if self.unicode else "|"

    @property
    def rule(self) -> str:
        """What rules are made of."""
        return "─" if self.unicode else "-"

    @property
    def cross(self) -> str:
        """Where the rule below a table's header meets a column."""
        return "┼" if self.unicode else "+"

    @property
    def ellipsis(self) -> str:
        """Something was cut."""
        return "…" if self.unicode else "..."

    @property
    def arrow(self) -> str:
        """Something happened."""
        return "▸" if self.unicode else ">"

    @property
    def dot(self) -> str:
        """Between facts of one line."""
        return "·" if self.unicode else "-"

    @property
    def spinner(self) -> str:
        """One sign after the other."""
        return "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if self.unicode else "|/-\\"

    def bullet(self, depth: int) -> str:
        """The sign of a list within `depth` others."""
        return "•◦▪"[depth % 3] if self.unicode else "*-+"[depth % 3]

    def box(self, *, ticked: bool) -> str:
        """The box of a task."""
        if self.unicode:
            return "☑" if ticked else "☐"
        return "[x]" if ticked else "[ ]"

    def heading(self, level: int) -> str:
        """Style of a heading."""
        return {1: f"{BOLD};{UNDERLINE}", 2: BOLD, 3: f"{BOLD};{ITALIC}"}.get(level, f"{ITALIC};{UNDERLINE}")

    def token(self, name: str) -> str:
        """Style of a token of code, by the name of its kind: `Literal.String.Doc`, or of what it is a kind of."""
        while name:
            if name in _CODE:
                sgr = _CODE[name]
                return sgr if self.colour or not sgr.startswith("3") or sgr == ITALIC else ""
            name = name.rpartition(".")[0]
        return ""


def theme_of(environ: Mapping[str, str], encoding: str | None) -> Theme | None:
    """How things look on a terminal, by what its environment tells; None where it obeys no escape sequences."""
    term = environ.get("TERM", "").lower()
    if term in ("", "dumb", "unknown"):
        return None
    # The console of Linux has a font of few signs and prints the inside of a link; screen does neither well.
    simple = term == "linux" or term.startswith("screen")
    return Theme(
        colour=not environ.get("NO_COLOR") and not term.startswith("vt") and not term.endswith("-m"),
        unicode=(encoding or "").lower().replace("-", "").startswith("utf") and term != "linux",
        links=not simple,
    )
