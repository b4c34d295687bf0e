"""Keys at the prompt, through a pipe in place of a keyboard."""

from __future__ import annotations

import asyncio
import io
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output.vt100 import Vt100_Output

from launcher.chat.prompt.edit import edit_text
from launcher.chat.prompt.full import FullPrompt
from launcher.chat.prompt.history import HistoryFile
from launcher.chat.prompt.keys import Actions
from launcher.chat.prompt.pastes import label
from launcher.chat.prompt.types import EditMode, Sources, Status
from launcher.errors import LauncherError

pytestmark = pytest.mark.timeout(30)

ENTER, ALT_ENTER, CTRL_J, BACKSPACE, TAB = "\r", "\x1b\r", "\n", "\x7f", "\t"
UP, LEFT, HOME = "\x1b[A", "\x1b[D", "\x1b[H"
COLOUR = re.compile(r"\x1b\[[0-9;]*\b(3[0-8]|4[0-8]|9[0-7]|10[0-7])\b[0-9;]*m")
LONG = "".join(f"line {n}\tx \\\n" for n in range(212))


def paste(text: str) -> str:
    return f"\x1b[200~{text}\x1b[201~"


class Desk:
    """A prompt with a keyboard that types, and a screen of some size."""

    def __init__(self, pipe: PipeInput) -> None:
        self.pipe = pipe
        self.screen = io.StringIO()
        self.size = Size(rows=24, columns=80)
        self.output = Vt100_Output(self.screen, lambda: self.size, term="xterm", enable_cpr=False)

    def prompt(
        self,
        *,
        history: Path | None = None,
        status: Callable[[], Status | None] | None = None,
        sources: Sources | None = None,
        edit_mode: EditMode = "emacs",
        actions: Actions | None = None,
        colours: bool = True,
    ) -> FullPrompt:
        return FullPrompt(
            history=HistoryFile(history, warn=lambda text: None),
            input=self.pipe,
            output=self.output,
            status=status,
            sources=sources,
            edit_mode=edit_mode,
            actions=actions,
            colours=colours,
        )

    def type(self, keys: str, **options: Any) -> str:
        """What one question becomes."""
        self.pipe.send_text(keys)
        return self.prompt(**options).read()

    def steps(self, prompt: FullPrompt, steps: Sequence[tuple[Callable[[Any], bool], str]]) -> str:
        """Type each step's keys once its condition holds of the input buffer, as somebody who looks would."""
        left = list(steps)

        def on_render(app: Any) -> None:
            if left and left[0][0](prompt._session.default_buffer):
                self.pipe.send_text(left.pop(0)[1])

        prompt._session.app.after_render += on_render
        text = prompt.read()
        assert not left
        return text


@pytest.fixture
def desk() -> Iterator[Desk]:
    with create_pipe_input() as pipe:
        yield Desk(pipe)


def menu(*names: str) -> Callable[[Any], bool]:
    """Whether these completions are offered."""
    return lambda buffer: (
        buffer.complete_state is not None and [c.text for c in buffer.complete_state.completions] == list(names)
    )


def has_text(text: str) -> Callable[[Any], bool]:
    return lambda buffer: buffer.text == text


# Lines


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (f"hello{ENTER}", "hello"),
        (f"a{ALT_ENTER}b{CTRL_J}c{ENTER}", "a\nb\nc"),
        (f"a\\{ENTER}b{ENTER}", "a\nb"),
        (f"a\\\\{ENTER}", "a\\\\"),
        (f'"""a{ENTER}b\\{ENTER}{ENTER}c"""{ENTER}', "a\nb\\\n\nc"),
        (f'/system """{ENTER}Be brief.{ENTER}"""{ENTER}', "/system Be brief."),
        (f"ab{LEFT}\\{ENTER}", "a\\b"),
        (f"ab\\{LEFT}{ENTER}", "ab\\"),
        (f"森林{LEFT}x{ENTER}", "森x林"),
        (f"a{TAB}b{ENTER}", "a\tb"),
        (f"a\x11\x00b{ENTER}", "ab"),
        (ENTER, ""),
    ],
)
def test_enter_sends_and_line_breaks_stay(desk: Desk, keys: str, text: str) -> None:
    assert desk.type(keys) == text


def test_ctrl_d_and_ctrl_c_leave_an_empty_line(desk: Desk) -> None:
    with pytest.raises(EOFError):
        desk.type("\x04")
    with pytest.raises(KeyboardInterrupt):
        desk.type("\x03")


def test_ctrl_c_clears_a_line_and_ctrl_y_brings_it_back(desk: Desk) -> None:
    assert desk.type(f"wrong\x03right{ENTER}") == "right"
    assert desk.type(f"wanted\x03\x19!{ENTER}") == "wanted!"
    with pytest.raises(KeyboardInterrupt):
        desk.type("a\nb\x03\x03")


def test_ctrl_c_while_looking_back_returns_to_the_empty_line(desk: Desk) -> None:
    prompt = desk.prompt()
    desk.pipe.send_text(f"old{ENTER}")
    prompt.read()
    steps = [(has_text(""), UP), (has_text("old"), "\x03"), (has_text(""), f"new{ENTER}")]
    assert desk.steps(prompt, steps) == "new"


def test_a_closed_terminal_is_the_end(desk: Desk) -> None:
    desk.pipe.send_text("half")
    desk.pipe.close()
    with pytest.raises(EOFError):
        desk.prompt().read()


def test_prefilled_text_is_edited(desk: Desk) -> None:
    desk.pipe.send_text(f"!{ENTER}")
    assert desk.prompt().read("was\nasked\x1b[31m") == "was\nasked!"


# Pastes


def test_a_paste_keeps_everything_and_does_not_send(desk: Desk) -> None:
    assert desk.type(paste("a\r\n\tb \\\r\x1b[31mc\x00\r\n") + ENTER) == "a\n\tb \\\nc\n"


def test_a_long_paste_is_folded_on_the_screen_and_sent_whole(desk: Desk) -> None:
    assert desk.type(f"see {paste(LONG)} ok{ENTER}") == f"see {LONG} ok"
    screen = desk.screen.getvalue()
    assert label(LONG) in screen
    assert "line 7" not in screen


def test_the_mark_goes_as_one_and_comes_back(desk: Desk) -> None:
    assert desk.type(f"see {paste(LONG)}{BACKSPACE}it{ENTER}") == "see it"
    assert desk.type(f"{paste(LONG)}x{LEFT}{LEFT}a{ENTER}") == f"a{LONG}x"
    assert desk.type(f"{paste(LONG)}\x15\x19{ENTER}") == LONG
    assert desk.type(f"{paste(LONG)}{BACKSPACE}\x1f{ENTER}") == LONG


def test_the_cursor_stands_behind_the_mark(desk: Desk) -> None:
    prompt = desk.prompt()
    columns = []

    def look(buffer: Any) -> bool:
        app = prompt._session.app
        screen = app.renderer.last_rendered_screen
        assert screen is not None
        columns.append(screen.get_cursor_position(app.layout.current_window).x)
        return bool(buffer.text)

    assert desk.steps(prompt, [(has_text(""), f"{paste(LONG)}x"), (look, LEFT + LEFT), (look, ENTER)]) == f"{LONG}x"
    assert columns == [4 + len(label(LONG)) + 1, 4]


# History


def test_history_goes_on_in_the_next_run(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "chat_history"
    assert desk.type(f"first{ENTER}", history=path) == "first"
    assert desk.type(f"{paste(LONG)}{ENTER}", history=path) == LONG
    prompt = desk.prompt(history=path)
    steps = [(has_text(""), UP), (has_text(LONG), "\x1bOA" * 220), (has_text("first"), f"!{ENTER}")]
    assert desk.steps(prompt, steps) == "first!"


def test_ctrl_r_searches(desk: Desk) -> None:
    prompt = desk.prompt()
    for text in ("about trees", "about cats", "about birds"):
        desk.pipe.send_text(text + ENTER)
        prompt.read()
    steps = [(has_text(""), "\x12TREE"), (lambda b: True, f"{ENTER}{ENTER}")]
    assert desk.steps(prompt, steps) == "about trees"


def test_what_was_typed_before_is_suggested(desk: Desk) -> None:
    prompt = desk.prompt()
    desk.pipe.send_text(f"what is a tree?{ENTER}")
    prompt.read()
    steps = [
        (has_text(""), "what"),
        (lambda b: b.suggestion is not None and b.suggestion.text == " is a tree?", f"\x1b[C{ENTER}"),
    ]
    assert desk.steps(prompt, steps) == "what is a tree?"


# Completion


def test_a_command_and_its_argument_are_completed(desk: Desk) -> None:
    steps = [
        (has_text(""), "/eff"),
        (menu("/effort"), TAB),
        (has_text("/effort"), ENTER),
        (menu("low", "medium", "high"), TAB + TAB),
        (has_text("/effort medium"), f"{ENTER}{ENTER}"),
    ]
    assert desk.steps(desk.prompt(), steps) == "/effort medium"


def test_tab_before_the_list_is_there_takes_the_first(desk: Desk) -> None:
    gate = threading.Event()

    def slow() -> list[str]:
        assert gate.wait(10)
        return ["20b", "120b"]

    def loading(buffer: Any) -> bool:
        if buffer.complete_state is None:
            return False
        threading.Timer(0.05, gate.set).start()
        return True

    steps = [(has_text(""), "/model "), (loading, TAB), (has_text("/model 20b"), f"{ENTER}{ENTER}")]
    assert desk.steps(desk.prompt(sources=Sources(models=slow)), steps) == "/model 20b"


def test_a_list_that_never_comes_holds_nothing_up(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is there a word about it, when the answer comes after all."""
    gate = threading.Event()
    threads = []

    def never() -> list[str]:
        threads.append(threading.current_thread())
        gate.wait(20)
        return []

    steps = [(has_text(""), "/model "), (lambda b: bool(threads), f"20b{ENTER}")]
    try:
        assert desk.steps(desk.prompt(sources=Sources(models=never)), steps) == "/model 20b"
    finally:
        gate.set()
    for thread in threads:
        thread.join(10)
    assert not caplog.records


def test_lists_are_asked_anew_for_every_question(desk: Desk) -> None:
    models = ["20b"]
    prompt = desk.prompt(sources=Sources(models=lambda: list(models)))
    for name in ("20b", "120b"):
        models[:] = [name]
        steps = [(has_text(""), "/model "), (menu(name), TAB), (has_text(f"/model {name}"), ENTER + ENTER)]
        assert desk.steps(prompt, steps) == f"/model {name}"


def test_a_list_that_fails_is_an_empty_one(desk: Desk) -> None:
    asked = []

    def fail() -> list[str]:
        asked.append(1)
        raise LauncherError("no hub")

    steps = [(has_text(""), "/model "), (lambda b: bool(asked) and b.complete_state is None, f"20b{ENTER}")]
    assert desk.steps(desk.prompt(sources=Sources(models=fail)), steps) == "/model 20b"


def test_ctrl_g_takes_a_completion_back(desk: Desk) -> None:
    steps = [
        (has_text(""), "/eff"),
        (menu("/effort"), TAB),
        (has_text("/effort"), "\x07"),
        (lambda b: b.text == "/eff" and b.complete_state is None, ENTER),
    ]
    assert desk.steps(desk.prompt(), steps) == "/eff"


def test_nothing_comes_up_for_what_is_no_command(desk: Desk) -> None:
    asked: list[str] = []

    def ask() -> list[str]:
        asked.append("models")
        return []

    sources = Sources(tools=ask, models=ask)
    assert desk.type(f"model /model {ENTER}", sources=sources) == "model /model "
    assert asked == []


def test_a_text_that_is_taller_than_the_window_stays_whole(desk: Desk) -> None:
    """Only what fits is drawn while it is written; what scrolls off has to be in the terminal's history after all."""
    desk.size = Size(rows=8, columns=40)
    rows = [f"row {n}" for n in range(12)]
    prompt = desk.prompt(status=lambda: STATUS)
    steps = [(has_text(""), CTRL_J.join(rows)), (has_text("\n".join(rows)), ENTER)]
    assert desk.steps(prompt, steps) == "\n".join(rows)
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", desk.screen.getvalue()).rpartition(">>> ")[2]
    assert last.split() == " ... ".join(rows).split()
    wrapped = "".join(f"{n:04}" for n in range(200))
    assert desk.steps(prompt, [(has_text(""), wrapped), (has_text(wrapped), ENTER)]) == wrapped
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", desk.screen.getvalue()).rpartition(">>> ")[2]
    assert last.strip() == wrapped
    steps = [(has_text(""), "short"), (has_text("short"), ENTER)]
    assert desk.steps(prompt, steps) == "short"
    assert not prompt._session.app.erase_when_done


# The bar

STATUS = Status(model="gpt-oss-20b", effort="medium", n_context=1204, n_ctx=32768, tokens_per_s=14.1)


def test_the_bar_is_below_the_input_and_goes_when_it_is_sent(desk: Desk) -> None:
    desk.type(f"x{ENTER}", status=lambda: STATUS)
    screen = desk.screen.getvalue()
    assert "gpt-oss-20b · medium · 1,204/32,768 (4 %) · 14.1 tok/s" in screen
    assert "\x1b[6n" not in screen, "the terminal is asked nothing"
    assert screen.count("\n") <= 4, "no rows are taken that are not needed"


def test_the_bar_follows_a_resize(desk: Desk) -> None:
    prompt = desk.prompt(status=lambda: STATUS)

    def shrink(buffer: Any) -> bool:
        desk.size = Size(rows=10, columns=40)
        asyncio.get_running_loop().call_soon(prompt._session.app._on_resize)
        return True

    steps = [(shrink, f"{'wide ' * 20}{ENTER}")]
    assert desk.steps(prompt, steps) == "wide " * 20
    assert "gpt-oss-20b · 1,204/32,768 (4 %)\x1b" in desk.screen.getvalue()


def test_the_bar_is_right_below_the_input_again_when_a_menu_has_gone(desk: Desk) -> None:
    prompt = desk.prompt(status=lambda: STATUS)
    rows: list[int] = []

    def look(buffer: Any) -> bool:
        screen = prompt._session.app.renderer.last_rendered_screen
        assert screen is not None
        rows.extend(y for y in range(screen.height) if screen.data_buffer[y][0].char == "g")
        return True

    opened = menu("/effort")
    steps = [
        (has_text(""), "/eff"),
        (lambda b: opened(b) and look(b), "\x03"),
        (lambda b: not b.text and look(b), f"x{ENTER}"),
    ]
    assert desk.steps(prompt, steps) == "x"
    assert rows == [6, 1]


@pytest.mark.parametrize("answer", [None, ZeroDivisionError])
def test_a_bar_that_cannot_be_told_keeps_nobody_from_writing(desk: Desk, answer: Any) -> None:
    def status() -> Status | None:
        if answer is None:
            return None
        raise answer

    assert desk.type(f"x{ENTER}", status=status) == "x"


@pytest.mark.parametrize("colours", [True, False])
def test_without_colours_there_are_none(desk: Desk, colours: bool) -> None:
    steps = [(has_text(""), "/eff"), (menu("/effort"), f"{TAB}\x03"), (has_text(""), "\x04")]
    with pytest.raises(EOFError):
        desk.steps(desk.prompt(status=lambda: STATUS, colours=colours), steps)
    assert bool(COLOUR.search(desk.screen.getvalue())) is colours


# Keys that call


def test_ctrl_o_shows_what_it_is_told_to_and_the_line_stays(desk: Desk) -> None:
    shown: list[str] = []
    actions = Actions(on_reasoning=lambda: shown.append("thoughts"))
    prompt = desk.prompt(actions=actions)
    steps = [(has_text(""), "que\x0f"), (lambda b: bool(shown), f"stion{ENTER}")]
    assert desk.steps(prompt, steps) == "question"
    assert shown == ["thoughts"]


def test_keys_without_an_action_do_nothing(desk: Desk) -> None:
    assert desk.type(f"a\x0f\x18\x05b{ENTER}") == "ab"


@pytest.mark.parametrize("mode", ["emacs", "vi"])
def test_an_editor_gets_all_of_the_text_and_does_not_send(desk: Desk, mode: EditMode) -> None:
    got: list[str] = []

    def edit(text: str) -> str:
        got.append(text)
        return "short\x1b[31m\nnew"

    prompt = desk.prompt(actions=Actions(edit=edit), edit_mode=mode)
    steps = [(has_text(""), f"{paste(LONG)}\x18\x05"), (has_text("short\nnew"), f"!{ENTER}")]
    assert desk.steps(prompt, steps) == "short\nnew!"
    assert got == [LONG]


def test_editing_a_file() -> None:
    def edit(path: Path) -> None:
        assert path.read_text() == "a\nb\n"
        path.write_text("c\nd\n\n")

    assert edit_text("a\nb", edit, print) == "c\nd\n"


@pytest.mark.parametrize("error", [LauncherError("cannot run the editor"), OSError(13, "Permission denied")])
def test_an_editor_that_fails_leaves_the_text(error: Exception) -> None:
    said: list[str] = []

    def edit(path: Path) -> None:
        raise error

    assert edit_text("a", edit, said.append) == "a"
    assert len(said) == 1


def test_vi_keys(desk: Desk) -> None:
    prompt = desk.prompt(edit_mode="vi")

    def mode(name: str) -> Callable[[Any], bool]:
        return lambda _buffer: prompt._session.app.vi_state.input_mode.name == name

    steps = [
        (mode("INSERT"), f"word here{ALT_ENTER}two\x1b"),
        (mode("NAVIGATION"), "ggdwA!\x1b"),
        (lambda b: b.text == "here!\ntwo" and mode("NAVIGATION")(b), ENTER),
    ]
    assert desk.steps(prompt, steps) == "here!\ntwo"
    assert "[I]" in desk.screen.getvalue()
    assert "N" in desk.screen.getvalue(), "only the letter that changed is drawn"
