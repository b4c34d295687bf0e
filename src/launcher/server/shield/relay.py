"""One request through the shield: its limits, its way to llama-server and back, and what is done where that fails."""

from __future__ import annotations

import asyncio
import json

from aiohttp import ClientError, ClientSession, hdrs, web
from yarl import URL

from launcher.server.shield import convert, errors, http1
from launcher.server.shield.apis import Fix, fix_of, fixed, kept_headers, new_turn
from launcher.server.shield.documents import corrected
from launcher.server.shield.http1 import Head
from launcher.server.shield.inbox import Inbox
from launcher.server.shield.repair import Repair
from launcher.server.shield.requests import COMPLETIONS, check, check_completions
from launcher.server.shield.transcript import Transcript
from launcher.server.shield.turn import Turn
from launcher.server.shield.types import API_OF_PATH, Api, Json, ShieldConfig, ShieldError
from launcher.server.shield.upstream import Upstream, UpstreamGoneError

_MODEL = "/v1/models/"
_KEYS = ("Authorization", "X-Api-Key")
_POLL_S = 0.05  # how often a slow client is looked at; only while it is slow


class Relay:
    """Passes requests on."""

    def __init__(self, config: ShieldConfig, session: ClientSession) -> None:
        """Pass requests on to `config.upstream_url`; `session` is for asking again."""
        self._config = config
        self._session = session
        url = URL(config.upstream_url)
        self._host, self._port = url.host or "127.0.0.1", url.port or 80
        self._n_queued = 0
        self._inbox = Inbox(config)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        posted = request.method == hdrs.METH_POST
        api = API_OF_PATH.get(request.path) if posted else None
        try:
            if request.method == hdrs.METH_GET and request.path.startswith(_MODEL):
                return await self._model(request)
            if not posted:  # health, models and metrics cost nothing, and are asked for most when it is busy
                return await self._pass(request, None, await self._inbox.read(request))
            body = await self._inbox.read(request)
            # Not before it is whole: requests that never end must not keep others out.
            self._enter()
            try:
                if request.path in COMPLETIONS:
                    check_completions(body)
                return await self._pass(request, api, check(api, body) if api is not None else body)
            finally:
                self._n_queued -= 1
        except ConnectionResetError:
            # Nobody is there to be told, and aiohttp would log it as a fault of ours.
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        except ShieldError as error:
            return _error(api, error)

    async def _model(self, request: web.BaseRequest) -> web.StreamResponse:
        """One model by its name, which llama-server lists and has no route for."""
        wanted = request.path.removeprefix(_MODEL)
        try:
            async with self._session.get(f"{self._config.upstream_url}/v1/models", headers=_keys(request)) as answer:
                data = await answer.read()
                if answer.status != 200:
                    return web.Response(status=answer.status, body=data, content_type="application/json")
                for model in json.loads(data)["data"]:
                    if wanted in {model["id"], *model.get("aliases", ())}:
                        return web.json_response(model)
        except ClientError as error:
            raise _gone(error) from None
        raise ShieldError(
            f"no model is called {wanted!r} here", status=404, kind="invalid_request_error", param="model"
        )

    def _enter(self) -> None:
        limit = self._config.max_queued
        if limit is not None and self._n_queued >= limit:
            raise ShieldError(f"{limit} requests wait already; come back later", status=503, kind="overloaded")
        self._n_queued += 1

    async def _pass(self, request: web.BaseRequest, api: Api | None, body: bytes) -> web.StreamResponse:
        path = request.raw_path
        asked = http1.request(request.method, path, request.raw_headers, body, plain=api is not None)
        try:
            async with asyncio.timeout(self._config.connect_timeout_s):
                _, upstream = await asyncio.get_running_loop().create_connection(Upstream, self._host, self._port)
        except OSError:  # a TimeoutError too
            raise ShieldError(
                "the model is being loaded; come back in a moment", status=503, kind="unavailable_error"
            ) from None
        try:
            upstream.send(asked)
            head = await upstream.head
            if head.is_event_stream:
                return await self._stream(request, api, body, head, upstream)
            data = b"" if request.method == hdrs.METH_HEAD else await upstream.document()
            return await self._document(request, api, body, head, data)
        except UpstreamGoneError as error:
            raise _gone(error) from None
        finally:
            upstream.close()

    async def _document(
        self, request: web.BaseRequest, api: Api | None, body: bytes, head: Head, data: bytes
    ) -> web.StreamResponse:
        if api is not None and head.status == 500 and errors.is_parser_failure(data):
            asked: Json = json.loads(body)
            if asked.get("stream"):
                turn = new_turn(api, asked)
                response = await self._open(request, head, status=200, kind="text/event-stream")
                return await self._mend(request, response, api, asked, turn, fix=fix_of(api, body))
            data = json.dumps(await self._again(request, api, asked), ensure_ascii=False).encode()
            return web.Response(body=corrected(api, data, body), headers=kept_headers(head))
        if api is not None and head.status == 200:
            data = corrected(api, data, body)
        fault = errors.client_fault(api, data) if head.status == 500 else None
        if fault is not None:
            return web.Response(status=400, headers=kept_headers(head), body=fault)
        response = web.Response(status=head.status, reason=head.reason, headers=kept_headers(head), body=data)
        if head.status in errors.RETRYABLE:  # llama-server itself while it loads
            response.headers[hdrs.RETRY_AFTER] = str(errors.RETRY_AFTER_S)
        length = head.get("content-length")
        if request.method == hdrs.METH_HEAD and length is not None:
            response.headers[hdrs.CONTENT_LENGTH] = length
        return response

    async def _again(self, request: web.BaseRequest, api: Api, asked: Json) -> Json:
        """Have a turn once more, whole; as many as were asked for."""
        documents = []
        try:
            for _ in range(convert.n_choices(asked)):
                turn, repair = new_turn(api, asked), self._repair(request)
                async for _event in repair.go_on(api, asked, turn):
                    pass
                documents.append(turn.document(repair.finish, repair.usage))
        except ClientError as error:
            raise _gone(error) from None
        choices = [choice for document in documents for choice in document.get("choices", ())]
        if not choices:
            return documents[0]
        return documents[0] | {"choices": [choice | {"index": index} for index, choice in enumerate(choices)]}

    async def _stream(
        self, request: web.BaseRequest, api: Api | None, body: bytes, head: Head, upstream: Upstream
    ) -> web.StreamResponse:
        """Join the two connections, and wait until it has ended."""
        response = await self._open(request, head, status=head.status)
        client = request.transport
        if client is None:
            raise ConnectionResetError("the client is gone")
        fix = fix_of(api, body)
        asked: Json = json.loads(body) if api is not None else {}
        transcript = Transcript(lambda: new_turn(api or "chat", asked))
        # Of several answers at once each may fail in the middle of the others: their error is passed on.
        watched = api is not None and convert.n_choices(asked) == 1
        keep = transcript.keep if watched else bytes
        upstream.join(client, keep, chunked=request.version >= (1, 1), watched=watched, fix=fix)
        try:
            good = await self._ended(upstream)
        except UpstreamGoneError as error:
            await self._write(response, fixed(fix, errors.event(api, _gone(error))))
            good = True
        if not good and api is not None:
            upstream.close()
            return await self._mend(request, response, api, asked, transcript.turn(), fix=fix)
        await response.write_eof()
        return response

    async def _ended(self, upstream: Upstream) -> bool:
        """Wait until a stream has ended, and hold it up while its client is slow.

        Raises:
            ConnectionResetError: the client has taken nothing for too long.
        """
        full = asyncio.ensure_future(upstream.full.wait())
        try:
            while True:
                await asyncio.wait((upstream.done, full), return_when=asyncio.FIRST_COMPLETED)
                if upstream.done.done():
                    return upstream.done.result()
                try:
                    async with asyncio.timeout(self._config.stall_timeout_s):
                        while not upstream.has_room():  # noqa: ASYNC110 - a transport of aiohttp's tells nobody else
                            await asyncio.sleep(_POLL_S)
                except TimeoutError:
                    raise ConnectionResetError("the client takes nothing") from None
                upstream.resume()
                full = asyncio.ensure_future(upstream.full.wait())
        finally:
            full.cancel()

    async def _mend(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        api: Api,
        asked: Json,
        turn: Turn,
        *,
        fix: Fix | None,
    ) -> web.StreamResponse:
        """Finish a stream that began."""
        repair = self._repair(request)
        try:
            await self._write(response, fixed(fix, turn.begin()))
            async for event in repair.go_on(api, asked, turn):
                await self._write(response, fixed(fix, event))
            await self._write(response, fixed(fix, turn.end(repair.finish, repair.usage)))
        except ShieldError as error:
            await self._write(response, fixed(fix, errors.event(api, error)))
        except ClientError as error:
            await self._write(response, fixed(fix, errors.event(api, _gone(error))))
        await response.write_eof()
        return response

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        """Send to a client that may be slow but not stuck.

        Raises:
            ConnectionResetError: the client is gone, or has taken nothing for too long.
        """
        if not data:
            return
        try:
            async with asyncio.timeout(self._config.stall_timeout_s):
                await response.write(data)
        except TimeoutError:
            raise ConnectionResetError("the client takes nothing") from None

    def _repair(self, request: web.BaseRequest) -> Repair:
        return Repair(self._session, self._config.upstream_url, _keys(request))

    async def _open(
        self, request: web.BaseRequest, head: Head, *, status: int, kind: str | None = None
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers=kept_headers(head))
        if kind is not None:
            response.headers[hdrs.CONTENT_TYPE] = kind
        await response.prepare(request)
        return response


def _keys(request: web.BaseRequest) -> dict[str, str]:
    """The client's API key, for what is asked on its behalf."""
    return {key: request.headers[key] for key in _KEYS if key in request.headers}


def _error(api: Api | None, error: ShieldError) -> web.Response:
    response = web.Response(
        status=error.status, body=errors.document(api, error), content_type="application/json", charset="utf-8"
    )
    if error.status in errors.RETRYABLE:
        response.headers[hdrs.RETRY_AFTER] = str(errors.RETRY_AFTER_S)
    if error.status in (408, 413):  # the rest of the request is not wanted
        response.force_close()
    return response


def _gone(error: Exception) -> ShieldError:
    from aiohttp import ClientConnectorError

    if isinstance(error, ClientConnectorError):
        return ShieldError("the model is being loaded; come back in a moment", status=503, kind="unavailable_error")
    return ShieldError("llama-server went away while it answered", status=502)
