"""The tools of a chat: opened by the words of `--tools`, ruled by the settings, closed at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from launcher.chat.turn import Tools
from launcher.cli.output import one_line, say
from launcher.settings import Settings


@contextmanager
def opened_tools(words: str | None, settings: Settings) -> Iterator[Tools]:
    """Tools that the model may call; none without words.

    Raises:
        LauncherError: a tool that is not known, or cannot be offered here.
    """
    if not words:
        yield Tools()
        return
    from launcher.tools.toolbox import open_toolbox, parse_tools

    request = parse_tools(words, allow=settings.tools_allow, deny=settings.tools_deny)
    with open_toolbox(request) as box:
        for note in box.notes:
            say(one_line(note))
        yield Tools(tools=tuple(box.tools), limits=box.limits)


def known_tools() -> Sequence[str]:
    """What `--tools` can name here: Python, and the MCP servers of the configuration."""
    from launcher.errors import LauncherError
    from launcher.tools.toolbox import configured_servers

    try:
        return ("python", *(f"mcp:{name}" for name in configured_servers()))
    except LauncherError:  # told where one of them is used
        return ("python",)
