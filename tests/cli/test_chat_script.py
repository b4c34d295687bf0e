"""`gpt-oss chat` in scripts: what goes in by files and pipes, what comes out on stdout, and by which exit code."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.history.opening import FILE_NAME, open_history
from launcher.history.types import SavedConversation
from tests.cli.sandbox import TIMEOUT_S, Done, Sandbox
from tests.cli.test_chat_terminal import MODEL
from tests.systems import POSIX

ANSWER = "Hello! What shall we talk about?"
THOUGHT = "The user says hello. I answer kindly."
N_PROMPT = 126  # tokens of the question alone
ENDLESS = "Tell me something endless."
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["greeting", "question"]}, "long": {"type": "boolean"}},
    "required": ["kind", "long"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the first plan measures of a machine, which takes a second."""
    sandbox = Sandbox(tmp_path_factory.mktemp("measured"))
    assert sandbox.run("plan", "--model", MODEL, "--ctx-size", 4096).code == 0
    return sandbox.root / "state"


@pytest.fixture
def sandbox(tmp_path: Path, measured: Path) -> Sandbox:
    """Folders of this test's own, on a machine that was measured before."""
    shutil.copytree(measured, tmp_path / "state")
    return Sandbox(tmp_path)


def chat(sandbox: Sandbox, *words: object, stdin: bytes | None = None) -> Done:
    done = sandbox.run("chat", "--model", MODEL, "--ctx-size", 4096, "--temp", 0, *words, stdin=stdin)
    assert "\x1b" not in done.out + done.err, "nothing steers a terminal where there is none"
    return done


@contextmanager
def endless(sandbox: Sandbox, *words: object) -> Iterator[subprocess.Popen[bytes]]:
    """An answer that goes on for longer than any test: the whole context of the model."""
    with sandbox.start("chat", "--model", MODEL, "--temp", 0, *words, ENDLESS) as process:
        try:
            yield process
        finally:
            process.kill()


def read_out(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """What is left of both streams; `communicate` would pass over what the first reader has buffered."""
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = process.stdout.read(), process.stderr.read()
    process.wait(TIMEOUT_S)
    return out, err


def kept(sandbox: Sandbox) -> SavedConversation:
    """The last conversation of the history."""
    with open_history(sandbox.root / "data" / FILE_NAME, tell=pytest.fail) as history:
        return history.load(history.resolve("last"))


def test_a_prompt_file_gives_one_json_document(sandbox: Sandbox) -> None:
    (sandbox.root / "prompt.md").write_text("Hello\n")
    done = chat(sandbox, "-f", "prompt.md", "--json")
    assert done.code == 0
    document = json.loads(done.out)
    assert (document["schema"], document["model"], document["engine"]) == (1, "chat-gpt-oss", "embedded")
    assert (document["content"], document["reasoning"]) == (ANSWER, THOUGHT)
    assert document["finish_reason"] == "stop"
    assert document["conversation"] == 1
    assert document["usage"]["prompt_tokens"] == N_PROMPT
    assert document["usage"]["completion_tokens"] == document["timings"]["predicted_n"] > 0
    assert THOUGHT not in done.err, "it is in the document"


def test_a_question_from_a_pipe(sandbox: Sandbox) -> None:
    done = chat(sandbox, "-f", "-", stdin=b"Hello\n")
    assert done.code == 0
    assert done.out == f"{ANSWER}\n"
    assert THOUGHT in done.err.splitlines()
    hidden = chat(sandbox, "--no-reasoning", "--no-history", stdin=b"Hello\n")
    assert hidden.out == done.out
    assert THOUGHT not in hidden.err


def test_a_file_goes_along_with_a_question(sandbox: Sandbox) -> None:
    (sandbox.root / "a file.txt").write_text("some text")
    chat(sandbox, "-a", "a file.txt", "-n", 4, "Hello")
    question = kept(sandbox).messages[0].message.content
    assert question == "a file.txt:\n```\nsome text\n```\n\nHello"


def test_instructions_and_effort(sandbox: Sandbox) -> None:
    document = json.loads(chat(sandbox, "--system", "Be kind.", "--effort", "high", "--json", "Hello").out)
    assert document["usage"]["prompt_tokens"] > N_PROMPT, "the model is told"
    saved = kept(sandbox)
    system, question, answer = (kept.message for kept in saved.messages)
    assert (system.role, system.content, question.content) == ("system", "Be kind.", "Hello")
    assert (answer.content, answer.reasoning) == (ANSWER, THOUGHT)
    assert saved.about.reasoning_effort == "high"


def test_what_is_piped_in_goes_along_as_data(sandbox: Sandbox) -> None:
    chat(sandbox, "-n", 4, "Hello", stdin=b"of ``` a pipe\n")
    question = kept(sandbox).messages[0].message.content
    assert question == "Hello\n\nstdin:\n````\nof ``` a pipe\n````", "the fence is longer than any in the text"


def test_an_answer_by_a_schema(sandbox: Sandbox) -> None:
    (sandbox.root / "schema.json").write_text(json.dumps(SCHEMA))
    document = json.loads(chat(sandbox, "--schema", "schema.json", "--json", "-n", 400, "Hello").out)
    assert document["parsed"] == json.loads(document["content"])
    assert document["parsed"]["kind"] in ("greeting", "question")
    assert document["parsed"]["long"] in (True, False)
    assert document["reasoning"] == THOUGHT, "a schema is for the answer"


def test_an_answer_by_a_schema_that_is_cut(sandbox: Sandbox) -> None:
    (sandbox.root / "schema.json").write_text(json.dumps(SCHEMA))
    done = chat(sandbox, "--schema", "schema.json", "-n", 38, "Hello")
    assert done.code == 1
    assert done.out.startswith("{"), "what came is there"
    assert done.error == "the answer was cut off before its JSON was complete: raise --max-tokens"
    assert done.hint == "gpt-oss chat --max-tokens 76"


def test_a_bad_schema_is_told_before_anything_is_loaded(sandbox: Sandbox) -> None:
    for text in ('{"type": 5}', "{"):
        (sandbox.root / "schema.json").write_text(text)
        done = sandbox.refused("chat", "--model", "20b", "--schema", "schema.json", "Hello")
        assert done.code == 2
        assert "JSON schema" in done.error
        assert len(done.err.splitlines()) == 2, "no model was looked for"
    done = sandbox.refused("chat", "--schema", "nowhere.json", "Hello")
    assert (done.code, "nowhere.json" in done.error) == (2, True)


def test_a_line_of_json_for_each_event(sandbox: Sandbox) -> None:
    done = chat(sandbox, "--stream-json", "Hello")
    lines = [json.loads(line) for line in done.out.splitlines()]
    for kind, text in (("reasoning", THOUGHT), ("content", ANSWER)):
        pieces = [line["text"] for line in lines if line["type"] == kind]
        assert "".join(pieces) == text
        assert len(pieces) > 3, "piece by piece"
    assert lines[0]["type"] == "prompt"
    end = lines[-1]
    assert (end["type"], end["content"], end["finish_reason"], end["conversation"]) == ("end", ANSWER, "stop", 1)


def test_an_answer_ends_at_max_tokens(sandbox: Sandbox) -> None:
    done = chat(sandbox, "--json", "--max-tokens", 12, "Explain bubble sort.")
    document = json.loads(done.out)
    assert done.code == 0
    assert (document["finish_reason"], document["usage"]["completion_tokens"]) == ("length", 12)
    assert "cut off after 12 tokens; gpt-oss chat --max-tokens 24 allows more" in done.err


def test_a_seed_repeats_what_was_drawn(sandbox: Sandbox) -> None:
    first, second, other = (
        json.loads(chat(sandbox, "--no-history", "--json", "--temp", 3, "--seed", seed, "-n", 24, "Hello").out)
        for seed in (7, 7, 8)
    )
    assert (first["reasoning"], first["content"]) == (second["reasoning"], second["content"])
    assert (first["reasoning"], first["content"]) != (other["reasoning"], other["content"])


@POSIX
def test_a_piped_answer_comes_piece_by_piece_and_ctrl_c_ends_it(sandbox: Sandbox) -> None:
    with endless(sandbox) as process:
        assert process.stdout is not None
        first = process.stdout.read(9)
        assert process.poll() is None, "the answer goes on when its first piece is here"
        process.send_signal(signal.SIGINT)
        rest, err = read_out(process)
    assert process.returncode == 130
    out = (first + rest).decode()
    assert out.startswith("On and on")
    assert out.endswith("\n")
    assert "\x1b" not in out
    assert "stopped" in err.decode().splitlines()
    answer = kept(sandbox).messages[-1]
    assert answer.message.content == out.removesuffix("\n"), "what came is kept"
    assert answer.finish_reason == "cancelled"


@POSIX
def test_ctrl_c_leaves_lines_of_json_whole(sandbox: Sandbox) -> None:
    with endless(sandbox, "--stream-json") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while b'"content"' not in lines[-1]:
            lines.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest, _ = read_out(process)
    assert process.returncode == 130
    end = [json.loads(line) for line in (*lines, *rest.splitlines())][-1]
    assert (end["type"], end["finish_reason"]) == ("end", "cancelled")
    assert end["content"] == "".join(
        json.loads(line)["text"] for line in (*lines, *rest.splitlines()) if b'"type": "content"' in line
    )


def test_a_reader_that_leaves_ends_it_quietly(sandbox: Sandbox) -> None:
    with endless(sandbox) as process:
        assert process.stdout is not None
        assert process.stdout.read(10) == b"On and on,"
        process.stdout.close()
        assert process.wait(TIMEOUT_S) == 0
        assert process.stderr is not None
        err = process.stderr.read().decode()
    assert "error" not in err
    assert "Traceback" not in err
