"""The HTTP engine on a real `gpt-oss serve`, with the demo model."""

from __future__ import annotations

import json
import threading

import httpx
import pytest

from launcher.cli.attach import open_url
from launcher.engines.server_client import open_server
from launcher.engines.types import EndDelta, Message, PromptDelta, Sampling, TextDelta, ToolCallDelta
from launcher.errors import EngineError
from tests.server.clients import CAPITAL, MODEL, PARIS, SCHEMA, STORY, TOKYO, TOOLS, assert_follows_schema, weather
from tests.server.waiting import wait_for

GREEDY = Sampling(temperature=0.0)


def asks(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def test_an_answer_with_its_reasoning_and_timings(demo_url: str) -> None:
    with open_url(demo_url, None, {}) as engine:
        deltas = list(engine.chat(asks(CAPITAL), GREEDY))
        assert (engine.model, engine.n_ctx) == (MODEL, 4096)
    texts = {
        channel: "".join(d.text for d in deltas if isinstance(d, TextDelta) and d.channel == channel)
        for channel in ("analysis", "final")
    }
    assert texts["final"] == PARIS
    assert "France" in texts["analysis"]
    end = deltas[-1]
    assert isinstance(end, EndDelta)
    assert end.finish_reason == "stop"
    assert end.timings.prompt_n + end.timings.cache_n > 60
    assert end.timings.predicted_n > 10
    assert 0 < end.timings.predicted_ms < end.timings.ttft_ms + 60_000


@pytest.mark.parametrize("effort", [None, "low", "high"])
def test_tokens_are_counted_as_the_server_evaluates_them(demo_url: str, effort: str | None) -> None:
    sampling = Sampling(temperature=0.0, max_tokens=1, reasoning_effort=effort)  # type: ignore[arg-type]
    talk = [Message(role="system", content="Be brief. <|end|> " * 120), *asks(CAPITAL)]
    with open_server(demo_url, model=MODEL, n_ctx=4096, kind="llama-server") as engine:
        counted = engine.count_tokens(talk, sampling, tools=TOOLS)
        *_, end = engine.chat(talk, sampling, tools=TOOLS)
    assert isinstance(end, EndDelta)
    assert end.timings.prompt_n + end.timings.cache_n == counted


def test_a_bound_is_never_less_than_the_truth(demo_url: str) -> None:
    talk = [Message(role="system", content="Be brief."), *asks(CAPITAL)]
    with (
        open_server(demo_url, model=MODEL, n_ctx=4096, kind="llama-server") as bound,
        open_server(demo_url, model=MODEL, n_ctx=64, kind="llama-server") as exact,
    ):
        for tools in ([], TOOLS):
            assert exact.count_tokens(talk, GREEDY, tools=tools) <= bound.count_tokens(talk, GREEDY, tools=tools)


def test_a_call_and_its_result_make_the_next_answer(demo_url: str) -> None:
    talk = asks(TOKYO)
    with open_server(demo_url, model=MODEL, n_ctx=4096, kind="llama-server") as engine:
        deltas = list(engine.chat(talk, GREEDY, tools=TOOLS))
        (call,) = [found.call for found in deltas if isinstance(found, ToolCallDelta)]
        assert isinstance(deltas[-1], EndDelta)
        assert deltas[-1].finish_reason == "tool_calls"
        assert json.loads(call.arguments)["location"] == "Tokyo"
        reasoning = "".join(
            found.text for found in deltas if isinstance(found, TextDelta) and found.channel == "analysis"
        )
        talk += [
            Message(role="assistant", reasoning=reasoning, tool_calls=(call,)),
            Message(role="tool", content=weather(17), tool_call_id=call.id, name=call.name),
        ]
        deltas = list(engine.chat(talk, GREEDY, tools=TOOLS))
    assert "17" in "".join(found.text for found in deltas if isinstance(found, TextDelta))


def test_a_schema_is_followed(demo_url: str) -> None:
    sampling = Sampling(temperature=0.0, json_schema=json.dumps(SCHEMA))
    with open_server(demo_url, model=MODEL, n_ctx=4096, kind="llama-server") as engine:
        deltas = list(engine.chat(asks(CAPITAL), sampling))
    assert_follows_schema("".join(d.text for d in deltas if isinstance(d, TextDelta) and d.channel == "final"))


def test_a_long_prompt_tells_how_far_it_is(demo_url: str) -> None:
    with open_server(demo_url, model=MODEL, n_ctx=4096, kind="llama-server") as engine:
        deltas = list(engine.chat(asks("progress " * 900), Sampling(max_tokens=2)))
    told = [found for found in deltas if isinstance(found, PromptDelta)]
    assert len(told) > 1
    assert told[-1].done_n == told[-1].total_n
    assert [found.done_n for found in told] == sorted(found.done_n for found in told)


def test_a_prompt_beyond_the_context_says_by_how_much(demo_url: str) -> None:
    said = r"has \d+ tokens and the context of .* holds 4096"
    with (
        open_server(demo_url, model=MODEL, n_ctx=4096, kind="llama-server") as engine,
        pytest.raises(EngineError, match=said) as caught,
    ):
        list(engine.chat(asks("word " * 9000), GREEDY))
    assert "--ctx-size" in str(caught.value.hint)


def test_a_stopped_turn_frees_its_slot_and_tells_what_it_took(demo_url: str) -> None:
    def busy() -> int:
        metrics = httpx.get(f"{demo_url}/slots", timeout=20).json()
        return sum(slot["is_processing"] for slot in metrics)

    with open_server(demo_url, model=MODEL, n_ctx=4096, kind="llama-server") as engine:
        deltas = iter(engine.chat(asks(STORY), Sampling(temperature=0.0)))
        next(found for found in deltas if isinstance(found, TextDelta))
        thread = threading.Thread(target=engine.cancel)
        thread.start()
        thread.join()
        (end,) = list(deltas)
        wait_for(lambda: busy() == 0, "the slot is still taken")
    assert isinstance(end, EndDelta)
    assert end.finish_reason == "cancelled"
    assert end.timings.predicted_n >= 1
    assert end.timings.prompt_n + end.timings.cache_n > 50
