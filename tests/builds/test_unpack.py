"""Archives are unpacked without trusting what they say of themselves."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from launcher.builds.unpack import unpack
from launcher.errors import DamagedFileError

if TYPE_CHECKING:
    from pathlib import Path


def tar(path: Path, *members: tuple[str, bytes | str], top: str = "llama-b1/") -> Path:
    """A tar.gz; a text is where a symbolic link leads."""
    with tarfile.open(path, "w:gz", compresslevel=1) as opened:
        for name, content in members:
            info = tarfile.TarInfo(top + name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                opened.addfile(info)
            else:
                info.size, info.mode = len(content), 0o755 if name.startswith("llama-") else 0o644
                opened.addfile(info, io.BytesIO(content))
    return path


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return path


def names(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_the_one_folder_that_all_is_in_is_left_out_and_links_become_files(tmp_path: Path) -> None:
    archive = tar(
        tmp_path / "a.tar.gz",
        ("llama-server", b"program"), ("libllama.so", "libllama.so.0"), ("libllama.so.0", "libllama.so.0.5"),
        ("libllama.so.0.5", b"library"), ("rocblas/library/kernels.dat", b"data"),
    )  # fmt: skip
    unpack(archive, tmp_path / "into")
    assert names(tmp_path / "into") == {
        "libllama.so": b"library", "libllama.so.0": b"library", "libllama.so.0.5": b"library",
        "llama-server": b"program", "rocblas/library/kernels.dat": b"data",
    }  # fmt: skip
    assert not any(path.is_symlink() for path in (tmp_path / "into").rglob("*"))


def test_programs_run_and_libraries_need_not(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar.gz", ("llama-server", b"program"), ("libllama.so", b"library"))
    unpack(archive, tmp_path / "into")
    assert (tmp_path / "into/llama-server").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "into/libllama.so").stat().st_mode & 0o777 == 0o644


def test_a_second_archive_lies_beside_the_first(tmp_path: Path) -> None:
    """Keeps out: NVIDIA's libraries in a folder of their own, where the CUDA backend does not look."""
    unpack(tar(tmp_path / "a.tar.gz", ("libggml-cuda.so", b"cuda"), ("LICENSE", b"MIT")), tmp_path / "into")
    runtime = tar(tmp_path / "b.tar.gz", ("libcudart.so.13", b"cudart"), ("LICENSE", b"NVIDIA"), top="cudart-llama-b1/")
    unpack(runtime, tmp_path / "into")
    assert names(tmp_path / "into") == {"LICENSE": b"NVIDIA", "libcudart.so.13": b"cudart", "libggml-cuda.so": b"cuda"}


def test_a_zip_without_a_folder_is_unpacked_as_it_is(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", **{"llama-server.exe": b"program", "ggml-cuda.dll": b"cuda"})
    unpack(archive, tmp_path / "into")
    assert names(tmp_path / "into") == {"ggml-cuda.dll": b"cuda", "llama-server.exe": b"program"}


def test_folders_and_hard_links_of_a_tar(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", compresslevel=1) as opened:
        for name, kind, target in (
            ("top", tarfile.DIRTYPE, ""), ("top/bin", tarfile.DIRTYPE, ""), ("top/bin/llama", tarfile.REGTYPE, ""),
            ("top/lib/llama", tarfile.LNKTYPE, "top/bin/llama"),
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, 7 if kind == tarfile.REGTYPE else 0
            opened.addfile(info, io.BytesIO(b"program"))
    unpack(tmp_path / "a.tar.gz", tmp_path / "into")
    assert names(tmp_path / "into") == {"bin/llama": b"program", "lib/llama": b"program"}


def test_folders_and_links_of_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("lib/", b"")
        opened.writestr("lib/libllama.0.dylib", b"library")
        link = zipfile.ZipInfo("lib/libllama.dylib")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, "libllama.0.dylib")
        opened.writestr("LICENSE", b"MIT")
    unpack(tmp_path / "a.zip", tmp_path / "into")
    assert names(tmp_path / "into") == {
        "LICENSE": b"MIT", "lib/libllama.0.dylib": b"library", "lib/libllama.dylib": b"library",
    }  # fmt: skip


def test_an_entry_of_another_size_than_it_says_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", a=b"0" * 100)
    for said in (99, 200):
        lying = tmp_path / f"{said}.zip"
        lying.write_bytes(archive.read_bytes().replace(struct.pack("<I", 100), struct.pack("<I", said)))
        with pytest.raises(DamagedFileError, match=rf"{said}\.zip cannot be unpacked"):
            unpack(lying, tmp_path / "into")


def test_only_what_is_wanted_is_unpacked(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.whl", **{"llama_cpp/__init__.py": b"", "x.dist-info/RECORD": b"", "other/a.py": b""})
    unpack(archive, tmp_path / "into", keep=lambda path: path.parts[0] == "llama_cpp")
    assert list(names(tmp_path / "into")) == ["llama_cpp/__init__.py"]


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/../../evil", "C:/evil", "..\\evil", "a\\..\\..\\evil", "./../evil"]
)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    into = tmp_path / "deep" / "into"
    for archive in (tar(tmp_path / "a.tar.gz", (name, b"x"), top=""), zipped(tmp_path / "a.zip", **{name: b"x"})):
        with pytest.raises(DamagedFileError, match=r"cannot be unpacked: the name .* leads out of the folder"):
            unpack(archive, into)
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("target", ["/etc/passwd", "../libc.so", "sub/x", "C:\\x", "", ".."])
def test_a_link_that_leads_out_of_its_folder_is_refused(tmp_path: Path, target: str) -> None:
    archive = tar(tmp_path / "a.tar.gz", ("libllama.so", target), ("other", b"x"))
    with pytest.raises(DamagedFileError, match=r"the link libllama\.so leads to .*, out of its folder"):
        unpack(archive, tmp_path / "into")


def test_links_to_nothing_and_to_themselves_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="which is not in the archive"):
        unpack(tar(tmp_path / "a.tar.gz", ("a", "b"), ("c", b"")), tmp_path / "into")
    with pytest.raises(DamagedFileError, match="leads to itself"):
        unpack(tar(tmp_path / "b.tar.gz", ("a", "b"), ("b", "a")), tmp_path / "other")


def test_a_device_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as opened:
        info = tarfile.TarInfo("top/null")
        info.type = tarfile.CHRTYPE
        opened.addfile(info)
    with pytest.raises(DamagedFileError, match="is neither a file nor a link"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "into")


def test_more_than_any_release_holds_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar.gz", ("a", b"0" * 5000), ("b", b"0" * 5000))
    with pytest.raises(DamagedFileError, match="has 2 files of 10 KiB in it: no release does"):
        unpack(archive, tmp_path / "into", max_bytes=8000)
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_a_broken_archive_is_told_as_such(tmp_path: Path, name: str) -> None:
    for content in (b"", b"<html>not found</html>", b"PK\x03\x04" + b"x" * 100):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DamagedFileError, match=f"{name} cannot be unpacked"):
            unpack(tmp_path / name, tmp_path / "into")


def test_an_archive_that_ends_early_is_told_as_such(tmp_path: Path) -> None:
    import os

    whole = tar(tmp_path / "a.tar.gz", ("a", os.urandom(50_000)), ("b", b"x"))
    (tmp_path / "half.tar.gz").write_bytes(whole.read_bytes()[:30_000])
    with pytest.raises(DamagedFileError, match=r"half\.tar\.gz cannot be unpacked"):
        unpack(tmp_path / "half.tar.gz", tmp_path / "into")
