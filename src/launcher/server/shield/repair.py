"""Finish a turn that llama-server's parser gave up: the model goes on from where the client is, our codec reads."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from launcher.engines.types import ChatDelta, TextDelta, ToolCallDelta
from launcher.server.shield import convert, harmony
from launcher.server.shield.turn import Turn, events, new_id
from launcher.server.shield.types import Api, Call, Finish, Json, ShieldError, Usage

if TYPE_CHECKING:
    from aiohttp import ClientSession


class Repair:
    """One failing turn. `go_on` streams what is left of it; `finish` and `usage` are known afterwards."""

    def __init__(self, session: ClientSession, upstream_url: str, headers: dict[str, str]) -> None:
        """Prepare to ask llama-server again, with the key that the client gave."""
        self._session = session
        self._url = upstream_url
        self._headers = headers
        self.finish: Finish = "stop"
        self.usage = Usage(n_prompt=0, n_predicted=0)

    async def go_on(self, api: Api, body: Json, turn: Turn) -> AsyncIterator[bytes]:
        """Give the events that complete the turn, as they become certain.

        Raises:
            ShieldError: llama-server answered something else than a turn.
        """
        if turn.said.calls:
            # A call is the last thing in a turn. There is nothing to ask for, and a second one would be a surprise.
            self.finish = "tool_calls"
            self.usage = Usage(n_prompt=0, n_predicted=turn.said.n_deltas)
            return
        try:
            chat = convert.chat_body(api, body)
            schema = convert.schema(chat)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # llama-server took the request, and we do not understand it: a case of its converter that ours lacks.
            raise ShieldError(f"the model's turn was malformed, and the request is unusual: {error!r}") from None
        start = harmony.prefix(turn.said, schema)
        n_before = turn.said.n_deltas
        prompt = await self._prompt(chat)
        asked = convert.sampling(chat) | {
            "prompt": prompt + start,
            "preserved_tokens": harmony.PRESERVED,
            "stream": True,
        }
        limit = convert.max_tokens(chat)
        if limit is not None:
            asked["n_predict"] = max(1, limit - n_before)
        if schema is not None:
            asked["json_schema"] = schema
        reader = harmony.RawReader(start, offered=bool(chat.get("tools")))
        cut = False
        async with aclosing(self._completion(asked)) as pieces:
            async for piece in pieces:
                if piece.get("stop"):
                    turn.model = piece.get("model") or turn.model
                    cut = piece.get("stop_type") == "limit"
                    self.usage = Usage(
                        n_prompt=max(0, int(piece.get("tokens_evaluated", 0)) - n_before),
                        n_predicted=int(piece.get("tokens_predicted", 0)) + n_before,
                    )
                for delta in reader.feed(piece.get("content") or ""):
                    yield _event(turn, delta)
                if reader.done:
                    break
        for delta in reader.finish(cut=cut):
            yield _event(turn, delta)
        self.finish = harmony.finish_of(turn.said, cut=cut)

    async def _prompt(self, chat: Json) -> str:
        body = convert.template_body(chat)
        async with self._session.post(f"{self._url}/apply-template", json=body, headers=self._headers) as response:
            value = await _json(response)
        return str(value["prompt"])

    async def _completion(self, body: Json) -> AsyncGenerator[Json, None]:
        async with self._session.post(f"{self._url}/completion", json=body, headers=self._headers) as response:
            if response.status != 200:
                await _json(response)
            held = b""
            async for chunk in response.content.iter_any():
                whole, mark, held = (held + chunk).rpartition(b"\n\n")
                for _kind, value in events(whole + mark):
                    if "error" in value:
                        raise ShieldError(str(value["error"].get("message")), status=500)
                    yield value


async def _json(response: Any) -> Json:
    """Give a good answer's document.

    Raises:
        ShieldError: the answer is another one.
    """
    text = await response.read()
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if response.status == 200 and isinstance(value, dict):
        return value
    error = value.get("error") if isinstance(value, dict) else None
    said = error.get("message") if isinstance(error, dict) else f"llama-server answered {response.status}"
    raise ShieldError(f"the model's turn was malformed, and could not be mended: {said}", status=500)


def _event(turn: Turn, delta: ChatDelta) -> bytes:
    if isinstance(delta, ToolCallDelta):
        return turn.call(Call(id=new_id(), name=delta.call.name, arguments=delta.call.arguments))
    if not isinstance(delta, TextDelta):
        return b""
    return turn.reasoning(delta.text) if delta.channel == "analysis" else turn.content(delta.text)
