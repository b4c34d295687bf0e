"""`gpt-oss engine list`, `use`, `remove` and `test`, on copies of the environment's engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from launcher.builds import store
from launcher.builds.types import AUTO, ENVIRONMENT
from launcher.cli.engine_selftest import print_results, run_self_tests
from launcher.cli.engine_session import list_engines, remove_engine, use_engine
from launcher.errors import DamagedFileError, EngineError, LauncherError, UsageError
from launcher.hardware.crashes import keep_crash
from launcher.system.locks import held
from tests.builds.copies import FAILED, PASSED, copy_build, replace_file
from tests.cli.sandbox import Sandbox, assert_runnable
from tests.cli.terminal import terminal

Said = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with one engine that passed its self-test, and one that did not."""
    data = tmp_path / "data"
    monkeypatch.setenv("GPT_OSS_DATA_DIR", str(data))
    monkeypatch.setenv("GPT_OSS_CACHE_DIR", str(tmp_path / "cache"))
    copy_build(data, "cuda-0.3.36", self_test=replace(PASSED, devices=("CUDA0",)))
    copy_build(data, "vulkan-0.3.36", self_test=FAILED)
    return data


def document(said: Said) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said.readouterr().out)
    assert found["schema"] == 1
    return found


def refused(kind: type[LauncherError], act: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        act(*args, **options)
    assert caught.value.hint is not None
    assert_runnable(caught.value.hint)
    return caught.value.message


def test_the_list(data: Path, capsys: Said) -> None:
    (data / "engines" / "rocm-0.3.36").mkdir()
    list_engines(devices=False, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    words = [line.split() for line in lines]
    assert words[0] == ["engine", "backend", "llama-cpp-python", "llama.cpp", "size", "self-test"]
    assert words[1][:3] == ["environment", "cpu", "0.3.36"]
    assert words[2][-4:] == ["passed", "on", "CPU,", "CUDA0"]
    assert words[3][-1] == "failed"
    assert words[4] == ["rocm-0.3.36", "-", "-", "-", "-", "damaged"]
    why = "it failed its self-test: it computes wrongly on the CPU"
    test, remove = "gpt-oss engine test vulkan-0.3.36", "gpt-oss engine remove vulkan-0.3.36"
    assert lines[6:10] == [
        f"vulkan-0.3.36 is not used: {why}",
        "rocm-0.3.36 is not used: it is damaged: engine.json is not there",
        f"`{test}` tries once more, `{remove}` frees its room",
        "`gpt-oss engine remove rocm-0.3.36` frees its room",
    ]
    assert lines[-1].startswith("auto: a plan takes the engine with which it is best")


def test_the_list_as_values_with_devices(data: Path, capsys: Said) -> None:
    (data / "engines" / "rocm-0.3.36").mkdir()
    list_engines(devices=True, as_json=True)
    found = document(capsys)
    assert found["chosen"] == AUTO
    own, cuda, vulkan = found["engines"]
    assert (own["name"], own["source"], own["usable"]) == (ENVIRONMENT, None, True)
    assert own["commit"] == cuda["commit"], "told by its library"
    assert (cuda["usable"], cuda["self_test"]["devices"]) == (True, ["CUDA0"])
    assert (vulkan["usable"], vulkan["self_test"]["passed"]) == (False, False)
    assert all(each["devices"] is not None and each["size_bytes"] > 1_000_000 for each in found["engines"])
    assert [broken["name"] for broken in found["damaged"]] == ["rocm-0.3.36"]


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("cuda-0.3.36", "every plan takes cuda-0.3.36; "),
        ("vulkan-0.3.36", "vulkan-0.3.36 was chosen, and cannot be used: plans take the best of the others."),
        ("rocm-0.3.36", "rocm-0.3.36 was chosen, and is not there: plans take the best of the others."),
    ],
)
def test_the_list_says_what_plans_take(data: Path, capsys: Said, choice: str, told: str) -> None:
    store.choose(data, choice)
    list_engines(devices=False, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith(told)
    assert [line.split()[1] for line in lines if line.startswith("*")] == [choice] * (choice != "rocm-0.3.36")


def change_record(data: Path, name: str, **changes: Any) -> None:
    path = data / "engines" / name / "engine.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_engines_of_another_machine_and_of_a_newer_launcher(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a home folder that machines share: what is sound elsewhere is neither marked as failed here nor removed."""
    monkeypatch.setattr("launcher.cli.engine_selftest.self_test", lambda _: PASSED)
    change_record(data, "cuda-0.3.36", arch="riscv64")
    change_record(data, "vulkan-0.3.36", schema=2)
    why = refused(EngineError, use_engine, "cuda-0.3.36", as_json=False)
    assert "was made for another kind of machine" in why
    refused(EngineError, run_self_tests, ("cuda-0.3.36",), as_json=False)
    assert "newer launcher" in refused(EngineError, use_engine, "vulkan-0.3.36", as_json=False)
    run_self_tests((), as_json=True)
    said = capsys.readouterr()
    assert [each["name"] for each in json.loads(said.out)["tests"]] == [ENVIRONMENT]
    assert "not testing cuda-0.3.36: it was made for another kind of machine" in said.err
    list_engines(devices=False, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].endswith("for another machine"), "not what it was there"
    assert lines[3].split() == ["vulkan-0.3.36", "-", "-", "-", "-", "unknown"]
    assert not any("gpt-oss engine remove" in line or "gpt-oss engine test" in line for line in lines)
    assert lines[-1] == "auto: plans take environment, the only one that can be used"


def test_what_has_not_been_tested_says_how(data: Path, capsys: Said) -> None:
    for name in ("cuda-0.3.36", "vulkan-0.3.36"):
        change_record(data, name, self_test=None)
    list_engines(devices=False, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[6] == "vulkan-0.3.36 is not used: it has not been tested"
    assert lines[7] == "`gpt-oss engine test cuda-0.3.36 vulkan-0.3.36` tests what has not been"


def test_choosing_and_going_back(data: Path, capsys: Said) -> None:
    use_engine("cuda-0.3.36", as_json=False)
    assert store.chosen(data) == "cuda-0.3.36"
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "plans take cuda-0.3.36 from now on",
        "it was auto; back: gpt-oss engine use auto",
    ]
    use_engine(ENVIRONMENT, as_json=True)
    assert document(capsys) == {"schema": 1, "chosen": ENVIRONMENT, "before": "cuda-0.3.36"}
    use_engine(AUTO, as_json=False)
    assert store.chosen(data) == AUTO
    use_engine(AUTO, as_json=False)
    assert capsys.readouterr().err.splitlines()[-1] == "plans took the engine whose plan is best already"


def test_engines_that_are_not_chosen(data: Path) -> None:
    assert refused(UsageError, use_engine, "cuda-0.3.35", as_json=False).endswith("did you mean cuda-0.3.36?")
    why = refused(EngineError, use_engine, "vulkan-0.3.36", as_json=False)
    assert why == "vulkan-0.3.36 is not used: it failed its self-test: it computes wrongly on the CPU"
    copy_build(data, "cpu-0.3.36", self_test=None)
    why = refused(EngineError, use_engine, "cpu-0.3.36", as_json=False)
    assert why == "cpu-0.3.36 is not used: it has not been tested"
    (data / "engines" / "cpu-0.3.36" / "engine.json").write_text("{")
    assert "engine.json cannot be read" in refused(DamagedFileError, use_engine, "cpu-0.3.36", as_json=False)
    assert store.chosen(data) == AUTO


def test_removing(data: Path, capsys: Said) -> None:
    store.choose(data, "cuda-0.3.36")
    assert "nobody can be asked" in refused(UsageError, remove_engine, "cuda-0.3.36", yes=False, as_json=False)
    refused(UsageError, remove_engine, ENVIRONMENT, yes=True, as_json=False)
    refused(UsageError, remove_engine, "cuda-0.3.35", yes=False, as_json=False)
    remove_engine("cuda-0.3.36", yes=True, as_json=False)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("removed cuda-0.3.36: ")
    assert second == "it was the chosen engine: plans take the best of the others now (auto)"
    remove_engine("vulkan-0.3.36", yes=True, as_json=True)
    assert document(capsys)["chosen"] == AUTO
    assert store.installed(data) == ((), ())


def test_what_was_compiled_of_an_engine_is_told_and_cleared(data: Path, tmp_path: Path, capsys: Said) -> None:
    for name in ("cuda-0.3.36", "rocm-0.3.37"):
        folder = tmp_path / "cache" / "engines" / name / "build"
        folder.mkdir(parents=True)
        (folder / "ggml.o").write_bytes(bytes(5 << 20))
    list_engines(devices=False, as_json=False)
    clear = "gpt-oss engine remove rocm-0.3.37"
    told = (
        f"rocm-0.3.37 was begun (5.0 MiB): `gpt-oss engine build rocm` with the same options goes on, `{clear}` frees"
    )
    assert told in capsys.readouterr().out
    list_engines(devices=False, as_json=True)
    assert [each["name"] for each in document(capsys)["unfinished"]] == ["cuda-0.3.36", "rocm-0.3.37"]
    assert "nobody can be asked" in refused(UsageError, remove_engine, "rocm-0.3.37", yes=False, as_json=False)
    remove_engine("rocm-0.3.37", yes=True, as_json=False)
    assert capsys.readouterr().err == "removed rocm-0.3.37: 5.0 MiB freed\n"
    refused(UsageError, remove_engine, "rocm-0.3.37", yes=True, as_json=False)
    remove_engine("cuda-0.3.36", yes=True, as_json=False)
    assert [child.name for child in (tmp_path / "cache" / "engines").glob("[a-z]*")] == []
    assert [build.name for build in store.installed(data)[0]] == ["vulkan-0.3.36"]


def test_archives_that_were_left_are_told_and_cleared(data: Path, tmp_path: Path, capsys: Said) -> None:
    folder = tmp_path / "cache" / "engines" / "downloads"
    folder.mkdir(parents=True)
    archive = folder / "0123-llama.tar.gz"
    archive.write_bytes(bytes(5 << 20))
    list_engines(devices=False, as_json=False)
    told = "begun to be downloaded (5.0 MiB): `gpt-oss engine install` goes on, `gpt-oss engine remove downloads` frees"
    assert told in capsys.readouterr().out
    with held(folder / "0123-llama.tar.gz.lock"):
        list_engines(devices=False, as_json=False)
        assert "a ready-made engine is being downloaded (5.0 MiB so far)" in capsys.readouterr().out
    remove_engine("downloads", yes=True, as_json=False)
    assert capsys.readouterr().err == "removed downloads: 5.0 MiB freed\n"
    assert not archive.exists()
    assert len(store.installed(data)[0]) == 2


def test_removing_asks_on_a_terminal(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    copy_build(tmp_path / "data", "cuda-0.3.36")
    for answer, code, end in (("n", 2, "nothing removed"), ("y", 0, "removed cuda-0.3.36: ")):
        with terminal("engine", "remove", "cuda-0.3.36", env=sandbox.env, cwd=tmp_path) as screen:
            screen.wait_for(r"Remove cuda-0\.3\.36 for good \(\d+ MiB\)\?")
            screen.line(answer)
            assert screen.end() == code
            assert end in screen.text
    assert store.installed(tmp_path / "data") == ((), ())


def test_a_test_is_kept_and_decides(data: Path, capsys: Said) -> None:
    run_self_tests(("vulkan-0.3.36",), as_json=True)
    (found,) = document(capsys)["tests"]
    assert (found["name"], found["passed"], found["n_positions"]) == ("vulkan-0.3.36", True, 64)
    use_engine("vulkan-0.3.36", as_json=False)
    build = store.find(data, "cuda-0.3.36")
    path = build.package / "lib" / "libggml-base.so.0"
    if path.exists():  # elsewhere libraries have other names
        replace_file(path, b"nothing")
    else:
        replace_file(build.package / "__init__.py", b"raise RuntimeError('no')")
    with pytest.raises(typer.Exit) as caught:
        run_self_tests(("cuda-0.3.36",), as_json=False)
    assert caught.value.exit_code == 6
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["cuda-0.3.36", "failed", "-", "-", "-"]
    assert lines[-1].startswith("cuda-0.3.36: ")
    refused(EngineError, use_engine, "cuda-0.3.36", as_json=False)


def test_a_result_that_cannot_be_kept_is_shown(data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data folder that others own, or that is read-only."""
    monkeypatch.setattr("launcher.cli.engine_selftest.self_test", lambda _: replace(PASSED, mean_kl=0.001))

    def read_only(*_: object) -> None:
        raise LauncherError("engines: Read-only file system", hint="ls -ld engines")

    monkeypatch.setattr("launcher.builds.store.keep_test", read_only)
    with pytest.raises(LauncherError, match="Read-only"):
        run_self_tests(("cuda-0.3.36", "vulkan-0.3.36"), as_json=True)
    said = capsys.readouterr()
    assert [each["passed"] for each in json.loads(said.out)["tests"]] == [True, True]
    assert said.err.splitlines()[-1] == "not every result could be kept: plans go by the one before"


def test_a_build_for_gpus_that_sees_none_says_so(data: Path, capsys: Said) -> None:
    build = store.find(data, "cuda-0.3.36")
    assert build.record is not None
    for_gpus = replace(build, record=replace(build.record, backend="cuda"))
    other_word = replace(PASSED, n_positions=64, n_same_top=60, mean_kl=0.001, same_text=False)
    print_results([(for_gpus, other_word)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["cuda-0.3.36", "passed", "CPU", "0.001", "60", "of", "64"]
    assert lines[2] == "cuda-0.3.36: it sees no GPU here: what it computes on one was not tested"
    assert lines[3].endswith("with another word, where two are nearly as likely")


def test_from_the_command_line(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    done = sandbox.run("engine", "list")
    assert done.code == 0
    assert done.out.splitlines()[-1] == "auto: plans take environment, the only one that can be used"
    assert not (tmp_path / "data").exists(), "to look leaves nothing behind"


def test_an_engine_that_crashed_in_use(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.setenv("GPT_OSS_STATE_DIR", str(tmp_path / "state"))
    keep_crash(tmp_path / "state", "cuda-0.3.36", "chat", "Segmentation fault")
    list_engines(devices=False, as_json=True)
    engines = {engine["name"]: engine for engine in document(capsys)["engines"]}
    assert not engines["cuda-0.3.36"]["usable"]
    assert engines["environment"]["usable"]
    list_engines(devices=False, as_json=False)
    told = capsys.readouterr().out
    assert "passed, then crashed" in told
    assert "cuda-0.3.36 is not used: the last chat with it ended in a crash of the engine (Segmentation fault, " in told
    assert "`gpt-oss engine test cuda-0.3.36` tries once more" in told
    assert "the last chat with it" in refused(EngineError, use_engine, "cuda-0.3.36", as_json=False)
    store.keep_test(store.find(data, "cuda-0.3.36"), replace(PASSED, date="2999-01-01T00:00:00+00:00"))
    use_engine("cuda-0.3.36", as_json=False)
