"""What llama-server would ignore without a word: honoured by another spelling, or refused by name. Pure.

Each case was tried on the pinned commit; scripts/server_malformed.py and tests/server/test_shield_requests.py keep the
proof. A body that holds none of the words is never parsed.
"""

from __future__ import annotations

import json
import re
from typing import Any

from launcher.server.shield.convert import n_choices
from launcher.server.shield.types import Api, Json, ShieldError

_WORDS: dict[Api, re.Pattern[bytes]] = {
    "chat": re.compile(
        rb'"(?:tool_choice|functions|function_call|audio|web_search_options|top_logprobs|reasoning_effort)"'
    ),
    "responses": re.compile(
        rb'"(?:tool_choice|text|n|n_cmpl|background|conversation|prompt|max_tool_calls|reasoning|role)"'
    ),
    "messages": re.compile(rb'"(?:tool_choice|output_config|thinking)"'),
}
_LOWEST = "low"
"""Harmony has no effort below it. llama-server takes "none" for the model's default, which thinks more."""
_EFFORTS = {"none": _LOWEST, "minimal": _LOWEST, "xhigh": "high", "max": "high"}
"""What clients of other models say, in GPT OSS's words."""
COMPLETIONS = frozenset({"/v1/completions", "/completions"})
_SEVERAL = re.compile(rb'"n(?:_cmpl)?"\s*:')
_COMPLETIONS_WORDS = re.compile(rb'"(?:echo|suffix|best_of)"')
_INSTEAD = {
    "functions": "use tools",
    "function_call": "use tool_choice",
    "audio": "the model writes text only",
    "web_search_options": "offer a function of your own in tools",
    "background": "stream the answer instead",
    "conversation": "send the conversation in input",
    "prompt": "send the conversation in input",
    "max_tool_calls": "the model makes one call a turn",
}


def check(api: Api, body: bytes) -> bytes:
    """Give the body as llama-server honours it: the same bytes wherever it does already.

    Raises:
        ShieldError: a parameter that llama-server would ignore, by name.
    """
    if _WORDS[api].search(body) is None:
        return body
    try:
        value = json.loads(body)
    except ValueError:
        return body  # llama-server says better what is wrong with it
    if not isinstance(value, dict):
        return body
    changed = dict(value)
    for name, instead in _INSTEAD.items():
        if value.get(name) and _WORDS[api].search(f'"{name}"'.encode()):
            raise _refusal(name, f"{name} is not supported here; {instead}")
    if api == "responses":
        _check_responses(changed)
    elif api == "messages":
        _check_messages(changed)
    else:
        _check_chat(changed)
    _check_tool_choice(api, changed)
    return body if changed == value else json.dumps(changed, ensure_ascii=False).encode()


def n_asked(body: bytes) -> int:
    """How many choices a chat completion is to have."""
    if _SEVERAL.search(body) is None:
        return 1
    try:
        value = json.loads(body)
    except ValueError:
        return 1
    return n_choices(value) if isinstance(value, dict) else 1


def check_completions(body: bytes) -> None:
    """Refuse what llama-server would ignore of a plain completion.

    Raises:
        ShieldError: a parameter, by name.
    """
    if _COMPLETIONS_WORDS.search(body) is None:
        return
    try:
        value = json.loads(body)
    except ValueError:
        return
    if not isinstance(value, dict):
        return
    for name, asked in (
        ("echo", bool(value.get("echo"))),
        ("suffix", bool(value.get("suffix"))),
        ("best_of", value.get("best_of") not in (None, 1)),
    ):
        if asked:
            raise _refusal(name, f"{name} is not supported here")


def _check_chat(body: Json) -> None:
    if body.get("logprobs") is True and body.get("top_logprobs") == 0:
        body["top_logprobs"] = 1  # with 0, llama-server gives no logprobs at all
    effort = body.get("reasoning_effort")
    if effort in _EFFORTS:
        body["reasoning_effort"] = _EFFORTS[effort]


def _check_messages(body: Json) -> None:
    thinking, config = body.get("thinking"), body.get("output_config")
    effort = _LOWEST if isinstance(thinking, dict) and thinking.get("type") == "disabled" else None
    if isinstance(config, dict):
        if config.get("format") is not None:
            raise _refusal("output_config.format", "output_config.format is not supported here; use chat completions")
        effort = config.get("effort", effort)
    if isinstance(effort, str):
        # Of what says how long the model thinks, llama-server hands this alone on from this API.
        given = body.get("chat_template_kwargs")
        kwargs = given if isinstance(given, dict) else {}
        body["chat_template_kwargs"] = {"reasoning_effort": _EFFORTS.get(effort, effort), **kwargs}


def _with_type(item: Any) -> Any:
    """A message of `input` in its short form: without the type, llama-server knows no assistant's."""
    short = isinstance(item, dict) and "type" not in item and item.get("role") == "assistant"
    return {"type": "message", **item} if short else item


def _check_responses(body: Json) -> None:
    given, reasoning = body.get("input"), body.get("reasoning")
    if isinstance(given, list):
        body["input"] = [_with_type(item) for item in given]
    if isinstance(reasoning, dict) and reasoning.get("effort") in _EFFORTS:
        body["reasoning"] = {**reasoning, "effort": _EFFORTS[reasoning["effort"]]}
    for name in ("n", "n_cmpl"):
        if isinstance(body.get(name), int) and body[name] > 1:
            raise _refusal(name, f"{name} must be 1: a response has one output")
    text = body.get("text")
    form = text.get("format") if isinstance(text, dict) else None
    kind = form.get("type") if isinstance(form, dict) else None
    if form is None or kind == "text":
        return
    if kind == "json_schema":
        body["response_format"] = {"type": kind, "json_schema": {"schema": form.get("schema", {})}}
    elif kind == "json_object":
        body["response_format"] = {"type": kind}
    else:
        raise _refusal("text.format", f"text.format cannot be of the type {kind!r}")


def _check_tool_choice(api: Api, body: Json) -> None:
    """Honour a choice that is an object: llama-server takes it for "auto", and of a name it knows nothing."""
    choice = body.get("tool_choice")
    if not isinstance(choice, dict):
        return
    kind = choice.get("type")
    if api == "messages":
        if kind == "none":
            body.pop("tools", None)
            del body["tool_choice"]
        elif kind == "tool":
            _only(body, str(choice.get("name")), api)
        elif kind not in ("auto", "any"):
            raise _refusal("tool_choice", f"tool_choice cannot be of the type {kind!r}")
        return
    if kind != "function":
        raise _refusal("tool_choice", f"tool_choice cannot be of the type {kind!r}")
    inner = choice.get("function") if api == "chat" else choice
    _only(body, str(inner.get("name") if isinstance(inner, dict) else None), api)
    body["tool_choice"] = "required"


def _only(body: Json, name: str, api: Api) -> None:
    """Leave the named tool alone to be called. With "required", which is honoured, that is a named choice."""
    tools = body.get("tools")
    kept = [tool for tool in tools if _name(tool, api) == name] if isinstance(tools, list) else []
    if not kept:
        raise _refusal("tool_choice", f"tool_choice names {name}, which is not among tools")
    body["tools"] = kept


def _name(tool: Any, api: Api) -> Any:
    inner = tool.get("function") if api == "chat" and isinstance(tool, dict) else tool
    return inner.get("name") if isinstance(inner, dict) else None


def _refusal(param: str, message: str) -> ShieldError:
    return ShieldError(message, status=400, kind="invalid_request_error", param=param)
