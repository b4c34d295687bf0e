"""A text, edited in the user's editor."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from launcher.errors import LauncherError


def edit_text(text: str, edit: Callable[[Path], None], say: Callable[[str], None]) -> str:
    """What comes of `text` in an editor. Where that fails, why is said and the text is as it was."""
    try:
        with tempfile.TemporaryDirectory(prefix="gpt-oss-") as folder:
            path = Path(folder) / "question.md"  # editors tell from the name what to colour
            path.write_bytes(text.encode("utf-8", "replace") + b"\n")
            edit(path)
            edited = path.read_bytes().decode("utf-8", "replace")
    except LauncherError as error:
        say(f"error: {error.message}")
        return text
    except OSError as error:
        say(f"error: cannot edit the question: {error.strerror or error}")
        return text
    return edited.removesuffix("\n")
