"""Which running server a chat attaches to, and that finding it costs next to nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.cli.attach import chosen_model, find_server, open_attached, open_url, serves
from launcher.engines.types import Message, Sampling
from launcher.errors import DamagedFileError, EngineError
from launcher.records import to_jsonable
from launcher.server import registry
from launcher.server.types import ServerRecord
from launcher.settings import Settings, resolve
from tests.fakes.openai_api import Asked, answer, openai_api, says

FILE = "ggml-org/gpt-oss-20b-GGUF:MXFP4"
Save = Callable[..., ServerRecord]


def record(**changes: Any) -> ServerRecord:
    """A server that this very process looks after."""
    given: dict[str, Any] = {
        "pid": os.getpid(),
        "pid_started_s": registry.process_started_s(os.getpid()),
        "host": "127.0.0.1",
        "port": 8080,
        "model": "gpt-oss-20b",
        "file": FILE,
        "n_ctx": 8192,
        "n_parallel": 4,
        "started_at": "2026-01-01T00:00:00+00:00",
        "log_path": Path("log"),
        "ready": True,
    }
    return ServerRecord(**given | changes)


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(**changes: Any) -> ServerRecord:
        made = record(**changes)
        registry.save(tmp_path, made)
        return made

    return write


def flags(**given: Any) -> Settings:
    return resolve(flags=given)


def test_a_server_that_is_ready_is_found(save: Save, tmp_path: Path) -> None:
    assert find_server(Settings(), state_dir=tmp_path) is None
    made = save()
    assert find_server(Settings(), state_dir=tmp_path) == made
    assert find_server(Settings(), state_dir=tmp_path / "elsewhere") is None


def test_one_that_still_loads_or_has_died_is_not(save: Save, tmp_path: Path) -> None:
    save(ready=False)
    save(port=8081, pid_started_s=1.0)  # the pid belongs to somebody else now
    save(port=8082, pid=2**22 + 1)  # beyond Linux's largest
    assert find_server(Settings(), state_dir=tmp_path) is None


def test_a_zombie_is_dead(save: Save, tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("a look at a zombie that leaves it one")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        save(pid=process.pid, pid_started_s=registry.process_started_s(process.pid))
        assert find_server(Settings(), state_dir=tmp_path) is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is not reaped
        assert find_server(Settings(), state_dir=tmp_path) is None


def test_damaged_records_are_passed_over(save: Save, tmp_path: Path) -> None:
    made = save(port=9000)
    folder = tmp_path / "servers"
    table = to_jsonable(made)
    for name, text in (
        ("1", "{"), ("2", "[]"), ("3", json.dumps({**table, "pid": "x"})), ("4", json.dumps({**table, "more": 1})),
    ):  # fmt: skip
        (folder / f"{name}.json").write_text(text)
    (folder / "5.json").write_bytes(b"\xff\xfe")
    (folder / "6.json").mkdir()
    assert find_server(Settings(), state_dir=tmp_path) == made


def test_of_several_the_one_on_the_settings_port_comes_first(save: Save, tmp_path: Path) -> None:
    low, high = save(port=8000), save(port=9000)
    assert find_server(Settings(port=9000), state_dir=tmp_path) == high
    assert find_server(Settings(port=7000), state_dir=tmp_path) == low


def test_a_flag_that_names_another_build_wants_no_server_of_this_one(save: Save, tmp_path: Path) -> None:
    made = save(build="cuda-0.3.36")
    for build in (None, "auto", "cuda-0.3.36"):
        assert find_server(flags(build=build), state_dir=tmp_path) == made
    assert find_server(flags(build="environment"), state_dir=tmp_path) is None
    assert find_server(resolve(file_text='build = "environment"'), state_dir=tmp_path) == made, "a file says a wish"
    save()  # of a program that was named: what it is nobody knows
    assert find_server(flags(build="cuda-0.3.36"), state_dir=tmp_path) is None


@pytest.mark.parametrize(
    ("model", "quant", "expected"),
    [
        ("auto", None, True),
        ("20b", None, True),
        ("gpt-oss-20B", None, True),
        ("120b", None, False),
        ("ggml-org/gpt-oss-20b-GGUF", None, True),
        (FILE, None, True),
        ("ggml-org/gpt-oss-20b-GGUF:Q4_K_M", None, False),
        ("ggml-org/gpt-oss-20b", None, False),
        ("auto", "mxfp4", True),
        ("auto", "Q4_K_M", False),
        ("~nobody-of-that-name/x.gguf", None, False),
    ],
)
def test_which_model_is_meant(model: str, quant: str | None, expected: bool) -> None:
    assert serves(record(), Settings(model=model, quant=quant)) == expected


def test_a_file_is_known_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = record(file=str(tmp_path / "own.gguf"), model="own")
    monkeypatch.chdir(tmp_path)
    assert serves(made, Settings(model="own.gguf"))
    assert serves(made, Settings(model=str(tmp_path / "own.gguf")))
    assert not serves(made, Settings(model="other.gguf"))
    assert not serves(made, Settings(model="20b"))


@pytest.mark.parametrize(
    "given",
    [
        {"n_gpu_layers": 0}, {"n_cpu_moe": 4}, {"cache_type_k": "q8_0"}, {"device": "none"}, {"threads": 2},
        {"load_mode": "mmap"}, {"repack": True}, {"swa_full": True}, {"prefer": "speed"}, {"min_tps": 5.0},
        {"ctx_size": 8193}, {"ctx_size": 0}, {"min_ctx": 16384}, {"batch_size": 64},
    ],
    ids=str,
)  # fmt: skip
def test_flags_for_a_placement_want_a_model_of_their_own(save: Save, tmp_path: Path, given: dict[str, Any]) -> None:
    save()
    assert find_server(flags(**given), state_dir=tmp_path) is None


def test_other_flags_and_wishes_of_the_file_do_not(save: Save, tmp_path: Path) -> None:
    made = save()
    for settings in (
        flags(ctx_size=8192, min_ctx=4096, seed=1, temperature=0.5, reasoning_effort="high", model="20b", offline=True),
        resolve(file_text="ctx_size = 100000\nn_gpu_layers = 3\n"),
        resolve(environ={"GPT_OSS_CTX_SIZE": "100000", "GPT_OSS_THREADS": "1"}),
    ):
        assert find_server(settings, state_dir=tmp_path) == made


def test_finding_and_opening_imports_nothing_heavy(save: Save, tmp_path: Path) -> None:
    save()
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from launcher.cli.attach import find_server, open_attached\n"
        "from launcher.settings import Settings\n"
        f"record = find_server(Settings(), state_dir=Path({str(tmp_path)!r}))\n"
        "with open_attached(record) as engine:\n"
        "    print(engine.url, engine.n_ctx, *sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    url, n_ctx, *loaded = done.stdout.split()
    assert (url, n_ctx) == ("http://127.0.0.1:8080/v1", "8192")
    heavy = {"httpx", "rich", "typer", "aiohttp", "llama_cpp", "huggingface_hub", "numpy", "jinja2", "asyncio"}
    assert not heavy.intersection(name.partition(".")[0] for name in loaded)
    if sys.platform == "linux":
        assert "psutil" not in loaded


# Opening


def test_an_attached_engine_sends_the_servers_key_and_asks_nothing_before(tmp_path: Path) -> None:
    key_file = tmp_path / "8080.key"
    key_file.write_text("# mine\nsk-local\n")
    with openai_api(says()) as api:
        with open_attached(record(port=api.port, key_file=key_file)) as engine:
            list(engine.chat([Message(role="user", content="hi")], Sampling()))
        (asked,) = api.asked
    assert asked.headers["authorization"] == "Bearer sk-local"
    assert asked.body["model"] == "gpt-oss-20b"
    assert asked.body["return_progress"] is True
    with pytest.raises(DamagedFileError):
        open_attached(record(key_file=tmp_path / "none"))


def listing(*names: str) -> Callable[[Asked], bytes]:
    return lambda asked: (
        answer(200, {"data": [{"id": name} for name in names]}) if asked.path == "/v1/models" else answer(404)
    )


def test_a_url_is_asked_for_its_models_where_none_is_named() -> None:
    with openai_api(listing("llama", "openai/gpt-oss-20b", "openai/gpt-oss-120b")) as api:
        with open_url(api.url, None, {"GPT_OSS_API_KEY": "sk-x"}) as engine:
            assert engine.model == "openai/gpt-oss-120b"
        assert api.asked[0].headers["authorization"] == "Bearer sk-x"
        api.asked.clear()
        with open_url(api.url, "mine", {}) as engine:
            assert engine.model == "mine"
        assert not api.asked
    with openai_api(listing()) as api, pytest.raises(EngineError, match="lists no model"):
        open_url(api.url, None, {})


def test_which_of_several_models_is_taken() -> None:
    assert chosen_model(("b", "a")) == "b"
    assert chosen_model(("x", "gpt-oss-safeguard-20b", "gpt-oss:20b")) == "gpt-oss:20b"
