"""Several choices of one chat completion: llama-server is asked for each by itself, at the same time.

With a long prompt it is asked for one after the other, since each would read the prompt and keep it for itself. Asked
for all in one request, it counts the tokens of one, streams usage once for each, and drops the others where its parser
gives up on one (server-context.cpp, `handle_completions_impl`).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from aiohttp import ClientError, ClientResponse, ClientSession, hdrs, web

from launcher.server.shield import errors
from launcher.server.shield.apis import new_turn
from launcher.server.shield.chat import ChatTurn
from launcher.server.shield.choices import at_a_time, one_by_one, total
from launcher.server.shield.documents import corrected
from launcher.server.shield.http1 import Head
from launcher.server.shield.repair import Repair
from launcher.server.shield.replies import Replies, gone, keys
from launcher.server.shield.turn import data, events, new_id, usage_chat, value_of
from launcher.server.shield.types import Json, ShieldConfig, ShieldError, Usage

_T = TypeVar("_T")
_DONE = b"data: [DONE]"


class _RefusedError(Exception):
    """llama-server answered a choice with something else than a turn."""

    def __init__(self, head: Head, data: bytes) -> None:
        super().__init__(head.status)
        self.head = head
        self.data = data


class Several:
    """One such request."""

    def __init__(self, config: ShieldConfig, session: ClientSession, replies: Replies) -> None:
        """Answer by `replies`, asking llama-server by `session`."""
        request = replies.request
        self._url, self._path = config.upstream_url, request.path
        self._session = session
        self._replies = replies
        self._keys = keys(request)
        origin = request.headers.get(hdrs.ORIGIN)
        self._headers: dict[str, str] = {
            **self._keys,
            **({hdrs.ORIGIN: origin} if origin else {}),
            hdrs.CONTENT_TYPE: "application/json",
        }
        self._head = Head(status=200, reason="OK", headers=())
        self._common: Json = {"created": int(time.time()), "id": f"chatcmpl-{new_id()}"}
        """What the choices of one completion have in common."""
        self._last: Json = {}
        self._response: web.StreamResponse | None = None
        self._sending = asyncio.Lock()
        self._failed: ShieldError | None = None
        self._room = asyncio.Semaphore(1)
        """For as many choices at a time as their prompts leave room for."""

    async def answer(self, asked: Json, n: int) -> web.StreamResponse:
        """Answer with `n` choices.

        Raises:
            ShieldError: `n` is too many, or llama-server is not there.
            ConnectionResetError: the client is gone.
        """
        try:
            bodies = await self._bodies(asked, n)
            return await (self._streamed(asked, bodies) if asked.get("stream") else self._whole(bodies))
        except _RefusedError as error:
            return self._replies.passed(error.head, error.data)
        except ClientError as error:
            raise gone(error) from None

    async def _bodies(self, asked: Json, n: int) -> list[Json]:
        """A request for each choice."""
        async with self._session.get(f"{self._url}/props", headers=self._headers) as answer:
            found = await answer.read()
            if answer.status != 200:
                raise _RefusedError(_head(answer), found)
        props = json.loads(found)
        if n > props["total_slots"]:
            raise ShieldError(
                f"n must be at most {props['total_slots']} here, the number of slots",
                status=400,
                kind="invalid_request_error",
                param="n",
            )
        defaults = props["default_generation_settings"]
        self._room = asyncio.Semaphore(at_a_time(asked, n, n_ctx=defaults["n_ctx"]))
        return list(one_by_one(asked, n, seed=defaults["params"]["seed"]))

    async def _whole(self, bodies: Sequence[Json]) -> web.Response:
        documents = await _together([self._in_turn(self._document(body)) for body in bodies])
        choices = [{**found["choices"][0], "index": index} for index, found in enumerate(documents)]
        used = total([_usage(found["usage"]) for found in documents])
        first = {key: value for key, value in documents[0].items() if key != "timings"}  # those of one choice
        document = {**first, "choices": choices, "usage": usage_chat(used)}
        return self._replies.passed(self._head, json.dumps(document, ensure_ascii=False).encode())

    async def _in_turn(self, waiting: Coroutine[Any, Any, _T]) -> _T:
        """Wait for room, then for what is waiting."""
        try:
            async with self._room:
                return await waiting
        finally:
            waiting.close()  # where the client went away before there was room

    async def _document(self, body: Json) -> Json:
        """One choice as a completion of its own."""
        async with self._ask(body) as answer:
            found, head = await answer.read(), _head(answer)
        if head.status == 200:
            self._head = head
            document: Json = json.loads(corrected("chat", found, b""))
            return document
        if head.status != 500 or not errors.is_parser_failure(found):
            raise _RefusedError(head, found)
        self._head = replace(head, status=200, reason="OK")
        turn, repair = new_turn("chat", body), self._repair()
        async for _event in repair.go_on("chat", body, turn):
            pass
        return turn.document(repair.finish, repair.usage)

    async def _streamed(self, asked: Json, bodies: Sequence[Json]) -> web.StreamResponse:
        used = await _together([self._in_turn(self._choice(index, body)) for index, body in enumerate(bodies)])
        if self._response is None:
            raise self._failed or ShieldError("llama-server said nothing")
        if self._failed is not None:
            await self._send(errors.event("chat", self._failed))
        else:
            options: Any = asked.get("stream_options")
            if isinstance(options, dict) and options.get("include_usage"):
                usage = usage_chat(total([each for each in used if each is not None]))
                await self._send(data({**self._last, "choices": [], "usage": usage}))
            await self._send(_DONE + b"\n\n")
        await self._response.write_eof()
        return self._response

    async def _choice(self, index: int, body: Json) -> Usage | None:
        """Stream one choice. What fails it is told at the end: the others go on."""
        turn = ChatTurn(str(body.get("model") or "gpt-oss"))
        try:
            async with self._ask(body) as answer:
                self._head = await _stream_head(answer)
                good, usage = await self._pass(index, answer, turn) if answer.status == 200 else (False, None)
            return usage if good else await self._mend(index, body, turn)
        except _RefusedError as error:
            if self._response is None:
                raise
            self._failed = _as_event(error)
        except ShieldError as error:
            self._failed = error
        except ClientError as error:
            self._failed = gone(error)
        return None

    async def _pass(self, index: int, answer: ClientResponse, turn: ChatTurn) -> tuple[bool, Usage | None]:
        """Pass a choice on; gives whether it ended well, and what it used where that was asked for."""
        held, usage = b"", None
        async for chunk in answer.content.iter_any():
            whole, _mark, held = (held + chunk).rpartition(b"\n\n")
            for block in whole.split(b"\n\n"):
                if block.startswith(_DONE):
                    return True, usage
                if errors.is_parser_failure(block):
                    return False, None
                if not block.startswith(b"data: "):
                    await self._send(block + b"\n\n" if block else b"")  # a comment that keeps the line open
                    continue
                value = value_of(block)
                if value.get("error") is not None:
                    raise _error_of(value)
                if value.get("usage") is not None and not value["choices"]:
                    usage = _usage(value["usage"])
                    continue
                turn.read("", value)
                await self._send(data(self._owned(index, value)))
        raise ShieldError("llama-server went away while it answered", status=502)

    async def _mend(self, index: int, body: Json, turn: ChatTurn) -> Usage:
        """Finish a choice that the parser gave up."""
        repair = self._repair()
        await self._send_all(index, turn.begin())
        async for each in repair.go_on("chat", body, turn):
            await self._send_all(index, each)
        await self._send_all(index, turn.last(repair.finish))
        return repair.usage

    async def _send_all(self, index: int, stream: bytes) -> None:
        await self._send(b"".join(data(self._owned(index, value)) for _kind, value in events(stream)))

    def _owned(self, index: int, value: Json) -> Json:
        """A chunk as this completion's, of this choice."""
        self._last = {
            **{key: value[key] for key in ("model", "system_fingerprint", "object") if key in value},
            **self._common,
        }
        return {**value, **self._common, "choices": [{**choice, "index": index} for choice in value["choices"]]}

    async def _send(self, events: bytes) -> None:
        """Send whole events; the first ones begin the stream."""
        async with self._sending:
            if self._response is None:
                self._response = await self._replies.open(self._head, status=200, kind="text/event-stream")
            await self._replies.write(self._response, events)

    def _ask(self, body: Json) -> Any:
        return self._session.post(f"{self._url}{self._path}", data=json.dumps(body).encode(), headers=self._headers)

    def _repair(self) -> Repair:
        return Repair(self._session, self._url, self._keys)


async def _together(waiting: Sequence[Awaitable[_T]]) -> list[_T]:
    """Wait for all; the first that fails ends the others, as a client that goes away does."""
    tasks = [asyncio.ensure_future(each) for each in waiting]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _head(answer: ClientResponse) -> Head:
    return Head(status=answer.status, reason=answer.reason or "", headers=tuple(answer.headers.items()))


async def _stream_head(answer: ClientResponse) -> Head:
    """The head of a choice's stream, or of the failure of its first words.

    Raises:
        _RefusedError: it is another answer.
    """
    head = _head(answer)
    if not head.is_event_stream:
        found = await answer.read()
        if head.status != 500 or not errors.is_parser_failure(found):
            raise _RefusedError(head, found)
    return head


def _usage(value: Mapping[str, Any]) -> Usage:
    cached = (value.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return Usage(n_prompt=value["prompt_tokens"], n_predicted=value["completion_tokens"], n_cached=cached)


def _error_of(value: Json) -> ShieldError:
    """An error that llama-server tells in a stream or a document."""
    error = value.get("error")
    told = error if isinstance(error, dict) else {}
    status = told.get("code")
    return ShieldError(
        str(told.get("message") or "llama-server failed"),
        status=status if isinstance(status, int) else 500,
        kind=str(told.get("type") or "server_error"),
    )


def _as_event(error: _RefusedError) -> ShieldError:
    try:
        value = json.loads(error.data)
    except ValueError:
        value = None
    return _error_of(value if isinstance(value, dict) else {})
