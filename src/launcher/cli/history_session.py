"""What the commands of `gpt-oss history` do."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from launcher.chat.conversation import from_json
from launcher.cli import history_view as view
from launcher.cli.ask import agreed, can_be_asked
from launcher.cli.output import print_json, say
from launcher.errors import DamagedFileError, UsageError
from launcher.history.conversations import count_said, unsaved
from launcher.history.null import NullHistory
from launcher.history.opening import history_path, open_history
from launcher.history.types import About, History, SavedConversation
from launcher.records import RecordError, from_jsonable

_AGE = re.compile(r"(\d{1,5})\s*([hdwy])")
_DAYS = {"h": 1 / 24, "d": 1, "w": 7, "y": 365}
_NONE_YET = "no conversation is kept yet; gpt-oss chat begins one"


@contextmanager
def opened(*, create: bool = False) -> Iterator[History]:
    """The history; an empty one where there is no file, which is not made by looking."""
    path = history_path()
    if not (create or path.exists()):
        yield NullHistory()
        return
    with open_history(path, tell=say, strict=True) as history:
        yield history


def list_conversations(limit: int, *, as_json: bool) -> None:
    """`gpt-oss history list`."""
    with opened() as history:
        found = history.list(limit + 1)
    if as_json:
        print_json({"conversations": found[:limit]})
    elif found:
        view.print_list(found[:limit], datetime.now(UTC))
        if len(found) > limit:
            say(f"there are more; --limit {limit * 5} shows them")
    else:
        say(_NONE_YET)


def show_conversation(which: str, *, reasoning: bool, as_json: bool) -> None:
    """`gpt-oss history show`."""
    with opened() as history:
        saved = history.load(history.resolve(which))
    if as_json:
        print_json(saved)
    else:
        view.print_conversation(saved, reasoning=reasoning)


def search_conversations(text: str, limit: int, *, as_json: bool) -> None:
    """`gpt-oss history search`."""
    if not text.strip():
        raise UsageError("nothing to search for", hint="gpt-oss history search bread")
    with opened() as history:
        hits = history.search(text, limit)
    if as_json:
        print_json({"hits": hits})
    elif hits:
        view.print_hits(hits, datetime.now(UTC))
    else:
        say("nothing found")


def delete_conversations(which: Sequence[str], *, every: bool, older_than: str | None, yes: bool) -> None:
    """`gpt-oss history delete`.

    Raises:
        UsageError: nothing is named, or too much; declined; or nobody can be asked.
    """
    if (bool(which), every, older_than is not None).count(True) != 1:
        raise UsageError("name conversations, or --all, or --older-than", hint="gpt-oss history delete --help")
    before = None if older_than is None else datetime.now(UTC) - _age(older_than)
    with opened() as history:
        everything = history.list()
        if which:
            ids = {history.resolve(text) for text in which}
            found = [about for about in everything if about.id in ids]
        else:
            found = [a for a in everything if before is None or datetime.fromisoformat(a.updated_at) < before]
        if not found:
            say("nothing to delete")
            return
        _ask(found, yes=yes)
        n_gone = history.delete([about.id for about in found if about.id is not None])
    say(f"deleted {_count(n_gone)}")


def export_conversations(what: Sequence[str], *, every: bool, output: Path | None) -> None:
    """`gpt-oss history export`.

    Raises:
        UsageError: it is not said which one, or in what format, or where to.
    """
    from launcher.cli.output import save_text
    from launcher.history.export import EXPORTERS

    *named, form = what
    if form not in EXPORTERS or len(named) != (not every):
        raise UsageError("name one conversation, or --all, and md, json or html", hint="gpt-oss history export last md")
    if every and output is None:
        raise UsageError("--all writes many files: name a folder", hint=f"gpt-oss history export --all {form} -o .")
    with opened() as history:
        ids = [about.id for about in history.list()] if every else [history.resolve(named[0])]
        saved = [history.load(found) for found in ids if found is not None]
    for one in saved:
        text = EXPORTERS[form](one)
        if output is None:
            sys.stdout.write(text)
            continue
        file = output / view.file_name(one.about, form) if every or output.is_dir() else output
        save_text(file, text)
        if not every:
            say(f"wrote {file}")
    if every:
        say(f"wrote {_count(len(saved))} to {output}" if saved else _NONE_YET)


def import_conversations(files: Sequence[Path]) -> None:
    """`gpt-oss history import`: all of the files, or none.

    Raises:
        DamagedFileError: one is not there, or is no conversation.
    """
    read = [(file, _read(file)) for file in files]
    with opened(create=True) as history:
        for file, saved in read:
            say(f"{file} is conversation {history.save(saved)}: {view.line(saved.about.title)}")


def _read(file: Path) -> SavedConversation:
    hint = f"ls -l {shlex.quote(str(file))}"
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DamagedFileError(f"cannot read {file}: {error.strerror or error}", path=str(file), hint=hint) from error
    except (ValueError, RecursionError):
        raise DamagedFileError(f"{file}: not a saved conversation", path=str(file), hint=hint) from None
    if isinstance(data, dict) and {"about", "messages"} <= data.keys():
        try:
            saved = from_jsonable(SavedConversation, {key: data[key] for key in ("about", "messages")})
            for time in (saved.about.created_at, saved.about.updated_at, *(kept.created_at for kept in saved.messages)):
                datetime.fromisoformat(time)
        except (RecordError, ValueError) as error:
            raise DamagedFileError(f"{file}: not a saved conversation: {error}", path=str(file), hint=hint) from None
        return saved
    try:
        conversation = from_json(data, path=str(file))
    except DamagedFileError as error:
        raise DamagedFileError(error.message, path=str(file), hint=hint) from None
    if not count_said(conversation.messages):
        raise DamagedFileError(f"{file}: nothing was said in it", path=str(file), hint=hint)
    written = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    return unsaved(conversation, now=written)


def _age(text: str) -> timedelta:
    match = _AGE.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(
            f"--older-than takes an age such as 12h, 30d, 8w or 1y, not {text!r}",
            hint="gpt-oss history delete --older-than 30d",
        )
    return timedelta(days=int(match[1]) * _DAYS[match[2]])


def _ask(found: Sequence[About], *, yes: bool) -> None:
    if yes:
        return
    if not can_be_asked():
        raise UsageError(
            f"this deletes {_count(len(found))}, and nobody can be asked",
            hint=shlex.join(["gpt-oss", *sys.argv[1:], "--yes"]),
        )
    view.print_doomed(found, datetime.now(UTC))
    if not agreed(f"Delete {_count(len(found))} for good?", default=False):
        raise UsageError("nothing deleted", hint="gpt-oss history list")


def _count(n: int) -> str:
    return "1 conversation" if n == 1 else f"{n} conversations"
