"""`gpt-oss serve` and its company on the demo model: real processes, real requests."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from launcher.demo import demo_model_path
from launcher.engines.programs import engine_program
from tests.cli.sandbox import Sandbox, assert_runnable, free_port
from tests.server.conftest import Served
from tests.server.waiting import gone, wait_for
from tests.systems import POSIX

CAPITAL = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0}


def ask(url: str, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{url}/v1/chat/completions", json=CAPITAL, headers=headers, timeout=30)


def healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def test_started_listed_asked_and_stopped(served: Served) -> None:
    assert served.started.out == f"{served.url}/v1\n"
    assert "Memory: RAM" in served.started.err
    assert f"curl {served.url}/v1/chat/completions" in served.started.err
    message = ask(served.url).json()["choices"][0]["message"]
    assert message["content"] == "The capital of France is Paris."
    assert "Paris" in message["reasoning_content"]
    record = served.record
    assert (record["ready"], record["port"], record["n_parallel"]) == (True, served.port, 4)
    assert str(served.port) in served.sandbox.run("ps").out
    log = served.sandbox.run("logs", "-n", 200).out
    assert "model loaded" in log
    done = served.sandbox.run("stop")
    assert done.code == 0
    assert gone(record["server_pid"])
    assert served.sandbox.run("ps").out == ""
    # What it wrote can be read afterwards too.
    assert "model loaded" in served.sandbox.run("logs", "-n", 200, "--port", served.port).out


@POSIX
def test_files_of_a_server_are_its_owners_alone(serve: Callable[..., Served]) -> None:
    served = serve("--host", "0.0.0.0")
    state = Path(served.sandbox.env["GPT_OSS_STATE_DIR"])
    for path in (
        state / "servers" / f"{served.port}.json",
        state / "keys" / f"{served.port}.key",
        state / "logs" / f"server-{served.port}.log",
    ):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_beyond_loopback_a_key_is_made_shown_once_and_asked_for(serve: Callable[..., Served]) -> None:
    served = serve("--host", "0.0.0.0")
    (line,) = [line for line in served.started.err.splitlines() if line.startswith("API key")]
    key = line.split()[-1]
    assert ask(served.url).status_code == 401
    assert ask(served.url, key).status_code == 200
    for pid in (served.record["pid"], served.record["server_pid"]):
        assert key not in " ".join(psutil.Process(pid).cmdline())
    served.sandbox.run("stop")
    again = served.sandbox.run(
        "serve", "--model", demo_model_path(), "--port", served.port, "--detach", "--host", "0.0.0.0"
    )
    assert key not in again.err
    assert ask(served.url, key).status_code == 200


def test_a_key_of_the_environment_is_asked_for_and_not_told(serve: Callable[..., Served]) -> None:
    served = serve(env={"GPT_OSS_API_KEY": "sk-of-the-test"})
    assert ask(served.url).status_code == 401
    assert ask(served.url, "sk-of-the-test").status_code == 200
    assert "sk-of-the-test" not in served.started.err + served.started.out


def test_a_page_of_another_origin_reads_nothing_unless_it_is_named(serve: Callable[..., Served]) -> None:
    def allowed(served: Served, origin: str) -> bool:
        answer = httpx.get(f"{served.url}/v1/models", headers={"Origin": origin})
        return answer.headers.get("Access-Control-Allow-Origin") in {"*", origin}

    closed = serve()
    assert not allowed(closed, "https://evil.example")
    assert not allowed(closed, "null")
    opened = serve("--cors-origins", "http://localhost:3000")
    assert allowed(opened, "http://localhost:3000")
    assert not allowed(opened, "https://evil.example")


def test_settings_of_llama_cpp_in_the_environment_change_nothing(serve: Callable[..., Served]) -> None:
    served = serve(env={"LLAMA_ARG_TOOLS": "all", "LLAMA_ARG_ALIAS": "other", "LLAMA_API_KEY": "x"})
    assert "LLAMA_ARG_ALIAS, LLAMA_ARG_TOOLS would change the plan" in served.started.err
    assert httpx.get(f"{served.url}/tools").status_code == 403
    assert ask(served.url).json()["model"] == "tiny-gpt-oss-MXFP4"


@pytest.mark.parametrize("path", ["/tools", "/cors-proxy?url=http://127.0.0.1/", "/slots/0?action=save"])
def test_nothing_of_the_host_can_be_reached(served: Served, path: str) -> None:
    assert httpx.post(f"{served.url}{path}", json={"filename": "x", "name": "read_file"}).status_code in {403, 501}


def test_a_server_killed_while_it_works_is_back_for_the_next_request(served: Served) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no SIGKILL")
    before = served.record["server_pid"]
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: served.record["server_pid"] not in {before, None} and healthy(served.url), "not back")
    assert ask(served.url).status_code == 200
    assert "was ended by SIGKILL" in served.sandbox.run("logs", "-n", 100).out


def test_no_server_outlives_a_launcher_that_was_killed(served: Served) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no SIGKILL")
    record = served.record
    os.kill(record["pid"], signal.SIGKILL)
    assert wait_for(lambda: gone(record["server_pid"]), "an orphan") < 5
    assert served.sandbox.run("ps").out == ""


@POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_both_within_5_s(sandbox: Sandbox, number: signal.Signals, code: int) -> None:
    port = free_port()
    with sandbox.start("serve", "--model", demo_model_path(), "--port", port) as process:
        try:
            wait_for(lambda: healthy(f"http://127.0.0.1:{port}"), "not ready")
            (record,) = json.loads(sandbox.run("ps", "--json").out)["servers"]
            process.send_signal(number)
            assert wait_for(lambda: process.poll() is not None and gone(record["server_pid"]), "still there") < 5
        finally:
            process.kill()
        assert process.returncode == code
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert said.endswith("Ctrl-C ends it.\nstopped\n")


def test_a_second_one_of_the_same_model_attaches(served: Served) -> None:
    again = served.sandbox.run("serve", "--model", demo_model_path(), "--detach")
    assert (again.code, again.out) == (0, f"{served.url}/v1\n")
    assert "served already" in again.err
    assert len(json.loads(served.sandbox.run("ps", "--json").out)["servers"]) == 1


def test_a_busy_port_says_who_holds_it_and_offers_another(sandbox: Sandbox) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = sandbox.refused("serve", "--model", demo_model_path(), "--port", port)
    assert done.code == 2
    assert f"port {port} is taken by" in done.error
    assert f"(pid {os.getpid()})" in done.error
    assert int(done.hint.split()[-1]) > port


def test_a_port_that_serves_another_model_is_not_taken_over(served: Served, tmp_path: Path) -> None:
    other = tmp_path / "other-MXFP4.gguf"
    other.write_bytes(demo_model_path().read_bytes() + b"\0")
    args = ("serve", "--model", other, "--port", served.port, "--detach")
    refused = served.sandbox.refused(*args)
    assert f"port {served.port} serves" in refused.error
    assert served.sandbox.run(*args, "--replace").code == 0
    assert served.record["file"] == str(other)


def test_what_would_not_fit_is_refused_before_the_old_server_is_stopped(served: Served) -> None:
    before = served.record
    refused = served.sandbox.refused(
        "serve", "--model", demo_model_path(), "--port", served.port, "--replace", "--min-tps", "1000000000"
    )
    assert refused.code == 3
    assert served.record == before
    assert ask(served.url).status_code == 200


def test_a_file_that_llama_cpp_does_not_load(sandbox: Sandbox, tmp_path: Path) -> None:
    broken = tmp_path / "broken-MXFP4.gguf"
    whole = demo_model_path().read_bytes()
    # The header is right; the tokenizer is called something that llama.cpp does not know.
    broken.write_bytes(whole.replace(b"gpt-4o", b"gpt-4x", 1))
    for how in ((), ("--detach",)):
        done = sandbox.run("serve", "--model", broken, "--port", free_port(), *how)
        assert done.code == 6
        assert "before it was ready" in done.error
        assert "gpt-4x" in done.err
        assert_runnable(done.hint)
    assert sandbox.run("ps").out == ""


@POSIX
def test_a_llama_server_that_tells_nothing_by_itself(serve: Callable[..., Served], tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(f'#!/bin/sh\nunset LLAMA_SERVER_ROUTER_PORT\nexec "{engine_program("llama-server")}" "$@"\n')
    program.chmod(0o755)
    served = serve("--llama-server", program)
    assert ask(served.url).status_code == 200
    record = served.record
    assert served.sandbox.run("stop").code == 0
    assert gone(record["server_pid"])


@pytest.mark.parametrize("what", ["nowhere", "folder"])
def test_a_llama_server_that_is_none(sandbox: Sandbox, tmp_path: Path, what: str) -> None:
    (tmp_path / "folder").mkdir()
    done = sandbox.refused("serve", "--model", demo_model_path(), "--llama-server", tmp_path / what)
    assert done.code == 5
    assert "is no program" in done.error


def test_the_command_is_printed_and_nothing_started(sandbox: Sandbox) -> None:
    done = sandbox.run(
        "serve", "--model", demo_model_path(), "--dry-run", "--effort", "low", "--", "--log-verbosity", "4"
    )
    words = done.out.split()
    for pair in ("--temp 1", "--top-p 1", "--top-k 0", "--min-p 0", "--fit off", "--reasoning-effort low"):
        assert pair in done.out
    assert words[-2:] == ["--log-verbosity", "4"]
    assert sandbox.run("ps").out == ""


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (("-c", "4096"), "-c (--ctx-size)"),
        (("--api-key", "secret"), "--api-key would show the key"),
        (("--fit", "on"), "--fit is decided"),
        (("-hf", "x/y"), "-hf (--model)"),
    ],
)
def test_an_argument_that_clashes_with_the_plan_is_refused_by_name(
    sandbox: Sandbox, extra: tuple[str, ...], says: str
) -> None:
    done = sandbox.refused("serve", "--model", demo_model_path(), "--", *extra)
    assert done.code == 2
    assert says in done.error


@pytest.mark.parametrize("command", ["stop", "logs"])
def test_without_a_server_there_is_nothing_to_do(sandbox: Sandbox, command: str) -> None:
    assert "no server" in sandbox.refused(command).error
    assert sandbox.run("ps").err == "no server runs; gpt-oss serve starts one\n"


def test_of_several_servers_one_has_to_be_named(serve: Callable[..., Served]) -> None:
    first, second = serve(), serve()
    refused = first.sandbox.refused("stop")
    assert f"{first.port} (" in refused.error
    assert f"{second.port} (" in refused.error
    assert first.sandbox.run("stop", "--port", second.port).code == 0
    assert first.sandbox.run("stop").code == 0


def test_an_idle_server_gives_its_memory_back_and_wakes(serve: Callable[..., Served]) -> None:
    served = serve("--sleep-idle-seconds", "1")
    wait_for(lambda: served.record["sleeping"], "does not sleep")
    assert "sleeping" in served.sandbox.run("ps").out
    assert ask(served.url).status_code == 200
    assert "leaves memory until the next one" in served.sandbox.run("logs", "-n", 100).out
