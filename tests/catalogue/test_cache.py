import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from launcher.catalogue.cache import (
    SCHEMA,
    CachedListing,
    TensorTable,
    header_key,
    read_listing,
    read_table,
    write_listing,
    write_table,
)
from launcher.catalogue.recipes import model_tensors
from launcher.catalogue.types import FilePart, ModelFile
from tests.catalogue.builders import NATIVE, tiny_spec

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
HUB = "https://hub"
LISTING = CachedListing(
    schema=SCHEMA,
    endpoint=HUB,
    repo="a/b",
    commit="c0",
    fetched_at=NOW.isoformat(),
    files=(FilePart(path="x.gguf", size_bytes=5, sha256=None),),
)
DAMAGE = [b"", b"{", b"null", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1}', b'{"schema": 9, "files": []}']


def only_file(folder: Path) -> Path:
    (found,) = [path for path in folder.rglob("*") if path.is_file()]
    return found


def test_a_listing_comes_back(tmp_path: Path) -> None:
    assert read_listing(tmp_path, HUB, "a/b") is None
    write_listing(tmp_path, LISTING)
    assert read_listing(tmp_path, HUB, "a/b") == LISTING
    assert read_listing(tmp_path, "https://other", "a/b") is None
    assert read_listing(tmp_path, HUB, "a/c") is None


@pytest.mark.parametrize("data", DAMAGE)
def test_a_damaged_listing_is_none(tmp_path: Path, data: bytes) -> None:
    write_listing(tmp_path, LISTING)
    only_file(tmp_path).write_bytes(data)
    assert read_listing(tmp_path, HUB, "a/b") is None


@pytest.mark.parametrize(
    ("fetched_at", "age_s"),
    [
        (NOW.isoformat(), 0),
        ((NOW - timedelta(hours=1)).isoformat(), 3600),
        ((NOW + timedelta(hours=1)).isoformat(), None),
        ("2026-11-01T11:00:00", None),
        ("yesterday", None),
    ],
)
def test_the_age_of_a_listing(fetched_at: str, age_s: float | None) -> None:
    listing = CachedListing(schema=1, endpoint="", repo="", commit="", fetched_at=fetched_at, files=())
    assert listing.age_s(NOW) == age_s


def file(*, sha256: str | None = None, revision: str | None = "c0", repo: str = "a/b") -> ModelFile:
    part = FilePart(path="x.gguf", size_bytes=5, sha256=sha256)
    return ModelFile(model="m", quant="q", repo=repo, revision=revision, parts=(part,), dense_bpw=None)


def test_a_header_is_kept_by_content_or_by_commit() -> None:
    assert header_key(file(sha256="ab")) == header_key(file(sha256="ab", repo="c/d", revision="c1"))
    assert header_key(file(sha256="ab")) != header_key(file(sha256="ac"))
    assert header_key(file()) != header_key(file(revision="c1"))
    assert header_key(file()) != header_key(file(repo="c/d"))
    # Without hash and commit the name may mean another content tomorrow.
    assert header_key(file(revision=None)) is None


def test_a_header_comes_back(tmp_path: Path) -> None:
    table = TensorTable(spec=tiny_spec(), tensors=model_tensors(tiny_spec(), NATIVE))
    write_table(tmp_path, "key", table)
    found = read_table(tmp_path, "key")
    assert found is not None
    assert found.spec == table.spec
    assert [(t.name, t.shape, t.type, t.n_bytes) for t in found.tensors] == [
        (t.name, t.shape, t.type, t.n_bytes) for t in table.tensors
    ]
    assert read_table(tmp_path, "other") is None


@pytest.mark.parametrize(
    "data",
    [*DAMAGE, b'{"schema": 1, "spec": {}, "tensors": []}', b'{"schema": 1, "tensors": [["a", [33], "q8_0"]]}'],
)
def test_a_damaged_header_is_none(tmp_path: Path, data: bytes) -> None:
    write_table(tmp_path, "key", TensorTable(spec=tiny_spec(), tensors=()))
    only_file(tmp_path).write_bytes(data)
    assert read_table(tmp_path, "key") is None


def test_a_cache_that_cannot_be_written_is_let_be(tmp_path: Path) -> None:
    (tmp_path / "listings").write_text("a file where the folder should be")
    write_listing(tmp_path, LISTING)
    assert read_listing(tmp_path, HUB, "a/b") is None


def test_nothing_half_written_stays_behind(tmp_path: Path) -> None:
    write_listing(tmp_path, LISTING)
    assert json.loads(only_file(tmp_path).read_text())["commit"] == "c0"
