"""The /commands of a conversation, as a table: the prompt completes from it, /help prints it. Pure."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

Completes = Literal["effort", "model", "file", "conversation", "format", "tool", "view", "command"]
"""What an argument is completed with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One command."""

    name: str
    """With its slash."""
    usage: str = ""
    """Its arguments, as /help spells them."""
    help: str
    completes: Completes | None = None
    aliases: tuple[str, ...] = ()


COMMANDS = (
    Command(name="/help", usage="[COMMAND]", help="this list, or more about one", completes="command", aliases=("/?",)),
    Command(name="/effort", usage="low|medium|high", help="how long the model thinks", completes="effort"),
    Command(name="/reasoning", usage="full|fold|hide", help="how the model's thoughts are shown", completes="view"),
    Command(name="/system", usage="[TEXT]", help="instructions that begin the conversation; - removes them"),
    Command(name="/model", usage="[MODEL]", help="the model, or go on with another one", completes="model"),
    Command(name="/attach", usage="FILE...", help="send files along with the next question", completes="file"),
    Command(name="/tools", usage="[NAME...|off]", help="tools that the model may call", completes="tool"),
    Command(name="/retry", help="have the last question answered again"),
    Command(name="/edit", help="write the last question anew, and everything after it"),
    Command(name="/undo", help="take the last question and its answer back"),
    Command(name="/clear", help="begin a new conversation", aliases=("/new",)),
    Command(name="/save", usage="[FILE|TITLE]", help="save as a JSON file, or give the conversation a title"),
    Command(name="/load", usage="FILE|ID", help="go on with a saved conversation", completes="conversation"),
    Command(name="/export", usage="md|json|html [FILE]", help="write the conversation down", completes="format"),
    Command(name="/copy", usage="[code]", help="copy the last answer, or its last code block, to the clipboard"),
    Command(name="/stats", help="tokens and speed of this conversation"),
    Command(name="/context", help="what fills the context"),
    Command(name="/quit", help="leave (also Ctrl-D)", aliases=("/exit", "/bye", "/q")),
)


def find(word: str) -> Command | None:
    """The command of this name, of one of its aliases, or of its only beginning (`/eff`)."""
    for command in COMMANDS:
        if word == command.name or word in command.aliases:
            return command
    begun = [command for command in COMMANDS if command.name.startswith(word)]
    return begun[0] if len(begun) == 1 and len(word) > 1 else None


def nearest(word: str) -> str | None:
    """The name that an unknown word was most likely meant to be."""
    close = difflib.get_close_matches(word, [command.name for command in COMMANDS], n=1)
    return close[0] if close else None


def is_command(line: str) -> bool:
    """Whether a line is for the chat and not for the model: `/word`, but not a path such as `/etc/hosts: what?`."""
    word = line.split(maxsplit=1)[0] if line.strip() else ""
    return word.startswith("/") and "/" not in word[1:]
