"""One turn as a client of an API sees it: read what it has got, write what is left. Pure."""

from __future__ import annotations

import json
import re
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator

from launcher.server.shield.types import Call, Finish, Json, Said, Usage


def new_id() -> str:
    """A name of 32 characters, as llama-server makes them."""
    return secrets.token_hex(16)


def sse(kind: str, value: Json) -> bytes:
    """One event with its kind."""
    return f"event: {kind}\n".encode() + data(value)


def data(value: Json) -> bytes:
    """One event without a kind."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def events(stream: bytes) -> Iterator[tuple[str, Json]]:
    """Kind and value of each whole event; comments and `[DONE]` are none."""
    for block in stream.split(b"\n\n"):
        kind, text = "", ""
        for line in block.decode("utf-8", "replace").split("\n"):
            kind = line[7:] if line.startswith("event: ") else kind
            text = line[6:] if line.startswith("data: ") else text
        if text.startswith("{"):
            yield kind, json.loads(text)


_KIND = re.compile(rb"^event: (\S+)", re.MULTILINE)
_DATA = b"data: "


def kind_of(block: bytes) -> str:
    """The kind of one event, without parsing it; empty where it says none."""
    found = _KIND.search(block)
    return found[1].decode() if found is not None else ""


def value_of(block: bytes) -> Json:
    """What one event holds, which is an object."""
    value: Json = json.loads(block[block.index(_DATA) + len(_DATA) :])
    return value


class Turn(ABC):
    """A turn of one API."""

    def __init__(self, model: str) -> None:
        """Start before anything was sent. `model` is how the answer calls the model until llama-server has said it."""
        self.said = Said()
        self.model = model
        self.created = int(time.time())

    @abstractmethod
    def read(self, kind: str, value: Json) -> None:
        """Take note of an event that the client has got."""

    @abstractmethod
    def begin(self) -> bytes:
        """Open the stream; nothing where it is open."""

    @abstractmethod
    def reasoning(self, text: str) -> bytes:
        """More reasoning."""

    @abstractmethod
    def content(self, text: str) -> bytes:
        """More of the answer."""

    @abstractmethod
    def call(self, call: Call) -> bytes:
        """A whole tool call."""

    @abstractmethod
    def end(self, finish: Finish, usage: Usage) -> bytes:
        """Close everything that is open, and the stream."""

    @abstractmethod
    def document(self, finish: Finish, usage: Usage) -> Json:
        """The whole turn at once, for a client that does not stream."""

    def read_all(self, stream: bytes) -> None:
        """Take note of everything that the client has got."""
        for kind, value in events(stream):
            self.read(kind, value)


def usage_chat(usage: Usage) -> Json:
    """As chat completions spell it."""
    return {
        "completion_tokens": usage.n_predicted,
        "prompt_tokens": usage.n_prompt,
        "total_tokens": usage.n_prompt + usage.n_predicted,
        "prompt_tokens_details": {"cached_tokens": usage.n_cached},
    }
