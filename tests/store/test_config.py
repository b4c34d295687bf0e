"""The HF_* environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.errors import UsageError
from launcher.store.config import DEFAULT_ENDPOINT, HubConfig, hub_config


def test_nothing_set_is_the_public_hub_without_a_token(tmp_path: Path) -> None:
    found = hub_config({"HOME": str(tmp_path)})
    assert found == HubConfig(cache_dir=tmp_path / ".cache" / "huggingface" / "hub")
    assert found.endpoint == DEFAULT_ENDPOINT


def test_everything_set(tmp_path: Path) -> None:
    env = {
        "HF_ENDPOINT": "https://mirror.example/",
        "HF_TOKEN": " hf_x\n",
        "HF_HUB_CACHE": str(tmp_path),
        "HF_HUB_OFFLINE": "yes",
    }
    assert hub_config(env) == HubConfig(
        endpoint="https://mirror.example", token="hf_x", cache_dir=tmp_path, offline=True
    )


def test_a_stored_login_is_used_unless_it_is_switched_off(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_stored\n")
    env = {"HF_HOME": str(tmp_path)}
    assert hub_config(env).token == "hf_stored"
    assert hub_config({**env, "HF_TOKEN": "hf_given"}).token == "hf_given"
    assert hub_config({**env, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}).token is None
    (tmp_path / "elsewhere").write_text("hf_else")
    assert hub_config({**env, "HF_TOKEN_PATH": str(tmp_path / "elsewhere")}).token == "hf_else"


@pytest.mark.parametrize(("text", "offline"), [("1", True), ("on", True), ("TRUE", True), ("0", False), ("", False)])
def test_offline_is_read_as_huggingface_hub_reads_it(text: str, *, offline: bool) -> None:
    assert hub_config({"HOME": "/x", "HF_HUB_OFFLINE": text}).offline is offline
    assert hub_config({"HOME": "/x", "TRANSFORMERS_OFFLINE": text}).offline is offline


def test_an_endpoint_that_is_no_address() -> None:
    with pytest.raises(UsageError, match="HF_ENDPOINT") as raised:
        hub_config({"HOME": "/x", "HF_ENDPOINT": "huggingface.co"})
    assert raised.value.hint == "env -u HF_ENDPOINT gpt-oss plan"


def test_a_printed_config_does_not_show_the_token(tmp_path: Path) -> None:
    shown = repr(HubConfig(cache_dir=tmp_path, token="hf_secret"))
    assert "hf_secret" not in shown
    assert "***" in shown


def test_the_process_environment_is_read_as_a_given_one(tmp_path: Path) -> None:
    """The first goes by huggingface_hub's login, the second by our reading of it: they have to agree."""
    (tmp_path / "token").write_text("hf_stored\n")
    env = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:1", "PATH": "/usr/bin:/bin"}
    code = (
        "import dataclasses, json; from launcher.store.config import hub_config;"
        "print(json.dumps(dataclasses.asdict(hub_config()), default=str))"
    )
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    expected = hub_config(env)
    assert json.loads(run.stdout) == {
        "endpoint": expected.endpoint,
        "token": "hf_stored",
        "cache_dir": str(expected.cache_dir),
        "offline": False,
        "mirrors": [],
    }
