"""Winners are kept for the machine, engine, file and purpose that they were measured with, and for no other."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.catalogue.types import FilePart, ModelFile
from launcher.errors import LauncherError
from launcher.hardware import tuned as module
from launcher.hardware.tuned import all_tuned, forget_tuned, load_tuned, save_tuned
from launcher.hardware.types import Hardware
from launcher.planner.types import Changes, Purpose, Tuned
from tests.builders import cpu, machine
from tests.planner.builders import load_params

HERE = machine()
SHA, OTHER_SHA = "a" * 64, "b" * 64
TUNED = Tuned(
    purpose="chat",
    changes=Changes(n_ubatch=1024, flash_attn=False, tensor_split=(3.0, 1.0)),
    pp_ratio=1.12,
    tg_ratio=1.06,
    date="2026-11-25",
    against=load_params(),
)


def model(*parts: FilePart, repo: str | None = "ggml-org/gpt-oss-20b-GGUF", path: Path | None = None) -> ModelFile:
    return ModelFile(
        model="gpt-oss-20b",
        quant="MXFP4",
        repo=repo,
        revision=None,
        parts=parts or (FilePart(path="gpt-oss-20b-mxfp4.gguf", size_bytes=12_109_566_560, sha256=SHA),),
        dense_bpw=8.5,
        local_path=path,
    )


HUB = model()
LOCAL = model(
    FilePart(path="gpt-oss-20b-mxfp4.gguf", size_bytes=12_109_566_560, sha256=None), repo=None, path=Path("x")
)


def load(file: ModelFile, state_dir: Path, **changes: Any) -> Tuned | None:
    given: dict[str, Any] = {"hardware": HERE, "purpose": "chat", **changes}
    return load_tuned(given["hardware"], file, purpose=given["purpose"], state_dir=state_dir)


def test_what_won_is_there_again_to_the_letter(tmp_path: Path) -> None:
    state = tmp_path / "not" / "there"
    assert load(HUB, state) is None
    save_tuned(HERE, HUB, TUNED, state_dir=state)
    assert load(HUB, state) == TUNED
    assert load(HUB, state, purpose="serve") is None
    assert load(HUB, state, hardware=machine(processor=cpu(quota_cores=2.0))) is None
    upgraded = replace(HERE, engine=replace(HERE.engine, llama_cpp_commit="abcdef0"))
    assert load(HUB, state, hardware=upgraded) is None


@pytest.mark.parametrize(
    ("other", "same"),
    [
        pytest.param(LOCAL, True, id="the same by its path"),
        pytest.param(replace(HUB, revision="c" * 40, repo="someone/else"), True, id="the same from elsewhere"),
        pytest.param(model(replace(HUB.parts[0], path="MXFP4/gpt-oss-20b-mxfp4.gguf")), True, id="in a folder"),
        pytest.param(model(replace(HUB.parts[0], sha256=OTHER_SHA)), False, id="other content"),
        pytest.param(model(replace(HUB.parts[0], size_bytes=7)), False, id="other size"),
        pytest.param(model(replace(HUB.parts[0], path="mine.gguf")), False, id="other name"),
        pytest.param(model(HUB.parts[0], HUB.parts[0]), False, id="two parts"),
        pytest.param(model(replace(HUB.parts[0], size_bytes=None)), False, id="size not known"),
    ],
)
def test_a_file_is_told_by_name_size_and_hash(tmp_path: Path, other: ModelFile, same: bool) -> None:
    save_tuned(HERE, HUB, TUNED, state_dir=tmp_path)
    assert (load(other, tmp_path) is not None) is same


def test_two_files_of_one_path_are_two(tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(b"GGUF")
    unlisted = model(FilePart(path=path.name, size_bytes=None, sha256=None), repo=None, path=path)
    save_tuned(HERE, unlisted, TUNED, state_dir=tmp_path)
    assert load(unlisted, tmp_path) == TUNED
    path.write_bytes(b"GGUF, but longer")
    assert load(unlisted, tmp_path) is None
    path.unlink()
    with pytest.raises(LauncherError, match="the size of its file is not known"):
        save_tuned(HERE, unlisted, TUNED, state_dir=tmp_path)


def test_a_new_winner_takes_the_place_of_the_old_one_and_of_no_other(tmp_path: Path) -> None:
    elsewhere = machine(processor=cpu(name="another"))
    before: list[tuple[Hardware, Purpose]] = [(HERE, "chat"), (HERE, "serve"), (elsewhere, "chat")]
    for hardware, purpose in before:
        save_tuned(hardware, HUB, replace(TUNED, purpose=purpose), state_dir=tmp_path)
    newer = replace(TUNED, date="2026-11-26", pp_ratio=1.2)
    save_tuned(HERE, LOCAL, newer, state_dir=tmp_path)
    assert load(HUB, tmp_path) == newer
    assert load(HUB, tmp_path, hardware=elsewhere) == TUNED
    assert [(kept.tuned.purpose, kept.tuned.date) for kept in all_tuned(tmp_path)] == [
        ("serve", "2026-11-25"),
        ("chat", "2026-11-25"),
        ("chat", "2026-11-26"),
    ]


def test_one_is_forgotten_and_the_others_stay(tmp_path: Path) -> None:
    assert not forget_tuned(HERE, HUB, purpose="chat", state_dir=tmp_path)
    assert list(tmp_path.iterdir()) == [], "what was never there leaves nothing behind"
    for purpose in ("chat", "serve"):
        save_tuned(HERE, HUB, replace(TUNED, purpose=purpose), state_dir=tmp_path)
    assert forget_tuned(HERE, HUB, purpose="chat", state_dir=tmp_path)
    assert not forget_tuned(HERE, HUB, purpose="chat", state_dir=tmp_path)
    assert load(HUB, tmp_path) is None
    assert load(HUB, tmp_path, purpose="serve") is not None


def test_the_oldest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT", 3)
    machines = [machine(processor=cpu(name=f"processor {i}")) for i in range(5)]
    for hardware in machines:
        save_tuned(hardware, HUB, TUNED, state_dir=tmp_path)
    assert [load(HUB, tmp_path, hardware=hardware) is not None for hardware in machines] == [False] * 2 + [True] * 3


@pytest.mark.parametrize(
    "text",
    ["", "[", "[]", "7", '{"schema": 1}', '{"schema": 1, "kept": 7}', '{"schema": 2, "kept": []}', "[" * 100_000],
)
def test_a_damaged_file_is_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "tuned.json").write_text(text)
    assert all_tuned(tmp_path) == ()
    assert load(HUB, tmp_path) is None
    save_tuned(HERE, HUB, TUNED, state_dir=tmp_path)
    assert load(HUB, tmp_path) == TUNED


@pytest.mark.parametrize(("name", "value"), [("changes", {"n_ubatch": "many"}), ("pp_ratio", 0), ("purpose", "fun")])
def test_one_damaged_row_costs_itself(tmp_path: Path, name: str, value: object) -> None:
    for purpose in ("chat", "serve"):
        save_tuned(HERE, HUB, replace(TUNED, purpose=purpose), state_dir=tmp_path)
    path = tmp_path / "tuned.json"
    content = json.loads(path.read_text())
    content["kept"][0]["tuned"][name] = value
    path.write_text(json.dumps(content))
    assert load(HUB, tmp_path) is None
    assert load(HUB, tmp_path, purpose="serve") is not None


def test_several_at_once_lose_nothing(tmp_path: Path) -> None:
    machines = [machine(processor=cpu(name=f"processor {i}")) for i in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda hardware: save_tuned(hardware, HUB, TUNED, state_dir=tmp_path), machines))
    assert all(load(HUB, tmp_path, hardware=hardware) == TUNED for hardware in machines)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(LauncherError, match="tuned settings cannot be kept in") as caught:
        save_tuned(HERE, HUB, TUNED, state_dir=tmp_path / "state")
    assert caught.value.hint == f"ls -ld {tmp_path / 'state'}"
