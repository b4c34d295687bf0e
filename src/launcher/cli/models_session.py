"""What `gpt-oss models`, `models du` and `models path` do."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launcher.cli.context import load_settings
from launcher.cli.models_rows import Here, ModelRow, look, select
from launcher.cli.output import print_json, say
from launcher.records import to_jsonable
from launcher.store.disk_facts import taken_bytes


def list_models(*, every: bool, as_json: bool) -> None:
    """`gpt-oss models`."""
    here = look(load_settings({}))
    rows = [row for row in here.rows if every or row.state != "other"]
    if as_json:
        places = [{"app": place.app, "root": place.root} for place in here.inventory.places]
        print_json({"models": rows, "places": places, "notes": here.inventory.walked.notes})
        return
    if rows:
        from launcher.cli.models_view import print_models

        print_models(rows, datetime.now(UTC))
    else:
        say("no GPT OSS model is on this disk; gpt-oss pull fetches the one that fits")
    n_others = len(here.rows) - len(rows)
    if n_others:
        say(f"{n_others} of other kinds not shown; --all shows them")
    for note in here.inventory.walked.notes:
        say(note)


def print_path(text: str, *, as_json: bool) -> None:
    """`gpt-oss models path`: the file that llama.cpp opens.

    Raises:
        DamagedFileError: no model that can be loaded is called so.
    """
    from launcher.cli.models_view import short

    chosen = select(look(load_settings({})), text, usable=True)
    best = max(chosen, key=lambda row: (row.name.lower() == text.lower(), row.app == "hub cache"))
    if as_json:
        print_json({"name": best.name, "paths": best.paths})
        return
    for other in chosen:
        if other is not best:
            say(f"also {short(other.name)} in {other.app}")
    sys.stdout.write(f"{best.paths[0]}\n")


def show_usage(*, as_json: bool) -> None:
    """`gpt-oss models du`."""
    here = look(load_settings({}))
    counted: set[tuple[int, int]] = set()
    rows = [
        (row, sum(_disk_bytes(path, counted) for path in _files(here, row)))
        for row in here.rows
        if row.state != "other"
    ]
    total = sum(n_bytes for _, n_bytes in rows)
    if as_json:
        models: list[dict[str, Any]] = [
            {"name": row.name, "model": row.model, "app": row.app, "size_bytes": row.size_bytes, "disk_bytes": n_bytes}
            for row, n_bytes in rows
        ]
        print_json({"models": to_jsonable(models), "by_app": _by_app(rows), "disk_bytes": total})
    elif rows:
        from launcher.cli.models_view import print_usage

        print_usage(rows, _by_app(rows))
    else:
        say("no GPT OSS model is on this disk")


def _files(here: Here, row: ModelRow) -> list[Path]:
    """The files of a row, and the journal of a download that is not finished."""
    if here.of(row) is not None:
        return list(row.paths)
    first = row.paths[0]
    return [first, *first.parent.glob(f"{first.name}.*")]


def _by_app(rows: list[tuple[ModelRow, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for row, n_bytes in rows:
        sums[row.app] = sums.get(row.app, 0) + n_bytes
    return sums


def _disk_bytes(path: Path, counted: set[tuple[int, int]]) -> int:
    """Bytes on the disk, once for all names of one content; a file with holes takes less than its length."""
    try:
        found = os.stat(path)  # noqa: PTH116  # the file that a link leads to
    except OSError:
        return 0
    key = (found.st_dev, found.st_ino)
    if key in counted:
        return 0
    counted.add(key)
    return taken_bytes(found)
