"""Each command through the installed `gpt-oss`: data on stdout, talk on stderr, documented exit codes."""

from __future__ import annotations

import json
import stat
import tomllib

import pytest

from launcher import __version__
from launcher.demo import demo_model_path
from launcher.hardware.saved import load_hardware
from tests.cli.sandbox import Sandbox
from tests.systems import POSIX

CAPITAL = "What is the capital of France?"


def test_help_names_every_command_and_exit_code(sandbox: Sandbox) -> None:
    done = sandbox.run("--help")
    assert done.code == 0
    assert all(command in done.out for command in ("chat", "plan", "pull", "hardware", "config"))
    assert "130 Ctrl-C" in done.out
    assert done.err == ""


@pytest.mark.parametrize("command", ["chat", "plan", "pull", "hardware", "config show", "config path", "config edit"])
def test_each_help_has_two_examples(sandbox: Sandbox, command: str) -> None:
    done = sandbox.run(*command.split(), "--help", env={"COLUMNS": "120"})
    assert done.code == 0
    examples = done.out.partition("Examples:")[2].partition("╭")[0]
    assert len([line for line in examples.splitlines() if "gpt-oss" in line or "EDITOR" in line]) >= 2, done.out
    assert "--debug" in done.out


def test_version_names_launcher_and_engine(sandbox: Sandbox) -> None:
    done = sandbox.run("--version")
    assert done.code == 0
    assert done.out.splitlines()[0] == f"gpt-oss-launcher {__version__}"
    assert "llama-cpp-python 0.3.36 (llama.cpp " in done.out
    assert "devices:" in done.out


def test_hardware_is_shown_saved_and_printed_as_json(sandbox: Sandbox) -> None:
    file = sandbox.root / "here.json"
    saved = sandbox.run("hardware", "--save", file, "--json")
    assert saved.code == 0
    printed = json.loads(saved.out)
    assert printed["schema"] == 1
    assert json.loads(file.read_text()) == printed
    assert load_hardware(file).memory.total_bytes == printed["memory"]["total_bytes"] > 0
    assert f"gpt-oss plan --hardware {file}" in saved.err
    shown = sandbox.run("hardware")
    assert shown.code == 0
    assert "Memory" in shown.out
    assert shown.err == ""


@POSIX
def test_config_path_show_and_edit(sandbox: Sandbox) -> None:
    file = sandbox.config / "settings.toml"
    assert sandbox.run("config", "path").out == f"{file}\n"

    editor = sandbox.root / "editor"
    editor.write_text('#!/bin/sh\nprintf "ctx_size = 4096\\n" >> "$1"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    edited = sandbox.run("config", "edit", env={"EDITOR": str(editor)})
    assert edited.code == 0, edited
    assert file.read_text().startswith("#"), "a new file begins as the commented example"
    assert tomllib.loads(file.read_text()) == {"ctx_size": 4096}

    rows = json.loads(sandbox.run("config", "show", "--json", env={"GPT_OSS_SEED": "7"}).out)
    assert rows["schema"] == 1
    by_name = {row["name"]: (row["value"], row["layer"]) for row in rows["settings"]}
    assert by_name["ctx_size"] == (4096, f"file {file}")
    assert by_name["seed"] == (7, "environment GPT_OSS_SEED")
    assert by_name["prefer"] == ("quality", "default")
    shown = sandbox.run("config", "show").out
    assert "ctx_size" in shown
    assert f"file {file}" in shown


def test_a_slip_made_in_the_editor_is_told_at_once(sandbox: Sandbox) -> None:
    file = sandbox.config / "settings.toml"
    file.write_text("ctx_siez = 4096\n")
    done = sandbox.refused("config", "edit", env={"EDITOR": "true"})
    assert done.code == 2
    assert "did you mean 'ctx_size'?" in done.error
    assert file.read_text() == "ctx_siez = 4096\n"


def test_chat_answers_on_stdout_and_thinks_on_stderr(sandbox: Sandbox) -> None:
    done = sandbox.run("chat", "--demo", CAPITAL)
    assert done.code == 0
    assert done.out == "The capital of France is Paris.\n"
    first, *thoughts = done.err.splitlines()
    assert first.startswith("The demo: a tiny GPT OSS")
    assert "".join(thoughts).strip()
    assert "\x1b" not in done.out + done.err


def test_without_reasoning_and_with_effort(sandbox: Sandbox) -> None:
    done = sandbox.run("chat", "--demo", "--no-reasoning", "--effort", "high", CAPITAL)
    assert done.code == 0
    assert "Paris" in done.out
    assert len(done.err.splitlines()) == 1, "only what the demo is"


def test_chat_takes_the_question_piped_or_both(sandbox: Sandbox) -> None:
    piped = sandbox.run("chat", "--demo", stdin=f"{CAPITAL}\n".encode())
    assert piped.out == "The capital of France is Paris.\n"
    both = sandbox.run("chat", "--demo", "What is the", "capital", stdin=b"of France?\n")
    assert both.code == 0
    assert both.out.strip()


def test_what_is_piped_may_be_of_any_encoding(sandbox: Sandbox) -> None:
    done = sandbox.run("chat", "--demo", "-n", "8", stdin="Grüße\n".encode("latin-1"))
    assert done.code == 0, done


@POSIX
def test_chat_with_stdin_closed(sandbox: Sandbox) -> None:
    done = sandbox.run("chat", "--demo", "-n", "4", "hello", shell='exec "$@" <&-')
    assert done.code == 0, done


def test_max_tokens_ends_an_answer(sandbox: Sandbox) -> None:
    done = sandbox.run("chat", "--demo", "--max-tokens", 3, CAPITAL)
    assert done.code == 0
    assert "capital of France is Paris" not in done.out


def test_a_seed_makes_a_hot_answer_repeatable(sandbox: Sandbox) -> None:
    words = ("chat", "--demo", "--temp", "100", "-n", "24", "--seed")
    first, again, other = (sandbox.run(*words, seed, "Tell me a story.") for seed in (7, 7, 8))
    assert (first.out, first.err) == (again.out, again.err)
    assert (first.out, first.err) != (other.out, other.err)


def test_settings_for_a_large_model_do_not_keep_the_demo_from_running(sandbox: Sandbox) -> None:
    (sandbox.config / "settings.toml").write_text('ctx_size = 131072\nquant = "F16"\nn_cpu_moe = 30\n')
    done = sandbox.run("chat", "--demo", CAPITAL)
    assert done.code == 0, done
    assert "Paris" in done.out


def test_slots_of_the_settings_are_for_a_server_and_not_for_a_chat(sandbox: Sandbox) -> None:
    """Keeps out: a chat that gets a fourth of its context, because the settings share it between four slots."""
    (sandbox.config / "settings.toml").write_text("parallel = 4\nkv_unified = false\n")
    question = ("chat", "--model", demo_model_path(), "--temp", "0", "--ctx-size", "256", CAPITAL)
    done = sandbox.run(*question)
    assert done.code == 0, done
    assert done.out == "The capital of France is Paris.\n"


def test_a_stream_that_cannot_show_a_letter_gets_another(sandbox: Sandbox) -> None:
    done = sandbox.run("hardware", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.code == 0, done
