"""Where the launcher keeps its own files. Models are not among them: they stay in the hub's cache."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import UsageError
from launcher.system.files import replace

if TYPE_CHECKING:
    from collections.abc import Mapping

APP_NAME = "gpt-oss-launcher"


@dataclass(frozen=True, kw_only=True, slots=True)
class Folders:
    """The four folders of the launcher. None of them need exist."""

    config: Path
    """Settings that a person writes."""
    data: Path
    """What cannot be made again: engines, conversations."""
    state: Path
    """What a run leaves behind: calibration, bench history, running servers, logs."""
    cache: Path
    """What can be made again: headers, listings."""

    @property
    def config_file(self) -> Path:
        """The settings file."""
        return self.config / "settings.toml"


def folders(environ: Mapping[str, str] | None = None) -> Folders:
    """The platform's folders under `gpt-oss-launcher`.

    `GPT_OSS_CONFIG_DIR`, `GPT_OSS_DATA_DIR`, `GPT_OSS_STATE_DIR` and `GPT_OSS_CACHE_DIR` override them one by one; an
    empty value counts as unset. Otherwise platformdirs decides, which honours the XDG variables on Linux.

    Raises:
        UsageError: an override begins with `~` and a user that this system does not have.
    """
    import platformdirs

    environ = os.environ if environ is None else environ
    platform = platformdirs.PlatformDirs(APP_NAME, appauthor=False)

    def folder(kind: str, default: Path) -> Path:
        override = environ.get(f"GPT_OSS_{kind}_DIR")
        try:
            return Path(override).expanduser() if override else default
        except RuntimeError as error:
            raise UsageError(f"GPT_OSS_{kind}_DIR={override}: {error}", hint=f"unset GPT_OSS_{kind}_DIR") from error

    return Folders(
        config=folder("CONFIG", platform.user_config_path),
        data=folder("DATA", platform.user_data_path),
        state=folder("STATE", platform.user_state_path),
        cache=folder("CACHE", platform.user_cache_path),
    )


def config_file(environ: Mapping[str, str] | None = None) -> Path:
    """The settings file, there or not."""
    return folders(environ).config_file


def write_atomic(path: Path, content: bytes | str, *, mode: int = 0o600) -> None:
    """Write a file so that a reader, or a crash half way, finds the old content or the new, never a part.

    Missing folders are made. The file ends with the permissions `mode`: only its owner may read it by default.

    Raises:
        OSError: the disk is full, or the folder may not be written. The old file is untouched then.
    """
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because os.replace cannot cross file systems; mkstemp's own mode is 0600.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            # Otherwise a power cut can leave the new name on an empty file.
            os.fsync(file.fileno())
        part.chmod(mode)
        replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
