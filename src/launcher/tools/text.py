"""Text that tools give back: cut to a limit for the model, cleaned for a terminal. Pure."""

from __future__ import annotations

import unicodedata

_KEPT = frozenset("\n\t\u00ad\u200c\u200d")
"""Of the characters that are not shown: those that lay text out, and those that scripts and emoji are joined with."""
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp"})
"""Unicode's categories of what steers a terminal, reorders letters or hides text from a reader."""


def cut_middle(text: str, max_chars: int) -> tuple[str, int]:
    """Text of at most `max_chars` and how many characters were left out, from its middle: the end says most.

    The line that tells of the cut counts too, where there is room for it.
    """
    if len(text) <= max_chars:
        return text, 0
    note = _cut_note(len(text))
    room = max_chars - len(note)
    if room < 2:
        return text[len(text) - max_chars :] if max_chars > 0 else "", len(text) - max(max_chars, 0)
    head = room // 3
    n_cut = len(text) - room
    # The note of the smaller number may be shorter by a digit, never longer.
    return f"{text[:head]}{_cut_note(n_cut)}{text[len(text) - (room - head) :]}", n_cut


def _cut_note(n_cut: int) -> str:
    return f"\n[... {n_cut} characters left out ...]\n"


def clean_text(text: str) -> str:
    """Text of several lines without what could steer a terminal, such as escape sequences, or reorder its letters."""
    return "".join(map(_cleaned, text.replace("\r\n", "\n")))


def _cleaned(char: str) -> str:
    if char.isprintable() or char in _KEPT:
        return char
    category = unicodedata.category(char)
    if category == "Cs":
        return "\ufffd"  # half of a pair, which no file and no pipe can hold
    return " " if category in _UNSEEN else char


def clean_line(text: str, max_chars: int = 300) -> str:
    """The same on one line, with runs of space joined; longer ones end with an ellipsis."""
    line = " ".join(clean_text(text).split())
    return line if len(line) <= max_chars else line[: max_chars - 1].rstrip() + "…"


def say_result(text: str, max_chars: int) -> tuple[str, int]:
    """A tool's answer as the model gets it and the user sees it: cleaned, cut, and a word where there is nothing."""
    if not text.strip():
        return "(no output)", 0
    kept, n_cut = cut_middle(text, max_chars)
    return clean_text(kept), n_cut


class Tail:
    """Gathers a stream of any length in bounded memory: its beginning, its end, and how much was between them."""

    def __init__(self, max_bytes: int) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._max_head = max_bytes // 2
        self._max_tail = max_bytes - self._max_head
        self.n_dropped = 0
        """Bytes that are kept nowhere."""

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        room = self._max_head - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room > 0 else data
        # Not at every piece: each shift moves all that is kept.
        if len(self._tail) > 2 * self._max_tail:
            self._shift()

    def _shift(self) -> None:
        over = len(self._tail) - self._max_tail
        if over > 0:
            del self._tail[:over]
            self.n_dropped += over

    def cut(self, max_chars: int) -> tuple[str, int]:
        """What came, as text within a limit, and how many characters (bytes, for what was never decoded) it lacks."""
        self._shift()
        if not self.n_dropped:
            return cut_middle((self._head + self._tail).decode("utf-8", "replace"), max_chars)
        head, tail = (part.decode("utf-8", "replace") for part in (self._head, self._tail))
        n_known = len(head) + len(tail)
        room = max(0, max_chars - len(_cut_note(self.n_dropped + n_known)))
        kept_head = head[: room // 3]
        kept_tail = tail[max(0, len(tail) - (room - len(kept_head))) :]
        n_cut = self.n_dropped + n_known - len(kept_head) - len(kept_tail)
        return f"{kept_head}{_cut_note(n_cut)}{kept_tail}", n_cut
