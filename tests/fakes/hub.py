"""A hub on loopback: the routes that huggingface_hub, llama.cpp and this launcher use, with faults on request.

In a test: `with loopback_hub({"owner/name": {"a.gguf": b"GGUF..."}}) as hub:` and HF_ENDPOINT=hub.url. By hand, with a
directory of GGUFs: `python -m tests.fakes.hub --repo owner/name=DIR --port 8990`.
"""

from __future__ import annotations

import argparse
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.fakes.hub_routes import HubHandler
from tests.fakes.hub_state import FakeFile, FakeRepo, Faults, Log

__all__ = ["FakeFile", "FakeRepo", "Faults", "Hub", "loopback_hub", "repo_of_folder"]

LFS_FROM_BYTES = 10 * 1024 * 1024
"""The real hub's limit between files in git and large files; a .gguf counts as large whatever its size."""


class _Server(ThreadingHTTPServer):
    """Closes what is still open when it stops, so that no thread and no socket outlives a test."""

    daemon_threads = False
    block_on_close = True

    def __init__(self, address: tuple[str, int], hub: Hub) -> None:
        super().__init__(address, HubHandler)
        self.hub = hub
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what many tests are about; anything else belongs in the test's output."""
        import sys

        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        with self._open_lock:
            for request in self._open:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)


class Hub:
    """A running loopback hub. Change `repos`, a file's `faults` or `faults` at any time; the next request sees it."""

    def __init__(self, repos: Mapping[str, FakeRepo], port: int = 0) -> None:
        self.repos = dict(repos)
        self.faults = Faults()
        self.page_size = 1000
        """Entries per page of a tree."""
        self.requests = Log()
        self.stopping = threading.Event()
        self._servers = [_Server(("127.0.0.1", port), self), _Server(("127.0.0.1", 0), self)]
        self.url, self.cdn_url = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)
        self._threads = [
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}) for server in self._servers
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.stopping.set()
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.hang_up()
            server.server_close()

    def cut_all(self) -> None:
        """Drop every connection that is open now, as a lost network does."""
        for server in self._servers:
            server.hang_up()

    def file(self, repo: str, path: str) -> FakeFile:
        return self.repos[repo].files[path]


@contextmanager
def loopback_hub(
    repos: Mapping[str, FakeRepo | Mapping[str, FakeFile | bytes | Path]], *, port: int = 0
) -> Iterator[Hub]:
    """Run a hub that serves `repos`: per repository its files by path, as bytes, a path on disk or a FakeFile."""
    hub = Hub({name: _as_repo(name, given) for name, given in repos.items()}, port)
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


def _as_repo(name: str, given: FakeRepo | Mapping[str, FakeFile | bytes | Path]) -> FakeRepo:
    if isinstance(given, FakeRepo):
        return given
    return FakeRepo(name, {path: _as_file(path, content) for path, content in given.items()})


def _as_file(path: str, content: FakeFile | bytes | Path) -> FakeFile:
    if isinstance(content, FakeFile):
        return content
    file = FakeFile(content)
    file.lfs = path.endswith(".gguf") or file.size_bytes >= LFS_FROM_BYTES
    return file


def repo_of_folder(name: str, folder: Path) -> FakeRepo:
    """A repository of all files under a folder, served from where they lie."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return FakeRepo(name, {(rel := path.relative_to(folder).as_posix()): _as_file(rel, path) for path in paths})


def main() -> None:
    """Serve folders until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A Hugging Face hub on loopback, for tests by hand.")
    parser.add_argument("--repo", action="append", required=True, metavar="OWNER/NAME=DIR", help="may be repeated")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--bytes-per-s", type=float, default=None, help="serve no faster than this")
    given = parser.parse_args()
    repos = {}
    for text in given.repo:
        name, _, folder = text.partition("=")
        if not Path(folder).is_dir():
            parser.error(f"no folder {folder!r} in --repo {text}")
        repos[name] = repo_of_folder(name, Path(folder))
    for path, file in (item for repo in repos.values() for item in repo.files.items() if item[1].is_lfs):
        # Now, as a client gives up on a listing long before 12 GB are hashed.
        print(f"# {path} {file.sha256}", flush=True)  # noqa: T201 -- tells why it takes a while
    with loopback_hub(repos, port=given.port) as hub:
        hub.faults.bytes_per_s = given.bytes_per_s
        print(f"export HF_ENDPOINT={hub.url}", flush=True)  # noqa: T201 -- the one line that a person needs
        with suppress(KeyboardInterrupt):
            hub.stopping.wait()


if __name__ == "__main__":
    main()
