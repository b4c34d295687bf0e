"""Which paths are files of a page, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.server.shield.pages import API_NAMES, page_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A page, with what is none of it inside and beside."""
    page = tmp_path / "page"
    for name in ("index.html", "a b.js", "_app/x.css", ".env", ".git/config", *(f"{name}/file" for name in API_NAMES)):
        (page / name).parent.mkdir(parents=True, exist_ok=True)
        (page / name).write_text(name)
    (tmp_path / "outside.txt").write_text("secret")
    (page / "link.txt").symlink_to(tmp_path / "outside.txt")
    (page / "inner.js").symlink_to(page / "a b.js")
    (tmp_path / "alias").symlink_to(page)
    return page


@pytest.mark.parametrize(
    ("path", "name"),
    [("/", "index.html"), ("/index.html", "index.html"), ("/a b.js", "a b.js"), ("/_app/x.css", "_app/x.css")],
)
def test_a_file_of_the_page_is_found(folder: Path, path: str, name: str) -> None:
    assert page_file(folder, path) == folder / name
    assert page_file(folder.parent / "alias", path) == folder / name


def test_a_link_within_the_page_is_followed(folder: Path) -> None:
    assert page_file(folder, "/inner.js") == folder / "a b.js"


@pytest.mark.parametrize(
    "path",
    [
        *("/.env", "/.git/config", "/link.txt", "/../outside.txt", "/_app/../../outside.txt", "/./index.html"),
        *("/_app", "/_app/", "//index.html", "/none.js", "/a\0b", "/..\\outside.txt", "/" + "x" * 5000),
        *(f"/{name}/file" for name in sorted(API_NAMES)),
    ],
)
def test_everything_else_is_none(folder: Path, path: str) -> None:
    assert page_file(folder, path) is None


def test_a_folder_that_is_gone_has_no_files(tmp_path: Path) -> None:
    assert page_file(tmp_path / "gone", "/") is None
