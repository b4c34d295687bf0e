"""`bench` with an option whose value may be left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typer.core import TyperGroup

from launcher.bench.predictions import DEFAULT_BOUND

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTION = "--predict-check"


class BoundMayLack(TyperGroup):
    """Gives `--predict-check` its bound where nothing that could be one follows."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does, after what is left out was added."""
        return super().parse_args(ctx, with_bound(args))


def with_bound(args: Sequence[str]) -> list[str]:
    """`--predict-check -p 16` as `--predict-check=15 -p 16`."""
    found = []
    for i, word in enumerate(args):
        following = args[i + 1] if i + 1 < len(args) else ""
        bare = word == OPTION and not following[:1].isdigit()
        found.append(f"{OPTION}={DEFAULT_BOUND * 100:g}" if bare else word)
    return found
