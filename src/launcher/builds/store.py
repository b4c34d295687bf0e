"""The builds in the data folder: `engines/NAME/` with `engine.json`, `site/` and the log of how it was made."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from launcher.builds.types import AUTO, ENVIRONMENT, Build, BuildRecord, DamagedBuild
from launcher.paths import write_atomic
from launcher.records import RecordError, from_jsonable

RECORD = "engine.json"
SITE = "site"
_CHOICE = "use.json"


def engines_dir(data_dir: Path) -> Path:
    """Where builds are kept."""
    return data_dir / "engines"


def environment_build() -> Build | None:
    """The build that the launcher's own environment has; None where llama-cpp-python is not installed."""
    spec = find_spec("llama_cpp")
    if spec is None or not spec.origin:
        return None
    return Build(name=ENVIRONMENT, site=Path(spec.origin).parents[1], record=None)


def installed(data_dir: Path) -> tuple[tuple[Build, ...], tuple[DamagedBuild, ...]]:
    """Builds of the store by name, and folders there that are none. Half-made ones begin with a dot: left out."""
    builds, damaged = [], []
    folder = engines_dir(data_dir)
    for child in sorted(folder.iterdir()) if folder.is_dir() else ():
        if child.name.startswith(".") or not child.is_dir():
            continue
        try:
            builds.append(_read(child))
        except (OSError, ValueError) as error:  # RecordError and JSON's are ValueErrors
            damaged.append(DamagedBuild(name=child.name, folder=child, why=str(error)))
    return tuple(builds), tuple(damaged)


def _read(folder: Path) -> Build:
    table = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if not isinstance(table, dict) or table.pop("schema", None) != 1:
        raise RecordError(f"{RECORD} is of another version of the launcher")
    record = from_jsonable(BuildRecord, table)
    site = folder / SITE
    if not (site / "llama_cpp" / "__init__.py").is_file():
        raise RecordError(f"{site / 'llama_cpp'} is not there")
    return Build(name=folder.name, site=site, record=record)


def chosen(data_dir: Path) -> str:
    """What `gpt-oss engine use` chose: a name, or `auto`, which is the default. A damaged file counts as none."""
    try:
        name = json.loads((engines_dir(data_dir) / _CHOICE).read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return AUTO
    return name if isinstance(name, str) and name else AUTO


def choose(data_dir: Path, name: str) -> None:
    """Let every plan take this build, or the best of all (`auto`). The name is not checked here."""
    write_atomic(engines_dir(data_dir) / _CHOICE, json.dumps({"schema": 1, "name": name}))
