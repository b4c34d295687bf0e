"""What `gpt-oss models verify` does: every byte is read and held against the hash that the file should have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from launcher.catalogue.inventory import FoundModel
from launcher.catalogue.types import ModelFile
from launcher.cli.context import load_settings
from launcher.cli.models_rows import Here, ModelRow, look, select
from launcher.cli.models_view import short
from launcher.cli.output import print_json, say, talk_console
from launcher.errors import DamagedFileError, LauncherError, UsageError
from launcher.paths import folders
from launcher.store.cache import RepoCache
from launcher.store.hashes import HashRecord, hash_file, write_hash
from launcher.store.local import hub_cache_dir
from launcher.store.removal import set_aside

if TYPE_CHECKING:
    from rich.progress import Progress

Outcome = Literal["verified", "damaged", "changed", "unreadable", "unknown"]
"""`changed`: written to while it was read. `unknown`: nobody has told a hash to hold it against."""
_BAD = ("damaged", "unreadable")


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What came out for one model."""

    name: str
    app: str
    outcome: Outcome
    sha256s: tuple[str | None, ...]
    is_file: str | None
    """The listed file that its hashes are those of, where that is known."""
    why: str | None = None
    aside: tuple[Path, ...] = ()
    """Where a damaged content of the hub's cache lies now."""


def verify_models(names: Sequence[str], *, as_json: bool) -> None:
    """`gpt-oss models verify`: the named models, or all that are complete.

    Raises:
        DamagedFileError: nothing is called so; or a file is damaged (told after all have been read).
    """
    here = look(load_settings({}))
    chosen = _chosen(here, names)
    verdicts = []
    try:
        with _progress(sum(row.size_bytes for row in chosen)) as bar:
            for row in chosen:
                verdict = _verify(here, row, bar)
                verdicts.append(verdict)
                if not as_json and verdict.outcome not in _BAD:
                    say(_line(verdict))
    except KeyboardInterrupt:
        say("Files that were read to their end are noted; of the others nothing is.")
        raise
    if as_json:
        print_json({"models": verdicts})
    bad = [verdict for verdict in verdicts if verdict.outcome in _BAD]
    if bad:
        raise _error(here, bad)


def _chosen(here: Here, names: Sequence[str]) -> list[ModelRow]:
    """Models that are all here; those that were found damaged once are read again."""
    rows = list(dict.fromkeys(row for name in names for row in select(here, name))) if names else list(here.rows)
    whole = [row for row in rows if (found := here.of(row)) is not None and found.facts.state == "complete"]
    if names and not whole:
        raise DamagedFileError(
            f"{names[0]} is not complete",
            hint="gpt-oss models",
            details=tuple(f"{row.name}: {row.why}" for row in rows),
        )
    if not whole:
        raise UsageError("no complete GPT OSS model is on this disk", hint="gpt-oss models")
    return whole


def _progress(total_bytes: int) -> Progress:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = talk_console()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    bar.add_task("verifying", total=total_bytes)
    return bar


def _verify(here: Here, row: ModelRow, bar: Progress) -> Verdict:
    found, listed = here.of(row), here.listed(row)
    if found is None:
        raise AssertionError(row)  # only complete models come here
    bar.update(bar.task_ids[0], description=f"{row.model or '-'} {row.quant or ''}".strip())
    records: list[HashRecord] = []
    for index, part in enumerate(found.parts):
        expected = part.sha256 or (listed.parts[index].sha256 if listed is not None else None)
        try:
            record = hash_file(
                part.path,
                hashed_at=datetime.now(UTC).isoformat(timespec="seconds"),
                expected=expected,
                advance=lambda n_bytes: bar.advance(bar.task_ids[0], n_bytes),
            )
        except OSError as error:
            return _verdict(row, "unreadable", records, why=f"{part.path}: {error.strerror or error}")
        if record is None:
            return _verdict(row, "changed", records, why="it was written to while it was read")
        # At once: what was read is not lost by Ctrl-C in the next part.
        write_hash(folders().cache, record)
        records.append(record)
    return _judged(here, row, found, records)


def _judged(here: Here, row: ModelRow, found: FoundModel, records: list[HashRecord]) -> Verdict:
    same = next((file for file in here.files if _has_hashes(file, records)), None)
    if same is not None:
        # Of whatever it was taken for, it is this one.
        records = [replace(record, expected=record.sha256) for record in records]
    for record in records:
        write_hash(folders().cache, record)
    wrong = [part.path for part, record in zip(found.parts, records, strict=True) if record.is_damaged]
    if wrong:
        aside = _set_aside(row, wrong)
        return _verdict(row, "damaged", records, why="its content has not the hash that it should have", aside=aside)
    if any(record.expected is None for record in records):
        return _verdict(row, "unknown", records, why="no hash is known to hold it against")
    return replace(_verdict(row, "verified", records), is_file=same.name if same is not None else None)


def _has_hashes(file: ModelFile, records: Sequence[HashRecord]) -> bool:
    return [part.sha256 for part in file.parts] == [record.sha256 for record in records]


def _verdict(
    row: ModelRow,
    outcome: Outcome,
    records: Sequence[HashRecord],
    *,
    why: str | None = None,
    aside: tuple[Path, ...] = (),
) -> Verdict:
    hashes = tuple(record.sha256 for record in records)
    return Verdict(name=row.name, app=row.app, outcome=outcome, sha256s=hashes, is_file=None, why=why, aside=aside)


def _set_aside(row: ModelRow, wrong: Sequence[Path]) -> tuple[Path, ...]:
    """In the hub's cache a damaged content loses its name, so that a download fetches it anew; nowhere else."""
    if row.app != "hub cache" or row.repo is None:
        return ()
    aside = []
    for path in wrong:
        with suppress(LauncherError):  # a cache that may not be written: it is told as damaged all the same
            aside.append(set_aside(RepoCache(cache_dir=hub_cache_dir(), repo=row.repo), path))
    return tuple(aside)


def _line(verdict: Verdict) -> str:
    known = f" (it is {verdict.is_file})" if verdict.is_file not in (None, verdict.name) else ""
    words: Mapping[Outcome, str] = {"verified": f"verified{known}", "unknown": f"not verified: {verdict.why}"}
    said = words.get(verdict.outcome, f"{verdict.outcome}: {verdict.why}")
    hashes = f"; sha256 {' '.join(str(text) for text in verdict.sha256s)}" if verdict.outcome == "unknown" else ""
    return f"{short(verdict.name)}: {said}{hashes}"


def _error(here: Here, bad: Sequence[Verdict]) -> DamagedFileError:
    details = [f"{short(verdict.name)} in {verdict.app}: {verdict.why}" for verdict in bad]
    details += [
        f"set aside as {short(str(path))}; gpt-oss models prune removes it" for verdict in bad for path in verdict.aside
    ]
    named = next((file.name for verdict in bad for file in here.files if file.name == verdict.name), None)
    count = "a model is" if len(bad) == 1 else f"{len(bad)} models are"
    return DamagedFileError(
        f"{count} damaged", hint="gpt-oss pull" if named is None else f"gpt-oss pull {named}", details=tuple(details)
    )
