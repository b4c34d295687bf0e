"""From an empty cache to an answer over a loopback hub: plan, download, verify, load, answer; and what goes wrong."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.demo import demo_model_path
from launcher.store.cache import PART_SUFFIX
from tests.cli.sandbox import TIMEOUT_S, Sandbox
from tests.fakes.hub import Hub
from tests.systems import POSIX

REPO = "ggml-org/gpt-oss-20b-GGUF"
FILE = "gpt-oss-20b-MXFP4.gguf"
SIZE = demo_model_path().stat().st_size
QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris.\n"
CHAT = ("chat", "--temp", "0")


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def unfinished(sandbox: Sandbox) -> list[Path]:
    return list(sandbox.hub_cache.glob(f"models--*/blobs/*{PART_SUFFIX}"))


def loadable(sandbox: Sandbox) -> list[Path]:
    """What a later run, of this program or of another, would take for a model."""
    return [path for path in sandbox.hub_cache.glob("models--*/snapshots/**/*.gguf") if path.exists()]


def downloaded_bytes(hub: Hub) -> int:
    """Bytes of content that whole transfers sent: those of header reads ask for both ends of a range."""
    return sum(seen.body_bytes for seen in hub.requests.of("cdn", "GET") if not (seen.range or "-").split("-")[1])


def test_an_empty_cache_to_an_answer_and_again_without_the_hub(online: Sandbox, hub: Hub) -> None:
    first = online.run(*CHAT, QUESTION)
    assert first.code == 0, first
    assert first.out == ANSWER
    assert f"Downloading {REPO}:MXFP4: 1.2 MiB" in first.err
    assert "Apache-2.0" in first.err
    assert downloaded_bytes(hub) == SIZE
    (path,) = loadable(online)
    assert path.name == FILE
    assert path.read_bytes() == demo_model_path().read_bytes()
    assert unfinished(online) == []

    hub.requests.clear()
    second = online.run(*CHAT, QUESTION)
    assert second.code == 0, second
    assert second.out == ANSWER
    assert "Downloading" not in second.err
    assert hub.requests.of("cdn") == []

    hub.requests.clear()
    offline = online.run(*CHAT, "--model", REPO, QUESTION, env={"HF_HUB_OFFLINE": "1"})
    assert offline.out == ANSWER
    assert len(hub.requests) == 0


def test_the_plan_rests_on_the_header_that_the_hub_serves(online: Sandbox, hub: Hub) -> None:
    plan = json.loads(online.run("plan", "--json").out)
    assert plan["weights_basis"] == "header"
    assert plan["spec"]["n_layer"] == 4
    assert plan["model"]["files"][0]["size_bytes"] == SIZE
    assert {row["name"] for row in plan["candidates"]} == {f"{REPO}:MXFP4", "unsloth/gpt-oss-20b-GGUF:F16"}
    assert downloaded_bytes(hub) == 0
    assert len(hub.requests.of("cdn", "GET")) == 2, "one header a repository"
    hub.requests.clear()
    assert json.loads(online.run("plan", "--json").out)["weights_basis"] == "header"
    assert hub.requests.of("cdn") == []


def test_pull_prints_the_path_and_asks_for_nothing_twice(online: Sandbox, hub: Hub) -> None:
    done = online.run("pull", f"{REPO}:mxfp4")
    assert done.code == 0, done
    path = Path(done.out.strip())
    assert path == loadable(online)[0]
    hub.requests.clear()
    again = online.run("pull", f"{REPO}:MXFP4", "--json")
    assert json.loads(again.out) == {"schema": 1, "model": f"{REPO}:MXFP4", "paths": [str(path)]}
    assert len(hub.requests) == 0


@POSIX
@pytest.mark.parametrize("stop", ["SIGKILL", "SIGINT"])
def test_a_download_that_is_stopped_half_way_goes_on_from_there(online: Sandbox, hub: Hub, stop: str) -> None:
    online.run("plan", "--model", REPO, "--json")  # the header is kept now: what follows is the transfer alone
    hub.faults.bytes_per_s = SIZE / 4
    with online.start("pull", REPO) as process:
        try:
            wait_until(lambda: any(path.stat().st_size > SIZE // 4 for path in unfinished(online)))
            process.send_signal(getattr(signal, stop))
            _, err = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    assert loadable(online) == []
    if stop == "SIGINT":
        assert process.returncode == 130
        assert b"the same command goes on from there" in err
        assert b"Traceback" not in err
    (part,) = unfinished(online)
    kept = part.stat().st_size
    assert SIZE // 4 < kept < SIZE

    hub.faults.bytes_per_s = None
    hub.requests.clear()
    done = online.run(*CHAT, "--model", REPO, QUESTION)
    assert done.out == ANSWER
    assert "resuming at" in done.err
    assert [seen.range for seen in hub.requests.of("cdn", "GET")] == [f"bytes={kept}-"]
    assert downloaded_bytes(hub) == SIZE - kept
    assert unfinished(online) == []


def test_a_wrong_hash_leaves_nothing_that_a_later_run_would_load(online: Sandbox, hub: Hub) -> None:
    online.run("plan", "--model", REPO, "--json")
    hub.file(REPO, FILE).faults.wrong_bytes = True
    done = online.refused(*CHAT, "--model", REPO, QUESTION)
    assert done.code == 5
    assert "arrived damaged and was deleted" in done.error
    assert loadable(online) == unfinished(online) == []
    offline = online.refused(*CHAT, "--model", REPO, "--offline", QUESTION)
    assert offline.code == 4
    assert "offline" in offline.error

    hub.file(REPO, FILE).faults.wrong_bytes = False
    assert online.run(*CHAT, "--model", REPO, QUESTION).out == ANSWER


def test_offline_with_an_empty_cache(online: Sandbox, hub: Hub) -> None:
    done = online.refused(*CHAT, QUESTION, env={"HF_HUB_OFFLINE": "1"})
    assert done.code == 4
    assert "offline mode is on" in done.error
    assert done.hint == "gpt-oss chat --demo"
    assert len(hub.requests) == 0


def test_a_repository_that_wants_a_login(online: Sandbox, hub: Hub) -> None:
    hub.repos[REPO].token = "hf_right"
    done = online.refused("pull", REPO)
    assert done.code == 4
    assert done.hint == "hf auth login"
    allowed = online.run("pull", REPO, env={"HF_TOKEN": "hf_right"})
    assert allowed.code == 0, allowed
    assert {seen.authorization for seen in hub.requests.of("cdn")} == {None}, "storage never sees the token"


def test_a_hub_that_rebuilt_its_file_while_it_was_planned(online: Sandbox, hub: Hub) -> None:
    online.run("plan", "--model", REPO, "--json")
    hub.repos[REPO].rename(FILE, "gpt-oss-20b-Q8_0.gguf")
    # The listing of today still names the old file, at a commit that stays readable.
    done = online.run(*CHAT, "--model", f"{REPO}:MXFP4", QUESTION)
    assert done.out == ANSWER
    hub.requests.clear()
    fresh = online.run("pull", "--refresh", REPO)
    assert fresh.code == 0, fresh
    # The same bytes under another name: what is here serves, whatever its name was.
    assert Path(fresh.out.strip()).read_bytes() == demo_model_path().read_bytes()
    assert downloaded_bytes(hub) == 0
