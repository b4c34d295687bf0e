"""A model carried by a folder: written, verified, cut in pieces, gone on with, and taken on the other side."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Self

import pytest

from launcher.catalogue.types import FilePart, ModelFile
from launcher.errors import DamagedFileError, DoesNotFitError, LauncherError, UsageError
from launcher.store.cache import RepoCache, link_pointer
from launcher.store.carry import MANIFEST
from launcher.store.carry_copy import open_part
from launcher.store.carry_export import Exported, ExportOptions, export_model
from launcher.store.carry_find import carried_file, find_carried
from launcher.store.carry_import import ImportOptions, import_model
from launcher.store.disk_facts import FAT_LIMIT_BYTES
from launcher.store.download import fetch
from launcher.store.local import find_cached
from launcher.store.types import LocalModel, NullProgress
from launcher.units import MIB
from tests.store.build import PATH, REPO, SPLIT, Remembered, gguf

COMMIT = "b97cbb20d1995efd41dce8c4dd1ddf86e8db375b"
BIG = gguf(5 * MIB + 77)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def here(cache_dir: Path, files: dict[str, bytes] | None = None, *, hashes: bool = True) -> ModelFile:
    """A model in the hub's cache, as a catalogue tells it."""
    files = files or {PATH: BIG}
    cache = RepoCache(cache_dir=cache_dir, repo=REPO)
    for path, content in files.items():
        blob = cache.blob(sha256(content))
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link_pointer(blob, cache.pointer(COMMIT, path))
    file = ModelFile(
        model="gpt-oss-20b",
        quant="MXFP4",
        repo=REPO,
        revision=COMMIT,
        parts=tuple(
            FilePart(path=path, size_bytes=len(content), sha256=sha256(content) if hashes else None)
            for path, content in files.items()
        ),
        dense_bpw=8.5,
    )
    return replace(file, local_path=find_cached(file, cache_dir))


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The cache of the other machine."""
    return tmp_path / "there" / "hub"


def exported(file: ModelFile, cache_dir: Path, stick: Path, **options: Any) -> Exported:
    return export_model(
        file, stick, cache_dir=cache_dir, options=ExportOptions(**options), progress=options.pop("sink", NullProgress())
    )


def imported(stick: Path, there: Path, **given: Any) -> LocalModel:
    (carried,) = find_carried(stick)
    return import_model(carried, cache_dir=there, **given)


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def edited(manifest: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(manifest.read_text())
    change(data)
    manifest.write_text(json.dumps(data))


@pytest.mark.parametrize("files", [{PATH: BIG}, {path: gguf(90_000 + no) for no, path in enumerate(SPLIT)}])
def test_what_is_exported_here_is_imported_there(
    cache_dir: Path, tmp_path: Path, there: Path, files: dict[str, bytes]
) -> None:
    file = here(cache_dir, files)
    stick = tmp_path / "stick"
    done = exported(file, cache_dir, stick)
    assert done.folder == stick / "ggml-org--gpt-oss-20b-GGUF--MXFP4"
    assert files_in(done.folder) == sorted([*files, "LICENCE-Apache-2.0.txt", "SHA256SUMS", "manifest.json"])
    subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=done.folder, check=True, capture_output=True)
    progress = Remembered()
    local = imported(stick, there, known=[file], progress=progress)
    assert [path.read_bytes() for path in local.paths] == list(files.values())
    assert local.notes == ()
    assert local.verified == local.paths
    assert progress.done_bytes == sum(map(len, files.values()))
    # As a download would have left it: found by the catalogue's entry, and nothing is fetched.
    elsewhere = replace(file, local_path=None)
    assert find_cached(elsewhere, there) == local.first
    assert fetch(elsewhere, cache_dir=there) == LocalModel(paths=local.paths)
    assert RepoCache(cache_dir=there, repo=REPO).read_ref("main") == COMMIT
    assert not list(there.rglob("*.part"))


def test_hashes_that_nobody_gave_are_worked_out(cache_dir: Path, tmp_path: Path, there: Path) -> None:
    file = here(cache_dir, hashes=False)
    copy = tmp_path / "no links here" / PATH
    copy.parent.mkdir()
    copy.write_bytes(BIG)
    done = exported(replace(file, local_path=copy), cache_dir, tmp_path / "stick")
    assert done.manifest.parts[0].sha256 == sha256(BIG)
    local = imported(tmp_path / "stick", there, known=[file])
    assert local.first.readlink().name == sha256(BIG)
    assert "those of the manifest" in local.notes[0]


def test_pieces_are_joined(cache_dir: Path, tmp_path: Path, there: Path) -> None:
    done = exported(here(cache_dir), cache_dir, tmp_path / "stick", piece_bytes=2 * MIB)
    names = [f"{PATH}.piece-00{no}-of-003" for no in (1, 2, 3)]
    assert [name for name in files_in(done.folder) if name.startswith(PATH)] == names
    assert b"".join((done.folder / name).read_bytes() for name in names) == BIG
    assert imported(tmp_path / "stick", there).first.read_bytes() == BIG


def test_on_fat_pieces_are_made_unasked(cache_dir: Path, tmp_path: Path) -> None:
    """The largest file of the file system is told to be small, as 4 GB are too much for a test."""
    file = here(cache_dir)
    fat = exported(file, cache_dir, tmp_path / "fat", largest_file_bytes=lambda _: 3 * MIB)
    assert [piece.size_bytes for piece in fat.manifest.parts[0].pieces] == [3 * MIB, len(BIG) - 3 * MIB]
    real = exported(file, cache_dir, tmp_path / "roomy", largest_file_bytes=lambda _: FAT_LIMIT_BYTES)
    assert len(real.manifest.parts[0].pieces) == 1
    with pytest.raises(UsageError, match="FAT file system") as refused:
        exported(file, cache_dir, tmp_path / "a", largest_file_bytes=lambda _: MIB, piece_bytes=2 * MIB)
    assert "--piece-size" in str(refused.value.hint)
    with pytest.raises(UsageError, match=r"pieces of 900 KiB"):
        exported(file, cache_dir, tmp_path / "b", piece_bytes=900 * 1024)


def test_an_export_goes_on_where_it_stopped(cache_dir: Path, tmp_path: Path, there: Path) -> None:
    file = here(cache_dir)
    stick = tmp_path / "stick"
    stopping = Remembered(at_bytes=3 * MIB, then=_interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_model(file, stick, cache_dir=cache_dir, options=ExportOptions(piece_bytes=2 * MIB), progress=stopping)
    folder = stick / "ggml-org--gpt-oss-20b-GGUF--MXFP4"
    first = folder / f"{PATH}.piece-001-of-003"
    before = [name for name in files_in(folder) if not name.endswith(".part")]
    assert not (folder / MANIFEST).exists()
    with pytest.raises(DamagedFileError, match="no exported model"):
        find_carried(stick)
    inode = first.stat().st_ino if first.exists() else None
    exported(file, cache_dir, stick, piece_bytes=2 * MIB)
    assert before == [] or first.stat().st_ino == inode, "what was whole was not written again"
    assert imported(stick, there).first.read_bytes() == BIG


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_a_piece_that_went_bad_on_the_stick_is_written_again(cache_dir: Path, tmp_path: Path, there: Path) -> None:
    file = here(cache_dir)
    done = exported(file, cache_dir, tmp_path / "stick", piece_bytes=2 * MIB)
    piece = done.folder / f"{PATH}.piece-002-of-003"
    data = bytearray(piece.read_bytes())
    data[1000] ^= 1
    piece.write_bytes(data)
    exported(file, cache_dir, tmp_path / "stick", piece_bytes=2 * MIB)
    assert imported(tmp_path / "stick", there).first.read_bytes() == BIG


def test_a_model_that_is_damaged_here_is_not_exported(cache_dir: Path, tmp_path: Path) -> None:
    file = here(cache_dir)
    blob = RepoCache(cache_dir=cache_dir, repo=REPO).blob(sha256(BIG))
    blob.write_bytes(BIG[:-1] + b"?")
    with pytest.raises(DamagedFileError, match="is damaged on this disk"):
        exported(file, cache_dir, tmp_path / "stick")
    assert files_in(tmp_path / "stick") == []


def test_links_take_no_room(cache_dir: Path, tmp_path: Path, there: Path) -> None:
    file = here(cache_dir)
    done = exported(file, cache_dir, tmp_path / "stick", link=True)
    assert "takes no room" in done.notes[0]
    assert imported(tmp_path / "stick", there).first.read_bytes() == BIG
    with pytest.raises(UsageError, match="--link"):
        exported(file, cache_dir, tmp_path / "other", link=True, piece_bytes=2 * MIB)


def test_another_build_of_the_model_is_not_mixed_in(cache_dir: Path, tmp_path: Path) -> None:
    file = here(cache_dir)
    exported(file, cache_dir, tmp_path / "stick")
    with pytest.raises(UsageError, match="holds another build"):
        exported(replace(file, revision="0" * 40), cache_dir, tmp_path / "stick")
    with pytest.raises(UsageError, match="in pieces of another size"):
        exported(file, cache_dir, tmp_path / "stick", piece_bytes=2 * MIB)


def test_an_import_goes_on_where_it_stopped(cache_dir: Path, tmp_path: Path, there: Path) -> None:
    exported(here(cache_dir), cache_dir, tmp_path / "stick")
    with pytest.raises(KeyboardInterrupt):
        imported(tmp_path / "stick", there, progress=Remembered(at_bytes=3 * MIB, then=_interrupt))
    assert not list(there.rglob("snapshots/*/*"))
    (part,) = there.rglob("*.part")
    assert part.stat().st_size >= 3 * MIB
    written: list[int] = []

    class Counting:
        def __init__(self, path: Path) -> None:
            self._stream = open_part(path)

        def write(self, data: Any) -> int:
            written.append(self._stream.write(data))
            return written[-1]

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self._stream.close()

    kept = part.stat().st_size
    opened: Callable[[Path], BinaryIO] = Counting  # type: ignore[assignment]
    assert imported(tmp_path / "stick", there, options=ImportOptions(opened=opened)).first.read_bytes() == BIG
    assert sum(written) == len(BIG) - kept
    assert not list(there.rglob("*.part"))


def test_a_beginning_that_went_bad_is_copied_again(cache_dir: Path, tmp_path: Path, there: Path) -> None:
    exported(here(cache_dir), cache_dir, tmp_path / "stick", piece_bytes=2 * MIB)
    blob = RepoCache(cache_dir=there, repo=REPO).blob(sha256(BIG))
    blob.parent.mkdir(parents=True)
    blob.with_name(f"{blob.name}.import.gpt-oss.part").write_bytes(b"not the beginning of it")
    assert imported(tmp_path / "stick", there).first.read_bytes() == BIG


def _damage(folder: Path) -> None:
    piece = folder / f"{PATH}.piece-002-of-003"
    piece.write_bytes(piece.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_damage, r"piece-002-of-003 is damaged: its sha256"),
        (lambda folder: (folder / f"{PATH}.piece-003-of-003").unlink(), r"piece-003-of-003 is missing"),
        (lambda folder: (folder / f"{PATH}.piece-001-of-003").write_bytes(b"GGUF"), r"4 bytes instead of 2,097,152"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "this manifest cannot be used"),
        (lambda folder: (folder / MANIFEST).write_text("[" * 5000), "this manifest cannot be used"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe\0"), "this manifest cannot be used"),
        (lambda folder: (folder / MANIFEST).write_text(" " * 5 * MIB), "larger than any can be"),
        (lambda folder: edited(folder / MANIFEST, lambda data: data.update(schema=2)), "of a later launcher"),
        (lambda folder: edited(folder / MANIFEST, lambda data: data.pop("commit")), "commit: missing"),
        (lambda folder: edited(folder / MANIFEST, lambda data: data.update(repo="../../x")), "not a hub repository"),
        (lambda folder: edited(folder / MANIFEST, lambda data: data.update(commit="../../../x")), "commit: .* is none"),
        (
            lambda folder: edited(folder / MANIFEST, lambda data: data["parts"][0].update(path="../../../x.gguf")),
            "unsafe name",
        ),
        (
            lambda folder: edited(
                folder / MANIFEST, lambda data: data["parts"][0]["pieces"][0].update(file="../secret")
            ),
            "leaves the folder",
        ),
        (
            lambda folder: edited(
                folder / MANIFEST, lambda data: data["parts"][0]["pieces"][0].update(file="/etc/passwd")
            ),
            "leaves the folder",
        ),
        (
            lambda folder: edited(folder / MANIFEST, lambda data: data["parts"][0].update(size_bytes=10**30)),
            "a size of 1e.30 bytes",
        ),
        (
            lambda folder: edited(folder / MANIFEST, lambda data: data["parts"][0].update(sha256="A" * 64)),
            "no sha256 in lower-case hex",
        ),
        (
            lambda folder: edited(folder / MANIFEST, lambda data: data["parts"][0].update(sha256="a" * 64)),
            "is not what its pieces should make",
        ),
        (lambda folder: edited(folder / MANIFEST, lambda data: data["parts"].clear()), "parts: 0 of them"),
    ],
)
def test_what_is_wrong_with_a_folder_is_told(
    cache_dir: Path, tmp_path: Path, there: Path, harm: Callable[[Path], object], message: str
) -> None:
    done = exported(here(cache_dir), cache_dir, tmp_path / "stick", piece_bytes=2 * MIB)
    harm(done.folder)
    with pytest.raises(DamagedFileError, match=message):
        imported(tmp_path / "stick", there)
    assert not list(there.rglob("snapshots/*/*"))
    assert not [path for path in there.rglob("blobs/*") if path.suffix != ".part"]


def test_a_pipe_in_place_of_a_part_hangs_nobody(cache_dir: Path, tmp_path: Path, there: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("named pipes have no path on Windows")
    done = exported(here(cache_dir), cache_dir, tmp_path / "stick")
    (done.folder / PATH).unlink()
    os.mkfifo(done.folder / PATH)
    with pytest.raises(DamagedFileError, match="no regular file"):
        imported(tmp_path / "stick", there)


def test_a_manifest_that_gives_another_content_the_name_of_a_known_one_is_refused(
    cache_dir: Path, tmp_path: Path, there: Path
) -> None:
    real = here(there)
    fake = here(cache_dir, {PATH: gguf(70_000, seed=9)})
    exported(fake, cache_dir, tmp_path / "stick")
    with pytest.raises(DamagedFileError, match="has the sha256"):
        imported(tmp_path / "stick", tmp_path / "empty", known=[real])
    with pytest.raises(DamagedFileError, match="the cache holds another"):
        imported(tmp_path / "stick", there)
    assert real.local_path is not None
    assert real.local_path.read_bytes() == BIG


def test_no_room_is_told_before_the_first_byte(cache_dir: Path, tmp_path: Path, there: Path) -> None:
    file = here(cache_dir)
    with pytest.raises(DoesNotFitError, match=r"needs 5\.0 MiB more") as refused:
        exported(file, cache_dir, tmp_path / "full", free_bytes=lambda _: 4 * MIB)
    assert (refused.value.needs_bytes, refused.value.has_bytes) == (len(BIG), 4 * MIB)
    exported(file, cache_dir, tmp_path / "stick")
    with pytest.raises(DoesNotFitError, match=r"needs 5\.0 MiB more"):
        imported(tmp_path / "stick", there, options=ImportOptions(free_bytes=lambda _: 4 * MIB))
    assert not list(there.rglob("*.part"))


class Full:
    """A file on a disk that fills up, or cannot hold what is past its limit."""

    def __init__(self, path: Path, number: int) -> None:
        self._stream = open_part(path)
        self._number = number

    def write(self, data: Any) -> int:
        if self._stream.tell() > MIB:
            raise OSError(self._number, "no more")
        return self._stream.write(bytes(data[:MIB]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "is full; what was written is kept"), (errno.EFBIG, "write it in pieces")]
)
def test_a_disk_that_fills_up_keeps_what_was_written(
    cache_dir: Path, tmp_path: Path, number: int, message: str
) -> None:
    def opened(path: Path) -> BinaryIO:
        return Full(path, number)  # type: ignore[return-value]

    file = here(cache_dir)
    with pytest.raises(LauncherError, match=message):
        exported(file, cache_dir, tmp_path / "stick", opened=opened)
    (part,) = (tmp_path / "stick").rglob("*.part")
    assert part.stat().st_size > MIB
    done = exported(file, cache_dir, tmp_path / "stick")
    assert (done.folder / PATH).read_bytes() == BIG


def test_a_bare_file_is_told_by_its_hash(cache_dir: Path, tmp_path: Path, there: Path) -> None:
    file = here(cache_dir)
    bare = tmp_path / "renamed by somebody.gguf"
    shutil.copy(file.local_path or "", bare)
    carried = carried_file(bare, [file], NullProgress())
    local = import_model(carried, cache_dir=there, known=[file])
    assert (local.first.name, local.notes) == (PATH, ())
    bare.write_bytes(BIG + b"\0")
    with pytest.raises(DamagedFileError, match="no file that the catalogue knows has the sha256"):
        carried_file(bare, [file], NullProgress())


def test_several_models_of_a_stick_are_found(cache_dir: Path, tmp_path: Path) -> None:
    file = here(cache_dir)
    stick = tmp_path / "stick"
    first = exported(file, cache_dir, stick)
    exported(replace(file, quant="F16"), cache_dir, stick)
    (stick / "holiday photos").mkdir()
    assert [carried.manifest.quant for carried in find_carried(stick)] == ["F16", "MXFP4"]
    assert [carried.manifest.quant for carried in find_carried(first.folder / MANIFEST)] == ["MXFP4"]
