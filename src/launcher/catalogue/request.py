"""What `--model` can say: `auto`, a release, a hub repository with or without a quant, or a path."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import UsageError

RELEASES = {"20b": "gpt-oss-20b", "120b": "gpt-oss-120b", "gpt-oss-20b": "gpt-oss-20b", "gpt-oss-120b": "gpt-oss-120b"}
_REPO = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?::([\w.-]+))?\Z", re.ASCII)

_OF_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\.{0,2}\\")
r"""How a path begins there: `C:\`, `\\server`, `.\`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnyRelease:
    """`auto`, or one release where `model` is set."""

    model: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FromRepo:
    """`owner/name[:QUANT]`."""

    repo: str
    quant: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FromPath:
    """A GGUF on this disk."""

    path: Path


def parse_request(
    text: str,
    *,
    known_repos: Iterable[str] = (),
    exists: Callable[[Path], bool] | None = None,
    system: str = sys.platform,
) -> AnyRelease | FromRepo | FromPath:
    """Read the value of `--model`. A file that exists wins over a repository of that name.

    Raises:
        UsageError: it is none of these; suggests the nearest that is.
    """
    lowered = text.strip().lower()
    if lowered == "auto":
        return AnyRelease()
    if lowered in RELEASES:
        return AnyRelease(model=RELEASES[lowered])
    path = _expanded(text)
    looks_so = text.startswith(("/", "./", "../", "~")) or (system == "win32" and _OF_WINDOWS.match(text) is not None)
    if lowered.endswith(".gguf") or looks_so or (text and (exists or _exists)(path)):
        return FromPath(path=path)
    match = _REPO.match(text.strip())
    if match:
        return FromRepo(repo=match.group(1), quant=match.group(2))
    near = suggest(text, ["auto", *RELEASES, *known_repos])
    raise UsageError(
        f"unknown model {text!r}: say auto, 20b, 120b, owner/name[:QUANT] or the path of a GGUF"
        + (f" (did you mean {near}?)" if near else ""),
        hint=f"gpt-oss plan --model {near or 'auto'}",
    )


def _exists(path: Path) -> bool:
    """Whether it is there; a name that no file can have is not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _expanded(text: str) -> Path:
    """The path with its `~` resolved, or as it stands where nobody of that name has a home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def unknown_quant(quant: str, offered: Iterable[str], *, of_model: str) -> UsageError:
    """The error for a quant that is not offered: names the nearest, and lists all."""
    labels = sorted(set(offered))
    near = suggest(quant, labels)
    command = f"{of_model}:{near}" if near and "/" in of_model else f"{of_model} --quant {near}" if near else of_model
    return UsageError(
        f"no quant {quant!r} of {of_model}" + (f" (did you mean {near}?)" if near else ""),
        hint=f"gpt-oss plan --model {command}",
        details=(f"there are: {', '.join(labels)}",) if labels else (),
    )


def suggest(text: str, options: Iterable[str]) -> str | None:
    """The option that reads most like `text`, case aside; None where none does."""
    by_lower = {option.lower(): option for option in options}
    near = difflib.get_close_matches(text.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[near[0]] if near else None
