"""The tools of a chat: opened by the words of `--tools`, ruled by the settings, closed at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from launcher.chat.turn import Tools
from launcher.cli.output import say
from launcher.settings import Settings
from launcher.text import printable
from launcher.tools.types import ToolLimits


@contextmanager
def opened_tools(words: str | None, settings: Settings) -> Iterator[Tools]:
    """Tools that the model may call; none without words.

    Raises:
        LauncherError: a tool that is not known, or cannot be offered here.
    """
    if not words:
        yield Tools()
        return
    from launcher.tools.request import ToolRules, parse_tools
    from launcher.tools.toolbox import open_toolbox

    limits = ToolLimits()
    rules = ToolRules(allow=_patterns(settings.tools_allow), deny=_patterns(settings.tools_deny))
    with open_toolbox(parse_tools(words), limits=limits, rules=rules) as box:
        for note in box.notes:
            say(printable(note))
        yield Tools(tools=box.tools, limits=limits)


def _patterns(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def known_tools() -> Sequence[str]:
    """What `--tools` can name here: Python, and the MCP servers of the configuration."""
    from launcher.errors import LauncherError
    from launcher.tools.toolbox import load_mcp_config, mcp_file

    try:
        return ("python", *(f"mcp:{name}" for name in load_mcp_config(mcp_file()).names))
    except LauncherError:  # told where one of them is used
        return ("python",)
