"""The HTTP engine against a server that does what a test says: what comes back, what goes out, counting."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from launcher.engines.client.request import ServerKind
from launcher.engines.types import (
    Message,
    NoteDelta,
    PromptDelta,
    Sampling,
    ToolCall,
    ToolCallDelta,
)
from launcher.errors import UsageError
from tests.engines.http_helpers import HI, PLAIN, assert_well_said, end_of, engine_on, text_of, turn
from tests.fakes.openai_api import (
    STREAM_END,
    STREAM_HEAD,
    Asked,
    answer,
    chunked,
    delta,
    openai_api,
    says,
    stream,
)

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
