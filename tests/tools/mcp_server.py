"""An MCP server for tests, made with the official package's own server: `python mcp_server.py [DESCRIPTOR]`."""

# ruff: noqa: T201, ASYNC240
from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp.server.fastmcp import Context, FastMCP
from mcp.server.fastmcp.utilities.types import Image
from mcp.types import EmbeddedResource, ResourceLink, TextContent, TextResourceContents
from pydantic import AnyUrl

server = FastMCP("fake", log_level="ERROR")


@server.tool(description="Adds\x1b[31m two numbers.\u202e\nAnd says so.")
def add(a: int, b: int) -> str:
    return f"{a} + {b} = {a + b}"


@server.tool()
def fail(what: str) -> str:
    raise ValueError(what)


@server.tool()
def environment() -> dict[str, str]:
    return dict(os.environ)


@server.tool()
def huge(n_chars: int) -> str:
    return "begin" + "x" * n_chars + "end"


@server.tool()
def hostile() -> str:
    return "\x1b]0;title\x07red\x1b[31m \u202egnp.exe"


@server.tool(structured_output=False)
def mixed() -> list[Any]:
    resource = TextResourceContents(uri=AnyUrl("file:///a.txt"), mimeType="text/plain", text="inside")
    return [
        TextContent(type="text", text="a picture:"),
        Image(data=b"12345", format="png"),
        ResourceLink(type="resource_link", name="big", uri=AnyUrl("file:///big.bin")),
        EmbeddedResource(type="resource", resource=resource),
    ]


@server.tool()
async def sleep(seconds: float, mark: str) -> str:
    """Says that it was cancelled in the file `mark`, if it was."""
    Path(mark).write_text("began")
    try:
        await anyio.sleep(seconds)
    except BaseException:
        Path(mark).write_text("cancelled")
        raise
    return "slept"


@server.tool()
def die() -> str:
    print("these are my last words", file=sys.stderr, flush=True)
    os._exit(3)


@server.tool(name="which pid?")
async def pid(context: Context) -> str:  # type: ignore[type-arg]
    await context.info("telling")
    return str(os.getpid())


def over_http(descriptor: int) -> None:
    """Both protocols on a socket that listens already."""
    import uvicorn

    app = server.streamable_http_app()
    app.routes.extend(server.sse_app().routes)
    uvicorn.run(app, fd=descriptor, log_level="critical", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    if sys.argv[1:]:
        over_http(int(sys.argv[1]))
    else:
        server.run()
