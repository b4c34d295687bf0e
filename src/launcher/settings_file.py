"""Read the settings from where they are: the file, the environment and a command's flags."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from launcher.errors import DamagedFileError
from launcher.paths import config_file
from launcher.settings import Settings, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def load_settings(
    flags: Mapping[str, Any] | None = None, *, environ: Mapping[str, str] | None = None, path: Path | None = None
) -> Settings:
    """The settings as this run has them. `path` is the file to read: by default, the one in the config folder.

    A file that is not there is the ordinary case and no error.

    Raises:
        UsageError: a setting is unknown or has a value that it cannot have.
        DamagedFileError: the file is there but cannot be read as text.
    """
    environ = os.environ if environ is None else environ
    path = config_file(environ) if path is None else path
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise DamagedFileError(
            f"{path} cannot be read: {reason}", path=str(path), hint="gpt-oss config edit"
        ) from error
    return resolve(file_text=text, file_name=str(path), environ=environ, flags=flags, path_separator=os.pathsep)
