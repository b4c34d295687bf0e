"""Turns of the HTTP engine on a scripted server, and what tests look at in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from launcher.engines.client.request import ServerKind
from launcher.engines.client.site import Key
from launcher.engines.server_client import ServerEngine, open_server
from launcher.engines.types import (
    ChatDelta,
    EndDelta,
    Message,
    Sampling,
    TextDelta,
)
from launcher.errors import LauncherError
from tests.cli.sandbox import assert_runnable
from tests.fakes.openai_api import (
    Api,
    Asked,
    openai_api,
)

HI = (Message(role="user", content="hi"),)
PLAIN = Sampling()
SECRET = "sk-verysecret123"
KEY = Key(text=SECRET, source="OPENAI_API_KEY")


@contextmanager
def engine_on(api: Api, *, kind: ServerKind | None = "openai", **options: Any) -> Iterator[ServerEngine]:
    given = {"model": "gpt-oss-20b", "sleep": lambda _s: None, "n_ctx": 4096, **options}
    with open_server(api.url, kind=kind, **given) as engine:
        yield engine


def turn(said: bytes, sampling: Sampling = PLAIN, **options: Any) -> list[ChatDelta]:
    with openai_api(said) as api, engine_on(api, **options) as engine:
        return list(engine.chat(HI, sampling))


def fails(said: bytes | Callable[[Asked], Any], error: type[LauncherError], **options: Any) -> LauncherError:
    """The error of a turn: one line, a hint that can be typed, and no key in it."""
    with openai_api(said) as api, engine_on(api, key=KEY, **options) as engine, pytest.raises(error) as caught:
        list(engine.chat(HI, PLAIN))
    assert_well_said(caught.value)
    return caught.value


def assert_well_said(error: LauncherError) -> None:
    told = "\n".join((error.message, *error.details, error.hint or "", repr(error)))
    assert SECRET not in told
    assert "\n" not in error.message
    assert error.hint
    assert_runnable(error.hint)


def end_of(deltas: list[ChatDelta]) -> EndDelta:
    assert isinstance(deltas[-1], EndDelta)
    assert not any(isinstance(found, EndDelta) for found in deltas[:-1])
    return deltas[-1]


def text_of(deltas: list[ChatDelta], channel: str = "final") -> str:
    return "".join(found.text for found in deltas if isinstance(found, TextDelta) and found.channel == channel)
