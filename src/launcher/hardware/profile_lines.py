"""Where the keys of a TOML file stand: tomllib gives their values without their lines. Pure."""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*\[(\[)?\s*([\w.\-\"']+)\s*\]")
_KEY = re.compile(r"\s*([\w\-]+|\"[^\"]*\"|'[^']*')\s*(?:=|\.)")


class Lines:
    """Line numbers of a document's keys, for messages. The document itself has been parsed already."""

    def __init__(self, text: str) -> None:
        self._keys: dict[tuple[str, int, str], int] = {}
        self._tables: dict[tuple[str, int], int] = {("", 0): 1}
        counts: dict[str, int] = {}
        table, index = "", 0
        for number, line in enumerate(text.splitlines(), start=1):
            if header := _HEADER.match(line):
                table = header.group(2).strip("\"'")
                index = counts.get(table, 0) if header.group(1) else 0
                counts[table] = index + 1
                self._tables.setdefault((table, index), number)
                self._keys.setdefault(("", 0, table), number)
            elif key := _KEY.match(line):
                self._keys.setdefault((table, index, key.group(1).strip("\"'")), number)

    def of(self, table: str, index: int, key: str) -> int:
        """The line of a key; of its table where the key is not there; of a table written inline; else the first."""
        found = self._keys.get((table, index, key)) or self._tables.get((table, index))
        return found or self._keys.get(("", 0, table), 1)
