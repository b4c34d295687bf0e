"""MCP servers as tools: what works, and every way in which a server can fail."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from launcher.tools.capped_log import CappedLog
from launcher.tools.mcp_client import McpTool, McpTools, open_mcp
from launcher.tools.mcp_text import function_name, schema_of
from launcher.tools.mcp_types import McpServer
from launcher.tools.types import Tool, ToolLimits, ToolResult
from tests.systems import POSIX

OFFICIAL = str(Path(__file__).with_name("mcp_server.py"))
PLAIN = str(Path(__file__).with_name("plain_mcp.py"))
LIMITS = ToolLimits(timeout_s=20.0, max_output_chars=2_000)
NEVER = threading.Event()
WAIT_S = 20


def plain(name: str, *modes: str, cwd: Path | None = None) -> McpServer:
    folder = None if cwd is None else str(cwd)
    return McpServer(name=name, transport="stdio", command=sys.executable, args=(PLAIN, *modes), cwd=folder)


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """The official server by HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        descriptor = listener.fileno()
        process = subprocess.Popen([sys.executable, OFFICIAL, str(descriptor)], pass_fds=[descriptor])
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def opened(web: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpTools]:
    env = {"GIVEN": "yes"}
    servers = [
        McpServer(name="good", transport="stdio", command=sys.executable, args=(OFFICIAL,), env=env),
        McpServer(name="web", transport="http", url=f"{web}/mcp", headers={"Authorization": "Bearer x"}),
        McpServer(name="old", transport="http", url=f"{web}/sse", falls_back=True),
        McpServer(name="lost", transport="http", url=f"{web}/nothing"),
        McpServer(name="away", transport="http", url="http://127.0.0.1:9/mcp"),
        McpServer(name="missing", transport="stdio", command="/no/such/program"),
        plain("plain"),
        plain("empty", "empty"),
        plain("dead", "dead"),
        plain("chatty", "junk"),
    ]
    with open_mcp(servers, LIMITS, log_dir=tmp_path_factory.mktemp("logs"), wanted={"chatty": ["echo", "no"]}) as found:
        yield found


def tool(opened: McpTools, title: str) -> Tool:
    (found,) = [tool for tool in opened.tools if tool.title == title]
    return found


def problem(opened: McpTools, server: str) -> str:
    (line,) = [line for line in opened.problems if line.startswith(f"mcp:{server}: ")]
    return line.removeprefix(f"mcp:{server}: ")


@pytest.mark.parametrize("server", ["good", "web", "old"])
def test_an_official_server_is_called_over_every_transport(opened: McpTools, server: str, tmp_path: Path) -> None:
    add = tool(opened, f"{server}:add")
    assert add.name == f"{server}_add"
    assert add.parameters["required"] == ["a", "b"]
    assert add.verdict == "ask"
    result = add.call('{"a": 1, "b": 2}', NEVER)
    assert (result.text, result.is_error) == ("1 + 2 = 3", False)
    failed = tool(opened, f"{server}:fail").call('{"what": "too bad"}', NEVER)
    assert failed.is_error
    assert "too bad" in failed.text
    # Given up: within a second, and the server knows.
    mark = tmp_path / "mark"
    result, took_s = cancel_once(
        lambda cancelled: tool(opened, f"{server}:sleep").call(f'{{"seconds": 60, "mark": "{mark}"}}', cancelled),
        lambda: mark.exists() and mark.read_text() == "began",
    )
    assert (result.text, result.is_error) == ("the user stopped it", True)
    assert took_s < 1
    wait_for(lambda: mark.read_text() == "cancelled")
    assert add.call('{"a": 2, "b": 2}', NEVER).text == "2 + 2 = 4"


def cancel_once(call: Callable[[threading.Event], ToolResult], began: Callable[[], bool]) -> tuple[ToolResult, float]:
    cancelled = threading.Event()
    found: list[ToolResult] = []
    thread = threading.Thread(target=lambda: found.append(call(cancelled)))
    thread.start()
    wait_for(began)
    at = time.monotonic()
    cancelled.set()
    thread.join(WAIT_S)
    return found[0], time.monotonic() - at


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_what_is_not_text_is_named(opened: McpTools) -> None:
    text = tool(opened, "good:mixed").call("", NEVER).text
    assert text == (
        "a picture:\n[image: image/png, 5 bytes, not shown]\n[resource: big, file:///big.bin]\n"
        "[resource: file:///a.txt]\ninside"
    )
    assert tool(opened, "plain:echo").call('{"a": [1, "ä"]}', NEVER).text == '{"a": [1, "ä"]}'


def test_what_a_server_sends_cannot_steer_a_terminal(opened: McpTools) -> None:
    for text in (
        tool(opened, "good:hostile").call("{}", NEVER).text,
        tool(opened, "good:add").description,
        tool(opened, "plain:talkative").description,
        *opened.problems,
    ):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert len(tool(opened, "plain:talkative").description) <= 4_000


def test_a_huge_answer_is_cut_in_its_middle(opened: McpTools) -> None:
    result = tool(opened, "good:huge").call('{"n_chars": 3000000}', NEVER)
    assert result.text.startswith("beginxxx")
    assert result.text.endswith("xxxend")
    assert len(result.text) <= LIMITS.max_output_chars
    assert f"{result.n_cut} characters left out" in result.text
    assert not result.is_error


def test_a_server_gets_what_it_was_given_and_no_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: McpTools
) -> None:
    text = tool(opened, "good:environment").call("{}", NEVER).text
    assert '"GIVEN": "yes"' in text
    assert "PATH" in text
    monkeypatch.setenv("SOME_API_KEY", "secret")
    from launcher.tools.mcp_stdio import environment_of

    assert "SOME_API_KEY" not in environment_of(plain("x"), os.environ)


def test_names_fit_the_alphabet_and_differ(opened: McpTools) -> None:
    names = [each.name for each in opened.tools]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) <= 64
        assert name.replace("_", "").replace("-", "").isalnum()
        assert name.isascii()
    assert tool(opened, "plain:echo").name == "plain_echo"
    assert tool(opened, "plain:echo!").name != tool(opened, "plain:echo?").name
    assert function_name("s", "t", {"s_t"}) == function_name("s", "t", {"s_t"}) != "s_t"
    assert function_name("é", "ö", ()) == "tool"


def test_schemas_are_taken_as_they_are_or_refused(opened: McpTools) -> None:
    assert tool(opened, "plain:echo").parameters == {"type": "object", "properties": {}}
    lines = "\n".join(opened.problems)
    assert "plain:odd: left out, since its arguments are not described as an object" in lines
    assert "plain:large: left out, since the description of its arguments is too long" in lines
    with pytest.raises(ValueError, match="not described"):
        schema_of([])


def test_servers_that_cannot_be_used_say_why_in_a_line(opened: McpTools) -> None:
    assert problem(opened, "missing") == "cannot be started: /no/such/program: No such file or directory"
    dead = problem(opened, "dead")
    assert dead.startswith("ended before it answered, with exit status 4; its last words: cannot find [1mthe key (all")
    assert dead.endswith("mcp-dead.log)")
    assert problem(opened, "empty") == "it offers no tools"
    assert problem(opened, "away").startswith("cannot be reached: ")
    assert problem(opened, "lost") == "answered with HTTP status 404: nothing is at this address"
    assert problem(opened, "chatty").startswith("no tool is called 'no'; it offers echo, echo!")
    assert [each.title for each in opened.tools if each.title.startswith("chatty:")] == ["chatty:echo"]
    assert not [line for line in opened.problems if line.startswith(("mcp:good", "mcp:web", "mcp:old", "mcp:plain"))]
    assert "\n" not in "".join(opened.problems)


def test_a_server_that_dies_in_a_call_is_started_again_at_the_next(opened: McpTools) -> None:
    before = tool(opened, "plain:pid").call("{}", NEVER).text
    result = tool(opened, "plain:die").call("{}", NEVER)
    assert result.is_error
    assert result.text.startswith("the MCP server plain ended during the call, with exit status 3; its last words: ")
    assert "my last words" in result.text
    after = tool(opened, "plain:pid").call("{}", NEVER)
    assert not after.is_error
    assert after.text != before
    assert not psutil.pid_exists(int(before))


def test_an_answer_without_sense_is_an_error(opened: McpTools) -> None:
    result = tool(opened, "plain:break").call("{}", NEVER)
    assert result.is_error
    assert "plain" in result.text
    result = tool(opened, "plain:long").call("{}", NEVER)
    assert result.is_error
    assert tool(opened, "plain:pid").call("{}", NEVER).text.isdigit()


@pytest.mark.parametrize("arguments", ["{", "[1]", "print(1)"])
def test_arguments_that_are_no_object_are_an_error(opened: McpTools, arguments: str) -> None:
    result = tool(opened, "plain:echo").call(arguments, NEVER)
    assert result.is_error
    assert "JSON" in result.text


def children() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


def test_servers_that_never_answer_are_cut_off(tmp_path: Path) -> None:
    servers = [plain("silent", "silent", "stubborn"), plain("noisy", "junk", "silent")]
    earlier = children()
    began = time.monotonic()
    with open_mcp(servers, LIMITS, log_dir=tmp_path, start_s=1.5) as found:
        assert time.monotonic() - began < 5
        assert problem(found, "silent") == "did not answer within 1.5 s"
        told = "did not answer within 1.5 s; on stdout, which is for messages, it wrote 'Welcome [31mto the server!'"
        assert problem(found, "noisy") == told
        assert children() == earlier


def test_a_server_that_ended_by_itself_is_started_again(tmp_path: Path) -> None:
    with open_mcp([plain("idle", "idle", cwd=tmp_path)], LIMITS, log_dir=tmp_path) as found:
        pid = tool(found, "idle:pid")
        assert isinstance(pid, McpTool)
        wait_for(lambda: pid.connection._heard.ended)
        result = pid.call("{}", NEVER)
        assert (result.is_error, result.text.isdigit()) == (False, True)


def test_hanging_calls_are_cut_off_and_nothing_is_left(tmp_path: Path) -> None:
    servers = [plain("stubborn", "stubborn"), plain("parent", "parent"), plain("endless", "endless")]
    threads = set(threading.enumerate())
    earlier = children()
    with open_mcp(servers, ToolLimits(timeout_s=0.3), log_dir=tmp_path) as found:
        assert [each.title for each in found.tools if each.title.startswith("endless:")] == ["endless:echo"]
        result = tool(found, "stubborn:hang").call("{}", NEVER)
        assert (result.text, result.is_error) == ("stopped after 0.3 s, the time limit", True)
        assert result.elapsed_s < 2
        pids = children() - earlier
        assert len(pids) == 4
        closing = time.monotonic()
    assert time.monotonic() - closing < 4
    # asyncio's own thread for a child may be at its last line.
    wait_for(lambda: set(threading.enumerate()) == threads)
    assert children() == earlier
    # An orphan of a server's is for the system to reap.
    assert [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"] == []


@POSIX
def test_ctrl_c_in_a_call_ends_it_and_all_servers(tmp_path: Path) -> None:
    log = tmp_path / "mcp-plain.log"
    at: list[float] = []

    def interrupt() -> None:
        wait_for(lambda: log.exists() and "tools/call" in log.read_text())
        at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    before = set(threading.enumerate())
    thread = threading.Thread(target=interrupt)
    with open_mcp([plain("plain")], LIMITS, log_dir=tmp_path) as found:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            tool(found, "plain:hang").call("{}", NEVER)
        assert time.monotonic() - at[0] < 1
    thread.join()
    wait_for(lambda: set(threading.enumerate()) == before)
    assert time.monotonic() - at[0] < 3


@POSIX
def test_a_log_is_bounded(tmp_path: Path) -> None:
    log = CappedLog(tmp_path / "deep" / "a.log", max_bytes=100)
    for number in range(50):
        log.write(f"line \x1b[1m {number}\r\n".encode())
    log.close()
    assert (tmp_path / "deep" / "a.log").stat().st_size == 100
    assert log.tail[-1] == "line [1m 49"
    assert (tmp_path / "deep" / "a.log").stat().st_mode & 0o077 == 0
    (tmp_path / "file").write_text("")
    unwritable = CappedLog(tmp_path / "file" / "a.log")
    unwritable.write(b"kept")
    assert unwritable.tail == ("kept",)


def test_on_windows_a_server_gets_what_programs_need_there(tmp_path: Path) -> None:
    from launcher.tools.mcp_stdio import environment_of, program_of

    environ = {"SystemRoot": "C:\\Windows", "Path": str(tmp_path), "AppData": "C:\\a", "OPENAI_API_KEY": "secret"}
    server = McpServer(name="x", transport="stdio", command="npx", env={"OWN": "1"})
    found = environment_of(server, environ, system="win32")
    assert found == {"SystemRoot": "C:\\Windows", "Path": str(tmp_path), "AppData": "C:\\a", "OWN": "1"}
    assert program_of(server, found, system="win32") == "npx", "not there: the error names what was asked for"
    name = "npx.cmd" if sys.platform == "win32" else "npx"  # there the ending is found by PATHEXT
    (tmp_path / name).write_text("@echo off")
    (tmp_path / name).chmod(0o755)
    assert program_of(server, found, system="win32").lower() == str(tmp_path / name).lower()
    assert program_of(server, environ, system="linux") == "npx"
