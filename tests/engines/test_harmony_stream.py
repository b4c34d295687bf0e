"""The Harmony codec on real and reported outputs: nothing raises, nothing leaks, nothing is lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from launcher.engines.harmony import HarmonyParser, HarmonyTokens
from launcher.engines.harmony.header import MAX_HEADER_CHARS
from launcher.engines.types import ChatDelta, FinishReason, Message, NoteDelta, TextDelta, ToolCall
from tests.engines.harmony_helpers import IDS, TEXT_ID, TOKENS, calls, merged, notes, run, text, tokens

CASES = json.loads((Path(__file__).parents[1] / "data" / "harmony" / "cases.json").read_text(encoding="utf-8"))
# Deep enough to exhaust a recursive JSON parser, too long to spell out in the file.
DEEP = '{"a":' * 50_000


@pytest.mark.parametrize("n_bytes", [1, 4, 1_000_000])
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_outputs_that_were_seen(case: dict[str, Any], n_bytes: int) -> None:
    parser = HarmonyParser(TOKENS)
    output = case["output"].replace("{{DEEP}}", DEEP)
    if "{{DEEP}}" in case["output"] and n_bytes < 4096:
        n_bytes = 4096
    deltas = run(parser, tokens(output, n_bytes))

    for channel in ("analysis", "commentary", "final"):
        assert text(deltas, channel) == case.get(channel, "")
    expected = [[name, arguments.replace("{{DEEP}}", DEEP)] for name, arguments in case.get("calls", [])]
    assert calls(deltas) == expected
    assert parser.finish_reason == case.get("ends", "stop")
    said = "\n".join(notes(deltas))
    assert bool(said) == bool(case["notes"]), said
    for part in case["notes"]:
        assert part in said


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_result_is_what_was_streamed(case: dict[str, Any]) -> None:
    parser = HarmonyParser(TOKENS)
    deltas = run(parser, tokens(case["output"]))
    assert parser.content == text(deltas, "final")
    assert parser.reasoning == text(deltas, "analysis")
    assert parser.commentary == text(deltas, "commentary")
    assert [[call.name, call.arguments] for call in parser.tool_calls] == calls(deltas)


@pytest.mark.parametrize("token", ["<|return|>", "<|call|>", "<|endoftext|>"])
def test_done_after_an_end_and_deaf_from_then_on(token: str) -> None:
    parser = HarmonyParser(TOKENS)
    for each in tokens("<|channel|>final<|message|>Yes."):
        parser.feed(*each)
    assert not parser.done
    assert parser.finish_reason is None
    parser.feed(IDS[token], b"")
    assert parser.done
    assert parser.feed(TEXT_ID, b"more") == ()
    assert parser.feed(IDS["<|start|>"], b"") == ()
    assert parser.finish("length") == ()
    assert parser.finish_reason == "stop"
    assert parser.content == "Yes."


def test_done_as_soon_as_the_model_writes_another_role() -> None:
    parser = HarmonyParser(TOKENS)
    fed = tokens("<|channel|>final<|message|>Yes.<|end|><|start|>user<|message|>", n_bytes=100)
    for each in fed[:-1]:
        parser.feed(*each)
        assert not parser.done
    parser.feed(*fed[-1])
    assert parser.done


def test_text_streams_with_the_token_that_brings_it() -> None:
    """Whole messages used to be held back until they ended."""
    parser = HarmonyParser(TOKENS)
    for each in tokens("<|channel|>final<|message|>", n_bytes=100):
        assert parser.feed(*each) == ()
    for piece in ("One", " two", " three"):
        assert parser.feed(TEXT_ID, piece.encode()) == (TextDelta(channel="final", text=piece),)


def test_bare_text_streams_from_the_first_word_that_is_no_header() -> None:
    parser = HarmonyParser(TOKENS)
    assert parser.feed(TEXT_ID, b"final") == ()
    first = parser.feed(TEXT_ID, b" answers")
    assert [type(delta) for delta in first] == [NoteDelta, TextDelta]
    assert text(list(first), "final") == "final answers"
    assert parser.feed(TEXT_ID, b" are rare") == (TextDelta(channel="final", text=" are rare"),)


def test_a_header_that_never_ends_becomes_text_at_the_limit() -> None:
    """A missing <|message|> used to keep the whole answer in the header."""
    parser = HarmonyParser(TOKENS)
    answer = " The answer" + "!" * 500
    fed = [(IDS["<|channel|>"], b""), (TEXT_ID, b"final"), *((TEXT_ID, letter.encode()) for letter in answer)]
    deltas: list[ChatDelta] = []
    for n, each in enumerate(fed):
        deltas += parser.feed(*each)
        if n > MAX_HEADER_CHARS:
            assert deltas
    assert text(deltas, "final") == answer
    assert len(notes(deltas)) == 1
    # One piece of the same length is read the same.
    whole = run(HarmonyParser(TOKENS), [fed[0], (TEXT_ID, b"final" + answer.encode())])
    assert merged(whole) == merged([*deltas, *parser.finish("stop")])


@pytest.mark.parametrize("n_bytes", [1, 2, 3, 5])
def test_characters_cut_between_tokens(n_bytes: int) -> None:
    sentence = "Blåbær ☀ 北京 👩‍🔬 \ufffd"
    deltas = run(HarmonyParser(TOKENS), tokens(f"<|channel|>final<|message|>{sentence}<|return|>", n_bytes))
    assert text(deltas, "final") == sentence
    assert notes(deltas) == []


def test_invalid_bytes_are_replaced_and_told_once() -> None:
    fed = [
        *tokens("<|channel|>final<|message|>"),
        (TEXT_ID, b"a\xffb"),
        (TEXT_ID, b"\xc3"),
        (TEXT_ID, b"(\xed\xa0\x80"),
    ]
    deltas = run(HarmonyParser(TOKENS), fed)
    assert text(deltas, "final") == "a\ufffdb\ufffd(\ufffd\ufffd\ufffd"
    assert len(notes(deltas)) == 1
    assert "UTF-8" in notes(deltas)[0]


def test_a_character_cut_off_by_the_end_of_its_message_is_replaced_there() -> None:
    parser = HarmonyParser(TOKENS)
    output = [*tokens("<|channel|>analysis<|message|>x"), (TEXT_ID, "é".encode()[:1]), *tokens("<|end|>")]
    deltas = run(parser, [*output, *tokens("<|start|>assistant<|channel|>final<|message|>y<|return|>")])
    assert parser.reasoning == "x\ufffd"
    assert parser.content == "y"
    assert len(notes(deltas)) == 1


def test_a_reserved_token_does_not_cut_a_character() -> None:
    first, second = "é".encode()[:1], "é".encode()[1:]
    fed = [*tokens("<|channel|>final<|message|>"), (TEXT_ID, first), (IDS["<|reserved|>"], b""), (TEXT_ID, second)]
    assert text(run(HarmonyParser(TOKENS), fed), "final") == "é"


@pytest.mark.parametrize("reason", ["length", "cancelled"])
def test_a_call_that_is_cut_off_is_never_made(reason: FinishReason) -> None:
    """Arguments can be valid JSON before the model is done with them, and can do harm."""
    parser = HarmonyParser(TOKENS)
    deltas = run(parser, tokens('<|channel|>commentary to=functions.rm<|message|>{"path": "/tmp"}'), reason)
    assert calls(deltas) == []
    assert parser.tool_calls == ()
    assert text(deltas, "commentary") == '{"path": "/tmp"}'
    assert "cut off" in notes(deltas)[0]
    assert parser.finish_reason == reason


def test_an_open_call_is_made_where_the_model_stopped_by_itself() -> None:
    parser = HarmonyParser(TOKENS)
    deltas = run(parser, tokens('<|channel|>commentary to=functions.f<|message|>{"a": 1}'), "stop")
    assert calls(deltas) == [["f", '{"a": 1}']]
    assert parser.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("", ""),
        ("<|channel|>ana", "ana"),
        ("<|channel|>analysis", ""),
        ("<|channel|>analysis<|message|>Thi", "Thi"),
        ("<|channel|>analysis<|message|>Th<|end|>", "Th"),
        ("<|channel|>analysis<|message|>Th<|end|><|start|>", "Th"),
        ("<|channel|>analysis<|message|>Th<|end|><|start|>assis", "Th\n\nassis"),
        ("<|channel|>analysis<|message|>Th<|end|><|start|>assistant<|channel|>", "Th"),
        ("<|channel|>analysis<|message|>Th<|end|><|start|>assistant<|channel|>final<|message|>", "Th"),
        ("<|channel|>final <|constrain|>", ""),
    ],
)
@pytest.mark.parametrize("reason", ["length", "cancelled", "stop"])
def test_a_turn_cut_off_in_any_state(output: str, said: str, reason: FinishReason) -> None:
    parser = HarmonyParser(TOKENS)
    run(parser, tokens(output), reason)
    together = "\n\n".join(part for part in (parser.reasoning, parser.content) if part)
    assert together == said
    assert parser.done
    assert parser.finish_reason == reason
    assert parser.finish("stop") == ()


def test_messages_of_one_channel_are_set_apart() -> None:
    parser = HarmonyParser(TOKENS)
    two = "<|channel|>analysis<|message|>One.<|end|><|start|>assistant<|channel|>analysis<|message|>Two.<|end|>"
    run(parser, tokens(two + "<|start|>assistant<|channel|>final<|message|>Yes.<|return|>"))
    assert parser.reasoning == "One.\n\nTwo."


@pytest.mark.parametrize(
    ("output", "analysis", "final"),
    [
        # A header, if an empty one: another message of the channel that it broke into.
        ("<|channel|>analysis<|message|>a<|start|><|message|>b<|end|>", "a\n\nb", ""),
        # The interrupted message was analysis; the text that follows belongs to another one.
        (
            "<|channel|>final<|message|>a<|end|><|start|>assistant<|channel|>analysis<|message|>b<|channel|>final c",
            "b",
            "a\n\n c",
        ),
    ],
)
def test_a_message_that_interrupts_another(output: str, analysis: str, final: str) -> None:
    parser = HarmonyParser(TOKENS)
    run(parser, tokens(output))
    assert (parser.reasoning, parser.content) == (analysis, final)


def test_another_role_stops_the_turn_also_without_a_message() -> None:
    """Its name would be shown as an answer."""
    parser = HarmonyParser(TOKENS)
    deltas = run(parser, tokens("<|channel|>final<|message|>Yes.<|end|><|start|>user<|end|>more"))
    assert parser.content == "Yes."
    assert "another role" in notes(deltas)[0]


def test_the_limit_holds_for_a_header_as_a_whole() -> None:
    parser = HarmonyParser(TOKENS)
    part = "x" * (MAX_HEADER_CHARS // 2)
    fed = tokens(f"<|channel|>final{part}<|constrain|>json", n_bytes=MAX_HEADER_CHARS)
    assert [delta for each in fed for delta in parser.feed(*each)] == []
    assert text(list(parser.feed(TEXT_ID, f" {part}!".encode())), "final") == f" {part}!"


def test_notes_are_told_once_a_turn() -> None:
    """A model in a loop would otherwise fill the screen."""
    deltas = run(HarmonyParser(TOKENS), tokens("<|channel|>final<|message|>" + "a<|reserved|>" * 100))
    assert len(notes(deltas)) == 1
    assert text(deltas, "final") == "a" * 100


def test_quoted_headers_cannot_drive_a_terminal() -> None:
    deltas = run(HarmonyParser(TOKENS), tokens("<|channel|>\x1b[2J\nfinal<|message|>x<|return|>"))
    (note,) = notes(deltas)
    assert "\x1b" not in note
    assert "\n" not in note


def test_the_turn_as_a_message() -> None:
    parser = HarmonyParser(TOKENS, make_id=lambda number: f"id-{number}")
    case = next(case for case in CASES if case["name"] == "preamble, then a call")
    run(parser, tokens(case["output"]))
    call = ToolCall(id="id-1", name="get_weather", arguments='{"city": "Oslo"}')
    assert parser.message() == Message(
        role="assistant", content="I'll look it up.", reasoning="Need weather.", tool_calls=(call,)
    )


def test_tokens_are_looked_up_by_text() -> None:
    ids = {name: 1000 + number for number, name in enumerate(IDS)}
    found = HarmonyTokens.from_vocabulary(ids.get, ids.values())
    assert found is not None
    assert found.start == ids["<|start|>"]
    assert found.call == ids["<|call|>"]
    assert found.other == {ids["<|reserved|>"]}


@pytest.mark.parametrize("missing", ["<|start|>", "<|end|>", "<|message|>", "<|channel|>"])
def test_a_vocabulary_without_harmony(missing: str) -> None:
    ids = {name: token for name, token in IDS.items() if name != missing}
    assert HarmonyTokens.from_vocabulary(ids.get, ids.values()) is None


def test_a_vocabulary_without_the_optional_tokens_still_speaks_harmony() -> None:
    needed = {name: IDS[name] for name in ("<|start|>", "<|end|>", "<|message|>", "<|channel|>")}
    found = HarmonyTokens.from_vocabulary(needed.get)
    assert found is not None
    assert found.call is None
    parser = HarmonyParser(found)
    run(parser, tokens("<|channel|>final<|message|>Yes.<|end|>"))
    assert parser.content == "Yes."
