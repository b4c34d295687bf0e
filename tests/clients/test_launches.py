"""Starting a client: what it is given for one run, and that it takes this process's place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from launcher.clients.known import CLIENTS, find
from launcher.clients.launches import launch
from launcher.clients.start import command_line, environment, run_and_leave, start
from launcher.clients.types import Launch
from launcher.errors import LauncherError, UsageError
from tests.clients.builders import URL, target
from tests.systems import POSIX

SECRET = "sk-the-key-itself"


def built(name: str, *args: str, keyed: bool = False) -> Launch:
    return launch(find(name), target(keyed=keyed), args)


@pytest.mark.parametrize("client", [client for client in CLIENTS if client.launchable], ids=lambda client: client.name)
@pytest.mark.parametrize("keyed", [False, True])
def test_the_key_is_never_on_the_command_line(client: object, *, keyed: bool) -> None:
    name = getattr(client, "name", "")
    if name == "llm" and keyed:
        with pytest.raises(UsageError, match="command line"):
            built("llm", keyed=True)
        return
    made = built(name, "--flag", "a b", keyed=keyed)
    assert made.args[-2:] == ("--flag", "a b"), "what follows -- comes last"
    environ = environment(made, {"HOME": "/home/me"}, SECRET if keyed else None)
    assert SECRET not in " ".join(made.args)
    assert (SECRET in environ.values()) is keyed
    assert environ["HOME"] == "/home/me"
    assert SECRET not in command_line(made, keyed=keyed)


def test_codex_is_given_a_provider_on_its_command_line() -> None:
    made = built("codex", "exec", "hi", keyed=True)
    flags = made.args[: made.args.index("exec")]
    assert flags[::2] == ("--config",) * (len(flags) // 2)
    table = tomllib.loads("\n".join(flags[1::2]))
    assert table["model_providers"]["gpt-oss"]["base_url"] == f"{URL}/v1"
    assert table["model_providers"]["gpt-oss"]["env_key"] == "GPT_OSS_API_KEY"
    assert (table["model_provider"], table["model"]) == ("gpt-oss", "gpt-oss-20b")
    assert table["model_context_window"] == 65_536
    assert table["analytics"] == {"enabled": False}, "it would report to OpenAI"
    assert "env_key" not in " ".join(built("codex").args)


def test_claude_is_given_settings_that_come_before_the_persons_own() -> None:
    """Keeps out: variables in the environment, which the `env` of the person's settings files overrides."""
    made = built("claude", "--print", "hi", keyed=True)
    settings = json.loads(made.args[1])
    assert made.args[0] == "--settings"
    assert settings["env"]["ANTHROPIC_BASE_URL"] == URL
    assert settings["env"]["ANTHROPIC_AUTH_TOKEN"] == "", "a token of theirs would come before the helper"
    assert settings["apiKeyHelper"].startswith("grep -m1 ")
    environ = environment(made, {"ANTHROPIC_API_KEY": "sk-ant-theirs", "CLAUDE_CODE_USE_BEDROCK": "1"}, SECRET)
    assert not environ.keys() & {"ANTHROPIC_API_KEY", "CLAUDE_CODE_USE_BEDROCK"}
    assert json.loads(built("claude").args[1])["env"]["ANTHROPIC_AUTH_TOKEN"] == "none"


def test_opencode_is_given_a_configuration_in_a_variable() -> None:
    made = built("opencode", keyed=True)
    content = json.loads(made.env["OPENCODE_CONFIG_CONTENT"])
    assert content["model"] == content["small_model"] == "gpt-oss/gpt-oss-20b"
    assert content["provider"]["gpt-oss"]["options"]["apiKey"] == "{env:GPT_OSS_API_KEY}"
    plain = json.loads(built("opencode").env["OPENCODE_CONFIG_CONTENT"])
    assert plain["provider"]["gpt-oss"]["options"] == {"baseURL": f"{URL}/v1"}


def test_aider_does_not_send_the_key_that_is_for_openai() -> None:
    environ = {"OPENAI_API_KEY": "sk-theirs", "AIDER_OPENAI_API_KEY": "sk-theirs"}
    assert environment(built("aider"), environ, None)["AIDER_OPENAI_API_KEY"] == "none"
    assert environment(built("aider", keyed=True), environ, SECRET)["AIDER_OPENAI_API_KEY"] == SECRET
    assert built("aider").args[:4] == ("--model", "openai/gpt-oss-20b", "--openai-api-base", f"{URL}/v1")


def test_llm_chats_unless_it_is_asked_something() -> None:
    words = ("openai", "endpoint", f"{URL}/v1", "--model", "gpt-oss-20b")
    assert built("llm").args == (*words, "--chat")
    assert built("llm", "a question").args == (*words, "a question")


def test_what_cannot_be_launched_says_what_can() -> None:
    with pytest.raises(UsageError, match="codex, claude, opencode, aider, llm") as caught:
        built("curl")
    assert caught.value.hint == "gpt-oss connect curl"


@POSIX
def test_the_dry_run_is_a_command_that_can_be_typed(tmp_path: Path) -> None:
    program = tmp_path / "claude"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\njson.dump([sys.argv, dict(os.environ)], sys.stdout)\n"
    )
    program.chmod(0o755)
    made = built("claude", "--print", "it's", keyed=True)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "ANTHROPIC_API_KEY": "sk-theirs"}
    line = command_line(made, keyed=True)
    done = subprocess.run(["/bin/sh", "-c", line], env=env, capture_output=True, check=True, timeout=60)
    argv, environ = json.loads(done.stdout)
    assert argv[1:] == list(made.args)
    assert environ["GPT_OSS_API_KEY"] == "****"
    assert "ANTHROPIC_API_KEY" not in environ


def executable(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_client_takes_the_place_of_this_process(tmp_path: Path) -> None:
    calls: list[tuple[str, list[str], Mapping[str, str]]] = []
    path = executable(tmp_path, "codex")
    environ = {"PATH": str(tmp_path)}
    made = built("codex", keyed=True)
    start(find("codex"), made, key=SECRET, environ=environ, execute=lambda *call: calls.append(call))
    ((program, argv, env),) = calls
    assert program == str(path)
    assert argv == ["codex", *made.args]
    assert env == {"PATH": str(tmp_path), "GPT_OSS_API_KEY": SECRET}


@pytest.mark.parametrize("client", [client for client in CLIENTS if client.launchable], ids=lambda client: client.name)
def test_a_client_that_is_not_installed_comes_with_its_install_command(client: object, tmp_path: Path) -> None:
    name = getattr(client, "name", "")
    with pytest.raises(UsageError, match=f"no {name} on PATH") as caught:
        start(find(name), built(name), key=None, environ={"PATH": str(tmp_path)})
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(("npm install ", "uv tool install "))


@POSIX
def test_a_program_that_the_system_cannot_run_is_told(tmp_path: Path) -> None:
    executable(tmp_path, "codex").write_text("#!/no/such/interpreter\n")
    with pytest.raises(LauncherError, match=r"cannot run .*/codex: No such file"):
        start(find("codex"), built("codex"), key=None, environ={"PATH": str(tmp_path)}, execute=os.execvpe)


def test_windows_runs_the_client_and_leaves_with_its_status() -> None:
    before = signal.getsignal(signal.SIGINT)
    code = "import os, sys; sys.exit(40 + (os.environ['MARK'] == 'here'))"
    with pytest.raises(SystemExit) as left:
        run_and_leave(sys.executable, ["python", "-c", code], {**os.environ, "MARK": "here"})
    assert left.value.code == 41
    assert signal.getsignal(signal.SIGINT) is before


def test_a_command_line_for_powershell() -> None:
    made = Launch(program="codex", args=("--config", "a={b = 1}"), env={"A": "x y"}, key_envs=("K",), unset=("U",))
    assert command_line(made, keyed=True, system="win32") == (
        "$env:U = $null; $env:A = 'x y'; $env:K = '****'; codex --config 'a={b = 1}'"
    )
