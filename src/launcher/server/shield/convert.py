"""A request of any API as a chat completion, as llama-server itself converts it (tools/server/server-chat.cpp). Pure.

Only /apply-template needs it: it takes chat completions alone. Pictures and sound are left out: GPT OSS reads none.
"""

from __future__ import annotations

import json
from typing import Any

from launcher.server.shield.types import Api, Json

_TEMPLATE_KEYS = (
    *("messages", "tools", "tool_choice", "reasoning_effort", "chat_template_kwargs", "response_format"),
    *("json_schema", "parallel_tool_calls", "reasoning_format", "add_generation_prompt", "continue_final_message"),
)
_NOT_SAMPLING = frozenset(
    {
        *_TEMPLATE_KEYS,
        *("model", "stream", "stream_options", "n", "n_cmpl", "logprobs", "top_logprobs", "n_probs", "grammar"),
        *(
            "max_tokens",
            "max_completion_tokens",
            "n_predict",
            "store",
            "metadata",
            "user",
            "verbose",
            "text",
            "include",
        ),
        *("timings_per_token", "return_progress", "id_slot", "instructions", "truncation", "service_tier", "thinking"),
    }
)


def chat_body(api: Api, body: Json) -> Json:
    """The request as a chat completion."""
    if api == "messages":
        return _from_messages(body)
    return _from_responses(body) if api == "responses" else body


def template_body(chat: Json) -> Json:
    """What the prompt depends on."""
    return {key: chat[key] for key in _TEMPLATE_KEYS if key in chat}


def sampling(chat: Json) -> Json:
    """How tokens are drawn: everything that is about nothing else."""
    return {key: value for key, value in chat.items() if key not in _NOT_SAMPLING and value is not None}


def max_tokens(chat: Json) -> int | None:
    """How long the turn may get."""
    for key in ("n_predict", "max_completion_tokens", "max_tokens"):
        value = chat.get(key)
        if isinstance(value, int) and value >= 0:
            return value
    return None


def n_choices(chat: Json) -> int:
    """How many answers are wanted; 1 too where it is no number, which llama-server refuses."""
    value = chat.get("n") if chat.get("n_cmpl") is None else chat["n_cmpl"]
    return int(value) if isinstance(value, (int, float)) and value > 1 and value % 1 == 0 else 1


def schema(chat: Json) -> Any:
    """The JSON schema that the answer must follow; None where it need not."""
    if chat.get("json_schema") is not None:
        return chat["json_schema"]
    form = chat.get("response_format")
    if not isinstance(form, dict):
        return None
    if form.get("type") == "json_object":
        return form.get("schema") or {"type": "object"}
    if form.get("type") == "json_schema":
        return (form.get("json_schema") or {}).get("schema") or {"type": "object"}
    return None


def _from_responses(body: Json) -> Json:
    chat = {key: value for key, value in body.items() if key not in ("input", "instructions", "tools", "reasoning")}
    messages: list[Json] = []
    if body.get("instructions"):
        messages.append({"role": "system", "content": body["instructions"]})
    items = body.get("input")
    for item in [{"role": "user", "content": items}] if isinstance(items, str) else items or ():
        _add_item(messages, item)
    tools = [
        {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}
        for tool in body.get("tools") or ()
        if tool.get("type") == "function"
    ]
    chat |= {"messages": messages} | ({"tools": tools} if tools else {})
    if body.get("max_output_tokens") is not None:
        chat["max_tokens"] = chat.pop("max_output_tokens")
    effort = (body.get("reasoning") or {}).get("effort")
    return chat | ({"reasoning_effort": effort} if effort else {})


def _add_item(messages: list[Json], item: Json) -> None:
    kind, content = item.get("type"), item.get("content")
    if kind == "function_call_output":
        messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": _text(item["output"])})
    elif kind == "function_call":
        function = {"name": item["name"], "arguments": item["arguments"]}
        call = {"id": item["call_id"], "type": "function", "function": function}
        _assistant(messages).setdefault("tool_calls", []).append(call)
    elif kind == "reasoning":
        _assistant(messages)["reasoning_content"] = _text(content)
    elif item.get("role") == "assistant":
        message = _assistant(messages)
        message["content"] = (message.get("content") or "") + _text(content)
    else:
        messages.append({"role": item.get("role", "user"), "content": _text(content)})


def _assistant(messages: list[Json]) -> Json:
    """The assistant's message at the end: items of one turn belong together."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": ""})
    return messages[-1]


def _from_messages(body: Json) -> Json:
    chat: Json = {key: body[key] for key in ("temperature", "top_p", "top_k", "chat_template_kwargs") if key in body}
    chat["max_tokens"] = body.get("max_tokens", 4096)
    if "stop_sequences" in body:
        chat["stop"] = body["stop_sequences"]
    messages: list[Json] = []
    if body.get("system"):
        messages.append({"role": "system", "content": _text(body["system"])})
    for message in body.get("messages") or ():
        _add_message(messages, message)
    tools = [
        {
            "type": "function",
            "function": {
                "name": tool.get("name", ""),
                "description": tool.get("description", ""),
                "parameters": tool.get("input_schema", {}),
            },
        }
        for tool in body.get("tools") or ()
    ]
    choice = (body.get("tool_choice") or {}).get("type")
    chat |= {"messages": messages} | ({"tools": tools} if tools else {})
    return chat | ({"tool_choice": "required"} if choice in ("any", "tool") else {})


def _add_message(messages: list[Json], message: Json) -> None:
    content = message.get("content")
    if not isinstance(content, list):
        messages.append(message)
        return
    calls = [block for block in content if block.get("type") == "tool_use"]
    results = [block for block in content if block.get("type") == "tool_result"]
    thought = "".join(block.get("thinking", "") for block in content if block.get("type") == "thinking")
    text = [block for block in content if block.get("type") == "text"]
    if text or calls or thought:
        value: Json = {"role": message.get("role"), "content": _text(text)}
        if thought:
            value["reasoning_content"] = thought
        if calls:
            value["tool_calls"] = [
                {
                    "id": call.get("id", ""),
                    "type": "function",
                    "function": {"name": call.get("name", ""), "arguments": json.dumps(call.get("input", {}))},
                }
                for call in calls
            ]
        messages.append(value)
    messages += [
        {"role": "tool", "tool_call_id": block.get("tool_use_id", ""), "content": _text(block.get("content"))}
        for block in results
    ]


def _text(content: Any) -> str:
    """A message's text. The template joins its parts without anything between them, and so does this."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
