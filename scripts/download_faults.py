"""200 downloads' worth of bad luck: random interruptions against a hub on loopback, seeded, and what they cost.

    uv run python scripts/download_faults.py --interruptions 200 --seed 1

A line for each download, then a table by kind. Exit code 1 where a file did not end complete, something unfinished had
its final name, or more than 5 % and 4 MB for each interruption was fetched twice.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.store.interruptions import KINDS, Outcome, interrupted_download

PER_DOWNLOAD = 8


def main() -> int:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interruptions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mb", type=float, default=40.0, help="size of the files, in 10^6 bytes")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    outcomes: list[Outcome] = []
    while (left := given.interruptions - sum(len(outcome.kinds) for outcome in outcomes)) > 0:
        kinds = rng.choices(KINDS, k=min(PER_DOWNLOAD, left))
        with tempfile.TemporaryDirectory() as folder:
            outcome = interrupted_download(Path(folder), kinds, rng.randrange(10**6), int(given.mb * 1e6))
        outcomes.append(outcome)
        verdict = "ok" if outcome.is_good else "BAD"
        print(
            f"{len(outcomes):3} {verdict:3} {outcome.seconds:5.1f} s {outcome.starts:2} starts, {outcome.anew} anew, "
            f"twice {outcome.twice_bytes / 1e6:5.2f} MB of {outcome.allowed_bytes / 1e6:5.1f} allowed: "
            f"{' '.join(outcome.kinds)}{''.join(f' ({text})' for text in outcome.errors + outcome.wrong)}",
            flush=True,
        )
    return summarise(outcomes)


def summarise(outcomes: list[Outcome]) -> int:
    """The table, and the exit code."""
    counts = Counter(kind for outcome in outcomes for kind in outcome.kinds)
    print("\n" + "".join(f"{kind:>10}" for kind in KINDS))
    print("".join(f"{counts[kind]:>10}" for kind in KINDS))
    total = sum(outcome.size_bytes for outcome in outcomes)
    twice = sum(outcome.twice_bytes for outcome in outcomes)
    worst = max(outcome.twice_bytes / outcome.allowed_bytes for outcome in outcomes)
    bad = sum(not outcome.is_good for outcome in outcomes)
    print(
        f"{sum(counts.values())} interruptions of {len(outcomes)} downloads ({total / 1e6:.0f} MB): "
        f"{len(outcomes) - bad} complete and verified, {bad} bad; "
        f"fetched twice: {twice / 1e6:.1f} MB ({twice / total:.1%}), at worst {worst:.0%} of what is allowed"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
