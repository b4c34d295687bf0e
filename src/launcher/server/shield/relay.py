"""One request through the shield: its limits, its way to llama-server and back, and what is done where that fails."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from aiohttp import ClientError, ClientSession, hdrs, web
from yarl import URL

from launcher.server.shield import errors, http1
from launcher.server.shield.apis import Fix, fix_of, fixed, new_turn
from launcher.server.shield.cors import preflight
from launcher.server.shield.documents import corrected
from launcher.server.shield.http1 import Head
from launcher.server.shield.inbox import Inbox
from launcher.server.shield.pages import page_file
from launcher.server.shield.repair import Repair
from launcher.server.shield.replies import Replies, gone, keys
from launcher.server.shield.requests import COMPLETIONS, check, check_completions, n_asked
from launcher.server.shield.runs import check_runs
from launcher.server.shield.several import Several
from launcher.server.shield.transcript import Transcript
from launcher.server.shield.turn import Turn
from launcher.server.shield.types import API_OF_PATH, Api, Json, ShieldConfig, ShieldError
from launcher.server.shield.upstream import Upstream, UpstreamGoneError

_MODEL = "/v1/models/"
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
        api = API_OF_PATH.get(request.path) if request.method == hdrs.METH_POST else None
        replies = Replies(self._config, request, api)
        try:
            if request.method == hdrs.METH_POST:
                return await self._posted(replies, api)
            # Health, models and metrics cost nothing, and are asked for most when it is busy.
            return await self._looked_up(replies)
        except ConnectionResetError:
            # Nobody is there to be told, and aiohttp would log it as a fault of ours.
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        except ShieldError as error:
            return replies.error(error)

    async def _posted(self, replies: Replies, api: Api | None) -> web.StreamResponse:
        request = replies.request
        body = await self._inbox.read(request)
        # Not before it is whole: requests that never end must not keep others out.
        check_runs(body)
        self._enter()
        try:
            if request.path in COMPLETIONS:
                check_completions(body)
            if api is None:
                return await self._pass(replies, None, body)
            body = check(api, body)
            n = n_asked(body) if api == "chat" else 1
            if n > 1:
                return await Several(self._config, self._session, replies).answer(json.loads(body), n)
            return await self._pass(replies, api, body)
        finally:
            self._n_queued -= 1

    async def _looked_up(self, replies: Replies) -> web.StreamResponse:
        """What is asked by another method than POST: a preflight, a file of the page, a model; the rest is passed."""
        request = replies.request
        if request.method == hdrs.METH_OPTIONS and replies.cors is not None and hdrs.ORIGIN in request.headers:
            asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS)
            return web.Response(status=204, headers=preflight(replies.cors, asked))
        if request.method in {hdrs.METH_GET, hdrs.METH_HEAD}:
            folder = self._config.page_dir
            file = None if folder is None else page_file(folder, request.path)
            if file is not None:
                return web.FileResponse(file, headers={hdrs.CACHE_CONTROL: "no-cache"})
            if request.method == hdrs.METH_GET and request.path.startswith(_MODEL):
                return await self._model(replies)
        return await self._pass(replies, None, await self._inbox.read(request))

    async def _model(self, replies: Replies) -> web.StreamResponse:
        """One model by its name, which llama-server lists and has no route for."""
        request = replies.request
        wanted = request.path.removeprefix(_MODEL)
        try:
            async with self._session.get(f"{self._config.upstream_url}/v1/models", headers=keys(request)) as answer:
                data = await answer.read()
                if answer.status != 200:
                    headers = replies.cors
                    return web.Response(
                        status=answer.status, body=data, content_type="application/json", headers=headers
                    )
                for model in json.loads(data)["data"]:
                    if wanted in {model["id"], *model.get("aliases", ())}:
                        return web.json_response(model, headers=replies.cors)
        except ClientError as error:
            raise gone(error) from None
        raise ShieldError(
            f"no model is called {wanted!r} here", status=404, kind="invalid_request_error", param="model"
        )

    def _enter(self) -> None:
        limit = self._config.max_queued
        if limit is not None and self._n_queued >= limit:
            raise ShieldError(f"{limit} requests wait already; come back later", status=503, kind="overloaded")
        self._n_queued += 1

    async def _pass(self, replies: Replies, api: Api | None, body: bytes) -> web.StreamResponse:
        request = replies.request
        asked = http1.request(request.method, request.raw_path, request.raw_headers, body, plain=api is not None)
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
                return await self._stream(replies, api, body, head, upstream)
            data = b"" if request.method == hdrs.METH_HEAD else await upstream.document()
            return await self._document(replies, api, body, head, data)
        except UpstreamGoneError as error:
            raise gone(error) from None
        finally:
            upstream.close()

    async def _document(
        self, replies: Replies, api: Api | None, body: bytes, head: Head, data: bytes
    ) -> web.StreamResponse:
        if api is not None and head.status == 500 and errors.is_parser_failure(data):
            asked: Json = json.loads(body)
            turn = new_turn(api, asked)
            if asked.get("stream"):
                response = await replies.open(head, status=200, kind="text/event-stream")
                return await self._mend(replies, response, api, asked, turn, fix=fix_of(api, body))
            repair = self._repair(replies.request)
            try:
                async for _event in repair.go_on(api, asked, turn):
                    pass
            except ClientError as error:
                raise gone(error) from None
            head = replace(head, status=200, reason="OK")
            data = json.dumps(turn.document(repair.finish, repair.usage), ensure_ascii=False).encode()
        if api is not None and head.status == 200:
            data = corrected(api, data, body)
        return replies.passed(head, data)

    async def _stream(
        self, replies: Replies, api: Api | None, body: bytes, head: Head, upstream: Upstream
    ) -> web.StreamResponse:
        """Join the two connections, and wait until it has ended."""
        request = replies.request
        response = await replies.open(head, status=head.status)
        client = request.transport
        if client is None:
            raise ConnectionResetError("the client is gone")
        fix = fix_of(api, body)
        asked: Json = json.loads(body) if api is not None else {}
        transcript = Transcript(lambda: new_turn(api or "chat", asked))
        watched = api is not None
        keep = transcript.keep if watched else bytes
        upstream.join(client, keep, chunked=request.version >= (1, 1), watched=watched, fix=fix)
        try:
            good = await self._ended(upstream)
        except UpstreamGoneError as error:
            await replies.write(response, fixed(fix, errors.event(api, gone(error))))
            good = True
        if not good and api is not None:
            upstream.close()
            return await self._mend(replies, response, api, asked, transcript.turn(), fix=fix)
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
        replies: Replies,
        response: web.StreamResponse,
        api: Api,
        asked: Json,
        turn: Turn,
        *,
        fix: Fix | None,
    ) -> web.StreamResponse:
        """Finish a stream that began."""
        repair = self._repair(replies.request)
        try:
            await replies.write(response, fixed(fix, turn.begin()))
            async for event in repair.go_on(api, asked, turn):
                await replies.write(response, fixed(fix, event))
            await replies.write(response, fixed(fix, turn.end(repair.finish, repair.usage)))
        except ShieldError as error:
            await replies.write(response, fixed(fix, errors.event(api, error)))
        except ClientError as error:
            await replies.write(response, fixed(fix, errors.event(api, gone(error))))
        await response.write_eof()
        return response

    def _repair(self, request: web.BaseRequest) -> Repair:
        return Repair(self._session, self._config.upstream_url, keys(request))
