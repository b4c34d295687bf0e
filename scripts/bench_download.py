"""Download speed beside huggingface_hub's own, from a hub on loopback: interleaved pairs, each in a fresh process.

    uv run python scripts/bench_download.py --gb 4 --pairs 5
    uv run python scripts/bench_download.py --memory --gb 65

The hub runs in a process of its own and sends from the page cache with sendfile. Ours verifies the sha256 and brings
the file to the disk before it has its name; huggingface_hub does neither over HTTP, so its time is given twice: as it
returns, and once its file is on the disk as well.

`--memory` fetches one file of holes of that size into a file that stays holes (blocks of zeros are not written, so that
no disk is needed), through everything else as it is, and prints the peak of resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPO = "bench/gpt-oss-20b-GGUF"
NAME = "gpt-oss-20b-MXFP4.gguf"
MIB = 1024**2

PEAK = """
def peak():  # not getrusage's, which begins with what the parent had
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
"""
OURS = """
import json, os, sys, time
from pathlib import Path
from launcher.catalogue.types import FilePart, ModelFile
from launcher.store.hub import Outside, Pace, fetch
from launcher.store.part_file import DiskFile

repo, path, size, sha256, connections, holes = sys.argv[1:]
part = FilePart(path=path, size_bytes=int(size), sha256=sha256)
file = ModelFile(model="m", quant="Q", repo=repo, revision=None, parts=(part,), dense_bpw=None)

class Holes(DiskFile):
    zeros = bytes(1024 * 1024)
    def reserve(self, size_bytes):
        pass
    def write_at(self, offset, data):
        if bytes(data) != self.zeros[: len(data)]:
            return super().write_at(offset, data)
        os.truncate(self._path, max(self.size(), offset + len(data)))
        return len(data)

outside = Outside(open_part=Holes, free_bytes=lambda _: 2**50) if holes == "1" else Outside()
import httpx, huggingface_hub  # what both need is loaded before the clock starts
began = time.perf_counter()
fetch(file, pace=Pace(n_connections=int(connections)), outside=outside)
took = time.perf_counter() - began
cpu = time.process_time()
print(json.dumps({"s": took, "durable_s": took, "cpu_s": cpu,
                  "rss_kib": peak()}))
"""
THEIRS = """
import json, os, sys, time
import huggingface_hub
from huggingface_hub.utils import disable_progress_bars
disable_progress_bars()
began = time.perf_counter()
path = huggingface_hub.hf_hub_download(sys.argv[1], sys.argv[2])
took = time.perf_counter() - began
fd = os.open(path, os.O_RDONLY)
os.fsync(fd)
print(json.dumps({"s": took, "durable_s": time.perf_counter() - began, "cpu_s": time.process_time(),
                  "rss_kib": peak()}))
"""


def main() -> None:
    """Measure, print a line a run and a summary; `--json` for the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=4.0, help="size of the file, in 10^9 bytes")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=None, help="where to work; needs room for the file three times")
    parser.add_argument("--memory", action="store_true", help="measure memory with a file of holes instead")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    size = int(given.gb * 1e9)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        work = Path(name)
        make(work / "repo" / NAME, size, holes=given.memory)
        with hub(work / "repo") as (url, sha256):
            bench = Bench(work, url, [REPO, NAME, str(size), sha256, str(given.connections)])
            runs = [bench.ours(holes=True)] if given.memory else bench.pairs(given.pairs)
    if given.json:
        print(json.dumps(runs, indent=2))
    elif not given.memory:
        summarise(runs, size)


class Bench:
    """Runs one side after the other, each in a fresh process with an empty cache."""

    def __init__(self, work: Path, url: str, words: list[str]) -> None:
        self.work = work
        self.url = url
        self.words = words

    def pairs(self, count: int) -> list[dict[str, float | str]]:
        """Interleaved, the first side changing each time."""
        runs = []
        for no in range(count):
            sides = [self.ours, self.theirs]
            runs += [side() for side in (sides if no % 2 == 0 else reversed(sides))]
        return runs

    def ours(self, *, holes: bool = False) -> dict[str, float | str]:
        """One download by this launcher."""
        return self._run("ours", OURS, [*self.words, "1" if holes else "0"])

    def theirs(self) -> dict[str, float | str]:
        """One download by huggingface_hub."""
        return self._run("theirs", THEIRS, self.words[:2])

    def _run(self, side: str, code: str, words: list[str]) -> dict[str, float | str]:
        cache = self.work / "cache"
        env = {**os.environ, "HF_ENDPOINT": self.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
        if sys.platform != "win32":
            os.sync()
        done = subprocess.run(
            [sys.executable, "-c", PEAK + code, *words], env=env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{side} failed:\n{done.stderr}")
        shutil.rmtree(cache)
        found: dict[str, float | str] = {"side": side, **json.loads(done.stdout)}
        speed = float(self.words[2]) / float(found["s"]) / 1e6
        print(
            f"{side:7} {found['s']:7.2f} s {speed:7.0f} MB/s, on the disk after {found['durable_s']:.2f} s, "
            f"{found['cpu_s']:.2f} s of CPU, peak {float(found['rss_kib']) / 1024:.0f} MiB",
            file=sys.stderr,
            flush=True,
        )
        return found


def summarise(runs: list[dict[str, float | str]], size: int) -> None:
    """Medians, and the ratio pair by pair."""
    ours = [run for run in runs if run["side"] == "ours"]
    theirs = [run for run in runs if run["side"] == "theirs"]
    for key, what in (("s", "until it returns"), ("durable_s", "until it is on the disk")):
        mine, other = ([float(run[key]) for run in side] for side in (ours, theirs))
        ratios = sorted(b / a for a, b in zip(mine, other, strict=True))
        print(
            f"{what}: ours {size / statistics.median(mine) / 1e6:.0f} MB/s, "
            f"huggingface_hub {size / statistics.median(other) / 1e6:.0f} MB/s, "
            f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


def make(path: Path, size: int, *, holes: bool) -> None:
    """A file that begins as a GGUF does; random blocks, or nothing but holes."""
    path.parent.mkdir(parents=True)
    block = os.urandom(64 * MIB)
    with path.open("wb") as stream:
        stream.write(b"GGUF")
        while not holes and stream.tell() < size:
            stream.write(block[: size - stream.tell()])
        stream.truncate(size)


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, str]]:
    """A loopback hub in its own process: its address, and the sha256 of the file."""
    command = [sys.executable, "-m", "tests.fakes.hub", "--repo", f"{REPO}={folder}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent) as process:
        try:
            assert process.stdout is not None
            sha256 = process.stdout.readline().split()[-1]
            yield process.stdout.readline().strip().partition("=")[2], sha256
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
