"""Files of a web page that lies in a folder: given to everybody, since a browser has no key to send with them.

llama-server asks for the key before it gives a file of `--path`; only its embedded page is for all (server-http.cpp,
`get_public_endpoints`). So the shield gives them itself, from the folder: nothing of the API can be reached this way.
"""

from __future__ import annotations

from pathlib import Path

API_NAMES = frozenset({"v1", "health", "props", "models", "metrics", "slots", "tools", "lora-adapters", "cors-proxy"})
"""What llama-server answers GET requests under (tools/server/server.cpp)."""


def page_file(folder: Path, path: str) -> Path | None:
    """The file that a request's decoded path asks for; None where it asks for something else.

    Hidden files are none of a page: a folder may be somebody's checkout. Nor is what a link leads to outside.
    """
    parts = path.removeprefix("/").split("/")
    if parts == [""]:
        parts = ["index.html"]
    if parts[0] in API_NAMES or any(
        part == "" or part.startswith(".") or "\\" in part or "\0" in part for part in parts
    ):
        return None
    try:
        root = folder.resolve(strict=True)
        found = root.joinpath(*parts).resolve(strict=True)
        return found if found.is_relative_to(root) and found.is_file() else None
    except OSError:
        return None
