"""What the shield says itself, and what it says in llama-server's name, to a client that may be slow or gone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import ClientConnectorError, hdrs, web

from launcher.server.shield import errors
from launcher.server.shield.apis import kept_headers
from launcher.server.shield.cors import allowed
from launcher.server.shield.http1 import Head
from launcher.server.shield.types import Api, ShieldConfig, ShieldError

_KEYS = ("Authorization", "X-Api-Key")


class Replies:
    """The answers to one request."""

    def __init__(self, config: ShieldConfig, request: web.BaseRequest, api: Api | None) -> None:
        """Answer `request`, in the form of `api` where it is one of its requests."""
        self.request = request
        self._api = api
        self._stall_timeout_s = config.stall_timeout_s
        self.cors: Mapping[str, str] | None = (
            None if config.cors_origins is None else allowed(config.cors_origins, request.headers.get(hdrs.ORIGIN))
        )
        """Headers that let a page of another origin read the answer; None: those of llama-server are passed on."""

    def error(self, error: ShieldError) -> web.Response:
        """A refusal of the shield's own."""
        response = web.Response(
            status=error.status,
            body=errors.document(self._api, error),
            content_type="application/json",
            charset="utf-8",
            headers=self.cors,
        )
        if error.status in errors.RETRYABLE:
            response.headers[hdrs.RETRY_AFTER] = str(errors.RETRY_AFTER_S)
        if error.status in (408, 413):  # the rest of the request is not wanted
            response.force_close()
        return response

    def passed(self, head: Head, data: bytes) -> web.Response:
        """An answer of llama-server's that is no stream."""
        headers = kept_headers(head, self.cors)
        fault = errors.client_fault(self._api, data) if head.status == 500 else None
        if fault is not None:
            return web.Response(status=400, headers=headers, body=fault)
        response = web.Response(status=head.status, reason=head.reason, headers=headers, body=data)
        if head.status in errors.RETRYABLE:  # llama-server itself while it loads
            response.headers[hdrs.RETRY_AFTER] = str(errors.RETRY_AFTER_S)
        length = head.get("content-length")
        if self.request.method == hdrs.METH_HEAD and length is not None:
            response.headers[hdrs.CONTENT_LENGTH] = length
        return response

    async def open(self, head: Head, *, status: int, kind: str | None = None) -> web.StreamResponse:
        """Begin a stream under a head of llama-server's."""
        response = web.StreamResponse(status=status, headers=kept_headers(head, self.cors))
        if kind is not None:
            response.headers[hdrs.CONTENT_TYPE] = kind
        await response.prepare(self.request)
        return response

    async def write(self, response: web.StreamResponse, data: bytes) -> None:
        """Send to a client that may be slow but not stuck.

        Raises:
            ConnectionResetError: the client is gone, or has taken nothing for too long.
        """
        if not data:
            return
        try:
            async with asyncio.timeout(self._stall_timeout_s):
                await response.write(data)
        except TimeoutError:
            raise ConnectionResetError("the client takes nothing") from None
        except ConnectionResetError:
            # aiohttp's own is a ClientError too, which here means that llama-server is gone.
            raise ConnectionResetError("the client is gone") from None


def keys(request: web.BaseRequest) -> dict[str, str]:
    """The client's API key, for what is asked on its behalf."""
    return {key: request.headers[key] for key in _KEYS if key in request.headers}


def gone(error: Exception) -> ShieldError:
    """What a client is told of a connection to llama-server that failed."""
    if isinstance(error, ClientConnectorError):
        return ShieldError("the model is being loaded; come back in a moment", status=503, kind="unavailable_error")
    return ShieldError("llama-server went away while it answered", status=502)
