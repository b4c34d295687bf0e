"""`gpt-oss connect` and `gpt-oss launch` through the installed command, with servers that only have a record."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from launcher.clients.known import CLIENTS
from launcher.server import registry
from launcher.server.types import ServerRecord
from tests.cli.sandbox import Sandbox, assert_runnable
from tests.systems import POSIX

SECRET = "sk-the-key-itself"
DUMP = """\
#!{python}
import json, os, sys
json.dump({{"argv": sys.argv, "env": dict(os.environ), "pid": os.getpid()}}, sys.stdout)
sys.exit(7)
"""


def run_server(sandbox: Sandbox, port: int = 8123, *, keyed: bool = False, ready: bool = True, **fields: Any) -> Path:
    """A record of a server that this process looks after, and the file of its key."""
    state = sandbox.root / "state"
    key_file = sandbox.root / f"{port}.key"
    key_file.write_text(SECRET + "\n")
    started = registry.process_started_s(os.getpid())
    assert started is not None
    record = ServerRecord(
        pid=os.getpid(),
        pid_started_s=started,
        host="127.0.0.1",
        port=port,
        model=fields.get("model", "gpt-oss-120b"),
        file="ggml-org/gpt-oss-120b-GGUF:MXFP4",
        n_ctx=32_768,
        n_parallel=1,
        started_at="2026-11-25T09:00:00Z",
        log_path=state / "logs" / "server.log",
        key_file=key_file if keyed else None,
        ready=ready,
    )
    registry.save(state, record)
    return key_file


def install(sandbox: Sandbox, name: str) -> dict[str, str]:
    """A program that dumps what it is given; the environment that finds it."""
    folder = sandbox.root / "bin"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(DUMP.format(python=sys.executable))
    path.chmod(0o755)
    return {"PATH": f"{folder}:{sandbox.env['PATH']}"}


def home_files(sandbox: Sandbox) -> list[str]:
    home = sandbox.root / "home"
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def test_all_clients_are_listed(sandbox: Sandbox) -> None:
    done = sandbox.run("connect")
    assert done.code == 0
    assert done.err == ""
    lines = [line.split()[0] for line in done.out.splitlines() if not line.startswith(" ")]
    assert lines == ["name", *(client.name for client in CLIENTS)]
    rows = json.loads(sandbox.run("connect", "--json").out)
    assert rows["schema"] == 1
    by_name = {row["name"]: row for row in rows["clients"]}
    assert by_name["codex"]["files"][0] == str(sandbox.root / "home/.codex/config.toml")
    assert by_name["codex"]["launch"] is True
    assert by_name["curl"] == {"name": "curl", "title": "curl", "prints": "a command", "files": [], "launch": False}


@pytest.mark.parametrize("command", ["connect", "launch"])
def test_each_help_has_two_examples(sandbox: Sandbox, command: str) -> None:
    done = sandbox.run(command, "--help", env={"COLUMNS": "120"})
    examples = done.out.partition("Examples:")[2].partition("╭")[0]
    assert len([line for line in examples.splitlines() if "gpt-oss" in line]) >= 2, done.out
    assert "--debug" in done.out


def test_without_a_server_it_is_for_the_default_one_and_says_so(sandbox: Sandbox) -> None:
    done = sandbox.run("connect", "claude")
    assert done.code == 0
    env = json.loads(done.out)["env"]
    assert env["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:8080"
    assert (env["ANTHROPIC_MODEL"], env["CLAUDE_CODE_MAX_CONTEXT_TOKENS"]) == ("gpt-oss-20b", "131072")
    assert "no server runs" in done.err
    assert "gpt-oss serve" in done.err
    other = sandbox.run("connect", "claude", "--port", 9000, "--model", "120b")
    env = json.loads(other.out)["env"]
    assert (env["ANTHROPIC_BASE_URL"], env["ANTHROPIC_MODEL"]) == ("http://127.0.0.1:9000", "gpt-oss-120b")
    assert "gpt-oss serve --port 9000" in other.err
    assert home_files(sandbox) == [], "printing writes nothing"


def test_the_server_that_runs_is_taken_with_its_key(sandbox: Sandbox) -> None:
    key_file = run_server(sandbox, keyed=True)
    done = sandbox.run("connect", "codex", "--json")
    assert done.code == 0
    printed = json.loads(done.out)
    assert printed["endpoint"] == {
        "url": "http://127.0.0.1:8123",
        "model": "gpt-oss-120b",
        "n_ctx": 32_768,
        "key_file": str(key_file),
    }
    provider, profile = (tomllib.loads(item["text"]) for item in printed["snippets"])
    assert provider["model_providers"]["gpt-oss"]["env_key"] == "GPT_OSS_API_KEY"
    assert profile["model_context_window"] == 32_768
    shown = sandbox.run("connect", "codex")
    assert f"export GPT_OSS_API_KEY=$(grep -m1 '^[^#[:space:]]' {key_file})" in shown.err
    first, second = shown.out.removeprefix("==> ~/.codex/config.toml <==\n").split(
        "==> ~/.codex/gpt-oss.config.toml <==\n"
    )
    assert tomllib.loads(first) == provider, "what is piped can be told apart"
    assert tomllib.loads(second) == profile
    assert SECRET not in done.out + shown.out + shown.err


def test_a_server_that_still_loads_is_told(sandbox: Sandbox) -> None:
    run_server(sandbox, ready=False)
    assert "still loading" in sandbox.run("connect", "curl").err


def test_of_several_servers_one_must_be_named(sandbox: Sandbox) -> None:
    run_server(sandbox, 8123)
    run_server(sandbox, 8124, model="gpt-oss-20b")
    for command in ("connect", "launch"):
        done = sandbox.refused(command, "codex")
        assert done.code == 2
        assert "8123 (gpt-oss-120b), 8124 (gpt-oss-20b)" in done.error
        assert done.hint == f"gpt-oss {command} codex --port 8123"
    assert "gpt-oss-20b" in sandbox.run("connect", "curl", "--port", 8124).out


def test_a_server_elsewhere_is_given_by_its_url(sandbox: Sandbox) -> None:
    run_server(sandbox)
    done = sandbox.run("connect", "openai", "--url", "https://box.lan:8443/v1/", env={"GPT_OSS_API_KEY": SECRET})
    assert 'base_url="https://box.lan:8443/v1"' in done.out
    assert "GPT_OSS_API_KEY" in done.out
    assert SECRET not in done.out + done.err
    for url in ("box.lan:8080", "ftp://box", "http://", "http://box:none"):
        assert "no URL of a server" in sandbox.refused("connect", "curl", "--url", url).error
    both = sandbox.refused("connect", "curl", "--url", "http://box", "--port", 1)
    assert both.hint == "gpt-oss connect curl --port 1"


@pytest.mark.parametrize("client", [client.name for client in CLIENTS if client.files])
def test_settings_are_written_once(sandbox: Sandbox, client: str) -> None:
    run_server(sandbox, keyed=True)
    first = sandbox.run("connect", client, "--write")
    assert first.code == 0, first
    assert [Path(line).is_file() for line in first.out.splitlines()]
    files = home_files(sandbox)
    again = sandbox.run("connect", client, "--write", "--json")
    assert all(file["changed"] is False and file["backup"] is None for file in json.loads(again.out)["files"])
    assert home_files(sandbox) == files
    for path in first.out.splitlines():
        assert SECRET not in Path(path).read_text(), "the key itself is in no settings file"


@POSIX
def test_what_was_there_is_merged_and_kept(sandbox: Sandbox) -> None:
    run_server(sandbox)
    config = sandbox.root / "home/.codex/config.toml"
    config.parent.mkdir()
    config.write_text('# mine\nmodel = "gpt-5"\n')
    config.chmod(0o640)
    done = sandbox.run("connect", "codex", "--write")
    assert done.code == 0
    assert config.read_text().startswith('# mine\nmodel = "gpt-5"\n')
    (backup,) = config.parent.glob("config.toml.bak-*")
    assert backup.read_text() == '# mine\nmodel = "gpt-5"\n'
    assert backup.name in done.err
    assert {file.stat().st_mode & 0o777 for file in (config, backup)} == {0o640}


def test_damaged_settings_are_left_alone(sandbox: Sandbox) -> None:
    settings = sandbox.root / "home/.claude/settings.json"
    settings.parent.mkdir()
    settings.write_text('{"env": ')
    done = sandbox.refused("connect", "claude", "--write")
    assert done.code == 5
    assert "settings.json is damaged" in done.error
    assert done.hint == "gpt-oss connect claude"
    assert home_files(sandbox) == [".claude/settings.json"]
    assert settings.read_text() == '{"env": '


def test_commented_json_is_left_alone_and_the_snippet_printed(sandbox: Sandbox) -> None:
    config = sandbox.root / "home/.config/opencode/opencode.jsonc"
    config.parent.mkdir(parents=True)
    config.write_text('{ "theme": "x" } // mine\n')
    done = sandbox.run("connect", "opencode", "--write")
    assert done.code == 2
    assert json.loads(done.out)["provider"]["gpt-oss"]["npm"] == "@ai-sdk/openai-compatible"
    assert "comments" in done.error
    assert_runnable(done.hint)
    assert config.read_text() == '{ "theme": "x" } // mine\n'


def test_what_cannot_be_is_told(sandbox: Sandbox) -> None:
    assert "did you mean 'codex'" in sandbox.refused("connect", "codx").error
    assert "no settings file" in sandbox.refused("connect", "curl", "--write").error
    assert "which client" in sandbox.refused("connect", "--write").error


def test_launch_needs_a_server(sandbox: Sandbox) -> None:
    done = sandbox.refused("launch", "codex")
    assert done.error == "no server runs"
    assert done.hint == "gpt-oss serve --detach"


def test_launch_becomes_the_client(sandbox: Sandbox) -> None:
    run_server(sandbox, keyed=True)
    env = {**install(sandbox, "codex"), "OPENAI_API_KEY": "sk-theirs"}
    with sandbox.start("launch", "codex", "--", "exec", "--flag", "a b", env=env) as process:
        out, err = process.communicate(timeout=60)
    given = json.loads(out)
    assert err == b""
    assert given["pid"] == process.pid, "no process of ours is left between the terminal and the client"
    assert process.returncode == 7, "its exit code is ours"
    assert given["argv"][-3:] == ["exec", "--flag", "a b"]
    assert 'base_url = "http://127.0.0.1:8123/v1"' in " ".join(given["argv"])
    assert given["env"]["GPT_OSS_API_KEY"] == SECRET
    assert SECRET not in " ".join(given["argv"])
    assert home_files(sandbox) == [], "for this run only"


def test_signals_are_the_clients_own(sandbox: Sandbox) -> None:
    """Keeps out: a client that inherits Python's ignored SIGPIPE and writes on into a closed pipe."""
    if sys.platform == "win32":
        pytest.skip("Windows has no SIGPIPE")
    run_server(sandbox)
    env = install(sandbox, "opencode")
    (sandbox.root / "bin" / "opencode").write_text("#!/bin/sh\nkill -PIPE $$\necho alive\n")
    with sandbox.start("launch", "opencode", env=env) as process:
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (-signal.SIGPIPE, b"")


def test_a_dry_run_prints_the_command_with_the_key_masked(sandbox: Sandbox) -> None:
    run_server(sandbox, keyed=True)
    done = sandbox.run("launch", "aider", "--dry-run", "--", "--message", "hi", env={"PATH": os.defpath})
    assert done.code == 0
    words = shlex.split(done.out)
    assert words[:4] == ["env", "LITELLM_LOCAL_MODEL_COST_MAP=True", "AIDER_OPENAI_API_KEY=****", "aider"]
    assert words[-2:] == ["--message", "hi"]
    assert SECRET not in done.out + done.err


def test_a_client_that_is_missing_comes_with_the_command_that_installs_it(sandbox: Sandbox) -> None:
    run_server(sandbox)
    done = sandbox.refused("launch", "codex", env={"PATH": str(sandbox.root)})
    assert done.code == 2
    assert done.error == "Codex CLI is not installed: no codex on PATH"
    assert done.hint == "npm install --global @openai/codex"
    assert "cannot be started here" in sandbox.refused("launch", "curl").error
