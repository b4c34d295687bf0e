"""Commands as a person types them: in a POSIX shell, on Windows in PowerShell. Pure."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence

_PLAIN = re.compile(r"[\w\\/:.+=,-]+", re.ASCII)
"""Words that PowerShell takes as they are; a comma or `@` at the beginning would be an operator."""


def quoted(word: str, *, system: str = sys.platform) -> str:
    """A word, in quotes where it needs them."""
    if system != "win32":
        return shlex.quote(word)
    plain = _PLAIN.fullmatch(word) and word[0] not in ",-="
    return word if plain or re.fullmatch(r"--?[a-z][\w-]*", word) else "'" + word.replace("'", "''") + "'"


def command_line(
    words: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    unset: Sequence[str] = (),
    system: str = sys.platform,
) -> str:
    """A command with the variables that it gets, and without those in `unset`."""
    given = env or {}
    if system != "win32":
        without = [word for name in unset for word in ("-u", name)]
        variables = [f"{name}={value}" for name, value in given.items()]
        return shlex.join([*(["env", *without, *variables] if without or variables else []), *words])
    steps = [f"$env:{name} = $null" for name in unset]
    steps += [f"$env:{name} = {_literal(value)}" for name, value in given.items()]
    command = " ".join(quoted(word, system=system) for word in words)
    # Words in quotes are a text there, which is printed, unless it is called.
    return "; ".join([*steps, f"& {command}" if command.startswith("'") else command])


def split(text: str, *, system: str = sys.platform) -> list[str]:
    r"""The words of a line. On Windows a backslash is a part of a path, and escapes nothing.

    Raises:
        ValueError: a quote is not closed.
    """
    words = shlex.shlex(text, posix=True, punctuation_chars=False)
    words.whitespace_split, words.commenters = True, ""
    if system == "win32":
        words.escape = ""
    return list(words)


def as_typed(command: str, *, system: str = sys.platform) -> str:
    """A command of a POSIX shell that is suggested to somebody, as it is typed there; on others it is known already."""
    if system != "win32":
        return command
    words = command.split(" ", 2)
    if words[0] == "ls":
        has_options = len(words) > 1 and words[1].startswith("-")
        return "dir" + command.removeprefix(" ".join(words[:2] if has_options else words[:1]))
    if words[0] == "unset":
        return f"Remove-Item Env:{command.removeprefix('unset ')}"
    return command


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
