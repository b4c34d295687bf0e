"""Downloads that are interrupted at random, and what they cost: for the tests, and for scripts/download_faults.py.

A process of its own downloads one file while this one breaks things: cuts all connections, kills the process, damages
bytes on the wire, slows the hub down, lets it refuse, renames the file, or moves `main` to another commit. A process
that ended without the file is started again, as a person would.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from launcher.store.local import find_cached
from tests.fakes.hub import FakeFile, Hub, loopback_hub
from tests.store.build import PATH, REPO, gguf, model_file

KINDS = ("cut", "kill", "corrupt", "slow", "429", "500", "renamed", "changed")
ALLOWED_SHARE = 0.05
ALLOWED_BYTES = 4_000_000
BYTES_PER_S = 12e6
"""Of each connection, so that there is a moment to interrupt."""
_STARTS = 40
_DEADLINE_S = 120.0

CHILD = """
import sys, time
from launcher.catalogue.types import FilePart, ModelFile
from launcher.errors import LauncherError
from launcher.store.hub import NullProgress, Outside, fetch

repo, revision, path, size, sha256 = sys.argv[1:]
part = FilePart(path=path, size_bytes=int(size), sha256=sha256)
file = ModelFile(model="m", quant="Q", repo=repo, revision=revision, parts=(part,), dense_bpw=None)
class Told(NullProgress):
    def phase(self, text):
        print(text, file=sys.stderr, flush=True)

outside = Outside(sleep=lambda seconds: time.sleep(seconds / 50))
try:
    print(fetch(file, progress=Told(), outside=outside).first, flush=True)
except LauncherError as error:
    print(error.message, file=sys.stderr)
    raise SystemExit(error.code)
"""


@dataclass
class Outcome:
    """What one download came to."""

    size_bytes: int
    kinds: list[str] = field(default_factory=list)
    served_bytes: int = 0
    starts: int = 0
    errors: list[str] = field(default_factory=list)
    anew: int = 0
    """How often all of the file was thrown away, having arrived damaged."""
    wrong: list[str] = field(default_factory=list)
    """What must not be: a file under its final name that is not the file, or no file at the end."""
    seconds: float = 0.0

    @property
    def twice_bytes(self) -> int:
        """Fetched more than once, files apart that arrived damaged: nobody can tell where."""
        return max(0, self.served_bytes - self.size_bytes * (1 + self.anew))

    @property
    def allowed_bytes(self) -> float:
        return ALLOWED_SHARE * self.size_bytes + ALLOWED_BYTES * len(self.kinds)

    @property
    def is_good(self) -> bool:
        return not self.wrong and self.twice_bytes <= self.allowed_bytes


def interrupted_download(folder: Path, kinds: list[str], seed: int, size_bytes: int) -> Outcome:
    """Download a file of `size_bytes`, with interruptions of these kinds at random places on the way."""
    content = gguf(size_bytes, seed)
    outcome = Outcome(size_bytes=size_bytes)
    began = time.monotonic()
    with loopback_hub({REPO: {PATH: content}}) as hub:
        hub.faults.bytes_per_s = BYTES_PER_S
        drill = _Drill(hub, folder, hashlib.sha256(content).hexdigest(), outcome, random.Random(seed))
        drill.run(kinds)
        outcome.served_bytes = hub.requests.body_bytes("cdn")
    outcome.seconds = time.monotonic() - began
    return outcome


class _Drill:
    def __init__(self, hub: Hub, folder: Path, sha256: str, outcome: Outcome, rng: random.Random) -> None:
        self.hub = hub
        self.folder = folder
        self.sha256 = sha256
        self.outcome = outcome
        self.rng = rng
        self.file = model_file(hub)
        self.fake = hub.file(REPO, PATH)
        self.deadline = time.monotonic() + _DEADLINE_S

    def run(self, kinds: list[str]) -> None:
        step = self.outcome.size_bytes / (len(kinds) + 1)
        due = 0.0
        waiting = list(kinds)
        while self.outcome.starts < _STARTS and time.monotonic() < self.deadline:
            self.outcome.starts += 1
            with self._child() as child:
                while child.poll() is None and time.monotonic() < self.deadline:
                    if waiting and self.hub.requests.body_bytes("cdn") >= due:
                        kind = waiting.pop(0)
                        self._interrupt(kind, child)
                        self.outcome.kinds.append(kind)
                        self._look()
                        due = self.hub.requests.body_bytes("cdn") + step * self.rng.uniform(0.3, 1.0)
                    time.sleep(0.002)
                out, err = child.communicate()
            self.outcome.anew += err.count("all of it is fetched again") + err.count("damaged and was deleted")
            if child.returncode == 0:
                self._check_end(Path(out.strip()))
                return
            if child.returncode > 0:
                self.outcome.errors.append(err.strip().splitlines()[-1])
            self._look()
        self.outcome.wrong.append(f"no file after {self.outcome.starts} starts: {self.outcome.errors[-1:]}")

    def _interrupt(self, kind: str, child: subprocess.Popen[str]) -> None:
        actions: dict[str, Callable[[], object]] = {
            "cut": self.hub.cut_all,
            "kill": child.kill,
            "corrupt": lambda: setattr(self.fake.faults, "wrong_chunks", 1),
            "slow": self._slow,
            "429": lambda: self._refuse(429),
            "500": lambda: self._refuse(500),
            "renamed": lambda: self.hub.repos[REPO].rename(PATH, f"gpt-oss-20b-{self.rng.random()}.gguf"),
            "changed": lambda: self.hub.repos[REPO].commit({PATH: FakeFile(gguf(1000, self.rng.randrange(10**6)))}),
        }
        actions[kind]()

    def _slow(self) -> None:
        self.hub.faults.bytes_per_s = 100e3
        time.sleep(0.1)
        self.hub.faults.bytes_per_s = BYTES_PER_S

    def _refuse(self, status: int) -> None:
        faults = self.fake.faults
        faults.status, faults.times, faults.retry_after_s = status, self.rng.randint(1, 3), self.rng.choice([None, 1])
        self.hub.cut_all()

    def _look(self) -> None:
        """Whatever has its final name is the file."""
        for path in self.folder.glob("models--*/snapshots/*/*"):
            if hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256:
                self.outcome.wrong.append(f"{path} is not the file")
        for path in self.folder.glob("models--*/blobs/*"):
            if "." not in path.name and hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256:
                self.outcome.wrong.append(f"{path} is not the file")

    def _check_end(self, path: Path) -> None:
        self._look()
        if find_cached(self.file, self.folder) != path:
            self.outcome.wrong.append("it is not found")
        left = [other.name for other in self.folder.glob("models--*/blobs/*") if "." in other.name]
        if left:
            self.outcome.wrong.append(f"left behind: {left}")

    @contextmanager
    def _child(self) -> Iterator[subprocess.Popen[str]]:
        (part,) = self.file.parts
        words = [str(self.file.repo), str(self.file.revision), part.path, str(part.size_bytes), str(part.sha256)]
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder)}
        env |= {"HF_ENDPOINT": self.hub.url, "HF_HUB_CACHE": str(self.folder)}
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, *words],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            try:
                yield child
            finally:
                with suppress(ProcessLookupError):
                    child.kill()
