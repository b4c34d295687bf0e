"""`gpt-oss engine build` as a person types it; what compiles is a source of three C files."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from launcher.builds.compile_types import CompileRequest, Phase, Step
from launcher.builds.prepare import Workshop, prepare
from launcher.cli.engine_build_session import Wishes, request_of, run_build
from launcher.cli.engine_build_view import CompileBar, print_prepared
from launcher.errors import NetworkError, UsageError
from launcher.units import GIB
from tests.cli.sandbox import Sandbox, assert_runnable
from tests.fakes.toolchain import CUDA_12_4, toolchain, write_sdist


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


def wishes(backend: str = "cpu", **changes: object) -> Wishes:
    plain: dict[str, object] = {
        "version": None, "jobs": None, "arch": (), "define": (), "source": None, "offline": None
    }  # fmt: skip
    return Wishes(backend=backend, **{**plain, **changes})  # type: ignore[arg-type]


def test_a_dry_run_as_json(sandbox: Sandbox) -> None:
    done = sandbox.run("engine", "build", "metal", "--dry-run", "--json")
    assert done.code == 0
    document = json.loads(done.out)
    assert document["name"].startswith("metal-")
    assert not document["possible"]
    assert document["definitions"]["GGML_METAL"] == "ON"
    assert not (sandbox.cache / "engines").exists()


@pytest.mark.skipif(shutil.which("cmake") is None or shutil.which("cc") is None, reason="no CMake or no compiler")
def test_an_engine_that_computes_nothing_ends_with_6_and_is_kept(sandbox: Sandbox) -> None:
    archive = write_sdist(sandbox.root / "sdist")
    done = sandbox.refused("engine", "build", "cpu", "--source", archive, "--yes")
    assert done.code == 6
    assert done.error.startswith("cpu-9.9.9 failed its self-test, and no plan takes it: ")
    assert done.hint == "gpt-oss engine test cpu-9.9.9"
    assert "cpu-9.9.9 is to be compiled:" in done.err
    assert "compiling\n" in done.err
    listed = json.loads(sandbox.run("engine", "list", "--json").out)
    assert "cpu-9.9.9" in [engine["name"] for engine in listed["engines"]]
    assert sandbox.refused("engine", "use", "cpu-9.9.9").code == 6


def test_what_cannot_be_compiled_here(sandbox: Sandbox) -> None:
    done = sandbox.refused("engine", "build", "metal")
    assert done.code == 6
    assert done.error == "metal cannot be compiled here: Metal is a part of macOS"
    assert done.hint == "gpt-oss engine build cpu"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (wishes("cudda"), "no backend is called cudda; there are cpu, cuda, vulkan, rocm, metal, sycl"),
        (wishes("hip"), "no backend is called hip"),
        (wishes(version="new"), "'new' is no version"),
        (wishes(version="../x"), "is no version"),
        (wishes(source=Path("llama_cpp_python-0.3.1.tar.gz"), version="0.3.36"), "is version 0.3.1, not 0.3.36"),
        (wishes(arch=("89",)), "--arch is for cuda and rocm"),
        (wishes("cuda", arch=("gfx1100",)), "'gfx1100' is no architecture of cuda"),
        (wishes("rocm", arch=("89",)), "'89' is no architecture of rocm"),
        (wishes(define=("GGML_NATIVE",)), "--define takes NAME=VALUE"),
        (wishes(define=("a b=c",)), "--define takes NAME=VALUE"),
    ],
)
def test_what_makes_no_sense(asked: Wishes, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        request_of(asked)
    assert says in caught.value.message
    assert caught.value.hint is not None
    assert_runnable(caught.value.hint)


def test_the_newest_is_asked_of_nobody_offline() -> None:
    with pytest.raises(NetworkError, match="offline mode is on"):
        request_of(wishes(version="latest", offline=True))


def test_what_is_typed_is_what_is_asked_for() -> None:
    asked = request_of(wishes("CUDA", arch=("8.9,90", "120a-real"), define=("-DGGML_NATIVE:BOOL=OFF", "A=b=c"), jobs=3))
    assert asked.architectures == ("89", "90", "120a-real")
    assert asked.definitions == (("GGML_NATIVE", "OFF"), ("A", "b=c"))
    assert asked.jobs == 3
    assert asked.sha256 is not None
    other = request_of(wishes(source=Path("llama_cpp_python-0.3.1.tar.gz")))
    assert (other.version, other.sha256, other.name) == ("0.3.1", None, "cpu-0.3.1")


def test_what_will_be_done(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tools = toolchain(cuda=CUDA_12_4, gpu_architectures=(89,))
    shop = Workshop(
        tools=lambda: tools, memory_bytes=lambda: 4 * GIB, n_cpus=lambda: 8, free_bytes=lambda _folder: 50 * GIB
    )
    request = CompileRequest(backend="cuda", version="0.3.36", sha256="0" * 64)
    print_prepared(prepare(request, cache_dir=tmp_path, workshop=shop))
    told = capsys.readouterr().err
    assert told.startswith(
        "cuda-0.3.36 is to be compiled:\n  source    llama-cpp-python 0.3.36, from your package index, verified\n"
    )
    assert "  with      gcc 12.2.0, CUDA 12.4\n  for       89\n" in told
    assert "rather than 8" in told
    assert "of 50.0 GiB free" in told


@pytest.mark.parametrize(("setting", "flag", "said"), [("true", False, True), ("", True, True), ("", False, False)])
def test_a_yes_of_the_settings_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str, flag: bool, said: bool
) -> None:
    answers = []

    def asked(_question: str, *, yes: bool, refused: str) -> bool:
        answers.append(yes)
        raise UsageError(refused)

    shop = Workshop(tools=toolchain)
    monkeypatch.setattr("launcher.cli.engine_build_session.confirm", asked)
    monkeypatch.setattr("launcher.cli.engine_build_session.prepare", partial(prepare, workshop=shop))
    for folder in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"GPT_OSS_{folder}_DIR", str(tmp_path / folder))
    monkeypatch.setenv("GPT_OSS_YES", setting)
    with pytest.raises(UsageError, match="not compiled"):
        run_build(wishes(), dry_run=False, yes=flag, as_json=False)
    assert answers == [said]


def test_without_a_terminal_a_line_for_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with CompileBar() as bar:
        bar.tell(Phase(what="compiling"))
        for done in range(1, 101):
            bar.tell(Step(done=done, total=100, share=done / 100, left_s=100.0 - done))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "compiling"
    assert lines[1] == "  10%: 10 of 100, 1 min 30 s left"
    assert len(lines) == 11


def test_an_interruption_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), CompileBar():
        raise KeyboardInterrupt
    assert "the same command goes on from there" in capsys.readouterr().err
