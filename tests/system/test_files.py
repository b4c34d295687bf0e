"""A file takes another's name, also where somebody reads that just now."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.system.files import replace


class Held(type(Path())):  # type: ignore[misc]  # the class that Path stands for on this system
    """A file whose target is read by somebody for a while."""

    __slots__ = ("left",)

    def replace(self, target: Path) -> Path:
        if self.left:
            self.left -= 1
            raise PermissionError(13, "The process cannot access the file", str(target))
        return Path(super().replace(target))


def held(path: Path, times: int) -> Path:
    found = Held(path)
    found.left = times
    return found


@pytest.mark.parametrize("system", ["linux", "win32"])
def test_the_new_content_stands_under_the_old_name(tmp_path: Path, system: str) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_text("new", encoding="utf-8")
    old.write_text("old", encoding="utf-8")
    replace(new, old, system=system)
    assert old.read_text(encoding="utf-8") == "new"
    assert not new.exists()


def test_windows_waits_for_a_reader_but_not_for_ever(tmp_path: Path) -> None:
    new, pauses = tmp_path / "new", list[float]()
    new.write_text("new", encoding="utf-8")
    replace(held(new, 3), tmp_path / "old", system="win32", pause=pauses.append)
    assert len(pauses) == 3
    assert (tmp_path / "old").read_text(encoding="utf-8") == "new"
    new.write_text("new", encoding="utf-8")
    with pytest.raises(PermissionError):
        replace(held(new, 99), tmp_path / "old", system="win32", pause=pauses.append)
    assert sum(pauses[3:]) < 1, "a person waits for it"


def test_elsewhere_a_folder_that_may_not_be_written_is_told_at_once(tmp_path: Path) -> None:
    pauses = list[float]()
    with pytest.raises(PermissionError):
        replace(held(tmp_path / "new", 1), tmp_path / "old", system="linux", pause=pauses.append)
    assert pauses == []
