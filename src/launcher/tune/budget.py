"""How long a search may take. Pure."""

from __future__ import annotations

import re

from launcher.errors import UsageError

_UNITS = {"": 60.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_SHORTEST_S, _LONGEST_S = 1.0, 24 * 3600.0


def seconds_of(text: str) -> float:
    """`5m`, `90s`, `1.5h`; a bare number is minutes.

    Raises:
        UsageError: it is none of these, or no time that a search could take.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)\s*([smh]?)", text.strip().lower())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise UsageError(
            f"--budget takes a time from 1s to 24h, such as 90s or 5m, not {text!r}", hint="gpt-oss tune --budget 10m"
        )
    return seconds
