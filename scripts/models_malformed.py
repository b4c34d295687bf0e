"""Give the launcher malformed models, hubs, caches, sticks and state files, and count what becomes of them.

    uv run python scripts/models_malformed.py                      # 500, in turn of all families
    uv run python scripts/models_malformed.py -n 100 --seed 7000 --family listings
    uv run python scripts/models_malformed.py --family kept --seed 31 -n 1 --keep DIR

Each must end within its deadline with an error of the launcher's or with the thing left out; nothing may be written
outside its folders, and memory stays bounded. Exits with 1 where one does not.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.store.malformed import FAMILIES, Outcome, peak_mib, run_case  # tests are no package of the project's

MOST_MIB = 600
"""Of this process: 150 are the libraries, and a hub's listing of 20,000 names takes 100."""

ADDRESS_SPACE = 3 * 1024**3


def main() -> None:
    """Run them and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=500, help="so many")
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    parser.add_argument("--family", choices=FAMILIES, action="append", help="these alone; may be repeated")
    parser.add_argument("--keep", type=Path, help="leave the folders of faults here")
    given = parser.parse_args()
    families = given.family or list(FAMILIES)
    done: list[Outcome] = []
    if sys.platform == "win32":
        sys.exit("the limits that this keeps are not there on Windows")
    import resource

    # What would eat all memory fails by itself, and is told.
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    for number in range(given.n):
        family, seed = families[number % len(families)], given.seed + number // len(families)
        with tempfile.TemporaryDirectory(prefix="gpt-oss-malformed-") as folder:
            root = Path(folder) / "deep" / "inside" / "root"
            outcome = run_case(family, seed, root)
            if outcome.is_fault and given.keep is not None:
                shutil.copytree(root, given.keep / f"{family}-{seed}", symlinks=True, ignore_dangling_symlinks=True)
        done.append(outcome)
        if outcome.is_fault:
            print(f"FAULT {family} --seed {seed}: {outcome.how}: {outcome.text:.300}", flush=True)
    for family in families:
        found = [outcome for outcome in done if outcome.family == family]
        counts = Counter("fault" if outcome.is_fault else outcome.how for outcome in found)
        slowest = max((outcome.seconds for outcome in found), default=0.0)
        row = f"{family:16} {len(found):4}  refused {counts['refused']:4}  left out {counts['left out']:4}"
        print(f"{row}  faults {counts['fault']:3}  slowest {slowest:.1f} s")
    faults = [outcome for outcome in done if outcome.is_fault]
    print(f"{len(done)} in all, {len(faults)} faults; memory at most {peak_mib()} MiB of {MOST_MIB}")
    sys.exit(bool(faults) or peak_mib() > MOST_MIB)


if __name__ == "__main__":
    main()
