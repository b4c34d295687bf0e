"""mcp.json as people write it for clients."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launcher.errors import DamagedFileError, UsageError
from launcher.tools.mcp_config import parse_mcp_config
from launcher.tools.mcp_types import McpServer

FILE = "/home/me/mcp.json"
ENVIRON = {"TOKEN": "s3cret", "HOME": "/home/me"}


def server(entry: Any, *, key: str = "mcpServers") -> McpServer:
    return parse_mcp_config(json.dumps({key: {"it": entry}}), file=FILE).server("it", ENVIRON)


def test_a_program_and_what_it_is_given() -> None:
    entry = {
        "type": "stdio", "command": "npx", "args": ["-y", "${HOME}/x", 8], "cwd": "${env:HOME}",
        "env": {"KEY": "${TOKEN}", "PORT": 80}, "alwaysAllow": ["read"], "disabled": False, "timeout": 60,
    }  # fmt: skip
    assert server(entry) == McpServer(
        name="it", transport="stdio", command="npx", args=("-y", "/home/me/x", "8"), cwd="/home/me",
        env={"KEY": "s3cret", "PORT": "80"}, allow=("read",),
    )  # fmt: skip
    assert server(entry, key="servers") == server(entry)


@pytest.mark.parametrize(
    ("word", "transport", "falls_back"),
    [(None, "http", True), ("http", "http", False), ("streamable-http", "http", False), ("sse", "sse", False)],
)
def test_an_address_and_its_protocol(word: str | None, transport: str, falls_back: bool) -> None:
    entry = {"url": "https://a/${MISSING:-mcp}", "headers": {"Authorization": "Bearer ${env:TOKEN}"}}
    found = server(entry if word is None else {**entry, "type": word})
    assert (found.url, found.headers) == ("https://a/mcp", {"Authorization": "Bearer s3cret"})
    assert (found.transport, found.falls_back) == (transport, falls_back)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("npx", "it: expected an object, found 'npx'"),
        ({}, 'it: expected either "command" or "url"'),
        ({"comand": "npx"}, 'it: expected either "command" or "url"; did you mean it by \'comand\'?'),
        ({"command": "a", "url": "http://b"}, 'it: expected either "command" or "url"'),
        ({"command": ["npx"]}, "it.command: expected text, found ['npx']"),
        ({"command": "npx", "args": "-y"}, "it.args: expected a list of texts, found '-y'"),
        ({"command": "npx", "args": [True]}, "it.args[0]: expected text, found True"),
        ({"command": "npx", "env": {"A": None}}, "it.env.A: expected text, found None"),
        ({"command": "npx", "env": {"A": "${env:NO_SUCH}"}}, "it.env.A: the environment has no variable NO_SUCH"),
        ({"command": "a\0b"}, "it.command: a text with a NUL character"),
        ({"url": "ftp://a"}, "it.url: expected http:// or https://, found 'ftp://a'"),
        ({"url": "http://a", "type": "carrier pigeon"}, "it.type: expected stdio, http or sse, found 'carrier pigeon'"),
        ({"command": "npx", "type": "sse"}, "it.type: 'sse' does not go with \"command\""),
        ({"command": "npx", "autoApprove": "read"}, "it.autoApprove: expected a list of texts, found 'read'"),
        (
            {"url": "http://${input:host}"},
            "it.url: ${input:host} is for other clients: write the value itself, or ${env:NAME}",
        ),
    ],
)
def test_a_slip_names_the_file_the_server_and_the_key(entry: Any, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        server(entry)
    assert caught.value.message == f"{FILE}: {told}"
    assert caught.value.hint == f"ls -l {FILE}"


def test_only_the_server_that_is_asked_for_is_looked_at() -> None:
    config = parse_mcp_config('{"mcpServers": {"good": {"command": "a"}, "bad": 1}}', file=FILE)
    assert config.names == ("good", "bad")
    assert config.server("good", {}).command == "a"
    with pytest.raises(UsageError, match="'goood'; did you mean 'good'"):
        config.server("goood", {})
    with pytest.raises(UsageError, match=r"'web' \(it has good, bad\)"):
        config.server("web", {})


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"mcpServers": {"a": {}},}'])
def test_what_is_no_json_is_damaged(text: str) -> None:
    with pytest.raises(DamagedFileError) as caught:
        parse_mcp_config(text, file=FILE)
    assert caught.value.path == FILE


@pytest.mark.parametrize("text", ["[]", "{}", '{"mcpServers": []}', "null"])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="mcpServers"):
        parse_mcp_config(text, file=FILE)
