"""The HTTP engine against a server that does what a test says."""

from __future__ import annotations

import itertools
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from launcher.engines.client.patience import BUSY_TRIES, LOADING_TIMEOUT_S
from launcher.engines.client.request import ServerKind
from launcher.engines.client.site import Key
from launcher.engines.server_client import ServerEngine, open_server, served_models
from launcher.engines.types import (
    ChatDelta,
    EndDelta,
    Message,
    NoteDelta,
    PromptDelta,
    Sampling,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)
from launcher.errors import EngineError, LauncherError, NetworkError, UsageError
from tests.cli.sandbox import assert_runnable
from tests.fakes.openai_api import (
    DEADLINE_S,
    HOLD,
    STREAM_END,
    STREAM_HEAD,
    Api,
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


# What comes back


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_and_answer_have_channels_of_their_own(field: str) -> None:
    deltas = turn(
        stream(delta(role="assistant", content=None), delta(**{field: "Hm."}), delta(content="Yes"), delta("stop"))
    )
    assert text_of(deltas, "analysis") == "Hm."
    assert text_of(deltas) == "Yes"
    assert end_of(deltas).finish_reason == "stop"


def test_a_call_in_pieces_is_one_delta_with_whole_arguments() -> None:
    first = {"index": 0, "id": "a1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    more = [{"index": 0, "function": {"arguments": part}} for part in ('{"city"', ':"Rome"}')]
    deltas = turn(stream(*(delta(tool_calls=[piece]) for piece in (first, *more)), delta("tool_calls")))
    assert deltas[:-1] == [ToolCallDelta(call=ToolCall(id="a1", name="weather", arguments='{"city":"Rome"}'))]
    assert end_of(deltas).finish_reason == "tool_calls"


def test_several_calls_are_told_apart_with_an_index_or_without() -> None:
    def call(name: str, **more: Any) -> dict[str, Any]:
        return {"id": f"id-{name}", "function": {"name": name, "arguments": "{}"}, **more}

    indexed = stream(delta(tool_calls=[call("a", index=0), call("b", index=1)]), delta("tool_calls"))
    bare = stream(delta(tool_calls=[call("a", index=0)]), delta(tool_calls=[call("b", index=0)]), delta("stop"))
    for said in (indexed, bare):
        deltas = turn(said)
        assert [found.call.name for found in deltas if isinstance(found, ToolCallDelta)] == ["a", "b"]
        assert end_of(deltas).finish_reason == "tool_calls"


def test_a_call_without_an_id_gets_one() -> None:
    deltas = turn(stream(delta(tool_calls=[{"index": 0, "function": {"name": "f"}}]), delta("stop")))
    (found,) = [found for found in deltas if isinstance(found, ToolCallDelta)]
    assert found.call == ToolCall(id="call_1", name="f", arguments="{}")


def test_an_answer_that_is_not_streamed_is_taken() -> None:
    message = {"role": "assistant", "reasoning": "Hm.", "content": "Yes"}
    deltas = turn(
        answer(200, {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}})
    )
    assert (text_of(deltas, "analysis"), text_of(deltas)) == ("Hm.", "Yes")
    assert end_of(deltas).timings.prompt_n == 3


def test_events_are_read_wherever_the_pieces_are_cut() -> None:
    events = b"".join(f"data: {json.dumps(delta(content=text))}\r\n\r\n".encode() for text in ("Grüße ", "→ you"))
    events = b": a comment\r\nevent: x\r\n" + events + b"data: " + json.dumps(delta("stop")).encode() + b"\n\n"
    said = STREAM_HEAD + b"".join(chunked(events[i : i + 1]) for i in range(len(events))) + STREAM_END
    assert text_of(turn(said)) == "Grüße → you"


def test_the_servers_own_timings_win() -> None:
    own = {"cache_n": 7, "prompt_n": 5, "prompt_ms": 12.5, "predicted_n": 2, "predicted_ms": 30.0}
    timings = end_of(turn(stream(delta(content="a"), {**delta("stop"), "timings": own}))).timings
    assert (timings.prompt_n, timings.cache_n, timings.prompt_ms) == (5, 7, 12.5)
    assert (timings.predicted_n, timings.predicted_ms, timings.eval_ms) == (2, 30.0, 30.0)


def test_without_them_wall_times_and_usage_are_told() -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8}}
    said = stream(delta(content="a"), delta("stop"), {"choices": [], "usage": usage})
    ticks = itertools.count(0.0, 0.5)
    timings = end_of(turn(said, clock=lambda: next(ticks))).timings  # begin 0, first token 0.5, end 1.0
    assert (timings.prompt_n, timings.cache_n, timings.predicted_n) == (4, 8, 4)
    assert (timings.ttft_ms, timings.prompt_ms, timings.predicted_ms) == (500.0, 500.0, 500.0)


def test_progress_counts_what_is_evaluated_now() -> None:
    def progress(processed: int) -> dict[str, Any]:
        found = {"total": 100, "cache": 20, "processed": processed, "time_ms": 1}
        return {**delta(role="assistant", content=None), "prompt_progress": found}

    deltas = turn(stream(progress(20), progress(60), progress(100), delta(content="x"), delta("stop")))
    assert deltas[:2] == [PromptDelta(done_n=40, total_n=80), PromptDelta(done_n=80, total_n=80)]
    assert sum(isinstance(found, PromptDelta) for found in deltas) == 2


def test_a_full_context_is_told_and_a_limit_is_not() -> None:
    said = stream(delta(content="x"), {**delta("length"), "usage": {"completion_tokens": 5}})
    assert any(isinstance(found, NoteDelta) and "4096" in found.text for found in turn(said))
    assert not any(isinstance(found, NoteDelta) for found in turn(said, Sampling(max_tokens=5)))


def test_another_reason_to_end_is_told() -> None:
    deltas = turn(stream(delta(content="x"), delta("content_filter")))
    assert any(isinstance(found, NoteDelta) and "content_filter" in found.text for found in deltas)
    assert end_of(deltas).finish_reason == "stop"


@pytest.mark.parametrize(
    "junk", [{"choices": None}, {"choices": [None]}, {"choices": [{"delta": {"tool_calls": [3]}}]}, {}]
)
def test_chunks_of_another_shape_say_nothing(junk: dict[str, Any]) -> None:
    assert text_of(turn(stream(junk, delta(content="x"), delta("stop")))) == "x"


# What goes out

TALK = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="Weather in Rome?"),
    Message(
        role="assistant",
        reasoning="I ask.",
        tool_calls=(ToolCall(id="c1", name="weather", arguments='{"city":"Rome"}'),),
    ),
    Message(role="tool", content="sunny", tool_call_id="c1", name="weather"),
)
TOOLS = ({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}},)


def body(kind: ServerKind, sampling: Sampling, tools: Any = ()) -> dict[str, Any]:
    with openai_api(says()) as api, engine_on(api, kind=kind) as engine:
        list(engine.chat(TALK, sampling, tools=tools))
        return api.chats[0]


def test_calls_and_results_go_out_in_the_apis_words() -> None:
    sent = body("openai", PLAIN, TOOLS)
    assert sent["tools"] == list(TOOLS)
    assert sent["messages"][2] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
        ],
    }
    assert sent["messages"][3] == {"role": "tool", "content": "sunny", "tool_call_id": "c1"}


def test_a_strict_api_gets_nothing_that_it_does_not_know() -> None:
    sent = body("openai", Sampling(seed=3, max_tokens=9, temperature=0.5))
    assert set(sent) == {"model", "messages", "stream", "stream_options", "seed", "max_tokens", "temperature"}


def test_llama_server_is_told_everything() -> None:
    sent = body("llama-server", Sampling(reasoning_effort="high"))
    assert sent["messages"][2]["reasoning_content"] == "I ask."
    assert (sent["return_progress"], sent["reasoning_effort"]) == (True, "high")
    assert [sent[name] for name in ("temperature", "top_p", "top_k", "min_p")] == [1.0, 1.0, 0, 0.0]


def test_a_schema_is_a_response_format_and_a_broken_one_an_error() -> None:
    sent = body("openai", Sampling(json_schema='{"type":"object"}'))
    assert sent["response_format"]["json_schema"]["schema"] == {"type": "object"}
    with pytest.raises(UsageError) as caught:
        body("openai", Sampling(json_schema="{"))
    assert_well_said(caught.value)


@pytest.mark.parametrize("llama", [True, False])
def test_what_a_server_is_is_asked_once_and_only_where_nobody_knows(llama: bool) -> None:
    def handler(asked: Asked) -> bytes:
        if asked.path == "/props":
            return answer(200, {"default_generation_settings": {"n_ctx": 777}}) if llama else answer(404, {})
        return says()

    with openai_api(handler) as api:
        with engine_on(api, kind=None, n_ctx=None) as engine:
            for _ in range(2):
                list(engine.chat(HI, PLAIN))
            assert engine.n_ctx == (777 if llama else None)
        assert [asked.path for asked in api.asked] == ["/props", *["/v1/chat/completions"] * 2]
        assert ("return_progress" in api.chats[0]) == llama
        api.asked.clear()
        with engine_on(api, kind="llama-server", n_ctx=4096) as engine:
            list(engine.chat(HI, PLAIN))
        assert [asked.path for asked in api.asked] == ["/v1/chat/completions"]


# Stopping


def hanging(*pieces: bytes) -> Callable[[Asked], Any]:
    return lambda _asked: [*pieces, HOLD]


@pytest.mark.parametrize(
    "pieces", [(), (STREAM_HEAD,), (STREAM_HEAD, event(delta(content="x")))], ids=["mute", "head", "text"]
)
def test_cancel_from_a_thread_wakes_a_turn_that_waits(pieces: tuple[bytes, ...]) -> None:
    expects_text = len(pieces) == 2
    with openai_api(hanging(*pieces)) as api, engine_on(api) as engine:
        came = threading.Event()

        def cancel() -> None:
            assert api.holding.wait(DEADLINE_S)
            assert not expects_text or came.wait(DEADLINE_S)
            engine.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()
        found = []
        for delta_ in engine.chat(HI, PLAIN):
            found.append(delta_)
            came.set()
        thread.join()
        assert end_of(found).finish_reason == "cancelled"
        assert text_of(found) == ("x" if expects_text else "")
        assert api.hung_up.wait(DEADLINE_S), "the connection is still open"
        api.handler = lambda _asked: says("again")
        assert text_of(list(engine.chat(HI, PLAIN))) == "again"


def test_ctrl_c_wakes_the_main_thread_out_of_its_read() -> None:
    """The signal comes while the main thread is in recv(): its handler has to end that call."""
    with openai_api(hanging()) as api, engine_on(api) as engine:
        before = signal.signal(signal.SIGINT, lambda *_: engine.cancel())
        try:

            def interrupt() -> None:
                assert api.holding.wait(DEADLINE_S)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

            thread = threading.Thread(target=interrupt)
            thread.start()
            found = list(engine.chat(HI, PLAIN))
            thread.join()
        finally:
            signal.signal(signal.SIGINT, before)
        assert end_of(found).finish_reason == "cancelled"
        assert api.hung_up.wait(DEADLINE_S)


def test_a_cancel_before_the_first_delta_counts_and_asks_nothing() -> None:
    with openai_api(says()) as api, engine_on(api) as engine:
        deltas = engine.chat(HI, PLAIN)
        engine.cancel()
        assert end_of(list(deltas)).finish_reason == "cancelled"
        assert not api.asked


def test_a_cancel_between_deltas_drops_what_has_arrived_already() -> None:
    with openai_api(stream(*(delta(content=str(i)) for i in range(9)), delta("stop"))) as api, engine_on(api) as engine:
        deltas = iter(engine.chat(HI, PLAIN))
        first = next(deltas)
        engine.cancel()
        rest = list(deltas)
    assert isinstance(first, TextDelta)
    assert len(rest) == 1
    assert end_of(rest).finish_reason == "cancelled"
    assert end_of(rest).timings.predicted_n == 1


def test_closing_the_iterator_hangs_up() -> None:
    with openai_api(hanging(STREAM_HEAD, event(delta(content="x")))) as api, engine_on(api) as engine:
        deltas: Any = engine.chat(HI, PLAIN)
        assert next(deltas)
        deltas.close()
        assert api.hung_up.wait(DEADLINE_S)


def test_a_cancel_ends_a_wait_for_a_model_that_loads() -> None:
    loading = answer(503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}})
    engines: list[ServerEngine] = []
    with openai_api(loading) as api, engine_on(api, sleep=lambda _s: engines[0].cancel()) as engine:
        engines.append(engine)
        assert end_of(list(engine.chat(HI, PLAIN))).finish_reason == "cancelled"
        assert len(api.asked) == 1


# Failures


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


# Counting


def counting(n_tokens: int) -> Callable[[Asked], bytes]:
    def handler(asked: Asked) -> bytes:
        if asked.path == "/apply-template":
            return answer(200, {"prompt": f"<{asked.body['messages'][0]['content'][:5]}>"})
        assert asked.path == "/tokenize"
        assert asked.body["content"] == "<words>"
        return answer(200, {"tokens": list(range(n_tokens))})

    return handler


LONG = (Message(role="user", content="words " * 500),)


def test_a_short_prompt_is_not_counted_by_anybody() -> None:
    with openai_api(counting(3)) as api, engine_on(api, kind="llama-server") as engine:
        assert 2 < engine.count_tokens(HI, PLAIN) <= 2048
        assert not api.asked


def test_a_long_one_is_counted_by_llama_server() -> None:
    with openai_api(counting(777)) as api, engine_on(api, kind="llama-server") as engine:
        assert engine.count_tokens(LONG, Sampling(reasoning_effort="low"), tools=TOOLS) == 777
        assert api.asked[0].body["reasoning_effort"] == "low"
        assert api.asked[0].body["tools"] == list(TOOLS)


def test_where_nobody_counts_it_is_a_bound() -> None:
    with openai_api(answer(404, {})) as api:
        for kind in ("openai", "llama-server"):
            with engine_on(api, kind=kind) as engine:
                assert engine.count_tokens(LONG, PLAIN) >= 3000
        with engine_on(api, kind=None, n_ctx=None) as engine:
            assert engine.n_ctx is None
            assert engine.count_tokens(LONG, PLAIN) >= 3000


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
