"""What the store's tests are made of: small GGUF-like files, the ModelFile for them, sinks that remember."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from launcher.catalogue.types import FilePart, ModelFile
from launcher.store.config import HubConfig
from launcher.store.download import Outside
from tests.fakes.hub import Hub

REPO = "ggml-org/gpt-oss-20b-GGUF"
PATH = "gpt-oss-20b-MXFP4.gguf"
SPLIT = tuple(f"Q8_0/gpt-oss-20b-Q8_0-{no:05d}-of-00003.gguf" for no in (1, 2, 3))


def gguf(n_bytes: int, seed: int = 0) -> bytes:
    """Bytes that begin as a GGUF does; no two places are alike, so that a shifted resume can't pass."""
    return b"GGUF" + random.Random(seed).randbytes(n_bytes - 4)


def model_file(hub: Hub, *paths: str, repo: str = REPO, revision: str | None = "head") -> ModelFile:
    """The ModelFile that a listing of the hub gives for `paths`."""
    files = [(path, hub.repos[repo].files[path]) for path in paths or (PATH,)]
    return ModelFile(
        model="gpt-oss-20b",
        quant="MXFP4",
        repo=repo,
        revision=hub.repos[repo].head if revision == "head" else revision,
        parts=tuple(
            FilePart(path=path, size_bytes=file.size_bytes, sha256=file.sha256 if file.is_lfs else None)
            for path, file in files
        ),
        dense_bpw=8.5,
    )


def config(hub: Hub, cache_dir: Path, *, token: str | None = None, offline: bool = False) -> HubConfig:
    return HubConfig(endpoint=hub.url, token=token, cache_dir=cache_dir, offline=offline)


def parts_in(cache_dir: Path) -> list[Path]:
    """Unfinished transfers."""
    return sorted(cache_dir.rglob("*.gpt-oss.part"))


def blobs_in(cache_dir: Path) -> list[Path]:
    """Finished contents."""
    return sorted(path for path in cache_dir.glob("models--*/blobs/*") if path.suffix == "")


@dataclass
class Remembered:
    """A ProgressSink that remembers, and can be told to act at a byte count."""

    at_bytes: int | None = None
    then: Callable[[], None] = lambda: None
    started: list[tuple[int, int, str]] = field(default_factory=list)
    done_bytes: int = 0
    phases: list[str] = field(default_factory=list)
    finished: int = 0

    def start(self, total_bytes: int, already_bytes: int, label: str) -> None:
        self.started.append((total_bytes, already_bytes, label))
        self.done_bytes = already_bytes

    def advance(self, n_bytes: int) -> None:
        self.done_bytes += n_bytes
        if self.at_bytes is not None and self.done_bytes >= self.at_bytes:
            self.at_bytes = None
            self.then()

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def finish(self) -> None:
        self.finished += 1


@dataclass
class Naps:
    """A sleep that takes no time and remembers what was asked of it."""

    asked_s: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.asked_s.append(seconds)

    @property
    def outside(self) -> Outside:
        return Outside(sleep=self)


FETCH_IN_CHILD = """
import sys
from pathlib import Path
from launcher.catalogue.types import FilePart, ModelFile
from launcher.store.hub import fetch

repo, revision, path, size, sha256 = sys.argv[1:]
part = FilePart(path=path, size_bytes=int(size), sha256=sha256)
file = ModelFile(model="m", quant="Q", repo=repo, revision=revision, parts=(part,), dense_bpw=None)
print(fetch(file).first, flush=True)
"""


@contextmanager
def child_fetch(file: ModelFile, env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Another process that fetches `file`, by the environment alone, as the command does. Killed on the way out."""
    (part,) = file.parts
    args = [str(file.repo), str(file.revision), part.path, str(part.size_bytes), str(part.sha256)]
    with subprocess.Popen(
        [sys.executable, "-c", FETCH_IN_CHILD, *args],
        env={"PATH": "/usr/bin:/bin", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def wait_until(what: Callable[[], bool], within_s: float = 20.0) -> None:
    """Poll every 5 ms; fails with a plain assertion after `within_s`."""
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.005)
