"""Listings by the real client, and its errors as a person reads them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from launcher.errors import ExitCode, NetworkError, UsageError
from launcher.store.config import HubConfig
from launcher.store.hub import HubFile, list_repo
from tests.fakes.hub import Hub, loopback_hub
from tests.store.build import PATH, REPO, SPLIT, config


def test_a_listing_has_the_commit_and_every_file(hub: Hub, cache_dir: Path) -> None:
    listing = list_repo(REPO, config=config(hub, cache_dir))
    assert (listing.repo, listing.commit) == (REPO, hub.repos[REPO].head)
    by_path = {file.path: file for file in listing.files}
    assert set(by_path) == {PATH, *SPLIT, "README.md"}
    sha256 = hub.file(REPO, PATH).sha256
    assert by_path[PATH] == HubFile(path=PATH, size_bytes=600_000, sha256=sha256, etag=sha256)
    small = hub.file(REPO, "README.md")
    assert by_path["README.md"] == HubFile(path="README.md", size_bytes=10, sha256=None, etag=small.oid)
    assert len(hub.requests) == 1
    assert not cache_dir.exists()


def test_a_listing_of_an_older_commit(hub: Hub, cache_dir: Path) -> None:
    old = hub.repos[REPO].head
    hub.repos[REPO].rename(PATH, "new.gguf")
    assert PATH in {file.path for file in list_repo(REPO, revision=old, config=config(hub, cache_dir)).files}
    assert PATH not in {file.path for file in list_repo(REPO, config=config(hub, cache_dir)).files}


def test_a_file_without_a_hash_is_listed_without(hub: Hub, cache_dir: Path) -> None:
    hub.file(REPO, PATH).faults.hide_sha256 = True
    (file,) = (file for file in list_repo(REPO, config=config(hub, cache_dir)).files if file.path == PATH)
    assert (file.size_bytes, file.sha256) == (600_000, None)


def test_the_token_is_sent_only_if_there_is_one(hub: Hub, cache_dir: Path) -> None:
    list_repo(REPO, config=config(hub, cache_dir))
    list_repo(REPO, config=config(hub, cache_dir, token="hf_x"))
    assert [seen.authorization for seen in hub.requests] == [None, "Bearer hf_x"]


@pytest.mark.parametrize(
    ("status", "code", "says", "hint"),
    [
        (401, "GatedRepo", "is gated", "hf auth login"),
        (401, None, "knows no repository", "hf auth login"),
        (403, "GatedRepo", "is gated", "hf auth login"),
        (404, "RepoNotFound", "knows no repository", "gpt-oss plan"),
        (404, "RevisionNotFound", "has no revision", "gpt-oss plan"),
        (429, None, "try again in 55 s", "gpt-oss plan"),
        (500, None, "the hub is failing", "gpt-oss plan"),
    ],
)
def test_refusals(hub: Hub, cache_dir: Path, status: int, code: str | None, says: str, hint: str) -> None:  # noqa: PLR0917
    hub.faults.status, hub.faults.error_code, hub.faults.retry_after_s = status, code, 55
    with pytest.raises(NetworkError, match=says) as raised:
        list_repo(REPO, config=config(hub, cache_dir))
    assert (raised.value.status, raised.value.hint, raised.value.code) == (status, hint, ExitCode.NETWORK)
    assert "\n" not in raised.value.message
    assert len(hub.requests) == 1


def test_a_token_that_is_not_accepted_is_told_apart_from_a_missing_repository(hub: Hub, cache_dir: Path) -> None:
    hub.faults.status = 401
    hub.faults.error_message = "Invalid credentials in Authorization header"
    with pytest.raises(NetworkError, match="does not accept the token"):
        list_repo(REPO, config=config(hub, cache_dir, token="hf_old"))


def test_a_name_that_can_be_no_repository(hub: Hub, cache_dir: Path) -> None:
    with pytest.raises(UsageError, match="owner/name"):
        list_repo("a/b/c", config=config(hub, cache_dir))
    assert len(hub.requests) == 0


def test_offline_asks_nothing(hub: Hub, cache_dir: Path) -> None:
    with pytest.raises(NetworkError, match="HF_HUB_OFFLINE"):
        list_repo(REPO, config=config(hub, cache_dir, offline=True))
    assert len(hub.requests) == 0


def test_no_network(cache_dir: Path) -> None:
    with loopback_hub({}) as hub:
        gone = config(hub, cache_dir)
    with pytest.raises(NetworkError, match=r"no connection to 127\.0\.0\.1") as raised:
        list_repo(REPO, config=gone)
    assert gone.endpoint in raised.value.message
    assert raised.value.hint == "gpt-oss chat --demo"


def test_a_hub_that_does_not_answer_is_given_up_in_time(hub: Hub, cache_dir: Path) -> None:
    """Listening, never answering: a full accept queue or a dead proxy."""
    with _silent_server() as url, pytest.raises(NetworkError, match="no connection to"):
        list_repo(REPO, config=HubConfig(endpoint=url, cache_dir=cache_dir), timeout_s=0.2)


@pytest.mark.parametrize("body", [b"<html>Sign in to WiFi</html>", b"[]", b'{"id": "x", "siblings": [{}]}', b"{}"])
def test_an_answer_that_is_no_listing(cache_dir: Path, body: bytes) -> None:
    """Networks with a login page answer every request with it, and status 200."""
    with _constant_server(body) as url, pytest.raises(NetworkError, match=r"no listing|without a commit"):
        list_repo(REPO, config=HubConfig(endpoint=url, cache_dir=cache_dir))


@contextmanager
def _constant_server(body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def _silent_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        yield f"http://127.0.0.1:{server.server_port}"
