"""Measure a machine with an NVIDIA GPU: what the engine takes of its memory and how fast it is, beside the planner.

    python scripts/gpu_check.py --pack /tmp/pack
    python scripts/gpu_check.py --stage all --out /tmp/gpu --source /tmp/pack/llama_cpp_python-0.3.36.tar.gz
    python scripts/gpu_check.py --stage all --out /tmp/rehearsal --stand-in

Stages, in their order: build (the CUDA engine, by `gpt-oss engine build`), files (a 20b and a 120b of full size and
random blocks, 75 GB), memory (many placements: planned, stated by llama.cpp, and by the driver), speed (over depth),
offload (experts on the host), serve (1 to 64 streams), report. Every row is on the disk as soon as it was measured:
in the folder `--out`, results.jsonl. What is there is not measured again, so a stage that was stopped goes on. A stage
ends by itself within its time; all of them together take half an hour on one H100 with 16 cores.

The report is a folder named after the GPU with record.json and tables.md; copied to tests/data/gpu/, it is what
tests/planner/test_gpu_data.py holds the planner to. `--stand-in` rehearses all of it in a minute without a GPU, on
loopback servers and small models; the tests take no record of a rehearsal.

Where nothing can be downloaded: `--pack FOLDER`, on a machine that can, writes a source archive without what no build
reads. The engine and the models lie in `--work`; Linux only.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Make the launcher and the stages importable, here and in children, whether they are installed or not."""
    paths = [str(ROOT / "scripts"), str(ROOT / "src")]
    sys.path[:0] = [path for path in paths if path not in sys.path]
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    from gpu_stages.command import run

    return run(sys.argv[1:], description=__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
