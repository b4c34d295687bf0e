"""One question in, one answer out: how it is put together, and what a script is told."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from launcher.chat.attachments import MAX_BYTES, fenced
from launcher.chat.script import (
    JsonLinesView,
    JsonView,
    ScriptAnswer,
    answer_record,
    attachment,
    outcome,
    parsed_json,
    read_attached,
    read_question,
    too_large,
)
from launcher.chat.types import ToolEnded, ToolStarted, TurnEvent
from launcher.demo import demo_model_path
from launcher.engines.embedded import open_engine
from launcher.engines.types import (
    EndDelta,
    FinishReason,
    Message,
    NoteDelta,
    PromptDelta,
    Sampling,
    TextDelta,
    Timings,
    ToolCall,
    ToolCallDelta,
)
from launcher.errors import ExitCode, UsageError
from launcher.tools.types import ToolResult, Verdict
from tests.cli.sandbox import assert_runnable
from tests.engines.demo import load_params

# The question


def pipe(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def files(**named: bytes) -> Callable[[Path], bytes]:
    return lambda path: named[path.stem]


@pytest.mark.parametrize(
    ("words", "file", "stdin", "question"),
    [
        ((), None, None, ""),
        (("why", "so?"), None, None, "why so?"),
        (("why?",), None, b"", "why?"),
        ((), None, b" piped \n", "piped"),
        (("fix",), None, b"a\r\nb\n", "fix\n\nstdin:\n```\na\nb\n```"),
        ((), "p.md", None, "Prompt\nhere"),
        (("and",), "p.md", b"x", "Prompt\nhere\n\nand\n\nstdin:\n```\nx\n```"),
        ((), "p.md", b"x", "Prompt\nhere\n\nstdin:\n```\nx\n```"),
        ((), "-", b"from\nthe pipe", "from\nthe pipe"),
        (("then this",), "-", b"first", "first\n\nthen this"),
        (("x",), None, b"\xff\xfeh\x00i\x00", "x\n\nstdin:\n```\nhi\n```"),
        (("x",), None, b"caf\xe9", "x\n\nstdin:\n```\ncaf\ufffd\n```"),
        (("x",), None, b"a```b", "x\n\nstdin:\n````\na```b\n````"),
    ],
)
def test_a_question_is_the_file_the_words_and_what_is_piped(
    words: tuple[str, ...], file: str | None, stdin: bytes | None, question: str
) -> None:
    read = None if stdin is None else pipe(stdin)
    assert read_question(words, file, read, read_file=files(p=b"\xef\xbb\xbfPrompt\r\nhere\n")) == question


@pytest.mark.parametrize("data", [b"\x7fELF\x02\x01\x01\x00\x00", b"a\x00b"])
def test_a_binary_pipe_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match=r"stdin cannot be sent to the model: it is binary \(a NUL byte at \d+\)"):
        read_question(("what is this?",), None, pipe(data))
    with pytest.raises(UsageError, match=r"p\.bin cannot be sent"):
        read_question((), "p.bin", None, read_file=files(p=data))


def test_a_dash_without_a_pipe_is_refused() -> None:
    with pytest.raises(UsageError, match="there is none"):
        read_question(("a",), "-", None)


def test_a_prompt_file_is_read_from_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "prompt.md"
    path.write_text("Hi.\n", encoding="utf-8")
    assert read_question((), str(path), None) == "Hi."
    with pytest.raises(UsageError, match="there is no file"):
        read_question((), str(tmp_path / "none"), None)


# Attachments


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\r\nb\rc\n", "a\nb\nc"),
        ("\u00e9\U0001f600".encode(), "\u00e9\U0001f600"),
        ("\ufeff\u00e9".encode(), "\u00e9"),
        ("\ufeff\u00e9".encode("utf-16-le"), "\u00e9"),
        ("\ufeff\u00e9".encode("utf-16-be"), "\u00e9"),
        ("\ufeff\u00e9".encode("utf-32-le"), "\u00e9"),
        (b"", ""),
    ],
)
def test_a_text_file_in_whatever_encoding_it_names(data: bytes, text: str) -> None:
    assert attachment("dir/a.txt", data) == f"dir/a.txt:\n```\n{text}\n```"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GIF89a\x00\x01", "binary (a NUL byte at 6)"),
        (b"\x89PNG\r\n\x1a\n\x00", "binary (a NUL byte at 8)"),
        (b"caf\xe9", "no UTF-8 text: byte 0xe9 at 3"),
        (b"\xff\xfea", "no UTF-16-LE text: byte 0x61 at 2"),
        ("\ufeffa\0b".encode("utf-16-le"), "binary (a NUL byte at 1)"),
        (b"a" * (MAX_BYTES + 1), f"at most {MAX_BYTES}"),
    ],
)
def test_what_is_no_text_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        attachment("it's here.bin", data)
    assert why in caught.value.message
    assert "it's here.bin" in caught.value.message
    assert_runnable(caught.value.hint or "")


@pytest.mark.parametrize("text", ["", "```\ncode\n```", "`````", "a ```` b", "`"])
def test_nothing_in_a_file_closes_its_fence(text: str) -> None:
    shown = fenced("n\na\x1bme", text)
    title, fence, *body, last = shown.split("\n")
    assert title == "n a me:"
    assert fence == last
    assert set(fence) == {"`"}
    assert len(fence) >= 3
    assert fence not in "\n".join(body)
    assert "\n".join(body) == text


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("named pipes have no path on Windows")
    (tmp_path / "a b.txt").write_bytes(b"hi")
    assert read_attached(tmp_path / "a b.txt") == f"{tmp_path}/a b.txt:\n```\nhi\n```"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES * 100)
    refused = {
        tmp_path: "is a folder",
        tmp_path / "none": "there is no file",
        tmp_path / "link": "there is no file",
        tmp_path / "fifo": "is a named pipe",
        Path("/dev/zero"): "is a device",
        tmp_path / "a b.txt" / "c": "cannot read",
        large: f"it has {MAX_BYTES * 100} bytes",
        Path("a\0b"): "cannot read",
    }
    for path, why in refused.items():
        with pytest.raises(UsageError) as caught:
            read_attached(path)
        assert why in caught.value.message
        assert_runnable(caught.value.hint or "")


def test_a_socket_and_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "win32":
        pytest.skip("sockets have no path on Windows")
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(UsageError, match="is a socket"):
            read_attached(Path("s"))
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    secret.chmod(0)
    if os.geteuid() != 0:
        with pytest.raises(UsageError, match="Permission denied"):
            read_attached(secret)


@pytest.mark.parametrize(("n_tokens", "size"), [(9000, "16384"), (8192, "16384"), (100_000, "131072")])
def test_too_large_names_both_numbers_and_the_next_size(n_tokens: int, size: str) -> None:
    error = too_large(n_tokens, 8192)
    assert str(n_tokens) in error.message
    assert "8192" in error.message
    assert error.hint == f"gpt-oss chat --ctx-size {size}"
    assert_runnable(error.hint)


def test_too_large_for_any_context() -> None:
    error = too_large(200_000, 8192)
    assert "131072" in error.message
    assert_runnable(error.hint or "")


# The answer

TIMINGS = Timings(
    prompt_n=10, cache_n=5, prompt_ms=100.0, predicted_n=20, predicted_ms=400.0, eval_ms=390.0, ttft_ms=120.0
)
CALL = ToolCall(id="call_1", name="python", arguments="print(1)")


def end(reason: FinishReason) -> EndDelta:
    return EndDelta(finish_reason=reason, timings=TIMINGS)


PLAIN: list[TurnEvent] = [
    PromptDelta(done_n=10, total_n=10),
    TextDelta(channel="analysis", text="Hm"),
    TextDelta(channel="analysis", text="m."),
    NoteDelta(text="a note"),
    TextDelta(channel="final", text="Ye"),
    TextDelta(channel="final", text="s \u00e9."),
    end("stop"),
]
WITH_TOOLS: list[TurnEvent] = [
    TextDelta(channel="analysis", text="One."),
    TextDelta(channel="commentary", text="Let me see."),
    ToolCallDelta(call=CALL),
    end("tool_calls"),
    ToolStarted(call=CALL, title="python"),
    ToolEnded(call=CALL, title="python", result=ToolResult(text="1", elapsed_s=0.5)),
    TextDelta(channel="analysis", text="Two."),
    ToolCallDelta(call=CALL),
    end("tool_calls"),
    ToolEnded(call=CALL, title="python", result=ToolResult(text="no", is_error=True, n_cut=3)),
    TextDelta(channel="final", text="It is 1."),
    end("stop"),
]


def collected(events: list[TurnEvent]) -> ScriptAnswer:
    answer = ScriptAnswer()
    for event in events:
        answer.take(event)
    return answer


def record(events: list[TurnEvent], **more: Any) -> dict[str, Any]:
    return answer_record(collected(events), model="20b", engine="embedded", **more)


def test_the_document_of_an_answer() -> None:
    assert record(PLAIN, conversation=7) == {
        "schema": 1,
        "model": "20b",
        "engine": "embedded",
        "content": "Yes \u00e9.",
        "reasoning": "Hmm.",
        "tool_calls": [],
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 15, "completion_tokens": 20, "total_tokens": 35, "cached_tokens": 5},
        "timings": {
            "cache_n": 5,
            "prompt_n": 10,
            "prompt_ms": 100.0,
            "prompt_per_second": 100.0,
            "predicted_n": 20,
            "predicted_ms": 400.0,
            "predicted_per_second": 50.0,
            "eval_ms": 390.0,
            "ttft_ms": 120.0,
        },
        "conversation": 7,
        "notes": ["a note"],
    }


def test_a_turn_with_tools_holds_calls_with_their_own_results_and_the_last_answer() -> None:
    found = record(WITH_TOOLS)
    assert found["content"] == "It is 1."
    assert found["reasoning"] == "One.\n\nTwo."
    call = {"id": "call_1", "name": "python", "arguments": "print(1)"}
    assert found["tool_calls"] == [
        {**call, "result": {"text": "1", "is_error": False, "elapsed_s": 0.5, "n_cut": 0}},
        {**call, "result": {"text": "no", "is_error": True, "elapsed_s": 0.0, "n_cut": 3}},
    ]
    assert found["usage"]["completion_tokens"] == 60
    assert found["usage"]["total_tokens"] == 105
    assert found["timings"]["predicted_per_second"] == 50.0
    assert found["timings"]["ttft_ms"] == 120.0


def test_a_call_that_nobody_runs_keeps_the_preamble_as_content() -> None:
    found = record(WITH_TOOLS[:4])
    assert found["content"] == "Let me see."
    assert found["finish_reason"] == "tool_calls"
    assert found["tool_calls"][0]["result"] is None


def test_an_answer_that_never_ended() -> None:
    found = record(PLAIN[:3])
    assert found["finish_reason"] == "cancelled"
    assert found["reasoning"] == "Hmm."
    assert found["usage"] is None
    assert found["timings"] is None
    assert record(WITH_TOOLS, finish_reason="cancelled")["finish_reason"] == "cancelled"


@pytest.mark.parametrize(
    ("content", "value"), [('{"a": [1]}', {"a": [1]}), ("null", None), ('{"a": [1', None), ("NaN", None), ("", None)]
)
def test_the_value_of_an_answer_in_json(content: str, value: Any) -> None:
    found = record([TextDelta(channel="final", text=content), end("stop")], with_schema=True)
    assert found["parsed"] == value
    assert "parsed" not in record(PLAIN)


def test_deep_nesting_is_no_json() -> None:
    assert parsed_json("[" * 100_000, "stop") == (False, None)


@pytest.mark.parametrize(
    ("reason", "content", "options", "code", "said"),
    [
        ("stop", "Yes.", {}, 0, None),
        ("tool_calls", "", {}, 0, None),
        ("cancelled", "Ye", {}, 130, None),
        ("cancelled", "{", {"with_schema": True}, 130, None),
        ("length", "Ye", {"max_tokens": 8}, 0, "cut off after 8 tokens; gpt-oss chat --max-tokens 16"),
        ("length", "Ye", {}, 0, "where the context is full"),
        ("stop", "{}", {"with_schema": True}, 0, None),
        ("length", "[1", {"with_schema": True, "max_tokens": 8}, 1, "raise --max-tokens"),
        ("length", "[1", {"with_schema": True}, 1, "raise --ctx-size"),
        ("stop", "Yes.", {"with_schema": True}, 1, "the answer is no JSON"),
        ("tool_calls", "", {"with_schema": True}, 1, "called a tool"),
        ("length", "[12]", {"with_schema": True, "max_tokens": 8}, 0, None),
        ("length", "true", {"with_schema": True, "max_tokens": 8}, 0, None),
        ("length", "12", {"with_schema": True, "max_tokens": 8}, 1, "raise --max-tokens"),
    ],
)
def test_how_a_script_is_told(
    reason: FinishReason, content: str, options: dict[str, Any], code: int, said: str | None
) -> None:
    found = outcome(reason, content, **options)
    assert found.code == code
    text = found.note or (found.error.message if found.error else None)
    assert (said in text) if said and text else text == said
    assert (found.error is not None) == (code == ExitCode.FAULT)
    if found.error:
        assert_runnable(found.error.hint or "")


# The views


@dataclass
class Asking:
    """A tool that must be confirmed."""

    name: str = "python"
    title: str = "python"
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    verdict: Verdict = "ask"

    def call(self, arguments: str, cancelled: threading.Event) -> ToolResult:
        raise AssertionError("it is not allowed")


def test_the_json_view_shows_one_document() -> None:
    view = JsonView(model="20b", engine="server")
    for event in PLAIN:
        view.show(event)
    assert view.confirm(Asking(), CALL) == "no"
    view.close()
    text = view.document(conversation=3)
    assert text.endswith("}\n")
    found = json.loads(text)
    assert found["engine"] == "server"
    assert found["conversation"] == 3
    assert "\u00e9" in text
    assert found["notes"] == [
        "a note",
        "the call call_1 of python was not made: nobody can be asked; --tools-allow python lets it run",
    ]


def test_each_event_is_a_line_and_the_last_is_the_document() -> None:
    out = io.StringIO()
    view = JsonLinesView(out=out, model="20b", engine="embedded")
    n_lines = []
    for event in WITH_TOOLS:
        view.show(event)
        n_lines.append(out.getvalue().count("\n"))
    assert n_lines == [1, 2, 3, 3, 4, 5, 6, 7, 7, 8, 9, 9], "at once"
    view.finish(conversation=None)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["type"] for line in lines] == [
        *("reasoning", "commentary", "tool_call", "tool_start", "tool_result"),
        *("reasoning", "tool_call", "tool_result", "content", "end"),
    ]
    assert lines[2] == {"type": "tool_call", "id": "call_1", "name": "python", "arguments": "print(1)"}
    assert lines[4]["text"] == "1"
    assert lines[-1] == {"type": "end", **record(WITH_TOOLS)}


def test_lines_of_progress_notes_and_refusals() -> None:
    out = io.StringIO()
    view = JsonLinesView(out=out, model="20b", engine="embedded")
    view.show(PLAIN[0])
    assert view.confirm(Asking(), CALL) == "no"
    view.show(TextDelta(channel="final", text="\ud800\u2028\n"))
    view.close()
    lines = out.getvalue().encode().splitlines()
    assert json.loads(lines[0]) == {"type": "prompt", "done_n": 10, "total_n": 10}
    assert json.loads(lines[1])["type"] == "note"
    assert json.loads(lines[2])["text"] == "\ud800\u2028\n"


def test_a_schema_answer_of_the_demo_from_the_engine_to_the_document() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}, "required": ["n"]}
    asked = [Message(role="user", content="What is the capital of France?")]
    with open_engine(demo_model_path(), load_params()) as engine:
        for max_tokens, code in ((200, ExitCode.DONE), (25, ExitCode.FAULT)):
            view = JsonView(model="demo", engine="embedded")
            sampling = Sampling(temperature=0.0, json_schema=json.dumps(schema), max_tokens=max_tokens)
            for delta in engine.chat(asked, sampling):
                view.show(delta)
            found = json.loads(view.document(with_schema=True))
            told = outcome(found["finish_reason"], found["content"], with_schema=True, max_tokens=max_tokens)
            assert told.code == code
            assert (found["parsed"] is None) == (code == ExitCode.FAULT)
