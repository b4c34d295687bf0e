"""A second build of llama.cpp beside the environment's: the same files under another name, through every door."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.builds import store
from launcher.demo import demo_model_path
from tests.builds.copies import FAILED, copy_build, replace_file
from tests.cli.sandbox import Done, Sandbox, free_port

NAME = "cpu-copy"
QUESTION = "What is the capital of France?"
PARIS = "The capital of France is Paris."


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


@pytest.fixture
def data(sandbox: Sandbox) -> Path:
    """The store, with one sound build in it."""
    folder = Path(sandbox.env["GPT_OSS_DATA_DIR"])
    copy_build(folder, NAME)
    return folder


def plan(sandbox: Sandbox, *words: object) -> dict[str, Any]:
    done = sandbox.run("plan", "--model", demo_model_path(), "--offline", "--json", *words)
    assert done.code == 0, done
    return dict(json.loads(done.out))


def test_the_build_that_is_named_computes_and_answers_the_same(sandbox: Sandbox, data: Path) -> None:
    """A copy whose bindings say so when they are imported."""
    package = data / "engines" / NAME / "site" / "llama_cpp"
    source = (package / "__init__.py").read_bytes()
    replace_file(package / "__init__.py", source + b"\nimport sys; sys.stderr.write('the copy computes\\n')\n")
    chat = sandbox.run("chat", "--demo", "--build", NAME, QUESTION)
    assert (chat.out, "the copy computes" in chat.err) == (f"{PARIS}\n", True)
    own = sandbox.run("chat", "--demo", QUESTION)
    assert (own.out, "the copy computes" in own.err) == (f"{PARIS}\n", False)
    replace_file(package / "__init__.py", source + b"\nraise ImportError('the copy was asked')\n")
    for words in (
        ("bench", "--demo", "-p", "8", "-n", "0", "-r", "1"),
        ("bench", "--demo", "--quality"),
        ("plan", "--model", demo_model_path(), "--offline", "--verify"),
    ):
        done = sandbox.run(*words, "--build", NAME)
        assert done.code == 6, done
        assert "the copy was asked" in done.err, words


@pytest.fixture
def served(sandbox: Sandbox, data: Path) -> Iterator[tuple[Done, dict[str, Any]]]:
    """A server by the copy, and its record."""
    done = sandbox.run(
        "serve", "--model", demo_model_path(), "--port", free_port(), "--detach", "--build", NAME, "--offline"
    )
    assert done.code == 0, done
    (record,) = json.loads(sandbox.run("ps", "--json").out)["servers"]
    yield done, record
    sandbox.run("stop", "--all")


def test_a_server_runs_the_builds_own_program_and_says_so(
    sandbox: Sandbox, data: Path, served: tuple[Done, dict[str, Any]]
) -> None:
    done, record = served
    assert f", engine {NAME}" in done.err
    assert record["build"] == NAME
    program = data / "engines" / NAME / "site" / "bin" / "llama-server"
    if Path("/proc").is_dir():
        assert Path(f"/proc/{record['server_pid']}/cmdline").read_bytes().split(b"\0")[0] == os.fsencode(program)
    chat = sandbox.run(
        *("chat", "--engine", "server", "--model", demo_model_path(), "--temperature", "0", "--build", NAME, QUESTION)
    )
    assert chat.out == f"{PARIS}\n"
    # The same model by another build is another server.
    refused = sandbox.refused(
        *("serve", "--model", demo_model_path(), "--port", record["port"], "--detach", "--offline"),
        *("--build", "environment"),
    )
    assert refused.error == f"port {record['port']} serves {demo_model_path()} with the engine {NAME}"
    again = sandbox.run("serve", "--model", demo_model_path(), "--port", record["port"], "--detach", "--build", NAME)
    assert "is served already" in again.err


def test_what_engine_use_chose_is_planned_with(sandbox: Sandbox, data: Path) -> None:
    own = plan(sandbox)
    assert own["hardware"]["engine"]["name"] == "environment"
    assert [(row["name"], row["why"]) for row in own["engines"]] == [
        ("environment", "chosen"),
        (NAME, "computes on the same devices as environment"),
    ]
    assert own["argv"][0] == "llama-server"
    store.choose(data, NAME)
    chosen = plan(sandbox)
    assert chosen["hardware"]["engine"]["name"] == NAME
    assert chosen["engines"] == []
    assert chosen["argv"][0] == str(data / "engines" / NAME / "site" / "bin" / "llama-server")


def test_a_broken_build_is_named_and_never_taken(sandbox: Sandbox, data: Path) -> None:
    copy_build(data, "cuda-failed", self_test=FAILED)
    broken = copy_build(data, "vulkan-broken")
    replace_file(broken.package / "lib" / "libllama.so", b"no library")
    store.choose(data, "vulkan-broken")
    found = plan(sandbox)
    assert found["hardware"]["engine"]["name"] == "environment"
    first, second = sorted(note for note in found["notes"] if "left out" in note)
    assert first == "Engine cuda-failed is left out: it failed its self-test: it computes wrongly on the CPU"
    assert second.startswith("Engine vulkan-broken is left out: `gpt-oss engine use` chose it, but the engine could")
    hardware = sandbox.run("hardware").out
    assert f"also here: {NAME}, CPU only" in hardware
    assert "not used: vulkan-broken" in hardware
    version = sandbox.run("--version").out
    assert f"engine:   environment; also here: vulkan-broken (not used), {NAME}, " in version
    assert "cuda-failed (not used)" in version
    chosen = sandbox.run("--version", env={"GPT_OSS_BUILD": NAME})
    assert f"\nengine:   {NAME}\n" in chosen.out
    unknown = sandbox.run("--version", env={"GPT_OSS_BUILD": "cpu-copyy"})
    assert unknown.err == f"no engine is called cpu-copyy; did you mean {NAME}?\n"
    assert unknown.out == version
    demo = sandbox.run("chat", "--demo", QUESTION)
    assert "vulkan-broken is left out: `gpt-oss engine use` chose it" in demo.err
    refused = sandbox.refused("chat", "--demo", "--build", "vulkan-broken", "Hi")
    assert "libllama.so" in refused.error
    assert refused.hint == "gpt-oss engine test vulkan-broken"
