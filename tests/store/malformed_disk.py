"""Malformed things on this disk: caches, folders, kept files, records, journals, and what is carried on a stick."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from launcher.catalogue.cache import CachedListing, write_listing
from launcher.catalogue.types import FilePart, ModelFile
from launcher.errors import LauncherError
from launcher.store.cache import RepoCache, link_pointer
from launcher.store.carry_export import ExportOptions, export_model
from launcher.store.carry_find import find_carried
from launcher.store.carry_import import import_model
from launcher.store.config import HubConfig
from launcher.store.download import fetch
from launcher.store.types import NullProgress
from tests.builders import gpu_machine
from tests.store.malformed_hub import hostile_hub
from tests.store.malformed_input import COMMIT, FILE, REPO, absurd, ask, bad_name, demo, mutated, spoilt


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
        _pipe(path)


def _pipe(path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("named pipes have no path on Windows")
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
        for path in (*doomed.pointers, *doomed.blobs):
            assert path.is_relative_to(root / "hub"), path
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
