"""Files and engines of scripts/gpu_check.py: where they lie, what is packed, and what is made of that elsewhere."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from gpu_stages import build, files, pack
from gpu_stages.kept import RESULTS, Kept
from gpu_stages.lab import SHARED_MEMORY, LabError
from gpu_stages.records import FileRow

from launcher.builds import store
from launcher.builds.types import Build, BuildRecord, SelfTest, Source
from launcher.units import GIB
from tests.scripts.gpu import a_lab


def placed(disk_gib: float, shm_gib: float, ram_gib: float) -> dict[str, Path]:
    found = files.places(
        files.FULL,
        disk=Path("/disk"),
        disk_bytes=round(disk_gib * GIB),
        shm_bytes=round(shm_gib * GIB),
        ram_bytes=round(ram_gib * GIB),
    )
    return dict(found)


def test_files_lie_in_ram_or_else_on_the_disk() -> None:
    disk, shm = Path("/disk"), SHARED_MEMORY
    assert placed(200, 90, 120) == {"20b": shm, "120b": shm}
    # Files may take half of RAM, as systems mostly have it.
    assert placed(50, 64, 120) == {"20b": disk, "120b": shm}
    assert placed(75, 32, 60) == {"20b": shm, "120b": disk}
    assert placed(75, 16, 30) == {"20b": disk, "120b": disk}
    with pytest.raises(LabError, match=r"no room for gpt-oss-120b-MXFP4.gguf of 59(\.\d)? GiB"):
        placed(50, 64, 80)  # engine and system need the rest of RAM
    with pytest.raises(LabError, match="no room"):
        placed(50, 32, 120)


def make(tmp_path: Path, script: str, kept: Kept) -> int:
    path = tmp_path / "make.py"
    path.write_text(script, encoding="utf-8")
    wanted = [
        files.Wanted(file=name, model="20b", recipe="MXFP4", size_bytes=4, n_layer=1 if name == "one" else None)
        for name in ("one", "two")
    ]
    return files.make(wanted, dict.fromkeys(("one", "two"), tmp_path / "models"), kept, script=path)


def test_files_get_their_names_when_they_are_whole(tmp_path: Path) -> None:
    kept = Kept(tmp_path / RESULTS)
    make(tmp_path, "import sys; open(sys.argv[1], 'w').write(' '.join(sys.argv[2:]))", kept)
    rows = {row.file: row for row in kept.rows("files", FileRow)}
    assert {row.file: row.model for row in rows.values()} == {"one": "gpt-oss-20b", "two": "gpt-oss-20b"}
    text = Path(rows["one"].path).read_text(encoding="utf-8")
    assert text == "--model 20b --recipe MXFP4 --fill random --n-layer 1"
    assert rows["one"].size_bytes == len(text)
    wanted = files.Wanted(file="one", model="20b", recipe="MXFP4", size_bytes=4)
    assert files.is_made(wanted, kept)
    Path(rows["one"].path).unlink()
    assert not files.is_made(wanted, kept)


def test_a_file_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    kept = Kept(tmp_path / RESULTS)
    with pytest.raises(LabError, match="could not be made"):
        make(tmp_path, "import sys; open(sys.argv[1], 'w').write('half'); sys.exit(1)", kept)
    assert kept.rows("files", FileRow) == ()
    assert not list((tmp_path / "models").glob("*.gguf"))


def test_a_file_that_lies_in_ram_takes_no_ram_when_it_is_mapped(tmp_path: Path) -> None:
    """60 GB of a machine's 128 are the file already: experts that stay on the host need no other 57."""
    lab = a_lab(tmp_path)
    row = FileRow(
        file="120b", model="gpt-oss-120b", recipe="MXFP4", n_layer=None, path=str(SHARED_MEMORY / "m.gguf"),
        size_bytes=60 * GIB, took_s=0,
    )  # fmt: skip
    before = lab.hardware.memory.available_bytes
    assert lab.hardware_for(row).memory.available_bytes == before + 60 * GIB
    assert lab.hardware_for(replace(row, path=str(tmp_path / "m.gguf"))).memory.available_bytes == before


NAMES = (
    "pkg-1/pyproject.toml",
    "pkg-1/.git/HEAD",
    "pkg-1/.git/hooks/post-update.sample",
    "pkg-1/.git/modules/vendor/llama.cpp/HEAD",
    "pkg-1/.git/modules/vendor/llama.cpp/logs/HEAD",
    "pkg-1/.git/modules/vendor/llama.cpp/objects/pack/a.pack",
    "pkg-1/vendor/llama.cpp/CMakeLists.txt",
    "pkg-1/vendor/llama.cpp/models/ggml-vocab.gguf",
    "pkg-1/vendor/llama.cpp/src/models/openai-moe.cpp",
    "pkg-1/tests/test_llama.py",
)


def archive(path: Path, names: tuple[str, ...] = NAMES) -> Path:
    with tarfile.open(path, "w:gz") as made:
        for name in names:
            data = b"0c1e57098bba43ac29e6e3b677cdceebdd22334f\n"
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return path


def test_a_packed_archive_has_what_a_build_reads_and_tells_its_commit(tmp_path: Path) -> None:
    source = archive(tmp_path / "llama_cpp_python-0.3.36.tar.gz")
    target = tmp_path / "pack" / pack.archive_name(source)
    size = pack.slimmed(source, target)
    assert size == target.stat().st_size
    with tarfile.open(target) as made:
        assert made.getnames() == [
            "pkg-1/pyproject.toml",
            "pkg-1/.git/HEAD",
            "pkg-1/.git/objects/info/packs",
            "pkg-1/.git/modules/vendor/llama.cpp/HEAD",
            "pkg-1/.git/modules/vendor/llama.cpp/objects/info/packs",
            "pkg-1/.git/modules/vendor/llama.cpp/logs/HEAD",
            "pkg-1/vendor/llama.cpp/CMakeLists.txt",
            "pkg-1/vendor/llama.cpp/src/models/openai-moe.cpp",
        ]


def test_what_is_no_source_is_not_packed(tmp_path: Path) -> None:
    target = tmp_path / "pack/x.tar.gz"
    with pytest.raises(LabError, match="no source distribution"):
        pack.slimmed(archive(tmp_path / "x.tar.gz", NAMES[:1]), target)
    (tmp_path / "y.tar.gz").write_bytes(b"no archive")
    with pytest.raises(LabError, match="cannot be packed"):
        pack.slimmed(tmp_path / "y.tar.gz", target)
    with pytest.raises(LabError, match="no source archive"):
        pack.archive_name(Path("llama.zip"))
    assert list(target.parent.iterdir()) == []


def test_packages_for_another_machine_are_all_but_the_engine() -> None:
    names = {text.partition(">")[0].partition("=")[0].partition("<")[0] for text in pack.requirements()}
    assert {"rich", "diskcache", "numpy"} <= names
    assert "llama-cpp-python" not in names


def recipe(tmp_path: Path, source: Path | None) -> build.Recipe:
    return build.Recipe(source=source, arch="90", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")


def test_a_source_that_came_along_is_compiled_as_it_is(tmp_path: Path) -> None:
    request = recipe(tmp_path, archive(tmp_path / "llama_cpp_python-0.3.36.tar.gz")).request()
    assert (request.backend, request.version, request.architectures) == ("cuda", "0.3.36", ("90",))
    assert request.sha256 is None  # a packed one has another
    assert request.offline
    pinned = recipe(tmp_path, None).request()
    assert (pinned.version, pinned.offline) == ("0.3.36", False)
    assert pinned.sha256 is not None
    with pytest.raises(LabError, match="which version"):
        recipe(tmp_path, tmp_path / "source.tar.gz").request()


def test_cublas_of_a_python_package_is_taken_where_it_is(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for name in ("include/cublas_v2.h", "include/cublas_api.h", "include/other.h", "lib/libcublas.so.13",
                 "lib/libcublasLt.so.13", "lib/libnvblas.so.13"):  # fmt: skip
        path = site / "nvidia/cu13" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    into = tmp_path / "cublas"
    assert not build.bring_cublas(into, [str(tmp_path), "", str(tmp_path / "none")])
    assert build.bring_cublas(into, [str(tmp_path / "none"), str(site)])
    assert sorted(path.name for path in into.rglob("*") if path.is_file()) == [
        "cublas_api.h", "cublas_v2.h", "libcublas.so.13", "libcublasLt.so.13",
    ]  # fmt: skip
    header = next(into.rglob("cublas_v2.h"))
    assert (header.parent.parent / "lib/libcublas.so.13").read_text(encoding="utf-8") == "lib/libcublas.so.13"
    assert build.bring_cublas(into, [])  # as it was


def small_engine(data_dir: Path) -> Build:
    """A build of the store that no program can use."""
    record = BuildRecord(
        name="cuda-0.3.36", backend="cuda", version="0.3.36", commit="0c1e570",
        source=Source(kind="source", what="llama-cpp-python 0.3.36", sha256=None), options=("GGML_CUDA=ON",),
        system="Linux", arch="x86_64", made_at="2026-11-25T18:00:00+00:00",
        self_test=SelfTest(passed=True, date="2026-11-25T18:00:00+00:00", why=None),
    )  # fmt: skip
    with store.staged(data_dir, record.name) as filling:
        for name in ("__init__.py", "__pycache__/x.pyc", "lib/libggml-cuda.so", "lib/libcublas.so.13"):
            path = filling / "site/llama_cpp" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("raise ImportError('nothing here')", encoding="utf-8")
        return store.add(filling, record)


def test_an_engine_that_came_along_is_tested_where_it_is_to_run(tmp_path: Path) -> None:
    """It passed where it was made, and takes this machine's cuBLAS instead of carrying one."""
    target = tmp_path / "pack/cuda-0.3.36.tar.xz"
    assert pack.packed_engine(small_engine(tmp_path / "there"), target) == target.stat().st_size
    with tarfile.open(target) as made:
        assert sorted(made.getnames()) == [
            "cuda-0.3.36/engine.json",
            "cuda-0.3.36/site/llama_cpp/__init__.py",
            "cuda-0.3.36/site/llama_cpp/lib/libggml-cuda.so",
        ]
    toolkit = tmp_path / "cuda/lib64"
    toolkit.mkdir(parents=True)
    for name in ("libcublas.so", "libcublas.so.13", "libcublas.so.13.0.2", "libcublasLt.so.13"):
        (toolkit / name).write_text(name, encoding="utf-8")
    here = build.unpacked(target, tmp_path / "here", ["", str(tmp_path / "none"), str(toolkit.parent)])
    assert (here.package / "lib/libcublas.so.13").read_text(encoding="utf-8") == "libcublas.so.13"
    assert (here.package / "lib/libcublasLt.so.13").read_text(encoding="utf-8") == "libcublasLt.so.13"
    assert here.record is not None
    assert here.record.self_test is not None
    assert not here.usable
    row = build.build_row(here, took_s=1.0)
    assert row.self_test is not None
    assert "nothing here" in row.self_test


def test_an_engine_that_fails_its_test_ends_the_stage_and_is_got_again(tmp_path: Path) -> None:
    kept, target = Kept(tmp_path / RESULTS), tmp_path / "pack/cuda-0.3.36.tar.xz"
    pack.packed_engine(small_engine(tmp_path / "there"), target)
    wanted = recipe(tmp_path, None)
    for _ in range(2):
        with pytest.raises(LabError, match=r"cuda-0.3.36 failed its self-test: .*nothing here"):
            build.get_engine(kept, wanted, prebuilt=target, tell=lambda _text: None)
    assert build.name_of(kept) == "cuda-0.3.36"


def test_an_engine_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    kept, made = Kept(tmp_path / RESULTS), small_engine(tmp_path / "data")
    kept.add("build", made.name, build.build_row(made, took_s=1.0))
    told: list[str] = []
    assert build.get_engine(kept, recipe(tmp_path, None), prebuilt=None, tell=told.append) == 0
    assert told == ["  cuda-0.3.36 is there"]


def test_what_is_no_engine_is_not_packed_and_not_unpacked(tmp_path: Path) -> None:
    own = store.environment_build()
    assert own is not None
    with pytest.raises(LabError, match="environment's engine is not packed"):
        pack.packed_engine(own, tmp_path / "x.tar.xz")
    with pytest.raises(LabError, match="is no packed engine"):
        build.unpacked(archive(tmp_path / "x.tar.xz"), tmp_path / "data", [])
    assert store.installed(tmp_path / "data") == ((), ())
