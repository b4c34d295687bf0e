"""What each client is told, read back by a parser of its language."""

from __future__ import annotations

import ast
import http.server
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ruamel.yaml import YAML

from launcher.clients.configs import SILENCE_MS
from launcher.clients.known import CLIENTS, find
from launcher.clients.snippets import notes, snippets
from launcher.clients.types import Target
from launcher.errors import UsageError
from tests.clients.builders import KEY_FILE, URL, target
from tests.systems import POSIX

SECRET = "sk-the-key-itself"


def text_of(name: str, *, keyed: bool = False, **options: Any) -> str:
    (snippet,) = snippets(find(name), target(keyed=keyed, **options))
    return snippet.text


def parsed(name: str, *, keyed: bool = False, **options: Any) -> list[Any]:
    """The settings files of a client, by a reader that is not the writer."""
    readers: dict[str, Callable[[str], Any]] = {
        "toml": tomllib.loads,
        "json": json.loads,
        "yaml": YAML(typ="safe", pure=True).load,
    }
    return [readers[item.language](item.text) for item in snippets(find(name), target(keyed=keyed, **options))]


def test_codex_gets_a_provider_and_a_profile_in_a_file_of_its_own() -> None:
    provider, profile = parsed("codex")
    assert provider == {
        "model_providers": {
            "gpt-oss": {
                "name": "GPT OSS (local)",
                "base_url": f"{URL}/v1",
                "wire_api": "responses",
                "stream_idle_timeout_ms": SILENCE_MS,
            }
        }
    }
    assert profile == {
        "model_provider": "gpt-oss",
        "model": "gpt-oss-20b",
        "model_context_window": 65_536,
        "analytics": {"enabled": False},
    }
    keyed, _ = parsed("codex", keyed=True)
    assert keyed["model_providers"]["gpt-oss"]["env_key"] == "GPT_OSS_API_KEY"


def test_claude_asks_a_command_for_the_key_or_has_a_placeholder() -> None:
    (plain,) = parsed("claude")
    assert set(plain) == {"env"}
    assert all(isinstance(value, str) for value in plain["env"].values()), "it refuses numbers there"
    assert plain["env"]["ANTHROPIC_BASE_URL"] == URL, "it appends /v1 itself"
    assert plain["env"]["ANTHROPIC_AUTH_TOKEN"] == "none"
    assert plain["env"]["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "65536"
    models = {value for name, value in plain["env"].items() if name.endswith("_MODEL")}
    assert models == {"gpt-oss-20b"}
    (keyed,) = parsed("claude", keyed=True)
    assert "ANTHROPIC_AUTH_TOKEN" not in keyed["env"]
    assert shlex.split(keyed["apiKeyHelper"]) == ["grep", "-m1", "^[^#[:space:]]", str(KEY_FILE)]
    (elsewhere,) = parsed("claude", keyed=True, key_file=None)
    assert elsewhere["apiKeyHelper"] == "printenv GPT_OSS_API_KEY"


def test_opencode_gets_a_provider_with_its_limits() -> None:
    (config,) = parsed("opencode", model="gpt-oss-120b")
    provider = config["provider"]["gpt-oss"]
    assert provider["npm"] == "@ai-sdk/openai-compatible"
    assert provider["options"] == {"baseURL": f"{URL}/v1"}
    assert provider["models"]["gpt-oss-120b"]["limit"] == {"context": 65_536, "output": 16_384}
    (keyed,) = parsed("opencode", keyed=True)
    assert keyed["provider"]["gpt-oss"]["options"]["apiKey"] == "{env:GPT_OSS_API_KEY}"


def test_continue_gets_a_model_and_what_a_configuration_must_have() -> None:
    (config,) = parsed("continue", keyed=True)
    assert isinstance(config.pop("name"), str)
    assert config == {
        "version": "1.0.0",
        "schema": "v1",
        "models": [
            {
                "name": "gpt-oss-20b (local)",
                "provider": "openai",
                "model": "gpt-oss-20b",
                "apiBase": f"{URL}/v1",
                "apiKey": "${{ secrets.GPT_OSS_API_KEY }}",
                "capabilities": ["tool_use"],
                "defaultCompletionOptions": {"contextLength": 65_536},
            }
        ],
    }
    assert "apiKey" not in parsed("continue")[0]["models"][0]


def test_aider_gets_its_settings_and_the_models_context() -> None:
    settings, metadata = parsed("aider")
    assert settings == {
        "model": "openai/gpt-oss-20b",
        "openai-api-base": f"{URL}/v1",
        "openai-api-key": "none",
    }
    assert metadata["openai/gpt-oss-20b"]["max_input_tokens"] == 65_536
    assert metadata["openai/gpt-oss-20b"]["litellm_provider"] == "openai"
    assert "openai-api-key" not in parsed("aider", keyed=True)[0]


def test_llm_gets_a_model_that_can_use_tools() -> None:
    ((model,),) = parsed("llm")
    assert (model["model_id"], model["model_name"], model["api_base"]) == ("gpt-oss-20b", "gpt-oss-20b", f"{URL}/v1")
    assert model["supports_tools"] is True
    assert "api_key_name" not in model
    ((keyed,),) = parsed("llm", keyed=True)
    assert keyed["api_key_name"] == "gpt-oss"


@pytest.mark.parametrize("name", ["openai-python", "langchain"])
def test_a_python_program_parses_and_names_the_key_only_where_there_is_one(name: str) -> None:
    plain, keyed = text_of(name, model='a "quoted" model'), text_of(name, keyed=True)
    strings = {node.value for node in ast.walk(ast.parse(plain)) if isinstance(node, ast.Constant)}
    assert {f"{URL}/v1", 'a "quoted" model', "none"} <= strings
    ast.parse(keyed)
    assert "import os" in keyed
    assert 'os.environ["GPT_OSS_API_KEY"]' in keyed
    assert "import os" not in plain


class Answering(http.server.BaseHTTPRequestHandler):
    """Says hello to whoever asks for a chat completion, and notes who did."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers["Authorization"]))
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@POSIX
@pytest.mark.parametrize("name", ["openai-python", "curl"])
def test_a_program_reaches_a_server_with_the_key(name: str) -> None:
    if name == "curl" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    Answering.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            endpoint = replace(target().endpoint, url=f"http://127.0.0.1:{server.server_port}")
            (snippet,) = snippets(find(name), Target(endpoint=endpoint, keyed=True))
            command = [sys.executable, "-c"] if snippet.language == "python" else ["/bin/sh", "-c"]
            env = {**os.environ, "GPT_OSS_API_KEY": SECRET, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
            done = subprocess.run(
                [*command, snippet.text], env=env, capture_output=True, text=True, check=True, timeout=60
            )
        finally:
            server.shutdown()
            thread.join()
    assert "Hello." in done.stdout
    assert Answering.asked == [("/v1/chat/completions", f"Bearer {SECRET}")]


def test_a_node_module_parses(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    for keyed in (False, True):
        module = tmp_path / f"{keyed}.mjs"
        module.write_text(text_of("openai-node", keyed=keyed))
        subprocess.run([node, "--check", str(module)], check=True, timeout=60)
    assert "process.env.GPT_OSS_API_KEY" in text_of("openai-node", keyed=True)
    assert f'baseURL: "{URL}/v1"' in text_of("openai-node")


def test_curl_is_one_command_with_a_json_body() -> None:
    words = shlex.split(text_of("curl", model="it's mine"))
    assert words[:2] == ["curl", f"{URL}/v1/chat/completions"]
    assert json.loads(words[-1])["model"] == "it's mine"
    assert "Authorization: Bearer $GPT_OSS_API_KEY" in shlex.split(text_of("curl", keyed=True))


@POSIX
@pytest.mark.parametrize("name", ["open-webui", "cline"])
@pytest.mark.parametrize("keyed", [False, True])
def test_shell_snippets_are_sound(name: str, *, keyed: bool) -> None:
    text = text_of(name, keyed=keyed)
    subprocess.run(["/bin/sh", "-n"], input=text.encode(), check=True, timeout=60)
    assert f"{URL}/v1" in text
    assert ('"$GPT_OSS_API_KEY"' in text) is keyed


def test_every_client_says_how_it_learns_the_key() -> None:
    for client in CLIENTS:
        keyed = target(keyed=True)
        told = "\n".join((*notes(client, keyed), *(item.text for item in snippets(client, keyed))))
        assert keyed.key_command in told, client.name
        plain = target()
        silent = "\n".join((*notes(client, plain), *(item.text for item in snippets(client, plain))))
        assert "GPT_OSS_API_KEY" not in silent, client.name


def test_names_are_found_by_alias_and_a_slip_is_told() -> None:
    assert find("claude-code") is find("Claude")
    assert find("openai").name == "openai-python"
    with pytest.raises(UsageError, match="did you mean 'codex'"):
        find("codxe")
    with pytest.raises(UsageError, match=r"no client is called 'zzz'$"):
        find("zzz")


# Windows


def on_windows(*, keyed: bool = False, model: str = "gpt-oss-20b") -> Target:
    """A server on Windows, whose key lies in a folder with a quote and spaces in its name."""
    given = target(keyed=keyed, key_file=Path(r"C:\Users\Kim O'Neil\keys\8080.key"), model=model)
    return replace(given, system="win32")


def test_curl_is_powershells_own_on_windows() -> None:
    (snippet,) = snippets(find("curl"), on_windows(keyed=True, model="it's mine"))
    assert snippet.language == "powershell"
    first, *others = snippet.text.rstrip().split(" `\n  ")
    assert first == f"Invoke-RestMethod {URL}/v1/chat/completions -Method Post"
    assert others[:2] == [
        "-ContentType 'application/json'",
        '-Headers @{Authorization = "Bearer $env:GPT_OSS_API_KEY"}',
    ]
    body = others[2].removeprefix("-Body '").removesuffix("'").replace("''", "'")
    assert json.loads(body)["model"] == "it's mine"


@pytest.mark.parametrize("name", ["open-webui", "cline"])
def test_nothing_of_a_posix_shell_is_left_on_windows(name: str) -> None:
    for keyed in (False, True):
        (snippet,) = snippets(find(name), on_windows(keyed=keyed))
        assert snippet.language == "powershell"
        assert "export" not in snippet.text
        assert not any(line.endswith("\\") for line in snippet.text.splitlines())
        assert ("$env:GPT_OSS_API_KEY" in snippet.text) is keyed


def test_the_key_is_printed_by_a_command_of_windows() -> None:
    command = on_windows(keyed=True).key_command
    assert r"-LiteralPath 'C:\Users\Kim O''Neil\keys\8080.key'" in command
    assert "$" not in command, "the PowerShell that it is typed into would read it"
    assert command.count('"') == 2, "cmd takes what is between them as one word"
    (line, _use) = notes(find("codex"), on_windows(keyed=True))
    assert line == f"the key comes from the environment: $env:GPT_OSS_API_KEY = {command}"
    elsewhere = replace(target(keyed=True, key_file=None), system="win32")
    assert elsewhere.key_command == "cmd /c echo %GPT_OSS_API_KEY%"
    assert "export" not in " ".join(notes(find("continue"), on_windows(keyed=True)))
