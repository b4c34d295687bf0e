"""A conversation over a fake engine: what is typed, what is kept, what every /command does."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from launcher.chat.actions import Loaded, World, act
from launcher.chat.commands import COMMANDS
from launcher.chat.conversation import Conversation
from launcher.chat.reports import file_names, help_text, last_code_block
from launcher.chat.talk import Next, Talk, talk_on
from launcher.chat.turn import Tools
from launcher.chat.types import ReasoningView
from launcher.engines.types import Sampling
from launcher.errors import UsageError
from launcher.history.types import About, History, SavedConversation, SavedMessage
from tests.chat.test_turn import EchoTool, press_ctrl_c
from tests.fakes.engine import FakeEngine
from tests.fakes.history import FakeHistory
from tests.fakes.view import FakeView


@dataclass
class Room:
    """A conversation with everything around it."""

    engine: FakeEngine = field(default_factory=FakeEngine)
    history: FakeHistory = field(default_factory=FakeHistory)
    view: FakeView = field(default_factory=FakeView)
    said: list[str] = field(default_factory=list)
    files: dict[Path, str] = field(default_factory=dict)
    terminal: list[str] = field(default_factory=list)
    has_terminal: bool = True
    reasoning: ReasoningView = "fold"
    prompts: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    conversation: Conversation = field(default_factory=Conversation)
    talk: Talk = field(init=False)

    def __post_init__(self) -> None:
        self.talk = Talk(
            engine=self.engine,
            view=self.view,
            say=self.said.append,
            sampling=Sampling(),
            history=cast("History", self.history),
            conversation=self.conversation,
            model="gpt-oss-20b",
        )

    def type(self, *typed: str | BaseException) -> Next:
        lines = iter(typed)

        def read(prefilled: str) -> str:
            self.prompts.append(prefilled)
            line = next(lines, EOFError())
            if isinstance(line, BaseException):
                raise line
            return line

        return talk_on(self.talk, read, lambda talk, name, rest: act(self.world(), talk, name, rest))

    def world(self) -> World:
        def show(mode: ReasoningView) -> None:
            self.reasoning = mode

        def open_tools(words: str) -> Tools:
            self.opened.append(words)
            return Tools(tools=(EchoTool(),) if words else ())

        def load(text: str) -> Loaded:
            old = Conversation().with_user("old").with_effort("low")
            self.history.kept[7] = list(old.messages)
            return Loaded(conversation=old, conversation_id=7, title=text)

        return World(
            set_reasoning=show,
            reasoning=lambda: self.reasoning,
            open_tools=open_tools,
            read_attachment=lambda name: f"<{name}>",
            load=load,
            save=self.files.__setitem__,
            spell={kind: spelt(kind) for kind in ("md", "json", "html")},
            saved=saved,
            to_terminal=self.terminal.append if self.has_terminal else None,
        )

    @property
    def contents(self) -> list[str]:
        return [message.content for message in self.talk.conversation.messages]


def spelt(kind: str) -> Callable[[SavedConversation], str]:
    return lambda saved: f"{kind}: {saved.messages[0].message.content}"


def saved(talk: Talk) -> SavedConversation:
    messages = tuple(SavedMessage(message=m, created_at="") for m in talk.conversation.messages)
    return SavedConversation(about=About(id=1, title="", created_at="", updated_at=""), messages=messages)


def test_a_conversation_remembers_and_is_kept() -> None:
    room = Room()
    room.type("one", "  ", "two\nlines")
    assert room.contents == ["one", "one ", "two\nlines", "two lines "]
    assert [len(messages) for messages, _ in room.engine.asked] == [1, 3]
    assert [m.content for m in room.history.kept[1]] == room.contents
    assert room.history.about[1]["model"] == "gpt-oss-20b"


@pytest.mark.parametrize("leave", ["/quit", "/exit", "/bye", "  /q  "])
def test_leaving(leave: str) -> None:
    room = Room()
    assert room.type("one", leave, "never") == Next(do="quit")
    assert room.contents == ["one", "one "]


def test_nothing_is_kept_before_the_first_question() -> None:
    room = Room()
    room.type("/effort high", "/system Be brief.", "/quit")
    assert room.history.kept == {}


def test_ctrl_c_at_the_prompt_says_how_to_leave() -> None:
    room = Room()
    room.type(KeyboardInterrupt(), "one")
    assert room.said == ["(Ctrl-D or /quit leaves)"]
    assert room.contents == ["one", "one "]


def test_a_path_is_a_question() -> None:
    room = Room()
    room.type("/etc/hosts: what is it?")
    assert room.contents[0] == "/etc/hosts: what is it?"


def test_an_unknown_command_is_not_sent() -> None:
    room = Room()
    room.type("/efort high", "/xyzzy")
    assert room.said == [
        "There is no /efort; did you mean /effort?",
        "There is no /xyzzy. /help lists the commands.",
    ]
    assert room.engine.asked == []


def test_clear_keeps_the_instructions_and_begins_another_record() -> None:
    room = Room(conversation=Conversation().with_system("Be brief."))
    room.type("one", "/clear", "two")
    assert room.contents == ["Be brief.", "two", "two "]
    assert sorted(room.history.kept) == [1, 2]
    assert [m.content for m in room.history.kept[2]] == room.contents


def test_effort() -> None:
    room = Room()
    room.type("one", "/effort high", "two", "/effort hard", "/eff low", "three")
    assert [sampling.reasoning_effort for _, sampling in room.engine.asked] == [None, "high", "low"]
    assert room.history.efforts == {1: "low"}
    assert room.said == [
        "Reasoning effort: high.",
        "The effort is high; say /effort low, medium or high.",
        "Reasoning effort: low.",
    ]


def test_system() -> None:
    room = Room()
    room.type("/system", "/system Be brief.", "one", "/system", "/system -", "two")
    assert room.contents == ["one", "one ", "two", "two "]
    assert [m.content for m in room.engine.asked[0][0]] == ["Be brief.", "one"]
    assert [m.content for m in room.history.kept[1]] == room.contents
    assert room.said[2] == "The instructions are: Be brief."


def test_a_turn_that_fails_is_told_and_leaves_no_trace() -> None:
    room = Room()
    room.type("one", "then fail please", "two")
    assert room.said == ["error: llama.cpp failed\na detail\nhint:  gpt-oss hardware"]
    assert room.contents == ["one", "one ", "two", "two "]
    assert [m.content for m in room.history.kept[1]] == room.contents
    assert room.view.n_closed == 1, "a line that was begun is ended"


def test_a_message_that_is_too_long_is_told() -> None:
    room = Room()
    room.type("one", "word " * 90, "two")
    (told,) = room.said
    assert told.startswith("error: the last message makes a prompt of 90 tokens; the context holds 100")
    assert room.contents == ["one", "one ", "two", "two "]


def test_a_long_conversation_drops_its_beginning_with_a_note() -> None:
    room = Room()
    room.type("a " * 20, "b " * 20, "c " * 20)
    (note,) = room.view.notes
    assert note.startswith("The conversation is longer than the context")
    assert len(room.engine.asked[-1][0]) < 5
    assert len(room.contents) == 6, "what the model no longer sees is kept all the same"


def test_a_context_of_unknown_size_takes_everything() -> None:
    room = Room(engine=FakeEngine(n_ctx=None))
    room.type("a " * 200)
    assert room.said == []


def test_retry_asks_again() -> None:
    room = Room()
    room.type("/retry", "one", "two", "/retry")
    assert room.contents == ["one", "one ", "two", "two "]
    assert len(room.engine.asked) == 3
    assert room.said == ["error: nothing has been asked yet"]
    assert [m.content for m in room.history.kept[1]] == room.contents


def test_undo_takes_a_turn_back() -> None:
    room = Room()
    room.type("one", "two", "/undo")
    assert room.contents == ["one", "one "]
    assert room.said == ["Taken back: two"]
    assert [m.content for m in room.history.kept[1]] == ["one", "one "]


def test_edit_puts_the_question_into_the_prompt() -> None:
    room = Room()
    room.type("one", "/edit", "one more")
    assert room.prompts == ["", "", "one", ""]
    assert room.contents == ["one more", "one more "]


def test_attachments_go_along_with_the_next_question(tmp_path: Path) -> None:
    room = Room()
    room.type("/attach a.py 'b c.py'", "What is this?", "And?")
    assert room.contents[0] == "<a.py>\n\n<b c.py>\n\nWhat is this?"
    assert room.contents[2] == "And?"
    whole = tmp_path / "with spaces"
    whole.touch()
    assert file_names(str(whole)) == [str(whole)]
    with pytest.raises(UsageError):
        file_names("'open")


def test_an_attachment_that_cannot_fit_is_refused_at_once() -> None:
    room = Room(engine=FakeEngine(n_ctx=4))
    room.type("/attach 'a long name of six words'")
    (told,) = room.said
    assert "makes a prompt of 6 tokens, and the context holds 4" in told
    assert room.talk.attached == []


def test_model_leaves_with_the_name() -> None:
    room = Room()
    assert room.type("/model") == Next(do="quit")
    assert room.said == ["The model is gpt-oss-20b (embedded); /model NAME goes on with another one."]
    assert room.type("/model 120b") == Next(do="model", text="120b")


def test_tools() -> None:
    room = Room()
    room.type("/tools", "/tools python mcp:notes", "/tools off")
    assert room.opened == ["python,mcp:notes", ""]
    assert room.said[1] == "echo: asks before each call"


def test_load_and_save() -> None:
    room = Room()
    room.type("/save", "one", "/save My talk", "/save ./a.json", "/load 7", "two", "/load")
    assert room.said[0] == "error: nothing has been said yet"
    assert room.history.titles == {1: "My talk"}
    assert room.files == {Path("a.json"): "json: one"}
    assert room.contents[0] == "old"
    assert room.talk.conversation_id == 7
    assert room.talk.sampling.reasoning_effort == "low"
    assert room.history.about[7]["model"] == "gpt-oss-20b", "the model that answers in it now"
    assert room.said[-1].startswith("error: say /load ID or /load FILE")


def test_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    room = Room()
    room.type("/export md", "one", "/export md", f"/export html {tmp_path}/x.html", "/export pdf")
    assert room.files == {Path("conversation-1.md"): "md: one", tmp_path / "x.html": "html: one"}
    assert room.said[-1] == "error: say /export md, json, html and perhaps a file"
    Path("conversation-1.md").touch()
    room.type("/export md")
    assert "is there already" in room.said[-1]


def test_copy_hands_the_answer_to_the_terminal() -> None:
    room = Room()
    room.type("/copy", "one", "/copy", "/copy code")
    assert room.terminal == [f"\x1b]52;c;{base64.b64encode(b'one ').decode()}\x07"]
    assert room.said[0] == "error: there is no answer to copy yet"
    assert room.said[-1] == "error: the last answer has no code block"


def test_copy_needs_a_terminal_and_a_text_that_it_takes() -> None:
    room = Room(has_terminal=False)
    room.type("one", "/copy")
    assert "no clipboard" in room.said[-1]
    room = Room(engine=FakeEngine(n_ctx=None))
    room.type("x" * 80_000, "/copy")
    assert "more than a terminal's clipboard takes" in room.said[-1]
    assert room.terminal == []


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("no code", None),
        ("```python\na\nb\n```\n~~~\nc\n~~~\nend", "c"),
        ("````\n```\ninner\n```\n````", "```\ninner\n```"),
        ("```\nopen", "open"),
    ],
)
def test_the_last_code_block(text: str, block: str | None) -> None:
    assert last_code_block(text) == block


def test_stats_and_context() -> None:
    room = Room(conversation=Conversation().with_system("Be very brief."))
    room.talk.tools = Tools(tools=(EchoTool(),))
    room.type("/stats", "one two", "three", "/stats", "/context")
    assert room.said[0] == "Nothing has been answered yet."
    assert "answers      2" in room.said[1]
    rows = {line.split()[0]: line for line in room.said[2].splitlines()}
    assert rows["instructions"].split()[1] == "3"
    assert rows["tools"].split()[1] == "1"
    assert rows["earlier"].split()[1] == "4"
    assert rows["last"].split()[2] == "2"
    assert rows["free"].split()[1] == "90"


def test_reasoning_view() -> None:
    room = Room()
    room.type("/reasoning full", "/reasoning loud")
    assert room.reasoning == "full"
    assert room.said[-1] == "Thoughts are shown 'full'; say /reasoning full, fold or hide."


def test_help_knows_every_command() -> None:
    room = Room()
    room.type("/help", "/help effort", "/help /nope")
    assert room.said[0] == help_text()
    assert all(command.name in room.said[0] for command in COMMANDS)
    assert room.said[1].startswith("/effort low|medium|high: how long")
    assert "there is no command '/nope'" in room.said[2]


def test_every_command_of_the_table_can_be_carried_out() -> None:
    room = Room()
    for command in COMMANDS:
        room.type(command.name)


def test_ctrl_c_stops_an_answer_and_the_talk_goes_on() -> None:
    room = Room(engine=FakeEngine(on_word=lambda word: press_ctrl_c() if word == "two" else None))
    room.type("one two three", "four")
    assert room.contents == ["one two three", "one two ", "four", "four "]
