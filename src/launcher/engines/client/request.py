"""A turn as the body of a chat completion, and how many tokens it can be at most. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from launcher.engines.types import Message, Sampling
from launcher.errors import UsageError

ServerKind = Literal["llama-server", "openai"]
"""`llama-server` takes more than the API says and tells more; anything else is asked for the API's own words alone."""

_TOKENS_OF_MESSAGE = 32
"""Above what a template writes around a message: Harmony's role, recipient, channel and type."""
_TOKENS_OF_TOOL = 64
_TOKENS_OF_PROMPT = 512
"""Above the system message that a template writes by itself: Harmony's has about 90 tokens, with tools 120."""


def body_of(
    messages: Sequence[Message],
    sampling: Sampling,
    tools: Sequence[dict[str, Any]],
    *,
    model: str,
    kind: ServerKind,
) -> dict[str, Any]:
    """The body of a streamed chat completion.

    Raises:
        UsageError: the schema is no JSON.
    """
    ours = kind == "llama-server"
    body: dict[str, Any] = {
        "model": model,
        **prompt_of(messages, sampling, tools, kind=kind),
        "stream": True,
        "stream_options": {"include_usage": True},
        **_drawing(sampling, everything=ours),
    }
    if sampling.max_tokens is not None:
        body["max_tokens"] = sampling.max_tokens
    if sampling.json_schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": _schema(sampling.json_schema)}
    if ours:
        # Timings with every token are those of a turn that was stopped, too.
        body |= {"return_progress": True, "timings_per_token": True}
    return body


def prompt_of(
    messages: Sequence[Message], sampling: Sampling, tools: Sequence[dict[str, Any]], *, kind: ServerKind
) -> dict[str, Any]:
    """What of the body decides on the prompt. llama-server's /apply-template takes the same."""
    ours = kind == "llama-server"
    body: dict[str, Any] = {"messages": [_message(message, ours=ours) for message in messages]}
    if tools:
        body["tools"] = list(tools)
    if sampling.reasoning_effort is not None:
        # llama-server hands it to the template (tools/server/server-common.cpp, oaicompat_chat_params_parse).
        body["reasoning_effort"] = sampling.reasoning_effort
    return body


def _message(message: Message, *, ours: bool) -> dict[str, Any]:
    if message.role == "tool":
        answer: dict[str, Any] = {
            "role": "tool",
            "content": message.content,
            "tool_call_id": message.tool_call_id or "",
        }
        # Harmony names the tool that answered; the API knows no such field here.
        return answer | ({"name": message.name} if ours and message.name else {})
    spelled: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name and message.role == "user":
        spelled["name"] = message.name
    if message.tool_calls:
        # None rather than "": a call without a word before it.
        spelled["content"] = message.content or None
        spelled["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if ours and message.reasoning:
        spelled["reasoning_content"] = message.reasoning
    return spelled


def _drawing(sampling: Sampling, *, everything: bool) -> dict[str, Any]:
    """How tokens are drawn. llama-server has defaults of its own; the API's are those of `Sampling`."""
    default = Sampling()
    names = ("temperature", "top_p", "top_k", "min_p")
    fields = {
        name: getattr(sampling, name)
        for name in names
        if everything or getattr(sampling, name) != getattr(default, name)
    }
    return fields | ({} if sampling.seed is None else {"seed": sampling.seed})


def _schema(text: str) -> dict[str, Any]:
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the JSON schema cannot be read: {error}", hint="gpt-oss chat --help") from None
    if not isinstance(schema, dict):
        raise UsageError("the JSON schema is no JSON object", hint="gpt-oss chat --help")
    return {"name": "answer", "strict": True, "schema": schema}


def most_tokens(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> int:
    """An upper bound of the prompt's tokens: every token of a text is at least one byte of it."""
    texts = [
        text
        for message in messages
        for call_texts in [[part for call in message.tool_calls for part in (call.name, call.arguments)]]
        for text in (message.content, message.reasoning or "", message.name or "", *call_texts)
    ]
    n_bytes = sum(len(text.encode("utf-8", "replace")) for text in texts)
    n_messages = len(messages) + sum(len(message.tool_calls) for message in messages)
    # Twice: a template may spell a schema out with more words than JSON has.
    tool_bytes = sum(len(json.dumps(tool, ensure_ascii=False).encode("utf-8", "replace")) for tool in tools)
    tool_tokens = 2 * tool_bytes + _TOKENS_OF_TOOL * len(tools)
    return n_bytes + _TOKENS_OF_MESSAGE * n_messages + tool_tokens + _TOKENS_OF_PROMPT
