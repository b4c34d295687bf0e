"""Long texts stand in the input as one character each, which is shown as `[pasted 212 lines, 8.1 kB]`. Pure.

One character, so that the cursor steps over it, Backspace takes all of it, and undo and the kill ring bring it back.
"""

from __future__ import annotations

import re

MAX_LINES = 20
"""What is longer would push the conversation off the screen."""
MAX_CHARS = 2_000
"""Of a paste: more than a screen, even on one line."""
MAX_OPEN_LINE = 10_000
"""Characters of a line that is open for editing: it is laid out anew for every keystroke, which takes 25 ms by then."""
MAX_OPEN_CHARS = 200_000
"""Of any text that is open: other lines cost little, but not nothing."""

# Private use, at the end of the last plane: no font, keyboard or file has a meaning for these.
_FIRST, _LAST = 0x10F000, 0x10FFFD
_ANY = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]")


class Pastes:
    """The long texts of one run of the prompt."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def of_paste(self, text: str) -> str:
        """What to insert for a cleaned paste: itself, or the character that stands for it."""
        return self._held(text) if len(text) > MAX_CHARS or n_lines(text) > MAX_LINES else self.of_text(text)

    def of_text(self, text: str) -> str:
        """What to show for a text that was there before, such as an earlier question: itself while it can be edited."""
        is_slow = len(text) > MAX_OPEN_CHARS or (
            len(text) > MAX_OPEN_LINE and max(map(len, text.split("\n"))) > MAX_OPEN_LINE
        )
        # A text that happens to have one of our characters would otherwise be taken for a paste.
        return self._held(text) if is_slow or _ANY.search(text) else text

    def _held(self, text: str) -> str:
        for mark, held in self._texts.items():
            if held == text:
                return mark
        code = _FIRST + len(self._texts)
        if code > _LAST:
            return text
        self._texts[chr(code)] = text
        return chr(code)

    def expand(self, text: str) -> str:
        """The whole text, as it is sent."""
        return _ANY.sub(lambda found: self._texts.get(found.group(), found.group()), text)

    def label(self, char: str) -> str | None:
        """How a character is shown; None where it stands for itself."""
        text = self._texts.get(char)
        return None if text is None else label(text)

    def has_marks(self, text: str) -> bool:
        """Whether some character of `text` is shown as a label."""
        return bool(self._texts) and _ANY.search(text) is not None


def n_lines(text: str) -> int:
    """Lines of a text; a line break at the very end begins no further one."""
    return text.count("\n") + (0 if text.endswith("\n") else 1)


def label(text: str) -> str:
    """`[pasted 212 lines, 8.1 kB]`."""
    n = n_lines(text)
    size = len(text.encode("utf-8", "replace"))
    amount = f"{size / 1e6:.1f} MB" if size >= 999_950 else f"{size / 1e3:.1f} kB" if size >= 1000 else f"{size} B"
    return f"[pasted {n:,} line{'' if n == 1 else 's'}, {amount}]"
