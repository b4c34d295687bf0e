"""The script that makes a new pin's source known."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "pin_source.py"
LOCK = '[[package]]\nname = "llama-cpp-python"\nversion = "0.3.37"\nsdist = { url = "x", hash = "sha256:ab" }\n'


def test_a_new_pin_is_put_before_the_older_ones() -> None:
    spec = importlib.util.spec_from_file_location("pin_source", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.locked(LOCK) == ("0.3.37", "ab")
    config = (SCRIPT.parents[1] / "configs" / "engines.toml").read_text(encoding="utf-8")
    once = script.with_source(config, "0.3.37", "ab")
    older = tomllib.loads(config)["source"]
    assert tomllib.loads(once)["source"] == {**older, "0.3.37": {"sha256": "ab"}}
    assert script.with_source(once, "0.3.37", "ab") == once
    assert tomllib.loads(script.with_source(once, "0.3.37", "cd"))["source"]["0.3.37"] == {"sha256": "cd"}
    assert tomllib.loads(script.with_source("a = 1\n", "0.3.37", "ab"))["source"] == {"0.3.37": {"sha256": "ab"}}
