"""Files and pipes as text that goes along with a question."""

from __future__ import annotations

import codecs
import re
import shlex
import stat
from pathlib import Path

from launcher.errors import LauncherError, UsageError
from launcher.text import printable

MAX_BYTES = 4 << 20
"""The longest context of GPT OSS, 131072 tokens, holds about half a MiB of English: this much surely never fits."""
_N_CTX_TRAIN = 131_072  # of both models
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BACKTICKS = re.compile("`+")
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def attachment(name: str | Path, data: bytes) -> str:
    """A file as the model is shown it: its name, and its text in a fence that nothing in it can close.

    Raises:
        UsageError: It is too large, or no text.
    """
    return fenced(str(name), decoded(data, str(name)))


def fenced(title: str, text: str) -> str:
    """Text of others between fences longer than any row of backticks in it, under a title."""
    longest = max((len(found) for found in _BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    shown = printable(title)
    return f"{shown}:\n{fence}\n{text.rstrip(chr(10))}\n{fence}"


def decoded(data: bytes, name: str, *, strict: bool = True) -> str:
    """Bytes as text: UTF-8, or what a byte order mark says; lines end with a line feed.

    Args:
        data: The bytes.
        name: What to call them in an error.
        strict: Whether a byte that is no text is an error; else U+FFFD stands for it.

    Raises:
        UsageError: They are too many, hold NUL bytes, or are no text.
    """
    if len(data) > MAX_BYTES:
        raise _refused(name, f"it has {len(data)} bytes, and at most {MAX_BYTES} can be sent along")
    mark, encoding = next((known for known in _BYTE_ORDER_MARKS if data.startswith(known[0])), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding, "strict" if strict else "replace")
    except UnicodeDecodeError as error:
        if (position := data.find(b"\0")) >= 0 and not mark:
            raise _binary(name, position) from None
        at = error.start + len(mark)
        raise _refused(name, f"it is no {encoding.upper()} text: byte 0x{data[at]:02x} at {at}") from None
    if (position := text.find("\0")) >= 0:
        raise _binary(name, position)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _binary(name: str, position: int) -> UsageError:
    return _refused(name, f"it is binary (a NUL byte at {position})")


def _refused(name: str, why: str) -> UsageError:
    hint = "gpt-oss chat --help" if name == "stdin" else f"ls -l {shlex.quote(name)}"
    return UsageError(f"{name} cannot be sent to the model: {why}", hint=hint)


def read_bytes(path: Path) -> bytes:
    """The bytes of a file, not more than one too many.

    Raises:
        UsageError: It is missing, no file, or cannot be read.
    """
    try:
        mode = path.stat().st_mode
        # Opening a named pipe or a device would wait for somebody to write.
        kind = next((word for check, word in _KINDS if check(mode)), None)
        if kind is not None:
            raise UsageError(f"{path} is {kind}, not a file", hint=f"ls -ld {shlex.quote(str(path))}")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", hint=f"ls {shlex.quote(str(path.parent))}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UsageError(f"cannot read {path}: {why}", hint=f"ls -ld {shlex.quote(str(path.parent))}") from None


def read_attached(path: Path) -> str:
    """A file as the model is shown it.

    Raises:
        UsageError: It is missing, too large, no file or no text.
    """
    data = read_bytes(path)
    if len(data) > MAX_BYTES:
        raise _refused(str(path), f"it has {path.stat().st_size} bytes, and at most {MAX_BYTES} can be sent along")
    return attachment(path, data)


def too_large(n_tokens: int, n_ctx: int) -> LauncherError:
    """What to say where attachments make a prompt of more tokens than the context holds."""
    if n_tokens >= _N_CTX_TRAIN:
        return UsageError(
            f"this makes {n_tokens} tokens; the context holds {n_ctx}, and the model never more than {_N_CTX_TRAIN}",
            hint="gpt-oss chat --help",
        )
    size = min(_N_CTX_TRAIN, 1 << n_tokens.bit_length())
    return UsageError(
        f"this makes {n_tokens} tokens, and the context holds {n_ctx}", hint=f"gpt-oss chat --ctx-size {size}"
    )
