"""A plan beside llama.cpp's own statement, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.cli.output import report_console
from launcher.units import format_bytes

if TYPE_CHECKING:
    from launcher.planner.verify import Verification


def print_verification(found: Verification) -> None:
    """Print the comparison and the verdict on stdout."""
    from rich.table import Table
    from rich.text import Text

    console = report_console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, right in (("device", False), ("part", False), ("planned", True), ("llama.cpp", True)):
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    table.add_column("difference", justify="right", no_wrap=True)
    for row in found.rows:
        off = row.planned_bytes - row.stated_bytes
        said = "none" if off == 0 else format_bytes(off)
        amounts = (format_bytes(row.planned_bytes), format_bytes(row.stated_bytes))
        table.add_row(row.device, row.part, *amounts, said, style=None if row.ok else "red")
    console.print()
    console.print(table)
    verdict = "llama.cpp agrees with this plan." if found.ok else "llama.cpp does not agree with this plan."
    console.print(Text(verdict, style="bold green" if found.ok else "bold red"))
    console.print(Text(found.note, style="dim"))
