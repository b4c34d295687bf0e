"""What can come next on a /command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.chat.commands import COMMANDS, Command, find, is_command
from launcher.chat.prompt.types import Sources
from launcher.chat.prompt.words import Word, last_word, quoted
from launcher.text import printable

MAX_FILES = 200
"""Names that are offered of one folder: a longer list is narrowed down by typing, not by looking."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One thing to choose."""

    text: str
    """Takes the place of what is there from `start` to the cursor."""
    start: int
    display: str
    meta: str = ""


def completes(text: str) -> bool:
    """Whether something may come up for the text before the cursor: it is a /command, and takes names."""
    if "\n" in text or not is_command(text) or text[0] != "/":
        return False
    word, space, _ = text.partition(" ")
    command = find(word)
    return not space or (command is not None and command.completes is not None)


def candidates(text: str, sources: Sources) -> list[Candidate]:
    """What can follow the text before the cursor, the likeliest first. May wait for a disk, or for `sources`."""
    if not completes(text):
        return []
    name, space, rest = text.partition(" ")
    if not space:
        return list(_commands(name, 0))
    command = find(name)
    if command is None:
        return []
    typed = rest.lstrip(" ")
    start = len(text) - len(typed)
    word = last_word(typed)
    word = Word(start=word.start + start, value=word.value, index=word.index)
    if command.completes == "conversation" and word.value[:1] not in ("~", "/", "."):
        # A title may have spaces: all that was typed so far is one.
        return list(_conversations(sources.conversations(), typed, start))
    return list(_argument(command, word, sources))


def _commands(name: str, start: int) -> Iterator[Candidate]:
    for command in COMMANDS:
        # An alias is offered where only it begins like that, so that nothing is there twice.
        names = [word for word in (command.name, *command.aliases) if word.startswith(name)]
        if names:
            display = f"{names[0]} {command.usage}".rstrip()
            yield Candidate(text=names[0], start=start, display=display, meta=command.help)


def _argument(command: Command, word: Word, sources: Sources) -> Iterator[Candidate]:
    kind = command.completes
    if kind in ("file", "conversation") or (kind == "format" and word.index == 1):
        yield from files(word)
    elif kind == "tool":
        off = ("off",) if word.index == 0 else ()
        yield from _names((*sources.tools(), *off), word)
    elif word.index == 0:
        yield from _single(command, word, sources)


def _single(command: Command, word: Word, sources: Sources) -> Iterator[Candidate]:
    if command.completes == "model":
        yield from _names(sources.models(), word)
    elif command.completes == "command":
        prefix = word.value if word.value.startswith("/") else f"/{word.value}"
        yield from _commands(prefix, word.start)
    else:
        # The usage spells the choices: `low|medium|high`, `md|json|html [FILE]`.
        yield from _names(command.usage.partition(" ")[0].split("|"), word)


def _names(names: Sequence[str], word: Word) -> Iterator[Candidate]:
    """Those that begin with the word, then those that have it elsewhere."""
    wanted = word.value.casefold()
    begun = [name for name in names if name.casefold().startswith(wanted)]
    within = [name for name in names if wanted in name.casefold() and name not in begun]
    for name in (*begun, *within):
        if name.isprintable():
            yield Candidate(text=quoted(name), start=word.start, display=name)


def _conversations(pairs: Sequence[tuple[str, str]], typed: str, start: int) -> Iterator[Candidate]:
    wanted = typed.strip().casefold()
    for identity, title in pairs:
        if identity.casefold().startswith(wanted) or wanted in title.casefold():
            meta = printable(title)
            yield Candidate(text=identity, start=start, display=identity, meta=meta)


def files(word: Word, *, scan: Callable[[Path], Iterator[tuple[str, bool]]] | None = None) -> Iterator[Candidate]:
    """Files whose path begins with the word; hidden ones where the name typed begins with a dot."""
    folder, slash, prefix = word.value.rpartition("/")
    shown = f"{folder}{slash}"
    if not slash and prefix == "~":
        yield Candidate(text="~/", start=word.start, display="~/")
        return
    try:
        path = Path(shown or ".").expanduser()
        found = sorted((scan or _scan)(path), key=lambda entry: (entry[0].casefold(), entry[0]))
    except (OSError, RuntimeError, ValueError):  # no such folder, no such user, a name that no path can have
        return
    exact = prefix != prefix.casefold()
    n_found = 0
    for name, is_folder in found:
        begins = name.startswith(prefix) if exact else name.casefold().startswith(prefix)
        if not begins or (name.startswith(".") and not prefix.startswith(".")) or not name.isprintable():
            continue
        tail = "/" if is_folder else ""
        yield Candidate(text=quoted(f"{shown}{name}{tail}", is_open=is_folder), start=word.start, display=name + tail)
        n_found += 1
        if n_found == MAX_FILES:
            return


def _scan(folder: Path) -> Iterator[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                is_folder = entry.is_dir()
            except OSError:  # a link in a circle, a folder that may not be entered
                is_folder = False
            yield entry.name, is_folder
