"""The web page of a server: is it there, can a browser show it, and which browser opens it."""

from __future__ import annotations

import os
import re
import shlex
import sys
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from launcher.errors import UsageError
from launcher.server.shield.pages import API_NAMES
from launcher.server.types import ServerRecord, key_command

PAGE_TIMEOUT_S = 5.0
"""For a page on loopback, which comes at once. A server that is too busy for it by then is not waited for."""
_PART = re.compile(r"""(?:src|href)=["']?((?:\./|/)?[^"'\s>:#]+\.(?:js|css))""")

State = Literal["there", "absent", "locked"]
Fetch = Callable[[str], int | str | None]
"""A path of the server to its text, to the HTTP status where that is not 200, or to None where nothing answers."""
Open = Callable[[str], bool]
"""Shows a URL in a browser of its own window; False where there is none."""


def checked_folder(folder: Path) -> Path:
    """The folder of a page, as an absolute path: a server in the background has another working directory.

    Raises:
        UsageError: no page is in it, or a file in it would be served in place of llama-server's API.
    """
    path = folder.expanduser().absolute()
    if not path.is_dir():
        raise UsageError(f"--ui-path {folder} is no folder", hint=f"ls -ld {shlex.quote(str(path))}")
    if not (path / "index.html").is_file():
        raise UsageError(
            f"--ui-path {folder} has no index.html, so there is no page in it", hint=f"ls {shlex.quote(str(path))}"
        )
    # Files come before routes in cpp-httplib (`Server::routing`).
    hidden = sorted(API_NAMES & {entry.name for entry in path.iterdir()})
    if hidden:
        raise UsageError(
            f"--ui-path {folder} would hide llama-server's own /{hidden[0]}",
            hint=f"ls -ld {shlex.quote(str(path / hidden[0]))}",
        )
    return path


def look(fetch: Fetch) -> State | None:
    """Whether a browser would find the page; None where the server did not answer in time.

    `locked`: the page is there and the files that it loads are not, since without a shield it is llama-server that
    gives the files of --path, and it asks for the API key first, which a browser does not send with them.
    """
    page = fetch("/")
    if page is None or isinstance(page, int):
        return "absent" if page == 404 else None
    part = _PART.search(page)
    if part is not None and fetch("/" + part[1].removeprefix(".").removeprefix("/")) == 401:
        return "locked"
    return "there"


def fetch_from(url: str, *, timeout_s: float = PAGE_TIMEOUT_S) -> Fetch:
    """Ask the server at `url`."""
    import httpx

    def fetch(path: str) -> int | str | None:
        try:
            # Straight to it: a proxy of the environment knows nothing of this machine's loopback.
            answer = httpx.get(url + path, timeout=timeout_s, trust_env=False)
        except httpx.HTTPError:
            return None
        return answer.text if answer.status_code == 200 else answer.status_code

    return fetch


def has_screen(environ: Mapping[str, str], platform: str) -> bool:
    """Whether a browser started here would be seen by who started it."""
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return False
    return platform in {"darwin", "win32"} or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def open_in_browser(url: str, *, environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Show a URL in this person's browser. False where there is none that leaves the terminal alone."""
    if not has_screen(environ, platform):
        return False
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    return not takes_the_terminal(browser) and browser.open(url)


def takes_the_terminal(browser: object) -> bool:
    """Whether a browser runs in the terminal, or is waited for until it ends, as lynx, w3m and an unknown $BROWSER."""
    if type(browser) is webbrowser.GenericBrowser:
        return True
    return isinstance(browser, webbrowser.UnixBrowser) and not browser.background


def present(record: ServerRecord, say: Callable[[str], None], *, fetch: Fetch, show: Open | None) -> None:
    """Open a server's page, or say in a line why not. Without `show`: say where it is."""
    url = f"{record.url}/"
    state = look(fetch)
    if state == "absent":
        say(
            "This build of llama-server has no web page in it; --ui-path DIR gives it one, "
            "as scripts/build-web-ui makes it. The API is there all the same."
        )
    elif state == "locked":
        say(
            "The page of --ui-path stays blank in a browser: with --direct its files are behind the API key. "
            "Without --direct they are for everybody."
        )
    elif state is None:
        say(f"The web page did not answer; it would be at {url}")
    elif show is None:
        say(f"The web page is at {url}")
    elif not show(url):
        say(f"The web page is at {url}; no browser can be opened from here.")
    else:
        say(f"The web page is open in your browser: {url}")
    if state == "there" and record.key_file is not None:
        say(f"Its settings ask for the API key: {key_command(record.key_file)}")


def presenter(say: Callable[[str], None], *, show: Open | None) -> Callable[[ServerRecord], None]:
    """`present` for servers of this machine."""
    return lambda record: present(record, say, fetch=fetch_from(record.url), show=show)
