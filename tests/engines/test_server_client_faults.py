"""What a person is told when a server fails, refuses, leads elsewhere or is none."""

from __future__ import annotations

import pytest

from launcher.engines.client.patience import BUSY_TRIES, LOADING_TIMEOUT_S
from launcher.engines.server_client import open_server, served_models
from launcher.engines.types import (
    EndDelta,
    NoteDelta,
    TextDelta,
    ToolCallDelta,
)
from launcher.errors import EngineError, LauncherError, NetworkError, UsageError
from tests.engines.http_helpers import HI, KEY, PLAIN, SECRET, assert_well_said, end_of, engine_on, fails, text_of, turn
from tests.fakes.openai_api import (
    STREAM_END,
    STREAM_HEAD,
    Asked,
    answer,
    chunked,
    delta,
    event,
    openai_api,
    refused_port,
    says,
    stream,
)


def test_nobody_listens() -> None:
    with open_server(f"http://127.0.0.1:{refused_port()}", model="m", kind="openai") as engine:
        with pytest.raises(NetworkError, match="nothing listens") as caught:
            list(engine.chat(HI, PLAIN))
        assert_well_said(caught.value)


def test_a_host_without_an_address() -> None:
    with open_server("http://no-such-host.invalid", model="m", kind="openai") as engine:
        with pytest.raises(NetworkError, match=r"no-such-host\.invalid") as caught:
            list(engine.chat(HI, PLAIN))
        assert_well_said(caught.value)


def test_https_where_http_is_spoken() -> None:
    with openai_api(says()) as api, open_server(f"https://127.0.0.1:{api.port}", model="m", kind="openai") as engine:
        with pytest.raises(NetworkError, match="does not speak TLS") as caught:
            list(engine.chat(HI, PLAIN))
        assert_well_said(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_named_by_its_source(status: int) -> None:
    said = answer(status, {"error": {"message": f"Incorrect API key provided: {SECRET}"}})
    assert "OPENAI_API_KEY" in fails(said, NetworkError).message
    with (
        openai_api(said) as api,
        engine_on(api) as engine,
        pytest.raises(NetworkError, match="wants an API key") as caught,
    ):
        list(engine.chat(HI, PLAIN))
    assert "GPT_OSS_API_KEY" in caught.value.message


def test_the_key_goes_out_and_is_in_no_repr() -> None:
    with openai_api(says()) as api, engine_on(api, key=KEY) as engine:
        list(engine.chat(HI, PLAIN))
    assert api.asked[0].headers["authorization"] == f"Bearer {SECRET}"
    assert SECRET not in repr(KEY)


def test_an_unknown_model_and_an_unknown_path() -> None:
    said = {"error": {"message": "The model `gpt-oss-20b` does not exist", "code": "model_not_found"}}
    assert "no model 'gpt-oss-20b'" in fails(answer(404, said), UsageError).message
    assert "base URL" in fails(answer(404, b"<html>nope", "text/html"), UsageError).message


def test_a_prompt_that_is_too_long_says_how_long() -> None:
    error = {
        "code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error",
        "n_prompt_tokens": 5000, "n_ctx": 4096,
    }  # fmt: skip
    found = fails(answer(400, {"error": error}), EngineError)
    assert "5000" in found.message
    assert "8192" in str(found.hint)
    assert (
        "longer than the context"
        in fails(
            answer(400, {"error": {"message": "maximum context length is 8192 tokens", "code": None}}), EngineError
        ).message
    )
    assert "5000" in fails(stream({"error": error}), EngineError).message


def test_another_refusal_repeats_the_servers_words() -> None:
    assert "unknown field" in fails(answer(422, {"detail": "unknown field 'x'"}), UsageError).details[0]


def test_failures_of_the_server() -> None:
    assert "(500)" in fails(answer(500, b"<html>oops"), EngineError).message
    assert "(502)" in fails(answer(502, {"error": {"message": "llama-server went away"}}), EngineError).message


def test_too_many_requests_are_asked_again_within_reason() -> None:
    waits: list[float] = []
    answers = iter([answer(429, {}, Retry_After="2"), says("late")])
    with openai_api(lambda _asked: next(answers)) as api, engine_on(api, sleep=waits.append) as engine:
        deltas = list(engine.chat(HI, PLAIN))
    assert text_of(deltas) == "late"
    assert sum(waits) == pytest.approx(2)
    assert isinstance(deltas[0], NoteDelta)
    assert "in 90 s" in fails(answer(429, {}, Retry_After="90"), NetworkError).message
    with openai_api(answer(429, {})) as api, engine_on(api) as engine, pytest.raises(NetworkError):
        list(engine.chat(HI, PLAIN))
    assert len(api.asked) == BUSY_TRIES


def test_a_model_that_loads_is_waited_for_and_told_once() -> None:
    loading = answer(503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}})
    answers = iter([loading] * 3 + [says()])
    waits: list[float] = []
    with openai_api(lambda _asked: next(answers)) as api, engine_on(api, sleep=waits.append) as engine:
        deltas = list(engine.chat(HI, PLAIN))
    assert [type(found) for found in deltas] == [NoteDelta, TextDelta, EndDelta]
    assert sum(waits) == pytest.approx(3)
    waits.clear()
    fails(answer(503, {"error": {"message": "Loading model"}}, Retry_After="20"), NetworkError, sleep=waits.append)
    assert sum(waits) == pytest.approx(LOADING_TIMEOUT_S)


@pytest.mark.parametrize(
    "end",
    [b"", b"1f\r\ndata: {", STREAM_END, event(": nothing") + STREAM_END],
    ids=["cut", "cut-in-an-event", "ended-without-a-reason", "ended-with-a-comment"],
)
def test_a_stream_that_breaks_off_gives_what_came_and_then_the_error(end: bytes) -> None:
    if b"nothing" in end:
        end = chunked(b": nothing\n\n") + STREAM_END
    with openai_api(STREAM_HEAD + event(delta(content="half")) + end) as api, engine_on(api) as engine:
        deltas = iter(engine.chat(HI, PLAIN))
        assert text_of([next(deltas)]) == "half"
        with pytest.raises(NetworkError, match="broke off") as caught:
            next(deltas)
        assert_well_said(caught.value)


def test_an_end_without_done_is_an_end() -> None:
    assert end_of(turn(stream(delta(content="x"), delta("stop"), done=False))).finish_reason == "stop"


def test_done_is_an_end_without_a_reason_unless_nothing_came() -> None:
    assert end_of(turn(stream(delta(content="x")))).finish_reason == "stop"
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    deltas = turn(stream(delta(tool_calls=[call])))
    assert isinstance(deltas[0], ToolCallDelta)
    assert end_of(deltas).finish_reason == "tool_calls"
    assert "broke off" in fails(stream(), NetworkError).message


def test_an_error_event_in_the_middle_is_told_without_the_key() -> None:
    error = {"message": f"out of\nmemory for {SECRET}", "type": "server_error", "code": 500}
    found = fails(stream(delta(content="x"), {"error": error}), EngineError)
    assert "out of memory for ***" in found.message
    assert "it does" in fails(stream({"error": True}), EngineError).message


@pytest.mark.parametrize(
    "said",
    [
        answer(200, b"<!doctype html><title>Login</title>", "text/html"),
        answer(200, b"hello"),
        answer(200, [1, 2]),
        answer(200, {"object": "list"}),
        stream("no json"),
        stream([1]),
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
def test_what_is_no_completion_is_told_as_such(said: bytes) -> None:
    assert "does not answer as the OpenAI API" in fails(said, NetworkError).message


def test_an_event_without_an_end_is_given_up() -> None:
    endless = chunked(b"data: " + b"x" * (1 << 20))
    assert "broke off" in fails(lambda _asked: [STREAM_HEAD, *[endless] * 18], NetworkError).message


def test_a_server_that_closes_at_once() -> None:
    assert "broke off" in fails(b"", NetworkError).message


# Redirects


def test_a_redirect_on_the_same_host_is_followed_with_the_body() -> None:
    def handler(asked: Asked) -> bytes:
        return says() if asked.path.startswith("/new") else answer(308, Location="/new/chat/completions")

    with openai_api(handler) as api, engine_on(api, key=KEY) as engine:
        assert text_of(list(engine.chat(HI, PLAIN))) == "hello"
        assert api.asked[1].headers["authorization"] == f"Bearer {SECRET}"
        assert api.asked[1].body["messages"]


def test_another_host_gets_neither_key_nor_conversation() -> None:
    with openai_api(says()) as other:
        for location in (
            f"{other.url}/v1/chat/completions",
            f"http://localhost:{other.port}/",
            "ftp://x/",
            "http://[x/",
        ):
            found = fails(answer(307, Location=location), NetworkError)
            assert "redirects to" in found.message
        assert not other.asked


def test_a_circle_of_redirects_ends() -> None:
    assert "redirects" in fails(answer(302, Location="/v1/chat/completions"), NetworkError).message


# Models


def test_the_models_that_a_server_lists() -> None:
    rows = {"object": "list", "data": [{"id": "a", "owned_by": "llamacpp"}, {"id": "b"}, {"nope": 1}]}
    with openai_api(answer(200, rows)) as api:
        assert served_models(api.url + "/v1/") == (("a", "b"), "llama-server")
        assert api.asked[0].path == "/v1/models"
    for said, kind in (
        (answer(200, {"data": []}), EngineError),
        (answer(200, b"<html>", "text/html"), NetworkError),
        (answer(401, {}), NetworkError),
    ):
        with openai_api(said) as api, pytest.raises(kind) as caught:
            served_models(api.url, key=KEY)
        assert isinstance(caught.value, LauncherError)
        assert_well_said(caught.value)
