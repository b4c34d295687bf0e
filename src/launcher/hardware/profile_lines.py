"""Where the keys of a TOML file stand: tomllib gives their values without their lines. Pure."""

from __future__ import annotations

import re
import tomllib

Path = tuple[str | int, ...]
"""`("device", 1, "name")`: keys, and positions in lists."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY_PART = re.compile(r"""[ \t]*([\w\-]+|"(?:\\.|[^"\\])*"|'[^']*')[ \t]*""")
# A multi-line string may end in up to five quotes, of which the last three close it.
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})(?!")' + r"|'''.*?'''(?:'{0,2})(?!')" + r"""|"(?:\\.|[^"\\])*"|'[^']*'""",
    re.DOTALL,
)
_BARE = re.compile(r"[^,\]}#\n]*")


class Lines:
    """Line numbers of a document's keys, for messages.

    Args:
        text: a document that tomllib has read: what it would refuse is not looked for here.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._found: dict[Path, int] = {(): 1}
        self._lengths: dict[Path, int] = {}
        self._document()

    def of(self, table: str, index: int, key: str) -> int:
        """The line of a key, or of the nearest thing around it that is there: its table, the list of tables, line 1.

        Args:
            table: "" for the document itself.
            index: which of the tables, where `table` is a list of them.
            key: "" for the table itself.
        """
        inside: Path = (table,) if table else ()
        if table and (table, index) in self._found:
            inside = (table, index)
        path = (*inside, key)
        while path not in self._found:
            path = path[:-1]
        return self._found[path]

    def _document(self) -> None:
        table: Path = ()
        while self._skip_blank():
            if self._take("[["):
                *parents, name = self._key()
                whole = (*self._resolve(tuple(parents)), name)
                table = (*whole, self._lengths.get(whole, 0))
                self._lengths[whole] = int(table[-1]) + 1
                self._note(whole)
                self._note(table)
                self._take("]]")
            elif self._take("["):
                table = self._resolve(self._key())
                self._note_all(table)
                self._take("]")
            else:
                self._pair(table)

    def _resolve(self, key: Path) -> Path:
        """`[device.extra]` belongs to the last [[device]] before it."""
        path: Path = ()
        for part in key:
            path = (*path, part)
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        return path

    def _pair(self, table: Path) -> None:
        path = (*table, *self._key())
        self._note_all(path)
        self._take("=")
        self._value(path)

    def _key(self) -> Path:
        parts: list[str] = []
        while match := _KEY_PART.match(self._text, self._at):
            self._at = match.end()
            part = match.group(1)
            parts.append(tomllib.loads(f"key = {part}")["key"] if part[0] in "\"'" else part)
            if not self._take("."):
                break
        return tuple(parts)

    def _value(self, path: Path) -> None:
        self._skip_blank()
        if self._take("["):
            position = 0
            while self._skip_blank() and not self._take("]"):
                self._note((*path, position))
                self._value((*path, position))
                position += 1
                self._skip_blank()
                self._take(",")
        elif self._take("{"):
            while self._skip_blank() and not self._take("}"):
                self._pair(path)
                self._skip_blank()
                self._take(",")
        else:
            match = _STRING.match(self._text, self._at) or _BARE.match(self._text, self._at)
            self._at = match.end() if match else self._at

    def _skip_blank(self) -> bool:
        """Go to the next thing that is said; False at the end."""
        match = _BLANK.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at < len(self._text)

    def _take(self, what: str) -> bool:
        found = self._text.startswith(what, self._at)
        self._at += len(what) if found else 0
        return found

    def _note_all(self, path: Path) -> None:
        for end in range(1, len(path) + 1):
            self._note(path[:end])

    def _note(self, path: Path) -> None:
        if path not in self._found:
            self._found[path] = self._text.count("\n", 0, self._at) + 1
