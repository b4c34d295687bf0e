"""API keys: from a file or the environment, or made here; never on a command line that others can list."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import DamagedFileError, UsageError
from launcher.paths import write_atomic
from launcher.server.types import LOOPBACK

ENV_NAME = "GPT_OSS_API_KEY"
_N_BYTES = 24  # 192 bits: nobody guesses it


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """Where the key of a server stands."""

    file: Path
    made: str | None = None
    """The key itself where it was made just now, to be shown once."""


def key_for(host: str, port: int, *, key_file: Path | None, environ: Mapping[str, str], state_dir: Path) -> Key | None:
    """The key that a server wants: from `--api-key-file`, else GPT_OSS_API_KEY, else made where others can reach it.

    None where only this machine can, and nobody asked for one. What is not in a file already is put into one of the
    state folder that its owner alone can read.

    Raises:
        UsageError: the file holds no key.
        DamagedFileError: it cannot be read.
    """
    if key_file is not None:
        read_key(key_file)
        return Key(file=key_file.absolute())
    own = state_dir / "keys" / f"{port}.key"
    given = environ.get(ENV_NAME, "").strip()
    if given:
        write_atomic(own, given + "\n")
        return Key(file=own)
    if host in LOOPBACK:
        return None
    if own.is_file():  # made at an earlier start: clients have it
        read_key(own)
        return Key(file=own)
    made = "sk-" + secrets.token_urlsafe(_N_BYTES)
    write_atomic(own, made + "\n")
    return Key(file=own, made=made)


def read_key(path: Path) -> str:
    """The first key of a file; lines that begin with `#` are comments, as llama-server reads it.

    Raises:
        UsageError: there is none.
        DamagedFileError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise DamagedFileError(f"the key file cannot be read: {why}", path=str(path)) from error
    key = next((line.strip() for line in lines if line.strip() and not line.startswith("#")), None)
    if key is None:
        raise UsageError(f"{path} holds no key", hint="gpt-oss serve --help")
    return key
