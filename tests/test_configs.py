"""The configs folder: in a checkout, in a wheel, and missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launcher.configs import configs_dir
from launcher.errors import DamagedFileError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_shipped_folder_is_there() -> None:
    assert (configs_dir() / "settings.example.toml").is_file()
    assert (configs_dir() / "bandwidth.toml").is_file()


def test_a_wheel_carries_it_inside_the_package_and_that_one_is_taken(tmp_path: Path) -> None:
    """Keeps out: an installed launcher that reads a stranger's folder two levels above site-packages."""
    package = tmp_path / "lib" / "site-packages" / "launcher"
    (package / "configs").mkdir(parents=True)
    (tmp_path / "lib" / "configs").mkdir()
    assert configs_dir(package) == package / "configs"


def test_a_checkout_has_it_beside_src(tmp_path: Path) -> None:
    package = tmp_path / "src" / "launcher"
    package.mkdir(parents=True)
    (tmp_path / "configs").mkdir()
    assert configs_dir(package) == tmp_path / "configs"


def test_without_it_the_installation_is_not_whole(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="the installation is not whole"):
        configs_dir(tmp_path / "src" / "launcher")
