"""What the official clients are asked in tests, and the server that they ask."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from launcher.demo import demo_model_path
from tests.cli.sandbox import Sandbox, free_port
from tests.demo.prompts import WEATHER
from tests.server.waiting import gone, wait_for
from tests.systems import KILL

MODEL = "tiny-gpt-oss-MXFP4"
TIMEOUT_S = 60.0
"""Of one answer; most take 20 ms. The clients' own ten minutes would outlive the test run."""
CAPITAL = "What is the capital of France?"
PARIS = "The capital of France is Paris."
ROME = "The capital of Italy is Rome."
STORY = "Tell me a story."
TOKYO = "What is the weather in Tokyo?"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Paris", "Rome"]},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "tags": {"type": "array", "items": {"type": "string", "enum": ["old", "big"]}, "minItems": 1, "maxItems": 2},
    },
    "required": ["city", "stars", "tags"],
    "additionalProperties": False,
}
"""No text is free in it, so that every model, however weak, comes to an end."""
_function: Any = WEATHER["function"]
# Both are names that the demo model has seen: offered both, it prefers the longer one.
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {**_function, "name": name}} for name in ("get_weather", "get_current_weather")
]
RESPONSES_TOOLS = [{"type": "function", **tool["function"]} for tool in TOOLS]
ANTHROPIC_TOOLS = [
    {"name": f["name"], "description": f["description"], "input_schema": f["parameters"]}
    for f in (tool["function"] for tool in TOOLS)
]


@contextmanager
def serving(root: Path, *, model: Path | None = None) -> Iterator[str]:
    """The address of a server that the command has started; nothing is left of it afterwards."""
    sandbox = Sandbox(root)
    port = free_port()
    done = sandbox.run("serve", "--model", model or demo_model_path(), "--port", port, "--detach")
    assert done.code == 0, done
    records = json.loads(sandbox.run("ps", "--json").out)["servers"]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        sandbox.run("stop", "--all")
        pids = [pid for record in records for pid in (record["pid"], record["server_pid"])]
        for pid in pids:
            with suppress(OSError, TypeError):
                os.kill(pid, KILL)
        wait_for(lambda: all(map(gone, pids)), "a server left behind")


def assert_plain(*texts: str | None) -> None:
    """No tag of Harmony has got through."""
    for text in texts:
        assert "<|" not in (text or "")


def assert_follows_schema(text: str) -> None:
    """The text is JSON of SCHEMA's form."""
    value = json.loads(text)
    assert set(value) == set(SCHEMA["required"])
    assert value["city"] in {"Paris", "Rome"}
    assert type(value["stars"]) is int
    assert 1 <= value["stars"] <= 5
    assert 1 <= len(value["tags"]) <= 2
    assert set(value["tags"]) <= {"old", "big"}


def extra(model: Any, name: str) -> str:
    """A field that the client's own types do not have: `reasoning_content`. "" where it is left out."""
    fields: Mapping[str, Any] = model.model_extra or {}
    return str(fields.get(name) or "")


def without_repeats(names: list[str]) -> list[str]:
    """Names in order, each run of one told once."""
    return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]


def weather(degrees: int) -> str:
    """What the tool says."""
    return json.dumps({"temperature": degrees, "condition": "sunny"})
