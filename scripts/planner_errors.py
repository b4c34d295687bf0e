"""Write the planner's error table into its README: every setting of the grid, asked of llama.cpp (minutes, Linux)."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.planner import oracle_grid as grid  # noqa: E402  # tests are no package of the project's

README = ROOT / "src/launcher/planner/README.md"
BEGIN, END = "<!-- errors: scripts/planner_errors.py -->\n", "<!-- /errors -->\n"


def main() -> None:
    """Ask, print each row as it comes, and put them between the two marks."""
    rows = [grid.HEADING, "|---|---|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for file in grid.FILES:
            path = grid.write_header(Path(folder), *file)
            found = [grid.on_the_cpu(path, file)]
            if file[1] == "MXFP4":
                found += [grid.on_devices(path, file, n) for n in grid.N_DEVICES]
            for errors in found:
                rows.append(errors.row)
                print(errors.row, flush=True)
            path.unlink()
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(before + BEGIN + "\n" + "\n".join(rows) + "\n\n" + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
