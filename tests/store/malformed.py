"""Malformed inputs by seed: what a stranger's file, hub, stick, cache or state folder may hold, and what becomes of it.

Each case builds one thing that is wrong in a folder of its own and asks the launcher for what a person would. It must
end within a deadline, with a LauncherError or with that thing left out, and write nowhere but where it may.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from launcher.catalogue.cache import CachedListing, write_listing
from launcher.catalogue.gguf import TensorInfo
from launcher.catalogue.load import load_catalogue
from launcher.catalogue.types import FilePart, ModelFile
from launcher.demo import demo_model_path
from launcher.errors import LauncherError
from launcher.planner.choose import plan
from launcher.planner.types import PlanRequest
from launcher.store.cache import RepoCache, link_pointer
from launcher.store.config import HubConfig
from launcher.store.download import fetch
from launcher.store.transfer_dir_export import ExportOptions, export_model
from launcher.store.transfer_dir_import import find_carried, import_model
from launcher.store.types import NullProgress
from tests.builders import X86_ISA, gpu_machine
from tests.planner.builders import RATES

DEADLINE_S = 20.0
"""Of one case. The slowest takes a second on an idle core."""
REPO = "ggml-org/gpt-oss-20b-GGUF"
FILE = "gpt-oss-20b-MXFP4.gguf"
COMMIT = "b97cbb20d1995efd41dce8c4dd1ddf86e8db375b"
EVIL = "evil-was-here"
"""In every name that leaves its folder: nothing so called may be found outside."""


class TooLongError(Exception):
    """A case did not end within its deadline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of a case."""

    family: str
    seed: int
    how: str
    """`refused`, `left out`, or the name of an error that must not be."""
    text: str
    seconds: float

    @property
    def is_fault(self) -> bool:
        """Whether the launcher did what it must not."""
        return self.how not in {"refused", "left out"}


class Family(Protocol):
    """One kind of malformed input."""

    def __call__(self, root: Path, rng: random.Random) -> None:
        """Build one below `root` and ask the launcher for what it is about."""


@cache
def demo() -> bytes:
    """A whole GGUF of 1.2 MB, and its header alone of 0.2 MB."""
    return demo_model_path().read_bytes()


def absurd(rng: random.Random) -> Any:
    """A JSON value that nobody expects."""
    return rng.choice(
        [
            *(None, True, False, 0, -1, 1, 2**31, 2**32, 2**63, 2**64, 10**30, -(10**30), 0.5, 1e308, -0.0),
            *("", " ", "\0", "a\0b", "\x1b[31m", "\u202e", "\ud800", "x" * 100_000, "../../" + EVIL, "/" + EVIL),
            *([], {}, [[]], [None] * 1000, {"": ""}, {"a": {"b": {"c": []}}}, "null", "NaN", "1e999"),
        ]
    )


def bad_name(rng: random.Random) -> str:
    """A file name of a repository that leaves it, or that no file can have."""
    return rng.choice(
        [
            *(f"../{EVIL}.gguf", f"../../../{EVIL}.gguf", f"/tmp/{EVIL}.gguf", f"a/../../{EVIL}.gguf"),
            *(f"..\\{EVIL}.gguf", f"C:\\{EVIL}.gguf", f"a\0{EVIL}.gguf", f"\x1b]0;{EVIL}\x07.gguf", ".gguf", "..gguf"),
            *("/.gguf", "//.gguf", "...", f"{'d/' * 300}x.gguf", f"{'n' * 5000}.gguf", "gpt-oss-20b-\ud800.gguf"),
            *("gpt-oss-20b-MXFP4-00001-of-00000.gguf", "gpt-oss-20b-MXFP4-99999-of-00001.gguf"),
            *("gpt-oss-20b-MXFP4-00001-of-99999.gguf", "gpt-oss-20b-MXFP4\n.gguf", "gpt-oss-20b-MXFP4.gguf/"),
            *(f"gpt-oss-20b-{'I' * 40}Q4_K_M{'_X' * 2000}.gguf", "~/.bashrc.gguf", "$(touch x).gguf", "-rf.gguf"),
        ]
    )


def mutated(value: Any, rng: random.Random) -> Any:
    """The same JSON document with one thing in it replaced, removed, doubled or nested."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        found = dict(value)
        how = rng.random()
        if how < 0.1:
            del found[key]
        elif how < 0.2:
            found[f"{key} "] = found[key]
        else:
            found[key] = mutated(found[key], rng)
        return found
    if isinstance(value, list) and value and rng.random() < 0.9:
        index = rng.randrange(len(value))
        return [*value[:index], mutated(value[index], rng), *value[index + rng.choice([0, 1, 1]) :]]
    return absurd(rng)


def spoilt(data: bytes, rng: random.Random) -> bytes:
    """The same bytes with some of them changed, cut off, put in or swapped."""
    at = rng.randrange(max(1, len(data)))
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 20)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    inserted = data[:at] + rng.randbytes(rng.randrange(1, 200)) + data[at:]
    ways = [data[:at], inserted, b"", b"\0" * len(data), b"[" * 100_000, data.replace(b'"', b"'"), bytes(changed)]
    return rng.choice(ways)


def ask(root: Path, *, model: str = "auto", hub: str | None = None, **given: Any) -> None:
    """Plan, and have the chosen file fetched: as `gpt-oss chat` does before it loads anything."""
    env = {
        "HOME": str(root / "home"),
        "HF_HUB_CACHE": str(root / "hub"),
        "HF_ENDPOINT": hub or "https://hub.test",
    }
    list_repo = open_remote = None
    config = HubConfig(endpoint=env["HF_ENDPOINT"], cache_dir=root / "hub", offline=hub is None)
    if hub is not None:
        from launcher.store.listing import list_repo as list_on_hub
        from launcher.store.remote import open_remote as open_on_hub

        def list_repo(repo: str) -> Any:
            return list_on_hub(repo, config=config, timeout_s=3)

        def open_remote(repo: str, path: str, *, revision: str | None) -> Any:
            return open_on_hub(repo, path, revision=revision, config=config, sleep=lambda _: None)

    machine = gpu_machine()
    catalogue = load_catalogue(
        request_model=model,
        offline=hub is None,
        refresh=False,
        isa=X86_ISA,
        cache_dir=root / "cache",
        environ=env,
        list_repo=list_repo,
        open_remote=open_remote,
        **given,
    )
    json.dumps([str(note) for note in catalogue.notes])
    found = plan(machine, catalogue, PlanRequest(model=model), rates=RATES)
    fetch(found.file, cache_dir=root / "hub", config=config)


# --- files ---


def header(root: Path, rng: random.Random) -> None:
    """A GGUF whose header was changed: counts, lengths, types, shapes, offsets, names."""
    path = root / "model.gguf"
    whole = demo()
    head = bytearray(whole[: 20_000 if rng.random() < 0.5 else 230_000])
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(4 if rng.random() < 0.2 else 24, len(head) - 8)
        number = rng.choice([0, 1, 2**16, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1])
        how = rng.randrange(16)
        if how < 5:
            head[at : at + 8] = number.to_bytes(8, "little")
        elif how < 10:
            head[at : at + 4] = (number & 0xFFFFFFFF).to_bytes(4, "little")
        elif how < 15:
            head[at] = rng.randrange(256)
        else:
            start = 8 + 8 * rng.randrange(2)
            head[start : start + 8] = number.to_bytes(8, "little")
    data = bytes(head) + whole[len(head) :]
    path.write_bytes(data if rng.random() < 0.7 else data[: rng.randrange(len(data))])
    ask(root, model=str(path))


def hyperparameters(root: Path, rng: random.Random) -> None:
    """A well-formed header that says absurd things of its model."""
    from tests.catalogue.builders import tiny_metadata, tiny_spec, write_gguf

    metadata = tiny_metadata(tiny_spec())
    numbers = [key for key, value in metadata.items() if isinstance(value, int)]
    for key in rng.sample(numbers, rng.randrange(1, 4)):
        metadata[key] = rng.choice([0, 1, 2, 3, 7, 512, 9_999, 10_000, 2**31 - 1, 2**32 - 1])
    for key in rng.sample(list(metadata), rng.randrange(2)):
        metadata[key] = rng.choice(["text", "\0", 1.5, True, [1, 2, 3], ["a"], [2**31 - 1] * 5])
    path = root / "model.gguf"
    names = ["token_embd.weight", "blk.0.attn_q.weight", "blk.999999.ffn_up_exps.weight", "blk.0.ffn_up_exps.weight"]
    tensors, offset = [], 0
    for name in rng.sample(names, rng.randrange(1, 4)):
        shape = (64, rng.choice([1, 64]))
        n_bytes = 4 * shape[0] * shape[1]
        tensors.append(TensorInfo(name, shape, "f32", offset, n_bytes))
        offset += n_bytes
    try:
        write_gguf(path, metadata, tensors)
    except (struct.error, OverflowError):  # a number that this key's type has no room for
        write_gguf(path, tiny_metadata(tiny_spec()), tensors)
    ask(root, model=str(path))


def parts(root: Path, rng: random.Random) -> None:
    """A split model with parts missing, doubled, swapped, renamed, or that are no files."""
    count = rng.choice([1, 2, 3, 99_999, 0])
    for number in range(1, min(count, 3) + 1):
        path = root / f"m-{number:05d}-of-{count:05d}.gguf"
        how = rng.randrange(8)
        if how == 0:
            path.mkdir()
        elif how == 1:
            path.symlink_to(path.name)
        elif how == 2:
            path.symlink_to("nowhere")
        elif how == 3:
            os.mkfifo(path)
        elif how == 4:
            path.write_bytes(b"")
        elif how < 7:
            path.write_bytes(demo())
    ask(root, model=str(root / f"m-{rng.choice([0, 1, 2, 5]):05d}-of-{count:05d}.gguf"))


def names(root: Path, rng: random.Random) -> None:
    """A value of `--model` that nobody would type."""
    text = rng.choice([bad_name(rng), str(absurd(rng)), f"{bad_name(rng)}/{bad_name(rng)}", f"a/b:{bad_name(rng)}"])
    ask(root, model=text)


# --- a hub ---


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


# --- this disk ---


def put_model(root: Path) -> Path:
    """A whole model in the hub's cache, and its listing; the pointer."""
    whole = demo()
    cache = RepoCache(cache_dir=root / "hub", repo=REPO)
    sha256 = hashlib.sha256(whole).hexdigest()
    blob = cache.blob(sha256)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(whole)
    pointer = cache.pointer(COMMIT, FILE)
    link_pointer(blob, pointer)
    cache.ref("main").parent.mkdir()
    cache.ref("main").write_text(COMMIT)
    write_listing(root / "cache", listing_of(sha256))
    return pointer


def listing_of(sha256: str | None) -> CachedListing:
    """What the launcher keeps of a listing of the hub."""
    files = (FilePart(path=FILE, size_bytes=len(demo()), sha256=sha256),)
    return CachedListing(
        schema=1,
        endpoint="https://hub.test",
        repo=REPO,
        commit=COMMIT,
        fetched_at="2026-11-25T00:00:00+00:00",
        files=files,
    )


def obstacle(path: Path, rng: random.Random, outside: Path, *, hangs: bool = True) -> None:
    """Something else in place of a file or a folder; with `hangs` a pipe or an endless device too."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    how = rng.randrange(9 if hangs else 7)
    if how == 0:
        path.symlink_to(path.name)
    elif how == 1:
        path.symlink_to(path.parent)
    elif how == 2:
        path.symlink_to(outside)
    elif how == 3:
        path.mkdir()
    elif how == 4:
        path.write_bytes(rng.randbytes(100))
    elif how == 5:
        path.write_bytes(b"")
    elif how == 6:
        second = path.with_name(f"second-{rng.random()}")
        path.symlink_to(second)
        second.symlink_to(path)
    elif how == 7:
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)


def cached(root: Path, rng: random.Random) -> None:
    """The hub's cache with loops, pipes, devices, folders and links that point elsewhere."""
    from launcher.store.pruning import prunable

    pointer = put_model(root)
    repo = RepoCache(cache_dir=root / "hub", repo=REPO)
    outside = root / "home"
    blob = next((repo.folder / "blobs").iterdir())
    places = [pointer, blob, repo.folder, repo.ref("main"), repo.folder / "refs", pointer.parent, pointer.parent.parent]
    places += [repo.folder / "blobs", root / "hub" / ".locks", repo.lock("0" * 64), root / "hub"]
    obstacle(rng.choice(places), rng, outside)
    with suppress(OSError):
        obstacle(pointer.parent / rng.choice(["a", "b.gguf", "\udcff.gguf", "c\n.gguf", "..."]), rng, outside)
    for doomed in prunable(root / "hub", [REPO]):
        for path in getattr(doomed, "paths", ()):
            assert Path(path).is_relative_to(root / "hub"), path
    ask(root, model=rng.choice(["20b", f"{REPO}:MXFP4", f"{REPO}:MXFP4", str(pointer)]))


def folders(root: Path, rng: random.Random) -> None:
    """A folder of models, and other applications' folders and settings, with anything in them."""
    home = root / "home"
    own = root / "models"
    own.mkdir()
    for _ in range(rng.randrange(1, 5)):
        name = rng.choice(
            ["gpt-oss-20b-MXFP4.gguf", "a/b.gguf", "\udcff\udcfe.gguf", "x\n.gguf", "d/e/f/g/h/i/j/k.gguf"]
        )
        with suppress(OSError):
            obstacle(own / name, rng, home)
    (own / "gpt-oss-20b-Q8_0.gguf").write_bytes(spoilt(demo(), rng))
    told = [
        *(".lmstudio/settings.json", ".lmstudio-home-pointer", ".cache/lm-studio/settings.json"),
        *(".config/Jan/data/settings.json", ".local/share/Jan/data/llamacpp/models/x/model.yml"),
        *(".config/nomic.ai/GPT4All.ini", ".local/share/nomic.ai/GPT4All/gpt-oss-20b.gguf"),
        *(".ollama/models/manifests/registry.ollama.ai/library/gpt-oss/20b", ".ollama/models/blobs/sha256-aa"),
        ".cache/llama.cpp/gpt-oss-20b.gguf",
    ]
    texts = [
        *('{"downloadsFolder": %s}', '{"data_folder": %s}', "model_path: %s", "modelPath=%s"),
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": %s}]}',
    ]
    for path in rng.sample(told, rng.randrange(1, 5)):
        target = home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if rng.random() < 0.4:
            obstacle(target, rng, own)
        else:
            text = rng.choice(texts) % json.dumps(rng.choice([absurd(rng), str(own), "/", "/dev", "/proc/self"]))
            data = text.encode("utf-8", "surrogatepass")
            target.write_bytes(data if rng.random() < 0.7 else spoilt(data, rng))
    write_listing(root / "cache", listing_of(None))
    ask(root, model=rng.choice(["auto", "20b", f"{REPO}:MXFP4"]), model_dirs=(own, root / "nowhere"))


def kept(root: Path, rng: random.Random) -> None:
    """Files that the launcher keeps, damaged: listings, headers, hashes, what was found in folders."""
    pointer = put_model(root)
    own = root / "models"
    own.mkdir()
    (own / "gpt-oss-20b-Q8_0.gguf").write_bytes(demo())
    with suppress(LauncherError):
        ask(root, model=str(pointer))
    with suppress(LauncherError):
        ask(root, model="20b", model_dirs=(own,))
    files = sorted(path for path in (root / "cache").rglob("*") if path.is_file())
    for path in rng.sample(files, min(len(files), rng.randrange(1, 4))):
        data = path.read_bytes()
        how = rng.random()
        if how < 0.5:
            path.write_text(json.dumps(mutated(json.loads(data), rng)))
        elif how < 0.8:
            path.write_bytes(spoilt(data, rng))
        else:
            obstacle(path, rng, root / "home")
    ask(root, model=rng.choice(["20b", f"{REPO}:MXFP4"]), model_dirs=(own,))


def servers(root: Path, rng: random.Random) -> None:
    """Records of running servers, and of what was measured, that are damaged."""
    from launcher.hardware.calibration import kept_runs
    from launcher.server.registry import running, servers_dir

    record = {
        "pid": os.getpid(),
        "pid_started_s": 1.0,
        "host": "127.0.0.1",
        "port": 8080,
        "model": "gpt-oss-20b",
        "file": f"{REPO}:MXFP4",
        "n_ctx": 4096,
        "n_parallel": 1,
        "started_at": "2026-11-25T00:00:00+00:00",
        "log_path": "/tmp/x.log",
    }
    folder = servers_dir(root / "state")
    folder.mkdir(parents=True)
    for name in ("8080.json", "x.json", "99999999999.json"):
        if rng.random() < 0.3:
            obstacle(folder / name, rng, root / "home", hangs=False)
        else:
            data = json.dumps(mutated(record, rng)).encode()
            (folder / name).write_bytes(data if rng.random() < 0.6 else spoilt(data, rng))
    running(root / "state")
    for name in ("calibration.json", "ram.json"):
        (root / "state" / name).write_bytes(
            spoilt(json.dumps(mutated({"schema": 1, "rows": [record]}, rng)).encode(), rng)
        )
    kept_runs(gpu_machine(), state_dir=root / "state")


def journals(root: Path, rng: random.Random) -> None:
    """What an interrupted download left, damaged, and the download gone on with."""
    from launcher.store.journal import journal_path, open_journal
    from launcher.store.run import Outside

    whole = demo()
    sha256 = hashlib.sha256(whole).hexdigest()
    repo = RepoCache(cache_dir=root / "hub", repo=REPO)
    part = repo.part(sha256)
    part.parent.mkdir(parents=True)
    part.write_bytes(spoilt(whole, rng))
    journal, _ = open_journal(journal_path(part), len(whole))
    journal.note(0, rng.choice([0, 5, len(whole), 2**31 - 1]), rng.choice([None, 0, 2**32 - 1]))
    journal.close()
    path = journal_path(part)
    how = rng.randrange(3)
    if how == 0:
        path.write_bytes(spoilt(path.read_bytes(), rng))
    elif how == 1:
        obstacle(path, rng, root / "home")
    else:
        obstacle(part, rng, root / "home")
    headers = {"X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(whole)), "X-Linked-ETag": f'"{sha256}"'}
    with hostile_hub(b"{}", {**headers, "ETag": f'"{sha256}"'}, whole) as url:
        file = ModelFile(
            model="m", quant="q", repo=REPO, revision=COMMIT, dense_bpw=None,
            parts=(FilePart(path=FILE, size_bytes=len(whole), sha256=sha256),),
        )  # fmt: skip
        local = fetch(
            file, config=HubConfig(endpoint=url, cache_dir=root / "hub"), outside=Outside(sleep=lambda _: None)
        )
        assert local.first.read_bytes() == whole, "a damaged beginning was taken for the file"


def carried(root: Path, rng: random.Random) -> None:
    """A stick with a damaged manifest, damaged pieces, or other things in their place."""
    pointer = put_model(root)
    file = ModelFile(
        model="gpt-oss-20b", quant="MXFP4", repo=REPO, revision=COMMIT, dense_bpw=None, local_path=pointer,
        parts=(FilePart(path=FILE, size_bytes=len(demo()), sha256=None),),
    )  # fmt: skip
    options = ExportOptions(piece_bytes=1024**2)
    folder = export_model(file, root / "stick", cache_dir=root / "hub", options=options, progress=NullProgress()).folder
    target = rng.choice([*folder.iterdir(), folder / "manifest.json", folder / "manifest.json"])
    data = target.read_bytes()
    how = rng.random()
    if target.name == "manifest.json" and how < 0.7:
        document = json.loads(data)
        if rng.random() < 0.4:
            where = rng.choice([document["parts"][0], document["parts"][0]["pieces"][0], document])
            where[rng.choice(["path", "file", "repo", "commit"])] = bad_name(rng)
            where = {key: value for key, value in where.items() if key in where}
        else:
            document = mutated(document, rng)
        target.write_text(json.dumps(document))
    elif how < 0.85:
        target.write_bytes(spoilt(data, rng))
    else:
        obstacle(target, rng, root / "home")
    for found in find_carried(root / "stick"):
        import_model(found, cache_dir=root / "there", known=[file])


FAMILIES: dict[str, Family] = {
    "header": header,
    "hyperparameters": hyperparameters,
    "parts": parts,
    "names": names,
    "listings": listings,
    "answers": answers,
    "fetched names": fetched_names,
    "cached": cached,
    "folders": folders,
    "kept": kept,
    "servers": servers,
    "journals": journals,
    "carried": carried,
}


def _alarm(_number: int, _frame: FrameType | None) -> None:
    raise TooLongError("it did not end")


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """End what takes longer by TooLongError."""
    before = signal.signal(signal.SIGALRM, _alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def strays(root: Path) -> list[Path]:
    """What was written where nothing may be: in the home folder of the case, beside it, and above."""
    found: list[Path] = []
    for folder in {root, *root.parents, Path("/tmp"), Path.cwd()}:
        with suppress(OSError):
            found += [path for path in folder.iterdir() if EVIL in path.name]
    return found


def run_case(family: str, seed: int, root: Path, *, deadline_s: float = DEADLINE_S) -> Outcome:
    """Run one case in an empty folder that is `root`."""
    rng = random.Random(f"{family} {seed}")
    (root / "home").mkdir(parents=True)
    start = time.monotonic()
    how, text = "left out", ""
    try:
        with deadline(deadline_s):
            FAMILIES[family](root, rng)
    except LauncherError as error:
        how, text = "refused", error.message
        if not error.message.strip() or len(error.message) > 120_000:
            how = "a message of none or many words"
    except Exception as error:  # noqa: BLE001  # what it is about
        import traceback

        place = traceback.extract_tb(error.__traceback__)[-1]
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/launcher/" in frame.filename]
        place = ours[-1] if ours else place
        how, text = type(error).__name__, f"{error!s:.150} at {Path(place.filename).name}:{place.lineno}"
    seconds = time.monotonic() - start
    if written := strays(root):
        how, text = "written outside", str(written[0])
    return Outcome(family=family, seed=seed, how=how, text=text, seconds=seconds)


def peak_mib() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
