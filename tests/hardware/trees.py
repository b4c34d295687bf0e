"""Machines as files: tests/data/hardware/NAME.txt holds a file tree, each file headed by `=== path`."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent.parent / "data" / "hardware"


def text(name: str) -> str:
    """A data file as it is."""
    return (DATA / name).read_text(encoding="utf-8")


def plant(name: str, root: Path) -> Path:
    """Write the tree NAME.txt under `root`, which is returned."""
    for part in text(f"{name}.txt").split("=== ")[1:]:
        path, _, content = part.partition("\n")
        write(root, path, content)
    return root


def write(root: Path, path: str, content: str) -> None:
    """One file of a tree, with its folders."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content, encoding="utf-8")
