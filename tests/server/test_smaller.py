"""What is offered where memory ran out: a plan that fits, as a command that can be typed, or nothing."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from launcher.cli.context import request_of
from launcher.cli.serve_session import How
from launcher.cli.serve_smaller import with_smaller
from launcher.demo import demo_model_path
from launcher.flow import World, prepare
from launcher.hardware.types import Hardware
from launcher.planner.types import Plan
from launcher.server.supervise import MemoryRanOutError
from launcher.settings import Settings, resolve
from tests.builders import cpu_machine, gpu_machine
from tests.cli.sandbox import Sandbox, assert_runnable, free_port
from tests.test_flow import GGML, Outside

RAN_OUT = MemoryRanOutError("it ended: memory ran out", log=("log",), details=("d",), hint="gpt-oss logs --port 8080")


def on(machine: Hardware, root: Path) -> World:
    """A machine with nothing on disk and no hub."""
    return Outside(repos=(GGML, GGML.replace("20b", "120b"))).world(root, detect=lambda: (machine,))


def settings_of(**flags: Any) -> Settings:
    return resolve(flags={"offline": True, **flags})


def planned(settings: Settings, world: World) -> Plan:
    return prepare(request_of(settings), world, offline=True).plan


def offered(
    before: Hardware, after: Hardware, root: Path, words: tuple[str, ...] = (), **flags: Any
) -> tuple[MemoryRanOutError, Plan]:
    """What is offered on a machine whose memory is another when it ran out; and the plan that was tried."""
    settings = settings_of(**flags)
    plan = planned(settings, on(before, root))
    return with_smaller(RAN_OUT, plan, settings, on(after, root), words), plan


def flags_of(command: str | None) -> dict[str, str]:
    assert command is not None
    assert_runnable(command)
    _, _, *words = shlex.split(command)
    return {word: after for word, after in zip(words, [*words[1:], ""], strict=True) if word.startswith("--")}


def test_half_the_context_is_offered_where_it_fits(tmp_path: Path) -> None:
    machine = gpu_machine(vram_gib=24)
    error, plan = offered(machine, machine, tmp_path, model="20b", port=9000, kv_unified=False)
    asked = flags_of(error.hint)
    assert int(asked["--ctx-size"]) == plan.load_params.n_ctx // 2
    assert asked["--model"] == plan.file.name
    assert asked["--port"] == "9000"
    assert "--no-kv-unified" in asked
    assert "--offline" in asked
    assert (error.message, error.details) == ("it ended: memory ran out", ("d",))


def test_what_does_not_fit_now_is_passed_over(tmp_path: Path) -> None:
    """Bug kept out: half the context was offered without a look at what is free."""
    before = cpu_machine(ram_gib=64, available_gib=60)
    for available in (15.0, 14.0):
        after = cpu_machine(ram_gib=64, available_gib=available)
        error, plan = offered(before, after, tmp_path, model="20b", ctx_size=131_072, repack=False)
        asked = flags_of(error.hint)
        n_ctx = int(asked["--ctx-size"])
        assert n_ctx < plan.load_params.n_ctx
        again = planned(settings_of(model=asked["--model"], ctx_size=n_ctx, repack=False), on(after, tmp_path))
        assert again.fits
    assert n_ctx < plan.load_params.n_ctx // 2, "the last machine has no room for half"
    error, plan = offered(before, cpu_machine(ram_gib=64, available_gib=13.0), tmp_path, model="20b", ctx_size=131_072)
    assert "--ctx-size" not in flags_of(error.hint), "not even a short context of that file fits"
    assert flags_of(error.hint)["--model"] == "20b"


def test_the_smaller_model_is_offered_where_the_large_one_fits_no_more(tmp_path: Path) -> None:
    before, after = cpu_machine(ram_gib=128, available_gib=120), cpu_machine(ram_gib=128, available_gib=24)
    error, _plan = offered(before, after, tmp_path, model="120b", min_ctx=4096, parallel=2)
    asked = flags_of(error.hint)
    assert asked["--model"] == "20b"
    assert asked["--parallel"] == "2"
    assert "--ctx-size" not in asked
    assert "--min-ctx" not in asked


def test_where_nothing_fits_that_is_said(tmp_path: Path) -> None:
    error, _plan = offered(cpu_machine(ram_gib=64), cpu_machine(ram_gib=64, available_gib=4), tmp_path, model="20b")
    assert error.message == "it ended: memory ran out, and no smaller plan fits"
    assert error.hint == "gpt-oss logs --port 8080"


def test_what_was_typed_is_typed_again(tmp_path: Path) -> None:
    how = How(extra=("--log-verbosity", "4"), ui_path=Path("/a page"), detach=True, direct=True, replace=True)
    machine = gpu_machine(vram_gib=24)
    error, _plan = offered(machine, machine, tmp_path, how.words, model="20b", api_key_file=Path("/a key"))
    assert error.hint is not None
    words = shlex.split(error.hint)
    assert words[-7:] == ["--ui-path", "/a page", "--direct", "--detach", "--", "--log-verbosity", "4"]
    assert words[words.index("--api-key-file") + 1] == "/a key"
    assert "--replace" not in words


@pytest.mark.parametrize("detach", [False, True])
def test_serve_offers_it(tmp_path: Path, *, detach: bool) -> None:
    """A llama-server that says that memory ran out, as the command itself meets it."""
    sandbox = Sandbox(tmp_path)
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho 'E ggml_backend_cpu_buffer_type_alloc_buffer: out of memory' >&2\nexit 1\n")
    program.chmod(0o755)
    port = free_port()
    args = ["serve", "--model", demo_model_path(), "--port", port, "--llama-server", program, "--ctx-size", 4096]
    done = sandbox.refused(*args, *(["--detach"] if detach else []))
    assert done.code == 6
    assert "memory ran out" in done.error
    asked = flags_of(done.hint)
    assert int(asked["--ctx-size"]) == 2048
    assert asked["--model"] == str(demo_model_path())
    assert asked["--llama-server"] == str(program)
    assert ("--detach" in asked) is detach
