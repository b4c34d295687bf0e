"""Write the hash of the pinned llama-cpp-python's source archive into configs/engines.toml, from uv.lock.

    uv lock && uv run scripts/pin_source.py

Run it after every change of the pin in pyproject.toml: tests/builds/test_recipe.py tells where it was forgotten.
Versions that were pinned before stay known, as people may go back to them.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "engines.toml"
PACKAGE = "llama-cpp-python"


def locked(text: str) -> tuple[str, str]:
    """Version and sha256 of the source archive that a lock file names."""
    package = next(package for package in tomllib.loads(text)["package"] if package["name"] == PACKAGE)
    return package["version"], package["sdist"]["hash"].removeprefix("sha256:")


def with_source(config: str, version: str, sha256: str) -> str:
    """The configuration with that archive known: its table is changed, or put before the first of the others."""
    table = f'[source."{version}"]\nsha256 = "{sha256}"\n'
    mine = re.compile(rf'^\[source\."{re.escape(version)}"\]\nsha256 = "[0-9a-f]*"\n', re.MULTILINE)
    if mine.search(config):
        return mine.sub(lambda _: table, config)
    first = re.search(r"^\[source\.", config, re.MULTILINE)
    if first is None:
        return f"{config.rstrip()}\n\n{table}"
    return f"{config[: first.start()]}{table}\n{config[first.start() :]}"


def main() -> int:
    """Update the file, and say what changed."""
    version, sha256 = locked((ROOT / "uv.lock").read_text(encoding="utf-8"))
    before = CONFIG.read_text(encoding="utf-8")
    after = with_source(before, version, sha256)
    CONFIG.write_text(after, encoding="utf-8")
    print(f"{PACKAGE} {version}: {sha256}{'' if after != before else ' (already known)'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
