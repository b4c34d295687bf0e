"""What upgrades would buy, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from launcher.cli.output import report_console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.planner.whatif import Upgrade


def print_upgrades(upgrades: Sequence[Upgrade]) -> None:
    """A line for each upgrade that changes something."""
    console = report_console()
    console.print()
    console.print("What if", style="bold")
    if not upgrades:
        console.print("  No more memory and no common GPU would change this plan.")
    for upgrade in upgrades:
        console.print(Text.assemble("  ", (upgrade.change, "bold"), f": {upgrade.gain}"))
