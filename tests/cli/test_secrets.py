"""The hub's token is sent to the hub and found nowhere else: not in what is told, kept, logged or given to others."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.cli.app import app
from launcher.cli.errors import run
from launcher.demo import demo_model_path
from tests.cli.sandbox import Sandbox, free_port
from tests.fakes.hub import Hub
from tests.fakes.hub_state import Faults

REPO = "ggml-org/gpt-oss-20b-GGUF"
FILE = "gpt-oss-20b-MXFP4.gguf"
CANARY = "hf_canaryCANARYcanary0123456789"
NAMES = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})


def left_in(folder: Path) -> list[Path]:
    """Files under a folder that hold the token, in their content or their name."""
    return [
        path
        for path in folder.rglob("*")
        if CANARY in str(path) or (path.is_file() and CANARY.encode() in path.read_bytes())
    ]


def gate(hub: Hub) -> None:
    hub.repos[REPO].token = "another"
    hub.repos[REPO].gated = True


def hide(hub: Hub) -> None:
    hub.repos[REPO].token = "another"


def refuse_token(hub: Hub) -> None:
    hub.faults = Faults(status=401, error_message="Invalid credentials in Authorization header")


def answer(status: int) -> Callable[[Hub], None]:
    def change(hub: Hub) -> None:
        # So long a wait is a person's to decide: nothing is tried again.
        hub.faults = Faults(status=status, retry_after_s=10_000)

    return change


def echo(hub: Hub) -> None:
    """A proxy's page that tells what it was sent."""
    hub.file(REPO, FILE).faults.error_page = f"<p>Bearer {CANARY}".encode()


def wrong_bytes(hub: Hub) -> None:
    hub.file(REPO, FILE).faults.wrong_bytes = True


def away(hub: Hub) -> None:
    hub.repos.clear()


MODES: dict[str, tuple[Callable[[Hub], None], int, str]] = {
    "all is well": (lambda _: None, 0, ""),
    "gated": (gate, 4, f"{REPO} is gated: accept its terms on "),
    "private": (hide, 4, f"the hub knows no repository {REPO}"),
    "token refused": (refuse_token, 4, "the hub does not accept the token"),
    "forbidden": (answer(403), 4, "does not let this login read"),
    "too many": (answer(429), 4, "too many requests"),
    "failing": (answer(503), 4, "the hub is failing (503"),
    "an error page": (echo, 4, "sent something else"),
    "a damaged file": (wrong_bytes, 5, "sha256"),
    "no repository": (away, 4, "the hub knows no repository"),
}


Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state folder for all, as the RAM is measured once for each."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def pull(
    hub: Hub, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """`gpt-oss pull --debug` in this process, which is a second faster: its exit code, and all that it told."""
    sandbox = Sandbox(tmp_path, hub.url)

    def run_pull(**env: str) -> tuple[int, str]:
        for name, value in {**sandbox.env, "GPT_OSS_STATE_DIR": str(state), **env}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["gpt-oss", "pull", f"{REPO}:MXFP4", "--debug"])
        with pytest.raises(SystemExit) as end:
            run(app)
        told = capsys.readouterr()
        return int(end.value.code or 0), told.out + told.err

    return run_pull


@pytest.mark.parametrize("mode", MODES)
def test_a_token_is_nowhere_but_at_the_hub(mode: str, hub: Hub, pull: Run, tmp_path: Path, state: Path) -> None:
    change, code, message = MODES[mode]
    change(hub)
    ended, told = pull(HF_TOKEN=CANARY)
    assert ended == code
    assert message in told
    assert ("Traceback" in told) == (code != 0), "the mode is to be shown with a traceback"
    assert CANARY not in told
    assert left_in(tmp_path) + left_in(state) == []
    sent = [seen for seen in hub.requests if seen.authorization == f"Bearer {CANARY}"]
    assert sent, "the test is about a token that is sent"
    assert {seen.route for seen in sent} <= {"info", "resolve", "tree"}, "never to the storage"


def test_a_gate_says_which_token_and_where_it_goes(hub: Hub, pull: Run) -> None:
    gate(hub)
    ended, told = pull()
    assert ended == 4
    assert f"accept its terms on {hub.url}/{REPO}" in told
    assert f"{hub.url}/settings/tokens" in told
    assert all(way in told for way in ("HF_TOKEN", "hint:  hf auth login", "HF_HOME"))
    assert "has not been let in" not in told
    assert "has not been let in" in pull(HF_TOKEN=CANARY)[1]


@pytest.mark.parametrize(
    "env",
    [
        {"HF_TOKEN": f"{CANARY}\x01"},
        {"HF_TOKEN": f"{CANARY}\N{SNOWMAN}"},
        {"HF_ENDPOINT": f"https://user:{CANARY}@hub.test"},
        {"HF_ENDPOINT": f"user:{CANARY}@hub.test"},
    ],
)
def test_a_token_that_cannot_be_sent_is_not_told_either(env: dict[str, str], pull: Run, tmp_path: Path) -> None:
    """Keeps out: an HTTP client's `Illegal header value b'Bearer ...'`, and addresses with a password in messages."""
    ended, told = pull(**env)
    assert ended == 2
    assert CANARY not in told
    assert left_in(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_server_is_not_given_the_token(sandbox: Sandbox) -> None:
    env = dict.fromkeys(NAMES, CANARY)
    try:
        done = sandbox.run("serve", "--detach", "--json", "--port", free_port(), "--model", demo_model_path(), env=env)
        assert done.code == 0, done.err
        record = json.loads(done.out)
        pids = {value for name, value in record.items() if name.endswith("pid") and value}
        assert len(pids) == 2, "the supervisor and llama-server"
        for pid in pids:
            proc = Path("/proc") / str(pid)
            assert b"llama" in (proc / "cmdline").read_bytes() or b"launcher" in (proc / "cmdline").read_bytes()
            assert CANARY.encode() not in (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
        assert CANARY not in done.out + done.err
    finally:
        sandbox.run("stop", "--all")
    assert left_in(sandbox.root) == []
