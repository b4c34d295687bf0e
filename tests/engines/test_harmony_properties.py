"""What holds for every stream of tokens, however wrong."""

import codecs
import re

from hypothesis import assume, given
from hypothesis import strategies as st

from launcher.engines.harmony import HarmonyParser
from launcher.engines.harmony.header import Expect, may_be_role
from launcher.engines.types import ChatDelta, FinishReason, NoteDelta, TextDelta, ToolCallDelta
from tests.engines.harmony_helpers import IDS, TEXT_ID, TOKENS, calls, merged, notes, run, text, tokens

CONTROL = sorted(IDS)
HEADER_WORDS = [
    "assistant",
    "analysis",
    "final",
    "commentary",
    " to=functions.f",
    " to=assistant",
    " json",
    "user",
    " ",
]

any_token = st.one_of(
    st.sampled_from(CONTROL).map(lambda name: (IDS[name], b"")),
    st.binary(max_size=6).map(lambda piece: (TEXT_ID, piece)),
    st.sampled_from(HEADER_WORDS).map(lambda word: (TEXT_ID, word.encode())),
    st.text(max_size=6).map(lambda piece: (TEXT_ID, piece.encode("utf-8", "replace"))),
)
any_reason = st.sampled_from(["stop", "length", "cancelled"])


@given(st.lists(any_token, max_size=60), any_reason)
def test_nothing_raises(fed: list[tuple[int, bytes]], reason: FinishReason) -> None:
    parser = HarmonyParser(TOKENS)
    deltas = run(parser, fed, reason)
    assert parser.done
    assert parser.content == text(deltas, "final")
    assert len(parser.tool_calls) == len(calls(deltas))


# A mark is no header word and no JSON, so wherever it is fed it has to come out: as text, as an argument, or in the
# note that quotes the header it was found in.
marks_or_control = st.one_of(
    st.just("mark"),
    st.sampled_from([name for name in CONTROL if name != "<|reserved|>"]),
    st.sampled_from(HEADER_WORDS),
)


@given(st.lists(marks_or_control, max_size=60), any_reason)
def test_no_text_is_lost_and_none_comes_twice(plan: list[str], reason: FinishReason) -> None:
    parser = HarmonyParser(TOKENS)
    deltas: list[ChatDelta] = []
    fed: list[str] = []
    for number, what in enumerate(plan):
        if parser.done:
            break
        if what == "mark":
            fed.append(f"⟦{number}⟧")
            deltas += parser.feed(TEXT_ID, fed[-1].encode())
        else:
            deltas += parser.feed(IDS.get(what, TEXT_ID), what.encode())
    deltas += parser.finish(reason)
    come_out: list[str] = []
    for delta in deltas:
        match delta:
            case TextDelta() | NoteDelta():
                come_out += re.findall(r"⟦\d+⟧", delta.text)
            case ToolCallDelta():
                come_out += re.findall(r"⟦\d+⟧", delta.call.arguments)
    assert come_out == fed


@given(st.lists(st.one_of(st.sampled_from(CONTROL), st.sampled_from(HEADER_WORDS), st.text(max_size=8)), max_size=30))
def test_chunking_changes_nothing(parts: list[str]) -> None:
    output = "".join(parts)
    whole = run(HarmonyParser(TOKENS), tokens(output, n_bytes=1_000_000))
    for n_bytes in (1, 2, 7):
        assert merged(run(HarmonyParser(TOKENS), tokens(output, n_bytes))) == merged(whole)


@given(st.lists(st.binary(max_size=8), max_size=20))
def test_bytes_cut_anywhere_decode_as_a_whole(pieces: list[bytes]) -> None:
    fed = [*tokens("<|channel|>final<|message|>"), *((TEXT_ID, piece) for piece in pieces)]
    deltas = run(HarmonyParser(TOKENS), fed)
    data = b"".join(pieces)
    escaped = codecs.decode(data, "utf-8", "surrogateescape")
    expected = re.sub("[\udc80-\udcff]", "\ufffd", escaped)
    assert text(deltas, "final") == expected
    assert bool(notes(deltas)) == (expected != escaped)


plain_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
message = st.one_of(
    st.tuples(st.sampled_from(["analysis", "commentary", "final"]), plain_text),
    st.tuples(st.just("call"), st.dictionaries(plain_text, st.integers(), max_size=3).map(repr)),
)


@given(st.lists(message, min_size=1, max_size=8))
def test_well_formed_turns_come_back(messages: list[tuple[str, str]]) -> None:
    spelled = [
        f"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{body}"
        if kind == "call"
        else f"<|channel|>{kind}<|message|>{body}"
        for kind, body in messages
    ]
    assume(not any(name in body for name in IDS for _, body in messages))
    output = "<|end|><|start|>assistant".join(spelled) + "<|return|>"
    parser = HarmonyParser(TOKENS)
    deltas = run(parser, tokens(output))
    for channel in ("analysis", "commentary", "final"):
        assert text(deltas, channel) == "\n\n".join(body for kind, body in messages if kind == channel)
    assert calls(deltas) == [["f", body] for kind, body in messages if kind == "call"]
    assert all("no JSON object" in note for note in notes(deltas))


@given(st.text(alphabet="asitnfl ocmeryujdx.=:{", max_size=20), st.sampled_from(["turn", "gap", "role"]))
def test_text_that_is_no_header_never_becomes_one(written: str, expect: Expect) -> None:
    """Streaming decides on a prefix, so the decision may not depend on how much arrived at once."""
    fits = [may_be_role(written[:end], expect) for end in range(len(written) + 1)]
    assert fits == sorted(fits, reverse=True)
