"""Words that would end llama-server: refused where they are too long, and survived where they are not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx
import pytest

from launcher.demo import demo_model_path
from launcher.server.shield.runs import MAX_RUN, check_runs
from launcher.server.shield.types import ShieldError
from tests.cli.sandbox import Sandbox, free_port


def body(text: str) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}).encode()


@pytest.mark.parametrize("kind", ["a", "Z", " ", "\n", "-", "_", "é", "漢"])
def test_a_run_that_is_too_long_is_refused(kind: str) -> None:
    check_runs(body(f"1{kind * 50}2" * 2), limit=50)
    with pytest.raises(ShieldError, match="51 characters of one kind") as caught:
        check_runs(body(f"1{kind * 51}2"), limit=50)
    assert caught.value.status == 400


@pytest.mark.parametrize("text", ["0" * 1000, "word " * 1000, "a-" * 1000, "a1" * 1000])
def test_other_long_texts_pass(text: str) -> None:
    check_runs(body(text), limit=50)


@pytest.mark.parametrize("junk", [b"{" * 100, b"[" * 100_000, b"\xff" * 100])
def test_what_is_no_json_is_left_to_the_server(junk: bytes) -> None:
    check_runs(junk, limit=50)


@pytest.mark.skipif(sys.platform != "linux", reason="the stack is set on Linux")
def test_a_word_of_many_letters_does_not_end_the_server(tmp_path: Path) -> None:
    """Keeps out: SIGSEGV of llama-server by a prompt with 30,000 letters in a row."""
    sandbox, port = Sandbox(tmp_path), free_port()
    served = sandbox.run("serve", "--model", demo_model_path(), "--port", port, "--ctx-size", 4096, "--detach")
    assert served.code == 0, served.err
    try:
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        long = httpx.post(url, content=body("x" * 500_000), timeout=60)
        assert long.status_code == 400
        assert "context" in long.text
        longer = httpx.post(url, content=body("x" * (MAX_RUN + 1)), timeout=60)
        assert longer.status_code == 400
        assert "characters of one kind" in longer.text
        fine = httpx.post(url, content=body("What is the capital of France?"), timeout=60)
        assert fine.status_code == 200
        assert "llama-server ended" not in sandbox.run("logs", "--port", port).out
    finally:
        sandbox.run("stop", "--port", port)
