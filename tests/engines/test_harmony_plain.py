"""Models without channels: text, `<think>` blocks, stop texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.engines.harmony import PlainParser
from launcher.engines.types import TextDelta
from tests.engines.harmony_helpers import TEXT_ID, merged, notes, run, text

END = 2


def pieces(output: str, n_chars: int = 2) -> list[tuple[int, bytes]]:
    return [(TEXT_ID, output[at : at + n_chars].encode()) for at in range(0, len(output), n_chars)]


def test_everything_is_the_answer_and_streams() -> None:
    parser = PlainParser(ends=[END])
    assert parser.feed(TEXT_ID, b"Hello") == (TextDelta(channel="final", text="Hello"),)
    assert parser.feed(TEXT_ID, b" there") == (TextDelta(channel="final", text=" there"),)
    assert not parser.done
    assert parser.feed(END, b"<|im_end|>") == ()
    assert parser.done
    assert parser.finish_reason == "stop"
    assert parser.feed(TEXT_ID, b"more") == ()
    assert parser.finish("length") == ()
    assert parser.message().content == "Hello there"
    assert parser.message().reasoning is None


@pytest.mark.parametrize("n_chars", [1, 2, 5, 100])
@pytest.mark.parametrize(
    ("output", "thinking", "analysis", "final"),
    [
        ("<think>\nHm.\n</think>\n\nYes.", False, "Hm.\n", "Yes."),
        ("  <think>Hm.</think>Yes.", False, "Hm.", "Yes."),
        ("Hm.</think>Yes.", True, "Hm.", "Yes."),
        ("<think>Hm.</think>Yes.", True, "Hm.", "Yes."),
        ("<think>Hm", False, "Hm", ""),
        ("<think></think>Yes.", False, "", "Yes."),
        ("<think>a < b, </thin air></think>Yes.", False, "a < b, </thin air>", "Yes."),
        ("Write <think> to think.", False, "", "Write <think> to think."),
        ("No block: </think> here.", False, "", "No block: </think> here."),
        ("<thin ice", False, "", "<thin ice"),
        ("<th", False, "", "<th"),
        (" ", False, "", " "),
    ],
)
def test_think_blocks_are_analysis(output: str, thinking: bool, analysis: str, final: str, n_chars: int) -> None:
    parser = PlainParser(thinking=thinking)
    deltas = run(parser, pieces(output, n_chars))
    assert text(deltas, "analysis") == analysis
    assert text(deltas, "final") == final
    assert parser.message().content == final
    assert notes(deltas) == []


def test_a_half_written_tag_is_held_back_only_until_it_is_certain() -> None:
    parser = PlainParser(thinking=True)
    assert parser.feed(TEXT_ID, b"a</thi") == (TextDelta(channel="analysis", text="a"),)
    assert parser.feed(TEXT_ID, b"s") == (TextDelta(channel="analysis", text="</this"),)


@pytest.mark.parametrize("n_chars", [1, 3, 100])
def test_stop_texts_end_the_turn(n_chars: int) -> None:
    """A model prompted with plain text goes on to write the user's part as well."""
    parser = PlainParser(stops=("\nUser:", "\nSystem:"))
    deltas = run(parser, pieces("Use\nUse it.\nUser: and then?\nAssistant: ...", n_chars))
    assert text(deltas, "final") == "Use\nUse it."
    assert parser.finish_reason == "stop"


def test_cut_off_turns_keep_what_was_held_back() -> None:
    parser = PlainParser(stops=("\nUser:",))
    deltas = run(parser, pieces("Yes.\nUse"), "length")
    assert text(deltas, "final") == "Yes.\nUse"
    assert parser.finish_reason == "length"


def test_control_tokens_are_dropped_and_ends_win_over_them() -> None:
    parser = PlainParser(ends=[END], dropped=[END, 9])
    assert len(notes([*parser.feed(9, b"<|x|>"), *parser.feed(9, b"<|x|>")])) == 1
    parser.feed(END, b"")
    assert parser.done
    assert parser.message().content == ""


def test_characters_cut_between_tokens() -> None:
    parser = PlainParser()
    data = "北京 ☀".encode()
    deltas = run(parser, [(TEXT_ID, data[at : at + 1]) for at in range(len(data))])
    assert text(deltas, "final") == "北京 ☀"


words = st.sampled_from(["<think>", "</think>", "\nUser:", "\nUs", "<", "</", " ", "\n", "a", "é"])


@given(st.lists(words, max_size=20).map("".join), st.booleans(), st.sampled_from([(), ("\nUser:",)]))
def test_chunking_changes_nothing(output: str, thinking: bool, stops: tuple[str, ...]) -> None:
    whole = run(PlainParser(thinking=thinking, stops=stops), [(TEXT_ID, output.encode())])
    single = run(PlainParser(thinking=thinking, stops=stops), [(TEXT_ID, bytes([byte])) for byte in output.encode()])
    assert merged(single) == merged(whole)


@given(st.lists(st.binary(max_size=5), max_size=20), st.booleans())
def test_nothing_raises(data: list[bytes], thinking: bool) -> None:
    parser = PlainParser(thinking=thinking, stops=("\n",))
    run(parser, [(TEXT_ID, piece) for piece in data], "cancelled")
    assert parser.done
