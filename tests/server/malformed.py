"""A llama-server on the model that breaks Harmony on demand, and its turns through each API."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

import httpx

Api = Literal["chat", "responses", "messages"]

APIS: tuple[Api, ...] = ("chat", "responses", "messages")
PATHS: dict[Api, str] = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
MODEL = Path(__file__).parents[1] / "data" / "harmony" / "malformed-gpt-oss.gguf"
PARAMETERS = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
ABOUT = "Get the current weather."
SHAPES = (
    *("good-answer", "good-short", "good-call", "good-preamble", "bare-text", "no-channel", "bare-final"),
    *("late-bare-final", "late-bare-text", "stray-header", "stray-headers", "unknown-channel", "unknown-only"),
    *("call-in-analysis", "call-in-final", "call-without-to", "call-unknown", "call-bad-arguments"),
    *("recipient-last", "recipient-first", "constrained-final", "constrained-twice", "text-after-end", "no-message"),
    *("cut-header", "only-analysis", "open-analysis", "only-commentary", "double-final", "nothing"),
)
"""As scripts/tiny_gpt_oss/malformed.py spells them out."""
START_TIMEOUT_S = 60  # a tiny model loads in half a second; a machine under load takes longer
ANSWER_TIMEOUT_S = 60


def llama_server() -> Path:
    """The program, beside the bindings."""
    package = find_spec("llama_cpp")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parents[1] / "bin" / "llama-server"


@dataclass(frozen=True)
class Running:
    """A llama-server that answers."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def running_server(port: int, *arguments: str, model: Path = MODEL) -> Iterator[Running]:
    """Start it, wait until it answers, and kill it at the end."""
    command = [
        *(str(llama_server()), "--model", str(model), "--host", "127.0.0.1", "--port", str(port)),
        *("--threads", "1", "--ctx-size", "4096", "--parallel", "4", "--temp", "0", "--offline", "--no-warmup"),
        *arguments,
    ]
    with TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + START_TIMEOUT_S
            while not _answers(url):
                assert process.poll() is None, "llama-server ended"
                assert time.monotonic() < deadline, "llama-server did not start"
                time.sleep(0.02)
            yield Running(url, process)
        finally:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def request(api: Api, shape: str, *, stream: bool, tools: bool) -> dict[str, Any]:
    """A request for one shape in an API's own form."""
    text, body = f"Show {shape}", {"model": "gpt-oss", "stream": stream, "temperature": 0}
    if api == "chat":
        body |= {"messages": [{"role": "user", "content": text}], "max_tokens": 200}
        tool = {"name": "get_weather", "description": ABOUT, "parameters": PARAMETERS}
        return body | ({"tools": [{"type": "function", "function": tool}]} if tools else {})
    if api == "responses":
        tool = {"type": "function", "name": "get_weather", "description": ABOUT, "parameters": PARAMETERS}
        return body | {"input": text, "max_output_tokens": 200} | ({"tools": [tool]} if tools else {})
    tool = {"name": "get_weather", "description": ABOUT, "input_schema": PARAMETERS}
    body |= {"messages": [{"role": "user", "content": text}], "max_tokens": 200}
    return body | ({"tools": [tool]} if tools else {})


@dataclass
class Answer:
    """What a client made of one turn."""

    status: int = 0
    error: str | None = None
    content: str = ""
    reasoning: str = ""
    calls: list[list[str]] = field(default_factory=list)
    """Name and arguments of each."""
    finish: str | None = None
    ended: bool = False
    """The API's own end was seen: `[DONE]`, `response.completed`, `message_stop`, or a whole document."""
    events: list[str] = field(default_factory=list)
    """Kinds of streamed events in order, repeats left out."""

    @property
    def survived(self) -> bool:
        """A client could use it."""
        return self.status == 200 and self.error is None and self.ended

    @property
    def said(self) -> tuple[str, str, list[list[str]]]:
        """What the user or the program gets of it."""
        return self.content, self.reasoning, self.calls


def new_client() -> httpx.Client:
    """A client that opens a connection for each request: llama-server closes kept ones without saying so."""
    return httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), timeout=ANSWER_TIMEOUT_S)


def ask(client: httpx.Client, url: str, api: Api, body: dict[str, Any]) -> Answer:
    """One turn."""
    answer = Answer()
    with client.stream("POST", url + PATHS[api], json=body) as response:
        answer.status = response.status_code
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            text = b"".join(response.iter_raw()).decode()
            for kind, data in events(text):
                _event(answer, api, kind, data)
        else:
            document = json.loads(response.read())
            answer.ended = True
            if document.get("error") is not None:
                answer.error = str(document["error"]["message"])
            else:
                _document(answer, api, document)
    return answer


def events(text: str) -> Iterator[tuple[str, str]]:
    """Kind and data of each server-sent event."""
    for block in text.split("\n\n"):
        kind, data = "", ""
        for line in block.splitlines():
            kind = line.removeprefix("event: ") if line.startswith("event: ") else kind
            data = line.removeprefix("data: ") if line.startswith("data: ") else data
        if data:
            yield kind, data


def _event(answer: Answer, api: Api, kind: str, data: str) -> None:
    if data == "[DONE]":
        answer.ended = True
        _seen(answer, "[DONE]")
        return
    value = json.loads(data)
    if value.get("error") is not None:
        answer.error = str(value["error"]["message"])
        _seen(answer, "error")
    elif api == "chat":
        _chat_chunk(answer, value)
    elif api == "responses":
        _response_event(answer, kind, value)
    else:
        _message_event(answer, kind, value)


def _seen(answer: Answer, kind: str) -> None:
    if not answer.events or answer.events[-1] != kind:
        answer.events.append(kind)


def _chat_chunk(answer: Answer, value: dict[str, Any]) -> None:
    for choice in value["choices"]:
        delta = choice["delta"]
        for key in delta:
            _seen(answer, key)
        answer.content += delta.get("content") or ""
        answer.reasoning += delta.get("reasoning_content") or ""
        for call in delta.get("tool_calls", ()):
            while len(answer.calls) <= call["index"]:
                answer.calls.append(["", ""])
            answer.calls[call["index"]][0] += call["function"].get("name") or ""
            answer.calls[call["index"]][1] += call["function"].get("arguments") or ""
        if choice["finish_reason"]:
            answer.finish = choice["finish_reason"]
            _seen(answer, f"finish {answer.finish}")


def _response_event(answer: Answer, kind: str, value: dict[str, Any]) -> None:
    _seen(answer, kind)
    if kind == "response.output_item.added" and value["item"]["type"] == "function_call":
        answer.calls.append([value["item"]["name"], ""])
    elif kind == "response.output_text.delta":
        answer.content += value["delta"]
    elif kind == "response.reasoning_text.delta":
        answer.reasoning += value["delta"]
    elif kind == "response.function_call_arguments.delta":
        answer.calls[-1][1] += value["delta"]
    elif kind == "response.completed":
        whole = Answer()
        _document(whole, "responses", value["response"])
        if whole.said != answer.said:
            answer.error = "the deltas and the whole response differ"
        answer.finish, answer.ended = whole.finish, True


def _message_event(answer: Answer, kind: str, value: dict[str, Any]) -> None:
    _seen(answer, kind)
    if kind == "content_block_start" and value["content_block"]["type"] == "tool_use":
        answer.calls.append([value["content_block"]["name"], ""])
    elif kind == "content_block_delta":
        delta = value["delta"]
        answer.content += delta.get("text", "")
        answer.reasoning += delta.get("thinking", "")
        if "partial_json" in delta:
            answer.calls[-1][1] += delta["partial_json"]
    elif kind == "message_delta":
        answer.finish = value["delta"]["stop_reason"]
    elif kind == "message_stop":
        answer.ended = True


def _document(answer: Answer, api: Api, value: dict[str, Any]) -> None:
    if api == "chat":
        choice = value["choices"][0]
        message, answer.finish = choice["message"], choice["finish_reason"]
        answer.content = message.get("content") or ""
        answer.reasoning = message.get("reasoning_content") or ""
        answer.calls = [[c["function"]["name"], c["function"]["arguments"]] for c in message.get("tool_calls") or ()]
    elif api == "responses":
        answer.finish = value["status"]
        for item in value["output"]:
            if item["type"] == "function_call":
                answer.calls.append([item["name"], item["arguments"]])
            elif item["type"] == "reasoning":
                answer.reasoning += "".join(part["text"] for part in item["content"])
            else:
                answer.content += "".join(part["text"] for part in item["content"])
    else:
        answer.finish = value["stop_reason"]
        for block in value["content"]:
            answer.content += block.get("text", "")
            answer.reasoning += block.get("thinking", "")
            if block["type"] == "tool_use":
                answer.calls.append([block["name"], json.dumps(block["input"], separators=(",", ":"))])
