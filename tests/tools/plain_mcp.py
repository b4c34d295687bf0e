"""MCP spoken by hand, for what an official server would not do: `python plain_mcp.py MODE...`. Starts in no time."""

# ruff: noqa: T201
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MODES = sys.argv[1:]
OBJECT = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": {}}


def tools() -> list[dict[str, Any]]:
    if "empty" in MODES:
        return []
    names = ["echo", "echo!", "echo?", "x" * 80, "pid", "die", "hang", "break", "long"]
    found: list[dict[str, Any]] = [{"name": name, "inputSchema": OBJECT} for name in names]
    huge = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(2_000)}}
    return [
        *found,
        {"name": "odd", "inputSchema": {"type": "string"}},
        {"name": "large", "inputSchema": huge},
        {"name": "talkative", "description": "word \x1b[2J" * 2_000, "inputSchema": OBJECT},
    ]


def send(message: dict[str, Any]) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def text(value: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": value}]}


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    if name == "pid":
        return text(str(os.getpid()))
    if name == "die":
        print("my last words", file=sys.stderr, flush=True)
        os._exit(3)
    if name == "break":
        return {"nonsense": True}
    if name == "long":
        sys.stdout.write("x" * (40 << 20))
        return text("")
    if name == "hang":
        while True:
            time.sleep(600)
    return {"content": [], "structuredContent": arguments}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "initialize":
        info = {"name": "plain", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        # Two pages, and for one mode no end of them.
        everything = tools()
        if "endless" in MODES:
            return {"tools": everything[:1], "nextCursor": "again"}
        return {"tools": everything[2:]} if params.get("cursor") else {"tools": everything[:2], "nextCursor": "two"}
    return call(params["name"], params.get("arguments") or {})


def begin() -> None:
    if "stubborn" in MODES:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "parent" in MODES:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if "junk" in MODES:
        print("Welcome \x1b[31mto the server!", flush=True)
    if "dead" in MODES:
        print("cannot find \x1b[1mthe key", file=sys.stderr)
        sys.exit(4)
    if "silent" in MODES:
        time.sleep(600)


def main() -> None:
    begin()
    for line in sys.stdin:
        message = json.loads(line)
        print(f"got {line[:100]}", file=sys.stderr, flush=True)
        if "id" in message and "method" in message:
            send({"id": message["id"], "result": answer(message["method"], message.get("params") or {})})
        if "idle" in MODES and message.get("method") == "tools/list" and message["params"].get("cursor"):
            # Once only: it ends as soon as it has told what it has.
            mark = Path("was-here")
            if not mark.exists():
                mark.touch()
                sys.exit(0)
    while "stubborn" in MODES:
        time.sleep(600)


if __name__ == "__main__":
    main()
