"""The child that asks llama.cpp: whose memory a buffer is, what it imports, and how it ends."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import llama_cpp
import pytest
from llama_cpp._ggml import libggml

from launcher.demo import demo_model_path
from launcher.engines.llama import LlamaContext, LlamaModel, captured_log
from launcher.engines.oracle import ask
from launcher.engines.oracle_child import _breakdown, _Ggml
from launcher.errors import EngineError
from tests.engines.demo import load_params

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="llama.cpp's breakdown is read on Linux")

BUFFERS = {1: ("CUDA_Host", True), 2: ("CUDA0", False), 3: ("CPU_REPACK", False), 4: ("CPU", True)}
DEVICES = {1: b"CUDA0", 2: b"CUDA0", 3: b"CPU", 4: b"CPU"}


def fake_ggml() -> Any:
    """A ggml of a CUDA build, as far as buffer types go: a buffer type and its device have the same address."""

    def function(result: Any) -> Any:
        return lambda *_: result

    known = {
        "ggml_backend_buft_is_host": lambda buft: BUFFERS[buft][1],
        "ggml_backend_buft_get_device": lambda buft: buft,
        "ggml_backend_dev_name": lambda device: DEVICES[device],
    }
    rest = (
        "dev_by_name",
        "reg_by_name",
        "reg_get_proc_address",
        "reg_dev_get",
        "register",
    )
    return SimpleNamespace(**{f"ggml_backend_{name}": function(None) for name in rest}, **known)


@pytest.mark.parametrize(("buft", "device"), [(1, "CPU"), (2, "CUDA0"), (3, "CPU"), (4, "CPU")])
def test_pinned_host_memory_is_the_hosts(buft: int, device: str) -> None:
    """Regression guard: ggml names the first GPU as the device of pinned memory, where host experts lie."""
    assert _Ggml(fake_ggml()).device_of(buft) == device


def test_a_breakdown_that_holds_less_than_the_model_is_not_believed() -> None:
    params = replace(load_params(), load_mode="none")
    with (
        captured_log(llama_cpp) as log,
        LlamaModel.load(llama_cpp, demo_model_path(), params, log, no_alloc=True) as model,
        LlamaContext.open(llama_cpp, model, params, log) as context,
    ):
        size_bytes = llama_cpp.llama_model_size(model.pointer)
        rows = _breakdown(llama_cpp, _Ggml(libggml), model, context)
        assert sum(row[0] for row in rows.values()) >= size_bytes
        other = SimpleNamespace(llama_cpp=llama_cpp.llama_cpp, llama_model_size=lambda _: 10 * size_bytes)
        with pytest.raises(RuntimeError, match="breakdown holds"):
            _breakdown(other, _Ggml(libggml), model, context)


def test_nothing_is_imported_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression guard: `-m` alone searches the folder that the user happens to stand in first."""
    (tmp_path / "llama_cpp.py").write_text("raise SystemExit('not this one')\n")
    monkeypatch.chdir(tmp_path)
    (answer,) = ask(demo_model_path(), [load_params()])
    assert answer.refused is None


ASSERTING = """\
import launcher.engines.oracle_child as child
from dataclasses import replace
levelled = child._loading
child._loading = lambda params: replace(levelled(params), load_mode="mmap")
child.main()
"""


def test_an_assertion_of_llama_cpp_ends_the_child_alone_with_its_words(tmp_path: Path) -> None:
    """Regression guard: ggml has a debugger, where there is one, print over the pipe; `no_alloc` asserts under mmap."""
    python = tmp_path / "python"
    (tmp_path / "asserting.py").write_text(ASSERTING)
    python.write_text(f"#!/bin/sh\nexec {sys.executable} {tmp_path / 'asserting.py'}\n")
    python.chmod(0o755)
    with pytest.raises(EngineError, match="ended with status -6") as caught:
        ask(demo_model_path(), [load_params()], python=str(python))
    assert "GGML_ASSERT(!ml.no_alloc) failed" in caught.value.details[-1]


def test_a_refusal_has_the_reason_of_its_own_case() -> None:
    """Regression guard: the log holds what went wrong before, and its first complaint is the one that is told."""
    quantized = load_params(flash_attn=False, type_v="q8_0")
    elsewhere = load_params(devices=("CUDA7",), n_gpu_layers=2)
    answers = ask(demo_model_path(), [load_params(), quantized, elsewhere, quantized, load_params()])
    reasons = [answer.refused for answer in answers]
    assert reasons[0] is None
    assert "quantized V cache requires" in str(reasons[1])
    assert reasons[2] == "this llama.cpp has no device CUDA7"
    assert reasons[3] == reasons[1]
    assert answers[4] == answers[0], "a refusal leaves nothing behind"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("text.gguf", b"hello world " * 20, "invalid magic"),
        ("cut.gguf", demo_model_path().read_bytes()[:5000], "failed to read"),
        ("short.gguf", demo_model_path().read_bytes()[:-70_000], "not within the file bounds"),
        ("type.gguf", None, "invalid ggml type"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is None:  # the type of one tensor: behind its name, the number of dimensions and two of them
        data = bytearray(demo_model_path().read_bytes())
        at = data.index(b"blk.0.attn_q.weight") + len(b"blk.0.attn_q.weight") + 4 + 2 * 8
        data[at : at + 4] = (99).to_bytes(4, "little")
        content = bytes(data)
    path = tmp_path / name
    path.write_bytes(content)
    (answer,) = ask(path, [load_params()])
    assert answer.refused is not None
    assert name in answer.refused
    assert words in answer.refused


def test_devices_without_a_stand_in_are_not_left_out_in_silence() -> None:
    two = load_params(devices=("CUDA0", "CUDA1"), n_gpu_layers=5, split_mode="layer", tensor_split=(2.0, 3.0))
    with pytest.raises(ValueError, match="more devices than the 1"):
        ask(demo_model_path(), [two], n_stand_ins=1)


def test_more_answers_than_questions_are_an_error(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho \'{"refused": "a"}\'\necho \'{"refused": "b"}\'\n')
    python.chmod(0o755)
    with pytest.raises(EngineError, match="more answers"):
        ask(demo_model_path(), [load_params()], python=str(python))


def test_bytes_that_are_no_text_are_no_fault_of_ours(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nprintf 'caf\\351\\n' >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(EngineError, match="ended with status 3") as caught:
        ask(demo_model_path(), [load_params()], python=str(python))
    assert caught.value.details == ("caf\ufffd",)


def test_settings_that_a_load_shares_are_answered_by_one_load() -> None:
    """The order of cases does not matter to their answers."""
    cases = [load_params(n_ctx=n) for n in (512, 1024)] + [load_params(swa_full=True)]
    there, back = ask(demo_model_path(), cases), ask(demo_model_path(), cases[::-1])
    assert there == back[::-1]
    assert len({answer.rows for answer in there}) == 3
