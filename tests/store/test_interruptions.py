"""A few of what scripts/download_faults.py does by the hundred."""

from __future__ import annotations

from pathlib import Path

from tests.store.interruptions import KINDS, interrupted_download


def test_a_download_ends_complete_and_verified_whatever_interrupts_it(cache_dir: Path) -> None:
    outcome = interrupted_download(
        cache_dir, [*KINDS, "kill", "cut", "429", "changed", "kill", "slow", "500"], 7, 20_000_000
    )
    assert outcome.wrong == []
    assert len(outcome.kinds) >= 8  # on a slow machine the file may be whole before the last ones
    assert outcome.twice_bytes <= outcome.allowed_bytes
