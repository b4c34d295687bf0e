"""`gpt-oss models` as it is typed: models of other applications found and used in place, verified, removed, counted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from launcher.cli.app import main
from launcher.demo import demo_model_path
from launcher.server.registry import process_started_s, save
from launcher.server.types import ServerRecord
from tests.cli.sandbox import Done, Sandbox, assert_runnable
from tests.fakes.hub import Hub
from tests.store import layouts
from tests.store.layouts import REPO, put

DEMO = demo_model_path().read_bytes()
NAME = f"{REPO}:MXFP4"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Commands in this process: what is tested is done a hundred times as fast as Python starts."""

    def typed(sandbox: Sandbox, *words: object, env: dict[str, str] | None = None) -> Done:
        with monkeypatch.context() as patch:
            for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "HF_HUB_CACHE", "LLAMA_CACHE"):
                patch.delenv(name, raising=False)
            for name, value in {**sandbox.env, **(env or {})}.items():
                patch.setenv(name, value)
            patch.setattr("sys.argv", ["gpt-oss", *map(str, words)])
            capsys.readouterr()
            code = 0
            try:
                main()
            except SystemExit as ended:
                code = int(ended.code or 0)
            out, err = capsys.readouterr()
        assert "Traceback" not in err, err
        return Done(code, out, err)

    return typed


Typed = Callable[..., Done]


def pulled(typed: Typed, online: Sandbox) -> Path:
    """Where the model lies after it was fetched into the hub's cache."""
    done = typed(online, "pull", NAME)
    assert done.code == 0, done
    return Path(done.out.strip())


def refused(done: Done) -> Done:
    assert done.code != 0, done
    assert done.out == ""
    assert_runnable(done.hint)
    return done


def printed(done: Done, code: int = 0) -> dict[str, Any]:
    assert done.code == code, done
    found: dict[str, Any] = json.loads(done.out)
    assert found["schema"] == 1
    return found


def lm_studio(home: Path) -> Path:
    return layouts.lm_studio(home / ".lmstudio" / "models", DEMO)


def jan(home: Path) -> Path:
    return layouts.jan(home / ".local" / "share" / "Jan" / "data", DEMO)


def gpt4all(home: Path) -> Path:
    return layouts.gpt4all(home / ".local" / "share" / "nomic.ai" / "GPT4All", DEMO)


def llama_cpp(home: Path) -> Path:
    return layouts.llama_cpp(home / ".cache" / "llama.cpp", DEMO)


def ollama_from_the_hub(home: Path) -> Path:
    return layouts.ollama(home / ".ollama" / "models", DEMO, name="hf.co/ggml-org/gpt-oss-20b-GGUF/MXFP4")


APPS: dict[str, Callable[[Path], Path]] = {
    "LM Studio": lm_studio,
    "Jan": jan,
    "GPT4All": gpt4all,
    "llama.cpp": llama_cpp,
    "Ollama": ollama_from_the_hub,
}


@pytest.mark.parametrize("app", APPS)
def test_a_plan_uses_what_another_application_has(typed: Typed, online: Sandbox, hub: Hub, app: str) -> None:
    path = APPS[app](online.root / "home")
    plan = printed(typed(online, "plan", "--model", NAME, "--json"))
    assert plan["model"]["local_path"] == str(path)
    assert plan["model"]["found_in"] == app
    assert str(path) in plan["argv"]
    assert not [request for request in hub.requests if request.path.endswith(".gguf")], "nothing of it was fetched"


def test_a_chat_runs_it_in_place_and_the_list_tells(typed: Typed, online: Sandbox) -> None:
    path = lm_studio(online.root / "home")
    before = path.stat()
    planned = typed(online, "plan", "--model", NAME)
    assert "used in place from LM Studio:" in planned.out
    question = "What is the capital of France?"
    chat = online.run("chat", "--model", NAME, "--no-history", "--temperature", "0", question)
    assert chat.code == 0, chat
    assert "Paris" in chat.out
    (model,) = printed(typed(online, "models", "--json"))["models"]
    assert (model["name"], model["app"], model["state"], model["paths"]) == (NAME, "LM Studio", "complete", [str(path)])
    assert (datetime.now(UTC) - datetime.fromisoformat(model["last_used_at"])).total_seconds() < 600
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    assert not list(online.hub_cache.glob("**/*.gguf")), "neither moved nor copied"
    shown = typed(online, "models").out.splitlines()
    assert shown[0].split() == ["model", "quant", "size", "where", "state", "verified", "used", "name"]
    assert [NAME in line and " now " in line for line in shown[1:]] == [True]


def test_all_of_them_at_once_and_ollamas_own(typed: Typed, sandbox: Sandbox) -> None:
    home = sandbox.root / "home"
    for lay_out in (lm_studio, jan, gpt4all, llama_cpp):
        lay_out(home)
    layouts.ollama(home / ".ollama" / "models", layouts.ollamas_own(DEMO))
    put(home / "mine" / "llama.gguf", DEMO.replace(b"\x07\0\0\0\0\0\0\0gpt-oss", b"\x07\0\0\0\0\0\0\0llamaXX"))
    env = {"GPT_OSS_MODEL_DIRS": f"{home / 'mine'}{os.pathsep}{home / 'gone'}"}
    found = printed(typed(sandbox, "models", "--json", "--all", env=env))
    assert {(model["app"], model["state"]) for model in found["models"]} == {
        ("LM Studio", "complete"),
        ("Jan", "complete"),
        ("GPT4All", "complete"),
        ("llama.cpp", "complete"),
        ("Ollama", "unusable"),
        ("your folder", "other"),
    }
    shown = typed(sandbox, "models", env=env)
    assert "gpt-oss:20b: Ollama's own layout of GPT OSS" in shown.out
    assert "1 of other kinds not shown" in shown.err
    sums = printed(typed(sandbox, "models", "du", "--json"))
    assert sums["by_app"].keys() == {"LM Studio", "Jan", "GPT4All", "llama.cpp", "Ollama"}
    assert sums["disk_bytes"] == sum(sums["by_app"].values())


def test_nothing_is_here(typed: Typed, sandbox: Sandbox) -> None:
    assert "no GPT OSS model is on this disk" in typed(sandbox, "models").err
    assert refused(typed(sandbox, "models", "path", "20b")).code == 5
    assert refused(typed(sandbox, "models", "verify")).code == 2
    assert refused(typed(sandbox, "models", "rm", "20b", "--yes")).code == 5
    assert "nothing to prune" in typed(sandbox, "models", "prune").err


def test_the_path_is_the_one_line_on_stdout(typed: Typed, online: Sandbox) -> None:
    pointer = pulled(typed, online)
    assert typed(online, "models", "path", NAME).out == f"{pointer}\n"
    lm_studio(online.root / "home")
    both = typed(online, "models", "path", NAME)
    assert both.out == f"{pointer}\n", "the hub's cache comes first"
    assert "in LM Studio" in both.err
    (online.root / "short").symlink_to(pointer.parent)
    for written in (f"{pointer.parent}/../{pointer.parent.name}/{pointer.name}", online.root / "short" / pointer.name):
        assert typed(online, "models", "path", written).out == f"{pointer}\n", "however its folder is written"
    assert refused(typed(online, "models", "path", pointer.with_name("other.gguf"))).code == 5


def test_verified_on_a_day_then_damaged_then_fetched_anew(typed: Typed, online: Sandbox) -> None:
    pointer = pulled(typed, online)
    (model,) = printed(typed(online, "models", "--json"))["models"]
    assert model["verified_at"] is not None, "as it arrived"
    assert f"{NAME}: verified" in typed(online, "models", "verify").err
    (model,) = printed(typed(online, "models", "--json"))["models"]
    assert (datetime.now(UTC) - datetime.fromisoformat(model["verified_at"])).total_seconds() < 600
    blob = pointer.resolve()
    with blob.open("r+b") as stream:
        stream.seek(700_000)
        stream.write(b"rust")
    damaged = refused(typed(online, "models", "verify", NAME))
    assert (damaged.code, damaged.hint) == (5, f"gpt-oss pull {NAME}")
    assert blob.with_name(f"{blob.name}.damaged").exists()
    assert refused(typed(online, "models", "path", NAME)).code == 5
    assert typed(online, "pull", NAME).code == 0
    assert pointer.read_bytes() == DEMO
    assert printed(typed(online, "models", "verify", NAME, "--json"))["models"][0]["outcome"] == "verified"
    pruned = printed(typed(online, "models", "prune", "--yes", "--json"))
    assert [item["what"] for item in pruned["items"]][:1] == ["damaged file"]
    assert not blob.with_name(f"{blob.name}.damaged").exists()


def test_a_damaged_file_of_another_application_is_left_and_not_used(typed: Typed, online: Sandbox) -> None:
    path = lm_studio(online.root / "home")
    typed(online, "plan", "--model", NAME, "--json")
    path.write_bytes(DEMO[:-4] + b"rust")
    done = typed(online, "models", "verify", path, "--json")
    assert printed(done, 0)["models"][0]["outcome"] == "unknown", "nobody knows what it should be"
    plan = printed(typed(online, "plan", "--model", NAME, "--json"))
    assert plan["model"]["local_path"] is None
    assert path.exists()


def test_removing_asks_and_leaves_other_applications_alone(typed: Typed, online: Sandbox) -> None:
    pointer = pulled(typed, online)
    theirs = lm_studio(online.root / "home")
    asked = refused(typed(online, "models", "rm", NAME))
    assert (asked.code, asked.hint) == (2, f"gpt-oss models rm {NAME} --yes")
    assert printed(typed(online, "models", "rm", NAME, "--yes", "--json"))["removed"][0]["freed_bytes"] >= len(DEMO)
    assert not pointer.exists()
    assert not list(online.hub_cache.glob("models--*"))
    named = refused(typed(online, "models", "rm", NAME, "--yes"))
    assert named.code == 2
    assert f"gpt-oss models rm --outside-cache {theirs}" in named.err
    assert refused(typed(online, "models", "rm", theirs, "--yes")).code == 2
    assert theirs.exists()
    assert typed(online, "models", "rm", "--outside-cache", theirs, "--yes").code == 0
    assert not theirs.exists()
    elsewhere = put(online.root / "elsewhere" / layouts.FILE, DEMO)
    assert refused(typed(online, "models", "rm", "--outside-cache", elsewhere, "--yes")).code == 5
    assert elsewhere.exists(), "never outside the folders that are looked through"


def test_a_name_that_is_none_removes_nothing(typed: Typed, online: Sandbox) -> None:
    """Keeps out: `models rm "$UNSET" --yes` removed whatever its application had no name for."""
    pointer = layouts.hub(online.hub_cache, DEMO)
    for name in ("", " ", ".", "..", ":", "*"):
        assert refused(typed(online, "models", "rm", name, "--yes")).code == 5
    assert refused(typed(online, "models", "path", "")).code == 5
    assert pointer.exists()


def test_ollamas_blobs_are_ollamas_to_remove(typed: Typed, sandbox: Sandbox) -> None:
    path = layouts.ollama(sandbox.root / "home" / ".ollama" / "models", layouts.ollamas_own(DEMO))
    for name in ("gpt-oss:20b", path):
        done = refused(typed(sandbox, "models", "rm", "--outside-cache", name, "--yes"))
        assert (done.code, "ollama rm" in done.err) == (2, True)
    assert path.exists()


def test_what_a_running_server_uses_stays(typed: Typed, online: Sandbox) -> None:
    pointer = pulled(typed, online)
    started = process_started_s(os.getpid())
    assert started is not None
    record = ServerRecord(
        pid=os.getpid(),
        pid_started_s=started,
        host="127.0.0.1",
        port=8123,
        model="gpt-oss-20b",
        file=NAME,
        n_ctx=4096,
        n_parallel=1,
        started_at=datetime.now(UTC).isoformat(),
        log_path=online.root / "log",
        ready=True,
    )
    save(online.root / "state", record)
    theirs = lm_studio(online.root / "home")
    for words in ([NAME], [pointer], ["--outside-cache", theirs]):
        done = refused(typed(online, "models", "rm", *words, "--yes"))
        assert (done.code, done.hint) == (2, "gpt-oss stop --port 8123")
    assert pointer.exists()
    assert theirs.exists()
    put(pointer.resolve().parent / f"{'e' * 64}.gpt-oss.part", b"x")
    assert "nothing to prune" in typed(online, "models", "prune", "--yes").err, "its repository is left alone"


def test_a_download_that_stopped_is_listed_and_goes_by_its_name(typed: Typed, online: Sandbox, hub: Hub) -> None:
    typed(online, "plan", "--model", NAME, "--json")  # the listing is kept: it tells whose hash this is
    blobs = online.hub_cache / "models--ggml-org--gpt-oss-20b-GGUF" / "blobs"
    sha256 = hub.repos[REPO].files[layouts.FILE].sha256
    part = put(blobs / f"{sha256}.gpt-oss.part", DEMO[:300_000])
    (model,) = printed(typed(online, "models", "--json"))["models"]
    assert (model["name"], model["state"], model["total_bytes"]) == (NAME, "incomplete", len(DEMO))
    shown = printed(typed(online, "models", "prune", "--dry-run", "--json"))
    assert (shown["removed"], shown["items"][0]["files"]) == (False, [str(part)])
    assert part.exists()
    early = refused(typed(online, "models", "path", NAME))
    assert (early.code, early.hint) == (5, f"gpt-oss pull {NAME}")
    assert typed(online, "models", "rm", NAME, "--yes").code == 0
    assert not part.exists()


def test_headers_of_files_that_are_gone_are_pruned_and_others_kept(typed: Typed, online: Sandbox) -> None:
    path = lm_studio(online.root / "home")
    typed(online, "plan", "--model", NAME, "--json")
    headers = online.cache / "headers"
    kept = {header.name for header in headers.iterdir()}
    path.unlink()
    stale = put(headers / f"{'0' * 40}.json", b"{}")
    pruned = printed(typed(online, "models", "prune", "--yes", "--json"))
    assert str(stale) in [file for item in pruned["items"] for file in item["files"]]
    assert {header.name for header in headers.iterdir()} < kept
