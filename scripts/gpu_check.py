r"""Measure a machine with an NVIDIA GPU: what the engine takes of its memory and how fast it is, beside the planner.

    python scripts/gpu_check.py --stage all --out /tmp/gpu
    python scripts/gpu_check.py --stage all --out /tmp/rehearsal --stand-in
    python scripts/gpu_check.py --pack pack --python 3.12
    python3.12 scripts/gpu_check.py --stage all --out /tmp/gpu --source pack/llama_cpp_python-0.3.36.tar.gz \
        --wheels pack/wheels

Stages, in their order: build (the CUDA engine, by `gpt-oss engine build`), files (a 20b and a 120b of full size and
random blocks, 75 GB), memory (many placements: planned, stated by llama.cpp, and by the driver), speed (over depth),
offload (experts on the host), serve (1 to 64 streams), report. Every row is on the disk as soon as it was measured:
in the folder `--out`, results.jsonl. What is there is not measured again, so a stage that was stopped goes on. Each
stage ends by itself within ten minutes, and all of them within 35; what had no room is left for another run.

The report is a folder named after the GPU with record.json and tables.md; copied to tests/data/gpu/, it is what
tests/planner/test_gpu_data.py holds the planner to. `--stand-in` rehearses all of it without a GPU, on loopback
servers and small models, in two to five minutes; the tests take no record of a rehearsal.

Where nothing can be downloaded, and the launcher is not installed: `--pack FOLDER`, on a machine that can, writes a
source archive without what no build reads (10 MB), or with `--engine NAME` an engine of the store, which is unpacked
by `--prebuilt` there and takes that machine's cuBLAS; and with `--python X.Y` the packages for another Python (37 MB;
with `--pure`, for one that has numpy and the like, 6 MB). An engine that was compiled where no driver is has another
pool of scratch memory (GGML_CUDA_NO_VMM): what is to count for others is compiled on the GPU's machine. The engine and
the models lie in `--work`. Linux only.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Make the launcher and the stages importable, here and in children, whether they are installed or not."""
    paths = [str(ROOT / "scripts"), str(ROOT / "src")]
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--wheels", type=Path)
    wheels = early.parse_known_args()[0].wheels
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as packages:
        if wheels is not None:
            paths.append(packages)
            for wheel in sorted(wheels.glob("*.whl")):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(packages)
        sys.path[:0] = [path for path in paths if path not in sys.path]
        os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
        from gpu_stages.command import run

        return run(sys.argv[1:], description=__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
