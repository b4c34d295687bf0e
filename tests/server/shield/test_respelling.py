"""Requests in the words of other models and APIs, in those that llama-server honours."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launcher.server.shield.requests import check, check_completions
from launcher.server.shield.types import Api, ShieldError


def respelt(api: Api, **body: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(check(api, json.dumps(body).encode()))
    return found


@pytest.mark.parametrize(
    ("said", "meant"), [("none", "low"), ("minimal", "low"), ("xhigh", "high"), ("high", "high"), ("medium", "medium")]
)
def test_efforts_that_harmony_has_not(said: str, meant: str) -> None:
    """llama-server takes `none` for the default, medium, and hands the others to the template as they are."""
    assert respelt("chat", reasoning_effort=said)["reasoning_effort"] == meant
    assert respelt("responses", reasoning={"effort": said, "summary": "auto"})["reasoning"]["effort"] == meant
    kwargs = respelt("messages", output_config={"effort": said})["chat_template_kwargs"]
    assert kwargs == {"reasoning_effort": meant}


def test_thinking_that_is_off_is_as_short_as_it_gets() -> None:
    assert respelt("messages", thinking={"type": "disabled"})["chat_template_kwargs"] == {"reasoning_effort": "low"}
    assert "chat_template_kwargs" not in respelt("messages", thinking={"type": "enabled", "budget_tokens": 1024})
    own = {"reasoning_effort": "high"}
    kept = respelt("messages", thinking={"type": "disabled"}, chat_template_kwargs=own)
    assert kept["chat_template_kwargs"] == own


def test_messages_in_their_short_form() -> None:
    given = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"type": "reasoning", "id": "r"}]
    found = respelt("responses", input=given)["input"]
    assert found == [given[0], {"type": "message", **given[1]}, given[2]]


def test_a_form_that_this_api_cannot_promise_is_refused_by_name() -> None:
    with pytest.raises(ShieldError, match=r"output_config\.format"):
        respelt("messages", output_config={"format": {"type": "json_schema", "schema": {}}})


@pytest.mark.parametrize(("name", "value"), [("echo", True), ("suffix", "x"), ("best_of", 3)])
def test_what_plain_completions_ignore_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ShieldError, match=name) as caught:
        check_completions(json.dumps({"prompt": "a", name: value}).encode())
    assert (caught.value.status, caught.value.param) == (400, name)


@pytest.mark.parametrize("body", [b'{"prompt": "echo"}', b'{"echo": false, "best_of": 1}', b'{"echo"', b'["echo"]'])
def test_other_completions_pass(body: bytes) -> None:
    check_completions(body)


@pytest.mark.parametrize("api", ["chat", "responses", "messages"])
@pytest.mark.parametrize("body", [b'{"messages": []}', b'{"tool_choice"', b'["tool_choice"]', b'{"reasoning": null}'])
def test_what_needs_no_change_keeps_its_bytes(api: Api, body: bytes) -> None:
    assert check(api, body) == body
