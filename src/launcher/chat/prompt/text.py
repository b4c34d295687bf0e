"""What is done to text on its way in: cleaned when pasted, continued where it is unfinished. Pure."""

from __future__ import annotations

import re

from launcher.chat.commands import is_command

BLOCK = '"""'

_ESCAPE = re.compile(
    r"""
      (?: \x1b\[ | \x9b ) [0-?]* [\ -/]* [@-~]                       # CSI: colours, the cursor
    | (?: \x1b\] | \x9d ) [^\x07\x1b\x9c]* (?: \x07 | \x1b\\ | \x9c )  # OSC: titles, links, the clipboard
    | \x1b [PX^_] [^\x1b]* \x1b\\                                     # DCS, SOS, PM, APC
    | \x1b [\ -/]* [0-~]                                              # the rest, of two or three characters
    """,
    re.VERBOSE,
)
_CONTROL = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
# Half a surrogate pair is a byte that was no UTF-8: it could be shown, but neither saved nor sent.
_UNREADABLE = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
_TABLE = {**_CONTROL, **_UNREADABLE}


def clean(text: str) -> str:
    r"""Text without escape sequences and control characters; tabs stay, every line ends with `\n`."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _ESCAPE.sub("", text).translate(_TABLE)


def needs_more(text: str) -> bool:
    r"""Whether Enter at the end of `text` begins another line: after a `\`, and within an open block."""
    start = _block_start(text)
    if start is not None:
        return _block_end(text, start) is None
    return ends_with_backslash(text)


def ends_with_backslash(text: str) -> bool:
    r"""Whether the last line ends with a `\` that is not itself escaped by another."""
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def finished(text: str) -> str:
    '''What is sent for what was typed: a text that is one block, perhaps behind a command, loses its `"""`.'''
    start = _block_start(text)
    end = None if start is None else _block_end(text, start)
    if start is None or end is None or text[end + len(BLOCK) :].strip():
        return text
    return text[:start] + text[start + len(BLOCK) : end].strip("\n")


def _block_start(text: str) -> int | None:
    """Where a block opens: at the beginning, or right after a /command."""
    rest = text.lstrip()
    if is_command(text):
        _, _, rest = rest.partition(" ")
        rest = rest.lstrip(" ")
    return len(text) - len(rest) if rest.startswith(BLOCK) else None


def _block_end(text: str, start: int) -> int | None:
    """Where the block closes: at the first end of a line that has the mark."""
    position = start + len(BLOCK)
    for line in text[position:].split("\n"):
        bare = line.rstrip()
        if bare.endswith(BLOCK):
            return position + len(bare) - len(BLOCK)
        position += len(line) + 1
    return None
