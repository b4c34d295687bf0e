"""A hub whose listings, headers and contents are malformed, and names to fetch that leave the cache."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from launcher.catalogue.types import FilePart, ModelFile
from launcher.store.config import HubConfig
from launcher.store.download import fetch
from tests.store.malformed_input import COMMIT, EVIL, FILE, REPO, ask, bad_name, demo, mutated, spoilt


class Hostile(BaseHTTPRequestHandler):
    """A hub that answers what it was told to."""

    answers: tuple[bytes, Mapping[str, str], bytes] = (b"", {}, b"")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        listing, headers, body = self.answers
        is_api = self.path.startswith("/api/")
        with suppress(OSError):
            self.send_response(200)
            for name, value in ({"Content-Type": "application/json"} if is_api else headers).items():
                self.send_header(name, value)
            content = listing if is_api else body
            if is_api or "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)
        self.close_connection = True


@contextmanager
def hostile_hub(listing: bytes, headers: Mapping[str, str], body: bytes) -> Iterator[str]:
    """Serve these answers."""
    handler = type("Handler", (Hostile,), {"answers": (listing, headers, body)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def good_listing(size_bytes: int, sha256: str) -> dict[str, Any]:
    """As a hub lists one file."""
    lfs = {"sha256": sha256, "size": size_bytes, "pointerSize": 134}
    sibling = {"rfilename": FILE, "size": size_bytes, "blobId": "a" * 40, "lfs": lfs}
    return {"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": [sibling], "tags": [], "private": False}


def listings(root: Path, rng: random.Random) -> None:
    """A listing with wrong types, absurd sizes, names that leave the repository, or that is none."""
    good = good_listing(len(demo()), "0" * 64)
    if rng.random() < 0.5:
        data: Any = good
        for _ in range(rng.randrange(1, 3)):
            data = mutated(data, rng)
    else:
        files = [{**good["siblings"][0], "rfilename": bad_name(rng)} for _ in range(rng.randrange(1, 5))]
        files[0]["size"] = rng.choice([-1, 0, 1, 10**12, 10**20, None, "12", 1.5])
        files[0]["lfs"] = rng.choice([None, {}, {"sha256": bad_name(rng), "size": -5}, good["siblings"][0]["lfs"]])
        data = {**good, "siblings": files * rng.choice([1, 1, 1, 5000])}
    raw = json.dumps(data).encode()
    with hostile_hub(raw if rng.random() < 0.8 else spoilt(raw, rng), {}, demo()) as url:
        ask(root, model=rng.choice([REPO, f"{REPO}:MXFP4"]), hub=url)


def answers(root: Path, rng: random.Random) -> None:
    """A good listing, and a file whose headers or content are another's."""
    whole = demo()
    listing = good_listing(len(whole), hashlib.sha256(whole).hexdigest())
    lfs = listing["siblings"][0]["lfs"]
    headers = {"X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(whole)), "X-Linked-ETag": f'"{lfs["sha256"]}"'}
    headers["ETag"] = headers["X-Linked-ETag"]
    for _ in range(rng.randrange(1, 3)):
        name = rng.choice([*headers, "Content-Range", "Content-Encoding", "Content-Length", "Location"])
        headers[name] = rng.choice(
            [
                *("", "-1", "0", "99999999999999999999", "1e9", "../../" + EVIL, f'"../../{EVIL}"', "x" * 9000, '"\'"'),
                *("bytes 0-0/1", "bytes 5-1/*", "gzip", "..", f"/tmp/{EVIL}", "file:///etc/passwd", "0" * 40),
            ]
        )
    body = whole if rng.random() < 0.5 else spoilt(whole, rng)
    with hostile_hub(json.dumps(listing).encode(), headers, body) as url:
        config = HubConfig(endpoint=url, cache_dir=root / "hub")
        file = ModelFile(
            model="gpt-oss-20b",
            quant="MXFP4",
            repo=REPO,
            revision=rng.choice([COMMIT, None]),
            parts=(FilePart(path=FILE, size_bytes=len(whole), sha256=rng.choice([lfs["sha256"], None])),),
            dense_bpw=None,
        )
        from launcher.store.run import Outside

        fetch(file, config=config, outside=Outside(sleep=lambda _: None))


def fetched_names(root: Path, rng: random.Random) -> None:
    """A file to fetch whose name, hash or revision leaves the cache."""
    part = FilePart(path=FILE, size_bytes=len(demo()), sha256="0" * 64)
    change = rng.randrange(4)
    file = ModelFile(model="m", quant="q", repo=REPO, revision=COMMIT, parts=(part,), dense_bpw=None)
    if change == 0:
        file = replace(file, parts=(replace(part, path=bad_name(rng)),))
    elif change == 1:
        file = replace(file, parts=(replace(part, sha256=bad_name(rng)),))
    elif change == 2:
        file = replace(file, revision=bad_name(rng))
    else:
        file = replace(file, repo=rng.choice([bad_name(rng), "../..", "a/..", "a--b/c", "a/b/c", "", "-/-"]))
    fetch(file, cache_dir=root / "hub", config=HubConfig(cache_dir=root / "hub", offline=True))
