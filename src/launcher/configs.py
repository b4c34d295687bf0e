"""Where the files of configs/ are: beside the sources in a checkout, inside the package in a wheel."""

from __future__ import annotations

from pathlib import Path

from launcher.errors import DamagedFileError


def configs_dir(package: Path = Path(__file__).parent) -> Path:
    """Folder with the shipped catalogue, hardware profiles and example settings.

    A wheel carries it as `launcher/configs`; in a checkout (editable install) it is `configs/`, two folders above the
    package. The package's own copy is looked for first, so that an installed launcher never reads a stranger's folder.

    Raises:
        DamagedFileError: neither is there, so the installation is not whole.
    """
    candidates = (package / "configs", package.parent.parent / "configs")
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise DamagedFileError(
        "the launcher's configs folder is missing: the installation is not whole",
        path=str(candidates[0]),
        hint="uv sync --reinstall-package gpt-oss-launcher",
    )
