"""The HTTP engine: any OpenAI-compatible server, with what llama-server tells beyond the API where it is one.

A turn: one streamed chat completion on a connection of its own, which is closed where the turn is stopped, so that
llama-server gives the slot free.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from launcher.engines.client import faults
from launcher.engines.client.answer import AnswerReader
from launcher.engines.client.dial import Interrupt, StoppedError
from launcher.engines.client.patience import Patience, Watch
from launcher.engines.client.request import ServerKind, body_of, most_tokens, prompt_of
from launcher.engines.client.site import Key, parse_site
from launcher.engines.client.sse import EventReader, EventTooLongError
from launcher.engines.client.wire import Reply, Wire, error_body
from launcher.engines.types import ChatDelta, EndDelta, FinishReason, Message, NoteDelta, PromptDelta, Sampling
from launcher.errors import EngineError


class ServerEngine:
    """An `Engine` on a server. Made by `open_server`; not for several threads at once, except `cancel`."""

    def __init__(
        self,
        wire: Wire,
        *,
        model: str,
        n_ctx: int | None,
        kind: ServerKind | None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._wire = wire
        self._interrupt = wire.interrupt
        self._n_ctx = n_ctx
        self._kind = kind
        self._asked = False
        self._clock = clock
        self._sleep = sleep
        self.model = model
        """What the server is asked for."""

    @property
    def url(self) -> str:
        """Base URL of the API."""
        return self._wire.site.url

    @property
    def n_ctx(self) -> int | None:
        """Tokens that one conversation may hold; None where the server does not tell.

        Raises:
            LauncherError: it was not asked yet, and cannot be.
        """
        if self._n_ctx is None and not self._asked:
            self._interrupt.clear()  # of a turn that is over
            with suppress(StoppedError):  # by whoever does not wait for it
                self._known_kind()
        return self._n_ctx

    def cancel(self) -> None:
        """Stop the running turn at once, though no token is coming. Any thread, any time, also in a signal handler."""
        self._interrupt.set()

    def count_tokens(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        tools: Sequence[dict[str, Any]] = (),
        exact: bool = False,
    ) -> int:
        """Tokens of the prompt: exact, or an upper bound.

        It is a bound where that is at most half of `n_ctx` and nobody asks for more, so that no request is made, and
        where the server cannot count: it is none of llama-server's, or refuses. Then it may be several times the truth.

        Raises:
            LauncherError: the server cannot be reached.
        """
        bound = most_tokens(messages, tools)
        n_ctx = self.n_ctx
        if n_ctx is None or (bound <= n_ctx // 2 and not exact):
            return bound
        self._interrupt.clear()
        root = self._wire.site.root_path
        try:
            if self._known_kind() != "llama-server":
                return bound
            prompt = prompt_of(messages, sampling, tools, kind="llama-server")
            status, found = self._wire.post(f"{root}/apply-template", prompt)
            text = found.get("prompt") if status == 200 and isinstance(found, dict) else None
            if not isinstance(text, str):
                return bound
            ask = {"content": text, "add_special": True, "parse_special": True}
            status, found = self._wire.post(f"{root}/tokenize", ask)
        except StoppedError:  # whoever stopped it does not want to know
            return bound
        tokens = found.get("tokens") if status == 200 and isinstance(found, dict) else None
        return len(tokens) if isinstance(tokens, list) else bound

    def chat(
        self, messages: Sequence[Message], sampling: Sampling, *, tools: Sequence[dict[str, Any]] = ()
    ) -> Iterator[ChatDelta]:
        """Stream one assistant turn; the last delta is an EndDelta. Closing the iterator stops the turn.

        Raises:
            LauncherError: the server is not there, refuses, fails or breaks off. What came before has been given.
        """
        self._interrupt.clear()  # here, not at the first delta: a cancel that comes in between must count
        return self._turn(messages, sampling, tools, Watch(self._clock))

    def _turn(
        self, messages: Sequence[Message], sampling: Sampling, tools: Sequence[dict[str, Any]], watch: Watch
    ) -> Iterator[ChatDelta]:
        reader = AnswerReader()
        reason: FinishReason = "cancelled"
        try:
            body = body_of(messages, sampling, tools, model=self.model, kind=self._known_kind())
            with closing(self._answer(body, reader)) as deltas:
                for delta in deltas:
                    if not isinstance(delta, NoteDelta | PromptDelta):
                        watch.saw_token()
                    yield delta
                    self._interrupt.check()
            reason = reader.reason or "stop"
        except StoppedError:
            pass
        timings = reader.timings(first_ms=watch.first_ms(), total_ms=watch.elapsed_ms())
        if reason == "length" and (sampling.max_tokens is None or 0 < timings.predicted_n < sampling.max_tokens):
            of = f" of {self._n_ctx} tokens" if self._n_ctx is not None else ""
            yield NoteDelta(text=f"the context{of} is full: the answer stops here")
        yield EndDelta(finish_reason=reason, timings=timings)

    def _answer(self, body: dict[str, Any], reader: AnswerReader) -> Generator[ChatDelta, None, None]:
        """Ask until the server takes the request, and give what it says."""
        path = f"{self._wire.site.api_path}/chat/completions"
        patience = Patience()
        while True:
            with self._wire.request("POST", path, body) as reply:
                if reply.status == 200:
                    yield from self._stream(reply, reader)
                    return
                refused = error_body(reply)
                wait_s = patience.wait_s(reply, refused)
                if wait_s is None:
                    wire = self._wire
                    raise faults.refusal(
                        wire.site, reply.status, reply.headers, refused, key=wire.key, model=self.model
                    )
            if patience.note is not None:
                yield NoteDelta(text=patience.note)
                patience.note = None
            self._interrupt.pause(wait_s, self._sleep)

    def _stream(self, reply: Reply, reader: AnswerReader) -> Iterator[ChatDelta]:
        if reply.kind != "text/event-stream":
            yield from self._document(reply, reader)
            return
        events = EventReader()
        while piece := reply.read():
            try:
                found = events.feed(piece)
            except EventTooLongError:
                raise faults.broke_off(self._wire.site) from None
            for data in found:
                if data.strip() == "[DONE]":
                    yield from self._end(reader, done=True)
                    return
                yield from reader.feed(self._chunk(data))
        yield from self._end(reader)

    def _end(self, reader: AnswerReader, *, done: bool = False) -> Iterator[ChatDelta]:
        """Raises NetworkError where the server went away before it said why it ended, or at least that it did."""
        if reader.reason is None and not (done and reader.n_pieces):
            raise faults.broke_off(self._wire.site)
        yield from reader.end()

    def _chunk(self, data: str) -> dict[str, Any]:
        site, key = self._wire.site, self._wire.key
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            raise faults.junk(site, "an event that is no JSON", data.encode("utf-8", "replace"), key) from None
        if not isinstance(chunk, dict):
            raise faults.junk(site, "an event that is no object", data.encode("utf-8", "replace"), key)
        if chunk.get("error"):
            raise faults.in_stream(site, chunk["error"], key=key)
        return chunk

    def _document(self, reply: Reply, reader: AnswerReader) -> Iterator[ChatDelta]:
        """An answer that was not streamed though it was asked to be: some servers do so, with tools or always."""
        body = reply.body()
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict) or not (document.get("choices") or document.get("error")):
            raise faults.junk(self._wire.site, reply.kind, body, self._wire.key)
        yield from reader.feed(self._chunk(body.decode("utf-8", "replace")))
        yield from self._end(reader)

    def _known_kind(self) -> ServerKind:
        """What the server is, by /props, which llama-server alone has; asked for once, where nobody has said it."""
        if self._asked or (self._kind is not None and (self._kind == "openai" or self._n_ctx is not None)):
            return self._kind or "openai"
        status, found = self._wire.get(f"{self._wire.site.root_path}/props")
        settings = found.get("default_generation_settings") if status == 200 and isinstance(found, dict) else None
        self._asked = status != 503  # it may be a llama-server that still loads
        if isinstance(settings, dict):
            self._kind = "llama-server"
            n_ctx = settings.get("n_ctx")
            if self._n_ctx is None and isinstance(n_ctx, int) and n_ctx > 0:
                self._n_ctx = n_ctx
        return self._kind or "openai"


@contextmanager
def open_server(
    url: str,
    *,
    model: str,
    key: Key | None = None,
    n_ctx: int | None = None,
    kind: ServerKind | None = None,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[ServerEngine]:
    """An engine on the server at `url`. Nothing is asked before it is needed; leaving the block stops a turn.

    Args:
        url: `http://127.0.0.1:8080`, or a base URL with its path, `https://api.example.com/openai/v1`.
        model: Name that the server knows it by.
        key: API key.
        n_ctx: Tokens that one conversation may hold, where that is known.
        kind: What the server is; None finds out by a request before the first turn.
        clock: Seconds, for the timings.
        sleep: Waits; a test's does not.

    Raises:
        UsageError: it is no URL.
    """
    engine = ServerEngine(
        Wire(parse_site(url), key, Interrupt()), model=model, n_ctx=n_ctx, kind=kind, clock=clock, sleep=sleep
    )
    try:
        yield engine
    finally:
        engine.cancel()


def served_models(url: str, *, key: Key | None = None) -> tuple[tuple[str, ...], ServerKind | None]:
    """Names of the models that a server lists, and what it is where the list tells: `owned_by: llamacpp`.

    Raises:
        LauncherError: it cannot be reached, or does not list any.
    """
    wire = Wire(parse_site(url), key, Interrupt())
    site = wire.site
    with wire.request("GET", f"{site.api_path}/models") as reply:
        body = reply.body()
        if reply.status != 200:
            raise faults.refusal(site, reply.status, reply.headers, body, key=key, model="")
    try:
        rows = json.loads(body)["data"]
        models = [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise faults.junk(site, reply.kind, body, key) from None
    if not models:
        raise EngineError(f"{site.url} lists no model", hint="gpt-oss connect")
    llama = any(row.get("owned_by") == "llamacpp" for row in models)
    return tuple(row["id"] for row in models), "llama-server" if llama else None
