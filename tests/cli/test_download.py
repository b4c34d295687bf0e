"""Downloading as a person sees it: how fast, how long still, how fast at most, and from where."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from launcher.cli.download import DownloadBar, pace_text
from launcher.cli.hub import with_mirrors
from launcher.demo import demo_model_path
from launcher.flow import World
from launcher.store.pace import Estimate
from tests.cli.sandbox import Sandbox
from tests.cli.test_road import FILE, REPO
from tests.fakes.hub import Hub


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_now_and_then_says_how_fast_and_how_long_still(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with DownloadBar(clock) as bar:
        bar.start(1_000_000_000, 100_000_000, "owner/name:Q")
        for _ in range(90):
            clock.now += 1
            bar.advance(10_000_000)
        bar.finish()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "resuming at 95 MiB of 954 MiB"
    assert lines[1] == "  191 MiB of 954 MiB, 10.0 MB/s, 1 min 20 s left"
    assert lines[-1].startswith("  954 MiB of 954 MiB, 10.0 MB/s")
    assert len(lines) == 1 + 9


def test_before_there_is_a_rate_none_is_shown() -> None:
    assert pace_text(Estimate(Clock())) == ""


def test_a_model_comes_from_a_mirror_of_the_settings(sandbox: Sandbox, hub: Hub) -> None:
    """The sandbox's own hub is a port where nobody listens."""
    (sandbox.config / "settings.toml").write_text(f'mirrors = ["{hub.url}"]\n')
    done = sandbox.run("pull", REPO, "--limit-rate", "50M", env={"HF_TOKEN": "hf_secret"})
    assert done.code == 0, done
    assert done.out.strip().endswith(FILE)
    (path,) = sandbox.hub_cache.glob(f"models--*/snapshots/*/{FILE}")
    assert path.read_bytes() == demo_model_path().read_bytes()
    assert {seen.authorization for seen in hub.requests} == {None}
    assert "hf_secret" not in done.out + done.err


def test_a_hub_that_does_not_answer_is_waited_for_once_where_mirrors_do(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeps out: eight seconds for each repository of the catalogue."""
    asked: list[tuple[str, int]] = []
    connect = socket.create_connection

    def connected(address: tuple[str, int], *given: Any, **named: Any) -> socket.socket:
        asked.append(address)
        if address[0] == "hub.test":
            raise TimeoutError("timed out")
        return connect(address, *given, **named)

    monkeypatch.setattr(socket, "create_connection", connected)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.test")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    world = with_mirrors(World(cache_dir=tmp_path), (hub.url,))
    list_repo = world.load_catalogue.keywords["list_repo"]  # type: ignore[attr-defined]
    for repo in hub.repos:
        assert list_repo(repo).commit == hub.repos[repo].head
    assert world.open_remote is not None
    with world.open_remote(REPO, FILE, revision=None) as stream:
        assert stream.read(4) == b"GGUF"
    assert asked.count(("hub.test", 80)) == 1
