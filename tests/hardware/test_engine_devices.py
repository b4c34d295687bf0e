"""The engine's own device list: the child that asks for it, and what is made of what it prints."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.hardware.engine_devices import (
    MARK,
    explain_exit,
    find_package,
    parse_commit,
    parse_probe,
    parse_version,
    read_engine,
    report_from_probe,
)
from tests.systems import POSIX

if TYPE_CHECKING:
    from pathlib import Path

CUDA_DEVICE = {
    "name": "CUDA0",
    "description": "NVIDIA GeForce RTX 4090",
    "type": "GPU",
    "memory_free": 24_700_000_000,
    "memory_total": 25_250_000_000,
    "device_id": "0000:01:00.0",
    "backend": "CUDA",
}


def printed(found: object) -> str:
    """What the child prints, with a driver's talk around it."""
    return f"ggml_cuda_init: found 1 CUDA devices\n\n{MARK}{found!a}\nbye\n"


# --- The real engine ---


def test_the_installed_engine_lists_its_devices() -> None:
    report = read_engine(find_package())
    assert report.note is None
    assert report.devices is not None
    assert "CPU" in {device.type for device in report.devices}
    assert "CPU" in report.backends
    assert report.cpu_features
    assert report.supports_rpc is not None


def test_the_version_is_that_of_the_installed_distribution() -> None:
    from importlib.metadata import version

    assert read_engine(find_package()).version == version("llama-cpp-python")


# --- What can go wrong ---


def test_no_engine_is_a_note() -> None:
    report = read_engine(None)
    assert (report.devices, report.note) == (None, "llama-cpp-python is not installed")


def test_a_package_without_libraries_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text('__version__ = "0.3.36"\n')
    report = read_engine(tmp_path)
    assert report.version == "0.3.36"
    assert report.devices is None
    assert report.note is not None
    assert "no library llama in" in report.note


def test_a_library_that_cannot_be_loaded_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    for name in ("libllama.so", "libllama.dylib", "llama.dll"):
        (tmp_path / "lib" / name).write_bytes(b"not a library")
    report = read_engine(tmp_path)
    assert report.devices is None
    assert report.note is not None
    assert report.note.startswith("the engine could not list its devices: ")


def test_a_python_that_is_not_there_is_a_note(tmp_path: Path) -> None:
    report = read_engine(tmp_path, python=str(tmp_path / "no-python"))
    assert report.note == "the engine could not be asked for its devices: No such file or directory"


@POSIX
@pytest.mark.parametrize(
    ("script", "note"),
    [
        ("kill -ILL $$", "the engine was compiled for another CPU"),
        ("kill -SEGV $$", "the engine crashed while it listed its devices (signal 11)"),
        ("exec sleep 30", "the engine did not list its devices within 0 s"),
        ("echo hello", "the engine probe printed nothing that can be read"),
        ("echo oh no >&2; exit 3", "the engine could not list its devices: oh no"),
        ("exit 3", "the engine could not list its devices: exit status 3"),
    ],
)
def test_a_child_that_fails_is_a_note_and_not_an_exception(tmp_path: Path, script: str, note: str) -> None:
    child = tmp_path / "python"
    child.write_text(f"#!/bin/sh\n{script}\n")
    child.chmod(0o755)
    report = read_engine(tmp_path, python=str(child), deadline_s=0.3)
    assert report.devices is None
    assert report.note is not None
    assert report.note.startswith(note)


@POSIX
def test_a_child_that_cannot_be_killed_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps out: a driver that hangs inside the kernel held up the plan for as long as it did."""
    child = tmp_path / "python"
    child.write_text("#!/bin/sh\nexec sleep 10\n")
    child.chmod(0o755)
    left: list[subprocess.Popen[bytes]] = []

    def kill(process: subprocess.Popen[bytes]) -> None:
        left.append(process)

    monkeypatch.setattr(subprocess.Popen, "kill", kill)
    report = read_engine(tmp_path, python=str(child), deadline_s=0.1)
    running = [process.poll() for process in left]
    for process in left:
        process.terminate()
        process.communicate()
    assert report.hung
    assert running == [None], "it was left alone"


@POSIX
def test_a_child_that_crashes_after_its_answer_has_answered(tmp_path: Path) -> None:
    """Keeps out: a driver that crashes at exit hides the GPU that it had listed before."""
    (tmp_path / "answer").write_text(printed({"devices": [CUDA_DEVICE], "backends": [], "supports_rpc": False}))
    child = tmp_path / "python"
    child.write_text(f"#!/bin/sh\ncat {tmp_path / 'answer'}\nkill -SEGV $$\n")
    child.chmod(0o755)
    report = read_engine(tmp_path, python=str(child))
    assert report.devices is not None
    assert [device.name for device in report.devices] == ["CUDA0"]
    assert report.note is None


# --- Reading what it prints ---


def test_a_cuda_build() -> None:
    found = parse_probe(
        printed(
            {
                "devices": [CUDA_DEVICE, {**CUDA_DEVICE, "name": "CPU", "type": "CPU", "device_id": None}],
                "backends": [
                    {"name": "CUDA", "features": {"ARCHS": "890"}},
                    {"name": "CPU", "features": {"AVX2": "1", "AVX512": "0", "SVE_CNT": "16"}},
                ],
                "supports_rpc": True,
                "ggml_commit": "0c1e570-dirty",
            }
        )
    )
    assert found is not None
    report = report_from_probe(found, version="0.3.36", bin_dir="/bin")
    assert report.devices is not None
    assert [(device.name, device.type, device.device_id) for device in report.devices] == [
        ("CUDA0", "GPU", "0000:01:00.0"),
        ("CPU", "CPU", None),
    ]
    assert report.backends == ("CUDA", "CPU")
    assert report.cpu_features == ("AVX2",)
    assert report.commit == "0c1e570"


def test_entries_that_are_not_as_expected_are_left_out() -> None:
    devices = [CUDA_DEVICE, {**CUDA_DEVICE, "type": None}, {**CUDA_DEVICE, "memory_free": None}, {}, 7]
    report = report_from_probe({"devices": devices, "backends": [{}, 3]}, version=None, bin_dir=None)
    assert report.devices is not None
    assert len(report.devices) == 1
    assert report.backends == ()


@pytest.mark.parametrize("line", ["", "engine-probe: ", "engine-probe: {", "engine-probe: 7", "engine-probe: f()", "x"])
def test_a_damaged_line_is_nothing(line: str) -> None:
    assert parse_probe(line) is None


@given(st.text())
def test_any_output_is_survived(junk: str) -> None:
    parse_probe(junk)
    parse_probe(MARK + junk)
    parse_version(junk)
    assert explain_exit(1, junk)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*CUDA_DEVICE, "devices", "backends", "features", "ggml_commit"]), inner)
    ),
)


@given(VALUES)
def test_any_literal_makes_a_report(value: object) -> None:
    found = parse_probe(printed(value))
    if found is not None:
        report = report_from_probe(found, version=None, bin_dir=None)
        assert report.devices is not None


@pytest.mark.parametrize(
    ("text", "commit"),
    [("0c1e570-dirty", "0c1e570"), ("0c1e57098", "0c1e57098"), ("unknown", None), ("", None), (None, None), (7, None)],
)
def test_commits(text: object, commit: str | None) -> None:
    assert parse_commit(text) == commit


@pytest.mark.parametrize(
    ("status", "part"),
    [(0, None), (0xC000001D, "another CPU"), (-1073741795, "another CPU"), (-11, "signal 11"), (1, "exit status 1")],
)
def test_exit_statuses(status: int, part: str | None) -> None:
    explained = explain_exit(status, "")
    assert explained is None if part is None else part in (explained or "")


def test_windows_looks_for_libraries_beside_the_makers_tools() -> None:
    from launcher.hardware.engine_probe import dll_folders

    there = {"C:\\CUDA\\bin", "C:\\CUDA\\bin\\x64"}
    environ = {"CUDA_PATH": "C:\\CUDA", "HIP_PATH": "C:\\gone"}
    assert dll_folders("C:\\site\\lib", environ, there.__contains__) == ["C:\\site\\lib", *sorted(there)]
    assert dll_folders("C:\\site\\lib", {}, there.__contains__) == ["C:\\site\\lib"]
