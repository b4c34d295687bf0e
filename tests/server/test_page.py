"""The web page of a server: found or not, opened or told, and never in the way of the API."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import webbrowser
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from launcher.demo import demo_model_path
from launcher.errors import UsageError
from launcher.server import page
from launcher.server.keys import read_key
from launcher.server.types import ServerRecord, key_command
from tests.cli.sandbox import Sandbox, assert_runnable, free_port
from tests.server.conftest import Served
from tests.server.waiting import wait_for
from tests.systems import POSIX

RECORD = ServerRecord(
    pid=1,
    pid_started_s=0.0,
    host="0.0.0.0",
    port=8080,
    model="gpt-oss-20b",
    file="ggml-org/gpt-oss-20b-GGUF:MXFP4",
    n_ctx=8192,
    n_parallel=4,
    started_at="",
    log_path=Path("log"),
)
BUILT = '<link rel="modulepreload" href="./bundle.abc.js"><script type="module">import("./bundle.abc.js")</script>'


def fetch_of(site: dict[str, int | str | None]) -> page.Fetch:
    """A server that answers 404 for what is not listed."""
    return lambda path: site.get(path, 404)


def told(site: dict[str, int | str | None], show: page.Open | None, record: ServerRecord = RECORD) -> list[str]:
    """What a person is told."""
    lines: list[str] = []
    page.present(record, lines.append, fetch=fetch_of(site), show=show)
    return lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A page in a folder."""
    found = tmp_path / "a page"
    found.mkdir()
    (found / "index.html").write_text('<title>A page</title><script src="./bundle.js"></script>')
    (found / "bundle.js").write_text("1")
    return found


def test_a_page_is_opened_at_the_loopback_address() -> None:
    opened: list[str] = []

    def show(url: str) -> bool:
        opened.append(url)
        return True

    lines = told({"/": BUILT, "/bundle.abc.js": "1"}, show)
    assert opened == ["http://127.0.0.1:8080/"]
    assert lines == ["The web page is open in your browser: http://127.0.0.1:8080/"]


def test_without_a_browser_its_address_is_told() -> None:
    (line,) = told({"/": BUILT, "/bundle.abc.js": "1"}, lambda _url: False)
    assert line == "The web page is at http://127.0.0.1:8080/; no browser can be opened from here."
    assert told({"/": "<p>one file</p>"}, None) == ["The web page is at http://127.0.0.1:8080/"]


@pytest.mark.parametrize(
    ("site", "says"),
    [
        ({}, "has no web page in it; --ui-path DIR"),
        ({"/": BUILT, "/bundle.abc.js": 401}, "its files are behind the API key. Without --direct"),
        ({"/": None}, "did not answer; it would be at http://127.0.0.1:8080/"),
        ({"/": 500}, "did not answer; it would be at http://127.0.0.1:8080/"),
    ],
)
def test_what_a_browser_could_not_show_is_told_and_not_opened(site: dict[str, int | str | None], says: str) -> None:
    def never(url: str) -> bool:
        raise AssertionError(url)

    (line,) = told(site, never)
    assert says in line


def test_where_a_key_is_asked_for_its_file_is_named() -> None:
    lines = told({"/": "<p>"}, lambda _url: True, replace(RECORD, key_file=Path("/a key")))
    assert lines[1] == "Its settings ask for the API key: grep -m1 '^[^#[:space:]]' '/a key'"


@POSIX
@pytest.mark.parametrize("text", ["sk-1\n", "# mine\n\n  \n#sk-0\nsk-1\nsk-2\n", "\nsk-1"])
def test_what_a_person_is_told_prints_the_first_key(tmp_path: Path, text: str) -> None:
    """Bug kept out: `head -n 1`, of a file that begins with a comment."""
    file = tmp_path / "it's a key"
    file.write_text(text)
    run = subprocess.run(["/bin/sh", "-c", key_command(file)], capture_output=True, text=True, check=True, timeout=20)
    assert run.stdout == "sk-1\n"
    assert read_key(file) == "sk-1"


@pytest.mark.parametrize(
    ("environ", "platform", "seen"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "linux", False),
        ({"DISPLAY": ""}, "linux", False),
        ({}, "darwin", True),
        ({"SSH_CONNECTION": "a 1 b 22"}, "darwin", False),
        ({"SSH_TTY": "/dev/pts/1", "DISPLAY": "localhost:10.0"}, "linux", False),
    ],
)
def test_a_browser_is_started_only_where_it_would_be_seen(environ: dict[str, str], platform: str, seen: bool) -> None:
    assert page.has_screen(environ, platform) is seen


def test_browsers_that_run_in_the_terminal_are_left_alone() -> None:
    assert page.takes_the_terminal(webbrowser.GenericBrowser("w3m"))
    assert page.takes_the_terminal(webbrowser.Elinks("elinks"))
    assert not page.takes_the_terminal(webbrowser.BackgroundBrowser("xdg-open"))
    assert not page.takes_the_terminal(webbrowser.Mozilla("firefox"))
    assert not page.open_in_browser("http://127.0.0.1:1/", environ={}, platform="linux")


@pytest.mark.parametrize("name", ["v1", "props", "metrics", "health"])
def test_a_folder_that_would_hide_the_api_is_refused(folder: Path, name: str) -> None:
    assert page.checked_folder(folder) == folder
    (folder / name).mkdir()
    with pytest.raises(UsageError, match=f"would hide llama-server's own /{name}") as caught:
        page.checked_folder(folder)
    assert caught.value.hint is not None
    assert_runnable(caught.value.hint)


def test_what_is_no_page_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, says in ((empty, "has no index.html"), (tmp_path / "none", "is no folder")):
        done = sandbox.refused("serve", "--model", demo_model_path(), "--ui-path", path, "--open")
        assert done.code == 2
        assert says in done.error


def test_a_page_is_given_once(sandbox: Sandbox, folder: Path) -> None:
    done = sandbox.refused("serve", "--model", demo_model_path(), "--ui-path", folder, "--", "--path", "/tmp")
    assert (done.code, done.error) == (2, "--path is decided by the plan; say --ui-path before the --")
    command = sandbox.run("serve", "--model", demo_model_path(), "--ui-path", folder, "--dry-run").out
    assert f"--path '{folder}'" in command


def test_a_build_without_a_page_says_so_and_serves(serve: Callable[..., Served]) -> None:
    served = serve("--open")
    if httpx.get(f"{served.url}/").status_code == 200:
        pytest.skip("this llama-server was built with a page")
    assert "This build of llama-server has no web page in it" in served.started.err
    assert served.started.out == f"{served.url}/v1\n"
    assert httpx.get(f"{served.url}/health").status_code == 200


def test_a_page_of_a_folder_is_there_beside_the_api(serve: Callable[..., Served], folder: Path) -> None:
    # Relative to where it is said, which a server in the background leaves.
    served = serve("--open", "--ui-path", os.path.relpath(folder, folder.parent))
    assert f"The web page is at {served.url}/; no browser can be opened from here." in served.started.err
    assert "<title>A page" in httpx.get(f"{served.url}/").text
    assert httpx.get(f"{served.url}/v1/models").json()["data"]
    body = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0}
    answer = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=30).json()
    assert answer["choices"][0]["message"]["content"] == "The capital of France is Paris."
    again = served.sandbox.run("serve", "--model", demo_model_path(), "--detach", "--open")
    assert f"The web page is at {served.url}/;" in again.err


def test_a_page_needs_no_key_and_nothing_else_is_given_without_one(serve: Callable[..., Served], folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("secret")
    (folder.parent / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    served = serve("--ui-path", folder, env={"GPT_OSS_API_KEY": "sk-of-the-test"})
    assert f"The web page is at {served.url}/\n" in served.started.err
    assert "Its settings ask for the API key: grep" in served.started.err
    for path, text in (("/", "<title>A page"), ("/index.html", "<title>A page"), ("/bundle.js?v=1", "1")):
        answer = httpx.get(served.url + path)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
        assert text in answer.text
    assert httpx.get(f"{served.url}/bundle.js").headers["content-type"].endswith("/javascript")
    head = httpx.head(f"{served.url}/bundle.js")
    assert (head.status_code, head.headers["content-length"]) == (200, "1")
    etag = httpx.get(f"{served.url}/").headers["etag"]
    assert httpx.get(f"{served.url}/", headers={"If-None-Match": etag}).status_code == 304
    closed = (
        "/props",
        "/slots",
        "/metrics",
        "/v1/models",
        "/models",
        "/tools",
        "/.git/config",
        "/link.txt",
        "/none.js",
    )
    for path in (*closed, "/%2e%2e/secret.txt", "/..%2fsecret.txt", "//etc/passwd", "/v1/../props"):
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
            # By hand: a client would tidy the path up.
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answered = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        assert answered.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 404 ", b"HTTP/1.1 400 ")), path
        assert b"secret" not in answered
        assert b"root:" not in answered
    assert httpx.post(f"{served.url}/bundle.js").status_code == 401


def test_a_page_behind_a_key_is_not_opened_blank(serve: Callable[..., Served], folder: Path) -> None:
    served = serve("--direct", "--ui-path", folder, env={"GPT_OSS_API_KEY": "sk-of-the-test"})
    assert "with --direct its files are behind the API key" in served.started.err


@POSIX
def test_in_the_foreground_a_browser_is_started_once(sandbox: Sandbox, folder: Path) -> None:
    """Bug kept out: a page opened again with every restart of a server that crashes."""
    shown = sandbox.root / "shown"
    browser = sandbox.root / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {shown}\nexec sleep 5\n')
    browser.chmod(0o755)
    port = free_port()
    # $BROWSER comes before every browser of the machine that tests run on.
    env = {"DISPLAY": ":99", "BROWSER": f"{browser} %s &"}
    args = ("serve", "--model", demo_model_path(), "--port", port, "--ui-path", folder, "--open")
    with sandbox.start(*args, env=env) as process:
        try:
            wait_for(shown.exists, "no browser was started")
            pid = _server_pid(sandbox)
            assert pid is not None
            os.kill(pid, 9)
            wait_for(lambda: _server_pid(sandbox) not in {pid, None}, "not back")
            wait_for(lambda: _ready(sandbox), "not ready")
        finally:
            process.terminate()
        process.wait(10)
    assert shown.read_text() == f"http://127.0.0.1:{port}/\n"


def _record(sandbox: Sandbox) -> dict[str, object]:
    (found,) = json.loads(sandbox.run("ps", "--json").out)["servers"]
    return dict(found)


def _server_pid(sandbox: Sandbox) -> int | None:
    found = _record(sandbox)["server_pid"]
    return found if isinstance(found, int) else None


def _ready(sandbox: Sandbox) -> bool:
    return _record(sandbox)["ready"] is True
