"""Requests as they arrive: whole, in time, and not too long."""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web

from launcher.server.shield.apis import too_long
from launcher.server.shield.types import ShieldConfig, ShieldError
from launcher.units import MIB

_ARRIVING_BYTES = 256 * MIB
"""Of all requests that are not whole yet, together."""


class Inbox:
    """Reads bodies. One for all requests of a shield: what is not whole yet is bounded together."""

    def __init__(self, config: ShieldConfig) -> None:
        """Read no more, and wait no longer, than `config` says."""
        self._config = config
        self._n_arriving = 0
        """Bytes of requests that are not whole yet."""

    async def read(self, request: web.BaseRequest) -> bytes:
        """Read the request's body, if it is not too long and arrives in time."""
        limit = self._config.max_body_bytes
        if limit is not None and (request.content_length or 0) > limit:
            raise too_long(limit)
        if not request.can_read_body:
            return b""
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._config.request_timeout_s):
                async for chunk in request.content.iter_any():
                    size += len(chunk)
                    self._n_arriving += len(chunk)
                    if limit is not None and size > limit:
                        raise too_long(limit)
                    if self._n_arriving > _ARRIVING_BYTES:
                        raise ShieldError("too many long requests arrive at once", status=503, kind="overloaded")
                    chunks.append(chunk)
        except TimeoutError:
            raise ShieldError("the request did not arrive in time", status=408, kind="timeout") from None
        finally:
            self._n_arriving -= size
        return b"".join(chunks)
