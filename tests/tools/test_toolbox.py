"""What --tools opens, and under which rules."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import DamagedFileError, UsageError
from launcher.tools.isolation import Isolation
from launcher.tools.request import ServerRequest, ToolRequest, ToolRules, parse_tools
from launcher.tools.sandbox import Bounds, Ended, Place, run
from launcher.tools.sandbox_probe import probe
from launcher.tools.toolbox import open_toolbox
from launcher.tools.types import ToolLimits, ToolResult, Verdict

PLAIN = str(Path(__file__).with_name("plain_mcp.py"))


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("", ToolRequest()),
        ("off", ToolRequest()),
        ("python", ToolRequest(python=True)),
        (" python:unsafe , ", ToolRequest(python=True, unsafe=True)),
        ("mcp", ToolRequest(every_server=True)),
        (
            "python,mcp:files,mcp:web:search,mcp:web:read",
            ToolRequest(
                python=True,
                servers=(ServerRequest(name="files"), ServerRequest(name="web", tools=("search", "read"))),
            ),
        ),
        ("mcp:web:search,mcp:web", ToolRequest(servers=(ServerRequest(name="web"),))),
        ("mcp:web:a:b", ToolRequest(servers=(ServerRequest(name="web", tools=("a:b",)),))),
    ],
)
def test_tools_are_asked_for_in_words(text: str, request_: ToolRequest) -> None:
    assert parse_tools(text) == request_


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pyton", "no tool is called 'pyton'; did you mean 'python'?"),
        ("python:safe", "no tool is called 'python:safe'; did you mean 'python'?"),
        ("browser", "no tool is called 'browser' (there are python, python:unsafe, mcp, mcp:NAME, mcp:NAME:TOOL, off)"),
        ("mcp:", "'mcp:' names no server"),
        ("mcp::x", "'mcp::x' names no server"),
        ("mcp:web:", "'mcp:web:' names no tool"),
        ("python,off", "off stands alone"),
    ],
)
def test_a_word_that_means_nothing_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_tools(text)
    assert caught.value.message == f"--tools {text}: {told}"


@pytest.mark.parametrize(
    ("title", "verdict"),
    [("python", "allow"), ("files:read_file", "allow"), ("files:read_secret", "deny"), ("files:write", "ask")],
)
def test_deny_beats_allow_and_what_is_left_is_asked(title: str, verdict: Verdict) -> None:
    assert ToolRules(allow=("python", "files:read_*"), deny=("*secret*",)).verdict(title) == verdict


def test_a_servers_own_entry_allows_but_does_not_beat_a_denial() -> None:
    rules = ToolRules(deny=("files:write",))
    assert rules.verdict("files:read", approved=("read",), tool="read") == "allow"
    assert rules.verdict("files:other", approved=("read",), tool="other") == "ask"
    assert rules.verdict("files:write", approved=("*",), tool="write") == "deny"
    assert rules.verdict("files:other", approved=("*",), tool="other") == "allow"


HALF = Isolation(
    network=True, files=False, processes=False, memory=True, layers=("seccomp",), missing=("landlock: no",)
)


@dataclass(frozen=True, kw_only=True)
class FakePython:
    """Stands for the tool python."""

    verdict: Verdict
    name: str = "python"
    title: str = "python"
    description: str = ""
    parameters: dict[str, Any] = None  # type: ignore[assignment]
    isolation: Isolation = HALF

    def call(self, arguments: str, cancelled: threading.Event) -> ToolResult:
        return ToolResult(text=arguments)


@contextmanager
def open_fake(limits: ToolLimits, *, verdict: Verdict, unsafe: bool) -> Iterator[FakePython]:
    assert limits.timeout_s == 20
    assert unsafe
    yield FakePython(verdict=verdict)


def folders_in(tmp_path: Path) -> dict[str, str]:
    return {"GPT_OSS_CONFIG_DIR": str(tmp_path), "GPT_OSS_STATE_DIR": str(tmp_path / "state"), "SCRIPT": PLAIN}


def test_a_toolbox_holds_what_the_rules_leave(tmp_path: Path) -> None:
    entry = {"command": sys.executable, "args": ["${SCRIPT}"], "autoApprove": ["pid"]}
    servers = {"plain": entry, "gone": {"command": "/no/such"}, "broken": 1}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    request = parse_tools("python:unsafe,mcp:plain:pid,mcp:plain:echo,mcp:plain:die,mcp:gone")
    rules = ToolRules(allow=("python",), deny=("plain:d*",))
    with open_toolbox(
        request,
        limits=ToolLimits(timeout_s=20),
        rules=rules,
        environ=folders_in(tmp_path),
        open_python=open_fake,
    ) as toolbox:
        verdicts = {tool.title: tool.verdict for tool in toolbox.tools}
        assert verdicts == {"python": "allow", "plain:echo": "ask", "plain:pid": "allow"}
        pid = toolbox.find("functions.plain_pid")
        assert pid is not None
        assert pid.call("", threading.Event()).text.isdigit()
        assert toolbox.find("plain_die") is None
        assert toolbox.notes == (
            "python is closed in: no network (seccomp); it can reach your files and other processes",
            "landlock: no",
            "mcp:gone: cannot be started: /no/such: No such file or directory",
            "not offered to the model, by your rules: plain:die",
        )
    assert (tmp_path / "state" / "logs" / "mcp-plain.log").exists()


def test_an_empty_request_opens_nothing_and_loads_nothing() -> None:
    code = (
        "import sys\nfrom launcher.tools.toolbox import open_toolbox\nfrom launcher.tools.request import parse_tools\n"
        "with open_toolbox(parse_tools('')) as box:\n    assert box.tools == box.notes == ()\n"
        "assert not {'mcp', 'asyncio', 'pydantic'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (None, UsageError, "no MCP servers are configured: there is no "),
        (b"\xff\xfe", DamagedFileError, "it is not text"),
        (b"{", DamagedFileError, "mcp.json: "),
        (b'{"mcpServers": {"files": {}}}', UsageError, "no MCP server is called 'web'"),
    ],
)
def test_a_slip_is_told_before_anything_starts(
    tmp_path: Path, content: bytes | None, error: type[Exception], told: str
) -> None:
    if content is not None:
        (tmp_path / "mcp.json").write_bytes(content)
    request = parse_tools("python,mcp:web")

    @contextmanager
    def never(*_args: object, **_options: object) -> Iterator[FakePython]:
        raise AssertionError("started")
        yield

    with (
        pytest.raises(error, match="(?s)" + told),
        open_toolbox(request, environ=folders_in(tmp_path), open_python=never),
    ):
        pass


def test_every_server_of_the_file_may_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text('{"servers": {"a": {"command": "/no/a"}, "b": {"command": "/no/b"}}}')
    with open_toolbox(parse_tools("mcp"), environ=folders_in(tmp_path)) as toolbox:
        assert [note.partition(" cannot")[0] for note in toolbox.notes] == ["mcp:a:", "mcp:b:"]


# The probe of the sandbox, on systems that this one is not


def outcome(text: str, status: int = 0) -> Ended:
    return Ended(status=status, text=text, n_cut=0, elapsed_s=0.1)


def test_layers_that_cannot_be_closed_are_left_out_and_told(tmp_path: Path) -> None:
    place = Place(work=tmp_path / "work", root=tmp_path)
    tried = []

    def run(code: str, at: Place, bounds: Bounds, *, layers: tuple[str, ...], **options: Any) -> Ended:
        assert (at, options["use_seatbelt"]) == (place, False)
        tried.append(layers)
        if "namespaces" in layers:
            return outcome("the sandbox cannot be closed: [Errno 1] unshare: Operation not permitted", 70)
        return outcome("done" if "seccomp" in layers else "network\ndone")

    found = probe(place, platform="linux", runner=run)
    assert found.layers == ("landlock", "seccomp")
    assert found.missing == ("namespaces: [Errno 1] unshare: Operation not permitted",)
    assert found.is_safe
    assert tried[-1] == ("landlock", "seccomp")
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_closed_the_escape_succeeds(tmp_path: Path) -> None:
    def run(code: str, *_args: object, layers: tuple[str, ...], **_options: object) -> Ended:
        return outcome("killed", 137) if layers else outcome("network\nfiles\ndone")

    found = probe(Place(work=tmp_path / "work", root=tmp_path), platform="linux", runner=run)
    assert (found.network, found.files, found.processes, found.layers) == (False, False, False, ())
    assert len(found.missing) == 3
    assert "Python does not run in it" in found.missing[0]


def test_where_python_does_not_run_at_all_nothing_is_claimed(tmp_path: Path) -> None:
    found = probe(
        Place(work=tmp_path / "work", root=tmp_path), platform="linux", runner=lambda *_a, **_o: outcome("boom", 1)
    )
    assert not found.is_safe


def test_on_windows_no_code_of_a_model_is_run(tmp_path: Path) -> None:
    """Nothing there would keep it in, with `unsafe` neither: what ends it and what it began is not there."""
    place = Place(work=tmp_path, root=tmp_path)
    bounds = Bounds(timeout_s=1.0, memory_bytes=1 << 30, max_output_chars=100)
    with pytest.raises(OSError, match="no code of a model is run on Windows"):
        run("print(1)", place, bounds, layers=(), use_seatbelt=False, cancelled=threading.Event(), system="win32")
