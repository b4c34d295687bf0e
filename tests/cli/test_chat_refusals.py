"""`gpt-oss chat` where something is wrong: a clear line, the right exit code, and nothing lost of a conversation."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from launcher.history.opening import FILE_NAME, open_history
from launcher.history.types import SavedConversation
from tests.cli.sandbox import Done, Sandbox, free_port
from tests.cli.terminal import CTRL_C, CTRL_D, Terminal, terminal
from tests.cli.test_chat_terminal import MODEL, READY, ask, chat
from tests.server.waiting import wait_for

ANSWER = "Hello! What shall we talk about?\n"
GIVEN = ("chat", "--model", MODEL, "--ctx-size", 4096, "--temp", 0)
LOADED = "chat-gpt-oss.gguf ("
"""What is said of the model before it loads."""
PLAIN_MCP = Path(__file__).parents[1] / "tools" / "plain_mcp.py"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the first plan measures of a machine, which takes a second."""
    sandbox = Sandbox(tmp_path_factory.mktemp("measured"))
    assert sandbox.run("plan", "--model", MODEL, "--ctx-size", 4096).code == 0
    return sandbox.root / "state"


@pytest.fixture
def sandbox(tmp_path: Path, measured: Path) -> Sandbox:
    """With files that are no text, or too much of it, and MCP servers that fail."""
    shutil.copytree(measured, tmp_path / "state")
    sandbox = Sandbox(tmp_path)
    (tmp_path / "binary").write_bytes(b"a text\0or not")
    (tmp_path / "large.txt").write_text("word and other " * 800)
    (tmp_path / "huge.txt").write_text("word and other " * 20_000)
    (tmp_path / "note.txt").write_text("a note")
    modes = {name: {"command": sys.executable, "args": [str(PLAIN_MCP), name]} for name in ("dead", "silent")}
    (sandbox.config / "mcp.json").write_text(json.dumps({"mcpServers": modes}))
    return sandbox


def command(screen: Terminal, line: str, answer: str) -> None:
    """Type a command when the prompt is there, and read what it says."""
    screen.wait_for(READY)
    mark = screen.mark()
    screen.line(line)
    screen.wait_for(answer, after=mark)
    screen.wait_for(READY, after=mark + len(">>> "))


def kept(sandbox: Sandbox, which: int = 1) -> SavedConversation:
    """A conversation of the history."""
    with open_history(sandbox.root / "data" / FILE_NAME, tell=pytest.fail) as history:
        return history.load(which)


def numbers(sandbox: Sandbox) -> list[int | None]:
    """Of all conversations of the history."""
    with open_history(sandbox.root / "data" / FILE_NAME, tell=pytest.fail) as history:
        return [about.id for about in history.list()]


def messages(sandbox: Sandbox) -> list[str]:
    """What was said in the first conversation of the history."""
    return [saved.message.content for saved in kept(sandbox).messages]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("-a", "binary"), 2, "binary cannot be sent to the model: it is binary (a NUL byte at 6)"),
        (("-a", "config"), 2, "config is a folder, not a file"),
        (("-a", "nowhere.txt"), 2, "there is no file nowhere.txt"),
        (("-f", "binary"), 2, "binary cannot be sent to the model: it is binary (a NUL byte at 6)"),
        (("--resume", "999"), 2, "there is no conversation '999' in the history"),
        (
            ("--no-history", "--resume", "1"),
            2,
            "--resume goes on with a conversation of the history, which is off here",
        ),
        (("--tools", "pyton"), 2, "--tools pyton: no tool is called 'pyton'; did you mean 'python'?"),
        (("--tools", "mcp:other"), 2, "no MCP server is called 'other' (it has dead, silent)"),
        (("--engine", "server"), 2, "no server that runs here serves this"),
        (("--url", "ftp://nonsense"), 2, "'ftp://nonsense' is no address of a server: say http://HOST:PORT/v1"),
    ],
)
def test_what_cannot_be_is_told_before_a_model_loads(
    sandbox: Sandbox, words: tuple[str, ...], code: int, told: str
) -> None:
    done = sandbox.refused(*GIVEN, *words, "Hello")
    assert done.code == code
    assert told in done.error
    assert LOADED not in done.err
    assert numbers(sandbox) == []


def test_a_url_where_nobody_listens(sandbox: Sandbox) -> None:
    port = free_port()
    done = sandbox.refused("chat", "--url", f"http://127.0.0.1:{port}", "Hello")
    assert (done.code, done.error) == (4, f"nothing listens at 127.0.0.1:{port}")


def test_tools_of_no_configuration(sandbox: Sandbox) -> None:
    (sandbox.config / "mcp.json").unlink()
    done = sandbox.refused(*GIVEN, "--tools", "mcp:x", "Hello")
    assert done.code == 2
    assert "no MCP servers are configured: there is no" in done.error


def test_an_attachment_larger_than_the_context(sandbox: Sandbox) -> None:
    assert sandbox.run(*GIVEN, "Hello").code == 0
    for resumed in ((), ("--resume", "1")):
        done = sandbox.refused(*GIVEN, *resumed, "-a", "large.txt", "Hello")
        assert done.code == 2
        assert "the context holds 4096" in done.error
        assert "makes a prompt of 5" in done.error, "and this makes more than 5,000 tokens"
        assert done.hint == "gpt-oss chat --ctx-size 8192"
    assert numbers(sandbox) == [1], "what could not be asked is not kept"
    assert messages(sandbox) == ["Hello", ANSWER[:-1]]


def test_a_tool_that_nobody_can_allow(sandbox: Sandbox) -> None:
    done = sandbox.run(*GIVEN, "--tools", "python:unsafe", "What is 17 times 23?")
    assert (done.code, done.out) == (0, "Without Python I can not tell.\n")
    assert "--tools-allow python lets it run" in done.err
    allowed = sandbox.run(*GIVEN, "--tools", "python:unsafe", "--tools-allow", "python", "What is 17 times 23?")
    assert (allowed.code, allowed.out) == (0, "17 times 23 is **391**.\n")
    assert "lets it run" not in allowed.err


def answered_without(done: Done, server: str) -> None:
    """The chat went on without a server, and said so."""
    assert (done.code, done.out) == (0, ANSWER)
    assert any(line.startswith(f"mcp:{server}") for line in done.err.splitlines())


def test_an_mcp_server_that_dies_at_the_start(sandbox: Sandbox) -> None:
    done = sandbox.run(*GIVEN, "--tools", "mcp:dead", "Hello")
    answered_without(done, "dead")
    assert "the key" in done.err, "its last words"


@pytest.mark.slow
def test_an_mcp_server_that_never_answers(sandbox: Sandbox) -> None:
    answered_without(sandbox.run(*GIVEN, "--tools", "mcp:silent", "Hello"), "silent")


@pytest.mark.slow
def test_ctrl_c_while_tools_change_leaves_nothing_that_hangs(sandbox: Sandbox) -> None:
    """The old tools were being closed, and the new ones belonged to nobody: the end waited for their dead thread."""
    with chat(sandbox) as screen:
        command(screen, "/tools mcp:dead", "ended before it answered")
        mark = screen.mark()
        screen.line("/tools mcp:silent")
        while b"did not answer" not in screen.raw:
            screen.pump(0.001)
        screen.type(CTRL_C)
        screen.wait_for(READY, after=mark + len(">>> "))
        screen.type(CTRL_D)
        assert screen.end() == 0


def test_commands_that_fail_leave_the_conversation(sandbox: Sandbox) -> None:
    with chat(sandbox) as screen:
        ask(screen, "Hello", "What shall we talk about")
        command(screen, "/load nothere", "error: there is no conversation 'nothere' in the history")
        command(screen, "/attach large.txt", r"large\.txt makes a prompt of 5,\d+ tokens, and the context holds 4,096")
        command(screen, "/attach huge.txt", r"huge\.txt makes a prompt of 1\d\d,\d+ tokens")
        command(screen, "/attach binary", "it is binary")
        command(screen, "/attach config", "config is a folder, not a file")
        command(screen, "/attach nowhere", "there is no file nowhere")
        command(screen, "/tools pyton", "did you mean 'python'")
        command(screen, "/tools mcp:dead", "ended before it answered")
        screen.line("/tools mcp:silent")
        log = sandbox.root / "state" / "logs" / "mcp-silent.log"
        wait_for(log.exists, "the server has not started")
        screen.type(CTRL_C)
        screen.wait_for("stopped: the tools are what they were")
        command(screen, "/attach note.txt", "go along with the next question")
        command(screen, "/model nothere", "unknown model 'nothere'(.|\n)*Going on with chat-gpt-oss")
        ask(screen, "Hello", "What shall we talk about")
        screen.type(CTRL_D)
        assert screen.end() == 0
        assert "--ctx-size 262144" not in screen.text, "more than the model was made for"
        assert screen.text.count("/help lists the commands") == 1
    assert messages(sandbox) == ["Hello", ANSWER[:-1], "note.txt:\n```\na note\n```\n\nHello", ANSWER[:-1]]


def test_another_model_goes_on(sandbox: Sandbox) -> None:
    shutil.copy(MODEL, sandbox.root / "other.gguf")
    damaged = sandbox.root / "damaged.gguf"
    damaged.write_bytes(MODEL.read_bytes()[:400_000])
    with chat(sandbox) as screen:
        ask(screen, "Hello", "What shall we talk about")
        screen.line("/model other.gguf")
        screen.wait_for(r">>>\n\s*other ")
        mark = screen.mark()
        screen.line("/model damaged.gguf")
        screen.wait_for("error: ", after=mark)
        screen.wait_for(r"Going on with other\.", after=mark)
        screen.wait_for(r">>>\n\s*other ", after=mark + len(">>> "))
        screen.line("Hello")
        screen.wait_for(r"What shall we talk about(.|\n)*>>>\n\s*other ", after=mark)
        screen.type(CTRL_D)
        assert screen.end() == 0
    saved = kept(sandbox)
    assert (saved.about.model, saved.about.file) == ("other", str(sandbox.root / "other.gguf"))
    assert len(saved.messages) == 4


def test_a_conversation_goes_on_with_its_model(sandbox: Sandbox) -> None:
    own = sandbox.root / "own.gguf"
    shutil.copy(MODEL, own)
    rest = ("--ctx-size", 4096, "--temp", 0)
    assert sandbox.run("chat", "--model", "own.gguf", *rest, "Hello").code == 0
    # From another folder, without a word of the model.
    done = sandbox.run("chat", *rest, "--resume", "last", "Hello", cwd=sandbox.config)
    assert (done.code, done.out) == (0, ANSWER)
    assert " own.gguf (" in done.err
    environment = {"GPT_OSS_CTX_SIZE": "4096", "GPT_OSS_TEMPERATURE": "0"}
    done = sandbox.run("history", "resume", 1, stdin=b"Hello", cwd=sandbox.config, env=environment)
    assert (done.code, done.out) == (0, ANSWER)
    assert messages(sandbox) == ["Hello", ANSWER[:-1]] * 3
    with terminal("history", "resume", "1", env={**sandbox.env, **environment}, cwd=sandbox.config) as screen:
        screen.wait_for("Going on with 'Hello'")
        screen.wait_for(r">>>\n\s*own ")
        screen.type(CTRL_D)
        assert screen.end() == 0

    named = sandbox.run(*GIVEN, "--resume", "1", "Hello")
    assert LOADED in named.err, "what a flag names goes first"
    assert kept(sandbox).about.model == "chat-gpt-oss"


def test_one_question_on_a_terminal_speaks_of_no_key(sandbox: Sandbox) -> None:
    words = map(str, (*GIVEN, "Hello"))
    with terminal(*words, env=sandbox.env, cwd=sandbox.root) as screen:
        assert screen.end() == 0
        assert "What shall we talk about?" in screen.text
        assert "· --reasoning shows it" in screen.text
        assert "Ctrl-O" not in screen.text, "nobody reads keys when it has ended"


def test_a_conversation_whose_model_is_gone(sandbox: Sandbox) -> None:
    own = sandbox.root / "own.gguf"
    shutil.copy(MODEL, own)
    assert sandbox.run("chat", "--model", own, "--ctx-size", 4096, "Hello").code == 0
    own.unlink()
    gone = sandbox.run("chat", "--offline", "--resume", "1", "Hello")
    assert "own, which answered in this conversation, is not here; another model goes on." in gone.err.splitlines()
    assert messages(sandbox)[0] == "Hello"
