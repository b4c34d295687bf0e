"""Without a network: what is here works, nothing hangs on a name, and a model is carried by a folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.demo import demo_model_path
from tests.cli.sandbox import TIMEOUT_S, Done, Sandbox, executable
from tests.fakes.hub import loopback_hub

REPO = "ggml-org/gpt-oss-20b-GGUF"
NAME = f"{REPO}:MXFP4"
SILENT = """
import socket, threading
_look_up = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    if host not in ("127.0.0.1", "localhost", "::1", None):
        threading.Event().wait()
    return _look_up(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
from launcher.store.reach import Reach
Reach.__init__.__kwdefaults__["timeout_s"] = 1.0
"""
"""A resolver that never answers, and a deadline of 1 s instead of 8, as sitecustomize of a child."""


@pytest.fixture(scope="module")
def island(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A machine that was never on a network, with a model that another one pulled and exported. Its hub is a name."""
    root = tmp_path_factory.mktemp("carried")
    for name in ("there", "island"):
        (root / name).mkdir()
    with loopback_hub({REPO: {"gpt-oss-20b-MXFP4.gguf": demo_model_path()}}) as hub:
        there = Sandbox(root / "there", hub.url)
        assert there.run("pull", NAME).code == 0
    done = there.run("models", "export", root / "stick", "--json")
    assert done.code == 0, done.err
    written = json.loads(done.out)
    assert (written["manifest"]["licence"], Path(written["folder"]).parent) == ("Apache-2.0", root / "stick")
    box = Sandbox(root / "island", "https://hub.test")
    done = box.run("models", "import", root / "stick")
    assert done.code == 0, done.err
    assert done.out.strip().endswith("gpt-oss-20b-MXFP4.gguf")
    assert done.err.rstrip().endswith(f"now: gpt-oss chat --offline --model {NAME}")
    return box


def silent(box: Sandbox) -> dict[str, str]:
    """The environment of a child whose resolver never answers."""
    folder = box.root / "silent"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(SILENT)
    return {"PYTHONPATH": str(folder)}


def without_network(box: Sandbox, *words: str) -> Done:
    """Run a command in a network namespace that has no interface at all."""
    done = subprocess.run(
        ["unshare", "-rn", executable(), *words],
        env=box.env, cwd=box.root, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
        check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def has_namespaces() -> bool:
    program = shutil.which("unshare")
    return (
        program is not None
        and subprocess.run([program, "-rn", "true"], capture_output=True, check=False).returncode == 0
    )


def test_an_imported_model_is_found_and_answers_without_a_network(island: Sandbox) -> None:
    (stick,) = (island.root.parent / "stick").iterdir()
    subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=stick, check=True, capture_output=True)
    env = silent(island)
    plan = json.loads(island.run("plan", "--offline", "--json", env=env).out)
    assert plan["model"]["repo"] == REPO
    assert plan["model"]["local_path"].startswith(str(island.hub_cache))
    assert "Paris" in island.run("chat", "--offline", "What is the capital of France?", env=env).out
    again = island.run("models", "import", stick, "--json", env=env)
    assert json.loads(again.out)["imported"][0]["model"] == NAME


def test_a_resolver_that_never_answers_is_waited_for_once(island: Sandbox) -> None:
    done = island.run("plan", "--json", env=silent(island))
    assert json.loads(done.out)["model"]["repo"] == REPO
    why = "no connection to hub.test (HF_ENDPOINT=https://hub.test): no answer within 1 s"
    lines = [line for line in done.err.splitlines() if "hub.test" in line]
    assert lines == [
        "waiting for hub.test, 1 s at most; --offline asks nothing of the network",
        f"{why}; going on with what is known and here",
    ]


@pytest.mark.skipif(sys.platform != "linux" or not has_namespaces(), reason="needs a network namespace")
def test_without_any_interface_a_command_says_so_and_goes_on(island: Sandbox) -> None:
    done = without_network(island, "chat", "What is the capital of France?")
    assert "Paris" in done.out
    assert sum("no connection to hub.test" in line for line in done.err.splitlines()) == 1


def test_nothing_to_carry_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    done = sandbox.refused("models", "export", tmp_path / "stick")
    assert (done.code, done.hint) == (5, "gpt-oss pull")
    done = sandbox.refused("models", "import", tmp_path)
    assert done.code == 5
    assert "no exported model" in done.error
