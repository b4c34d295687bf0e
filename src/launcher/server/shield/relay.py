"""One request through the shield: its limits, its way to llama-server and back, and what is done where that fails."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import ClientConnectionError, ClientError, ClientResponse, ClientSession, hdrs, web
from yarl import URL

from launcher.server.shield import errors
from launcher.server.shield.chat import ChatTurn
from launcher.server.shield.messages import MessagesTurn
from launcher.server.shield.repair import Repair
from launcher.server.shield.requests import check
from launcher.server.shield.responses import ResponsesTurn
from launcher.server.shield.turn import Turn
from launcher.server.shield.types import API_OF_PATH, Api, Json, ShieldConfig, ShieldError

_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "trailers"),
        *("transfer-encoding", "upgrade", "proxy-connection"),
    }
)
_KEYS = ("Authorization", "X-Api-Key")
_NOT_AUTOMATIC = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.USER_AGENT, hdrs.CONTENT_TYPE)
_TRANSCRIPT_BYTES = 1 << 18
"""Of what was sent as it was; more is read into the turn, which is a hundredth of it."""
_EVENT_END = b"\n\n"


class Relay:
    """Passes requests on."""

    def __init__(self, config: ShieldConfig, session: ClientSession) -> None:
        """Pass requests on to `config.upstream_url` by this session."""
        self._config = config
        self._session = session
        self._n_queued = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        posted = request.method == hdrs.METH_POST
        api = API_OF_PATH.get(request.path) if posted else None
        limit = self._config.max_queued
        try:
            if not posted:  # health, models and metrics cost nothing, and are asked for most when it is busy
                return await self._pass(request, None, await self._body(request))
            if limit is not None and self._n_queued >= limit:
                raise ShieldError(f"{limit} requests wait already; come back later", status=503, kind="overloaded")  # noqa: TRY301 - answered like every other refusal
            self._n_queued += 1
            try:
                body = await self._body(request)
                return await self._pass(request, api, check(api, body) if api is not None else body)
            finally:
                self._n_queued -= 1
        except ShieldError as error:
            return self._error(api, error)

    async def _body(self, request: web.BaseRequest) -> bytes:
        """Read the request's body, if it is not too long and arrives in time."""
        limit = self._config.max_body_bytes
        if limit is not None and (request.content_length or 0) > limit:
            raise _too_long(limit)
        if not request.can_read_body:
            return b""
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._config.request_timeout_s):
                async for chunk in request.content.iter_any():
                    size += len(chunk)
                    if limit is not None and size > limit:
                        raise _too_long(limit)
                    chunks.append(chunk)
        except TimeoutError:
            raise ShieldError("the request did not arrive in time", status=408, kind="timeout") from None
        return b"".join(chunks)

    async def _pass(self, request: web.BaseRequest, api: Api | None, body: bytes) -> web.StreamResponse:
        headers = {
            key: value
            for key, value in request.headers.items()
            if key.lower() not in _HOP_BY_HOP and key not in (hdrs.CONTENT_LENGTH, hdrs.EXPECT)
        }
        if api is not None:
            headers.pop(hdrs.ACCEPT_ENCODING, None)  # what is compressed cannot be watched
        try:
            async with self._session.request(
                request.method,
                URL(self._config.upstream_url + request.raw_path, encoded=True),
                headers=headers,
                data=body or None,
                allow_redirects=False,
                skip_auto_headers=_NOT_AUTOMATIC,
            ) as upstream:
                if upstream.content_type == "text/event-stream":
                    return await self._stream(request, api, body, upstream)
                return await self._document(request, api, body, upstream)
        except ClientConnectionError as error:
            raise _gone(error) from None
        except ClientError as error:
            raise ShieldError(f"llama-server did not answer: {error}", status=502) from None

    async def _document(
        self, request: web.BaseRequest, api: Api | None, body: bytes, upstream: ClientResponse
    ) -> web.StreamResponse:
        data = await upstream.read()
        if api is not None and upstream.status == 500 and errors.is_parser_failure(data):
            asked: Json = json.loads(body)
            turn = _turn(api, asked)
            if asked.get("stream"):
                response = await self._open(request, upstream, status=200, kind="text/event-stream")
                return await self._mend(request, response, api, asked, turn)
            repair = self._repair(request)
            async for _event in repair.go_on(api, asked, turn):
                pass
            data = json.dumps(turn.document(repair.finish, repair.usage), ensure_ascii=False).encode()
            return web.Response(body=data, headers=_kept(upstream))
        response = web.Response(status=upstream.status, reason=upstream.reason, headers=_kept(upstream), body=data)
        if request.method == hdrs.METH_HEAD and hdrs.CONTENT_LENGTH in upstream.headers:
            response.headers[hdrs.CONTENT_LENGTH] = upstream.headers[hdrs.CONTENT_LENGTH]
        return response

    async def _stream(
        self, request: web.BaseRequest, api: Api | None, body: bytes, upstream: ClientResponse
    ) -> web.StreamResponse:
        """Pass events on as they come, looking at nothing but whether the parser gave up."""
        response = await self._open(request, upstream, status=upstream.status)
        turn: Turn | None = None
        sent: list[bytes] = []
        n_sent, held = 0, b""
        stall = self._config.stall_timeout_s
        try:
            async for chunk in upstream.content.iter_any():
                data = held + chunk if held else chunk
                held = b""
                if not data.endswith(_EVENT_END):
                    data, mark, held = data.rpartition(_EVENT_END)
                    data += mark
                if api is not None:
                    if errors.PARSER_FAILURE in data:
                        before, failed = _split(data)
                        if failed:
                            asked = json.loads(body)
                            turn = turn or _turn(api, asked)
                            turn.read_all(b"".join(sent) + before)
                            await _write(response, before, stall)
                            upstream.close()
                            return await self._mend(request, response, api, asked, turn)
                    sent.append(data)
                    n_sent += len(data)
                    if n_sent > _TRANSCRIPT_BYTES:
                        turn = turn or _turn(api, json.loads(body))
                        turn.read_all(b"".join(sent))
                        sent, n_sent = [], 0
                if data:
                    await _write(response, data, stall)
            await _write(response, held, stall)
        except ClientError as error:
            await _write(response, errors.event(api, _gone(error)), stall)
        await response.write_eof()
        return response

    async def _mend(
        self, request: web.BaseRequest, response: web.StreamResponse, api: Api, asked: Json, turn: Turn
    ) -> web.StreamResponse:
        """Finish a stream that began."""
        stall = self._config.stall_timeout_s
        repair = self._repair(request)
        try:
            await _write(response, turn.begin(), stall)
            async for event in repair.go_on(api, asked, turn):
                await _write(response, event, stall)
            await _write(response, turn.end(repair.finish, repair.usage), stall)
        except ShieldError as error:
            await _write(response, errors.event(api, error), stall)
        except ClientError as error:
            await _write(response, errors.event(api, _gone(error)), stall)
        await response.write_eof()
        return response

    def _repair(self, request: web.BaseRequest) -> Repair:
        keys = {key: request.headers[key] for key in _KEYS if key in request.headers}
        return Repair(self._session, self._config.upstream_url, keys)

    async def _open(
        self, request: web.BaseRequest, upstream: ClientResponse, *, status: int, kind: str | None = None
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers=_kept(upstream))
        if kind is not None:
            response.headers[hdrs.CONTENT_TYPE] = kind
        await response.prepare(request)
        return response

    @staticmethod
    def _error(api: Api | None, error: ShieldError) -> web.Response:
        response = web.Response(
            status=error.status, body=errors.document(api, error), content_type="application/json", charset="utf-8"
        )
        if error.status in errors.RETRYABLE:
            response.headers[hdrs.RETRY_AFTER] = str(errors.RETRY_AFTER_S)
        if error.status in (408, 413):  # the rest of the request is not wanted
            response.force_close()
        return response


async def _write(response: web.StreamResponse, data: bytes, stall_s: float) -> None:
    """Send to the client, which may be slow but not stuck.

    Raises:
        ConnectionResetError: the client is gone, or has taken nothing for too long.
    """
    if not data:
        return
    try:
        async with asyncio.timeout(stall_s):
            await response.write(data)
    except TimeoutError:
        raise ConnectionResetError("the client takes nothing") from None


def _split(data: bytes) -> tuple[bytes, bool]:
    """Give the events before the one that says that the parser gave up, and whether there is such a one."""
    at = 0
    for block in data.split(_EVENT_END):
        if errors.is_parser_failure(block):
            return data[:at], True
        at += len(block) + len(_EVENT_END)
    return data, False


def _turn(api: Api, asked: Json) -> Turn:
    model = str(asked.get("model") or "gpt-oss")
    if api == "chat":
        options: Any = asked.get("stream_options")
        return ChatTurn(model, include_usage=isinstance(options, dict) and bool(options.get("include_usage")))
    return ResponsesTurn(model) if api == "responses" else MessagesTurn(model)


def _kept(upstream: ClientResponse) -> list[tuple[str, str]]:
    """Headers that are about the answer, not about the connection or the length, which may change."""
    return [
        (key, value)
        for key, value in upstream.headers.items()
        if key.lower() not in _HOP_BY_HOP and key not in (hdrs.CONTENT_LENGTH, hdrs.CONTENT_TYPE)
    ] + [(hdrs.CONTENT_TYPE, upstream.headers[hdrs.CONTENT_TYPE])] * (hdrs.CONTENT_TYPE in upstream.headers)


def _too_long(limit: int) -> ShieldError:
    return ShieldError(
        f"the request is longer than {limit} bytes", status=413, kind="invalid_request_error", param="body"
    )


def _gone(error: Exception) -> ShieldError:
    from aiohttp import ClientConnectorError, ConnectionTimeoutError

    if isinstance(error, (ClientConnectorError, ConnectionTimeoutError)):
        return ShieldError("the model is being loaded; come back in a moment", status=503, kind="unavailable_error")
    return ShieldError("llama-server went away while it answered", status=502)
