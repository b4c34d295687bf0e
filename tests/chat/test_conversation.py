"""Conversations: changes, JSON, and what of one fits."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.chat.conversation import Conversation, fit, from_json, to_json
from launcher.engines.types import Message, ToolCall
from launcher.errors import DamagedFileError, UsageError


def user(text: str = "q") -> Message:
    return Message(role="user", content=text)


def said(text: str = "a", reasoning: str | None = None) -> Message:
    return Message(role="assistant", content=text, reasoning=reasoning)


def count(messages: Sequence[Message]) -> int:
    """A template of one token around each character: every message costs its text and two more."""
    return sum(
        len(m.content) + len(m.reasoning or "") + sum(len(c.arguments) for c in m.tool_calls) + 2 for m in messages
    )


def test_a_conversation_grows_and_stays_what_it_was() -> None:
    empty = Conversation()
    full = empty.with_user("q").with_message(said()).with_effort("high")
    assert empty.messages == ()
    assert full == Conversation(messages=(user(), said()), reasoning_effort="high")


def test_system_text_is_set_replaced_and_removed() -> None:
    conversation = Conversation().with_user("q").with_system("Be brief.")
    assert [m.role for m in conversation.messages] == ["system", "user"]
    assert conversation.with_system("Be long.").messages[0].content == "Be long."
    assert [m.role for m in conversation.with_system("Be long.").messages] == ["system", "user"]
    assert conversation.with_system(" ").messages == (user(),)
    assert conversation.with_system(None).messages == (user(),)


def test_the_last_turn_is_taken_back_with_its_answer() -> None:
    conversation = Conversation(messages=(user("1"), said(), user("2"), said(), said("b")))
    assert conversation.without_last_turn().messages == (user("1"), said())
    assert Conversation(messages=(said(),)).without_last_turn().messages == (said(),)


CALL = ToolCall(id="1", name="f", arguments='{"a": 1}')
FULL = Conversation(
    messages=(
        Message(role="system", content="s"),
        user("☀"),
        Message(role="assistant", reasoning="r", tool_calls=(CALL,)),
        Message(role="tool", content="18", tool_call_id="1", name="f"),
        said("18 degrees", "hm"),
    ),
    reasoning_effort="low",
)


def test_json_comes_back() -> None:
    data = json.loads(json.dumps(to_json(FULL)))
    assert data["schema"] == 1
    assert from_json(data) == FULL


def test_what_is_not_known_is_null() -> None:
    data = to_json(Conversation(messages=(user(),)))
    assert data["reasoning_effort"] is None
    assert data["messages"][0]["reasoning"] is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([], "not a saved conversation"),
        ({}, "not a saved conversation"),
        ({"messages": []}, "not a saved conversation"),
        ({"schema": 2, "messages": []}, "schema 2"),
        ({"schema": 1, "messages": [{"role": "king"}]}, "messages[0].role"),
        ({"schema": 1, "messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"schema": 1, "messages": "hello"}, "messages"),
        ({"schema": 1, "reasoning_effort": "max"}, "reasoning_effort"),
    ],
)
def test_a_damaged_file_is_refused_by_name(data: Any, reason: str) -> None:
    with pytest.raises(DamagedFileError) as caught:
        from_json(data, path="/tmp/old.json")
    assert reason in caught.value.message
    assert caught.value.message.startswith("/tmp/old.json: ")
    assert caught.value.path == "/tmp/old.json"


def test_what_fits_is_left_alone() -> None:
    fitted = fit(FULL, count, n_ctx=1000, reserve=100)
    assert fitted.messages == FULL.messages
    assert fitted.dropped == ()
    assert not fitted.dropped_reasoning
    assert fitted.notice is None
    assert fitted.n_prompt == count(FULL.messages)


def test_analysis_of_past_turns_goes_first() -> None:
    conversation = Conversation(messages=(user(), said(reasoning="r" * 50), user(), said(reasoning="x")))
    fitted = fit(conversation, count, n_ctx=40, reserve=10)
    assert fitted.messages == (user(), said(), user(), said(reasoning="x"))
    assert fitted.dropped_reasoning
    assert fitted.dropped == ()
    assert fitted.notice is None


def test_the_oldest_turns_go_next_and_no_more_than_needed() -> None:
    turns = [message for n in range(5) for message in (user(f"q{n}"), said(f"a{n}"))]
    system = Message(role="system", content="s")
    conversation = Conversation(messages=(system, *turns, user("q5")))
    fitted = fit(conversation, count, n_ctx=40, reserve=10)
    assert fitted.messages == (system, *turns[6:], user("q5"))
    assert fitted.dropped == tuple(turns[:6])
    assert fitted.n_prompt == count(fitted.messages) <= 30
    assert fitted.notice == "The conversation is longer than the context: the oldest 3 exchanges were left out."


def test_one_dropped_exchange_is_told_in_the_singular() -> None:
    conversation = Conversation(messages=(user("long question"), said(), user()))
    notice = fit(conversation, count, n_ctx=10, reserve=2).notice
    assert notice == "The conversation is longer than the context: the oldest exchange was left out."


def test_a_call_goes_with_its_answer() -> None:
    """A tool message without its call makes Harmony's template refuse the conversation."""
    fitted = fit(Conversation(messages=(*FULL.messages, user("next"))), count, n_ctx=20, reserve=5)
    assert [m.role for m in fitted.messages] == ["system", "user"]
    assert [m.role for m in fitted.dropped] == ["user", "assistant", "tool", "assistant"]


def test_instructions_anywhere_and_the_open_turn_stay() -> None:
    late = Message(role="developer", content="d")
    call = Message(role="assistant", reasoning="r", tool_calls=(CALL,))
    tool = Message(role="tool", content="18", tool_call_id="1")
    conversation = Conversation(messages=(said("welcome"), user("old"), said(), late, user("new"), call, tool))
    fitted = fit(conversation, count, n_ctx=40, reserve=10)
    assert fitted.messages == (late, user("new"), call, tool)
    assert fitted.dropped == (said("welcome"), user("old"), said())


def test_a_greeting_before_the_only_question_can_go() -> None:
    """It used to stay, and the question was refused as too long."""
    fitted = fit(Conversation(messages=(said("welcome " * 5), user("q"))), count, n_ctx=20, reserve=10)
    assert fitted.messages == (user("q"),)
    assert fitted.notice == "The conversation is longer than the context: the oldest exchange was left out."


def test_a_last_message_that_cannot_fit_is_refused_with_the_size_that_would() -> None:
    conversation = Conversation(messages=(user(), said(), user("x" * 100)))
    with pytest.raises(UsageError) as caught:
        fit(conversation, count, n_ctx=64, reserve=10)
    assert "102 tokens" in caught.value.message
    assert caught.value.hint == "gpt-oss chat --ctx-size 128"


def test_a_conversation_without_a_question() -> None:
    with pytest.raises(UsageError):
        fit(Conversation(messages=(said("x" * 100),)), count, n_ctx=64, reserve=10)


texts = st.text(max_size=20)
messages = st.one_of(
    st.builds(Message, role=st.sampled_from(["system", "user", "tool"]), content=texts),
    st.builds(Message, role=st.just("assistant"), content=texts, reasoning=st.none() | texts),
)


@given(st.lists(messages, max_size=12), st.integers(1, 200), st.integers(0, 50))
def test_what_is_sent_fits_and_keeps_what_it_must(sent: list[Message], n_ctx: int, reserve: int) -> None:
    last = max((n for n, m in enumerate(sent) if m.role == "user"), default=0)
    needed = [m for n, m in enumerate(sent) if n >= last or m.role == "system"]
    try:
        fitted = fit(Conversation(messages=tuple(sent)), count, n_ctx, reserve)
    except UsageError:
        assert count(needed) > n_ctx - reserve
        return
    assert fitted.n_prompt == count(fitted.messages) <= n_ctx - reserve
    assert [m for m in needed if m in fitted.messages] == needed
    # Nothing is reordered or lost: what was sent is what was kept, without reasoning, and what was dropped.
    contents = [m.content for m in fitted.messages if m.role != "system"]
    assert [m.content for m in fitted.dropped] + contents == [m.content for m in sent if m.role != "system"]
