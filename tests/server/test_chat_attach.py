"""`gpt-oss chat` on a server that runs here: found by itself or by its URL, with its key, free again after Ctrl-C."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.sandbox import Sandbox, free_port
from tests.cli.terminal import CTRL_C, CTRL_D, terminal
from tests.cli.test_chat_terminal import MODEL, READY
from tests.server.waiting import gone, wait_for

ANSWER = "Hello! What shall we talk about?\n"


@contextmanager
def running(root: Path, *flags: object) -> Iterator[tuple[Sandbox, str]]:
    """A server on the model that plays a script, and the sandbox that it runs in; it is gone afterwards."""
    sandbox, port = Sandbox(root), free_port()
    try:
        started = sandbox.run(
            "serve", "--model", MODEL, "--ctx-size", 131072, "--port", port, "--parallel", 1, "--detach", *flags
        )
        assert started.code == 0, started
        yield sandbox, f"http://127.0.0.1:{port}"
    finally:
        records = json.loads(sandbox.run("ps", "--json").out)["servers"]
        sandbox.run("stop", "--all")
        pids = [pid for record in records for pid in (record["pid"], record["server_pid"])]
        wait_for(lambda: all(map(gone, pids)), "a server left behind")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, str]]:
    with running(tmp_path_factory.mktemp("attach")) as found:
        yield found


def is_free(url: str) -> bool:
    """Whether no slot of the server is at work."""
    return not any(slot["is_processing"] for slot in httpx.get(f"{url}/slots", timeout=10).json())


def test_a_chat_finds_the_server_that_runs_here(server: tuple[Sandbox, str]) -> None:
    sandbox, url = server
    done = sandbox.run("chat", "--temp", 0, "Hello")
    assert (done.code, done.out) == (0, ANSWER)
    assert f"chat-gpt-oss on the server at {url}" in done.err.splitlines()
    document = json.loads(sandbox.run("chat", "--temp", 0, "--engine", "server", "--json", "Hello").out)
    assert (document["engine"], document["model"], document["content"]) == ("server", "chat-gpt-oss", ANSWER[:-1])
    assert document["timings"]["predicted_n"] > 0


def test_a_chat_by_url(server: tuple[Sandbox, str]) -> None:
    sandbox, url = server
    done = sandbox.run("chat", "--temp", 0, "--url", url, "Hello")
    assert (done.code, done.out) == (0, ANSWER)
    assert f"chat-gpt-oss at {url}" in done.err.splitlines()


def test_a_chat_that_will_not_attach(server: tuple[Sandbox, str]) -> None:
    sandbox, url = server
    given = ("--model", MODEL, "--temp", 0, "--ctx-size", 4096, "--json")
    done = sandbox.run("chat", *given, "--engine", "embedded", "Hello")
    assert json.loads(done.out)["engine"] == "embedded"
    assert url not in done.err


def test_tools_through_a_server(server: tuple[Sandbox, str]) -> None:
    sandbox, _ = server
    done = sandbox.run(
        "chat", "--temp", 0, "--tools", "python:unsafe", "--tools-allow", "python", "What is 17 times 23?"
    )
    assert (done.code, done.out) == (0, "17 times 23 is **391**.\n")
    assert "tool call: python" in done.err


def test_a_conversation_on_a_server(server: tuple[Sandbox, str]) -> None:
    sandbox, url = server
    with terminal("chat", "--temp", "0", env=sandbox.env, cwd=sandbox.root) as screen:
        screen.wait_for(r">>>\n\s*chat-gpt-oss · .*· server\b")
        screen.line("Tell me something endless.")
        screen.wait_for("and on and on, and on")
        assert not is_free(url)
        screen.type(CTRL_C)
        screen.wait_for("stopped")
        wait_for(lambda: is_free(url), "the slot is still at work")
        screen.wait_for(READY)
        screen.line("Hello")
        screen.wait_for(r"What shall we talk about\?")
        screen.wait_for(READY)
        screen.type(CTRL_D)
        assert screen.end() == 0
    about = json.loads(sandbox.run("history", "show", "last", "--json").out)["about"]
    assert (about["engine"], about["model"], about["file"]) == ("server", "chat-gpt-oss", str(MODEL))


def test_a_conversation_of_a_url_goes_on_with_what_is_served_here(server: tuple[Sandbox, str]) -> None:
    sandbox, url = server
    assert sandbox.run("chat", "--temp", 0, "--url", url, "Hello").code == 0
    done = sandbox.run("chat", "--temp", 0, "--resume", "last", "Hello")
    assert (done.code, done.out) == (0, ANSWER)
    assert f"chat-gpt-oss on the server at {url}" in done.err.splitlines()
    saved = json.loads(sandbox.run("history", "show", "last", "--json").out)
    assert len(saved["messages"]) == 4


def test_a_server_with_a_key(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("a-key-of-this-test\n")
    root = tmp_path / "root"
    root.mkdir()
    with running(root, "--api-key-file", key) as (sandbox, url):
        found = sandbox.run("chat", "--temp", 0, "Hello")
        assert (found.code, found.out) == (0, ANSWER), "the key of a server of ours is known"
        refused = sandbox.refused("chat", "--url", url, "Hello")
        assert "key" in refused.error
        done = sandbox.run("chat", "--temp", 0, "--url", url, "Hello", env={"GPT_OSS_API_KEY": "a-key-of-this-test"})
        assert (done.code, done.out) == (0, ANSWER)
        assert "a-key-of-this-test" not in found.err + refused.err + done.err
