"""Commands as they are typed on three systems."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.system.shell import as_typed, command_line, quoted, split


def powershell_words(line: str) -> list[str]:
    """The words of a line as PowerShell reads them: '...' is a text, in which '' is a quote."""
    words, word, inside, begun = [], "", False, False
    position = 0
    while position < len(line):
        letter = line[position]
        if inside and letter == "'" and line[position + 1 : position + 2] == "'":
            word += "'"
            position += 1
        elif letter == "'":
            inside, begun = not inside, True
        elif letter == " " and not inside:
            words += [word] if begun or word else []
            word, begun = "", False
        else:
            word += letter
        position += 1
    assert not inside, line
    return words + ([word] if begun or word else [])


@given(st.lists(st.text(st.characters(blacklist_categories=("Cs", "Cc"))), min_size=1))
def test_powershell_reads_the_words_that_were_meant(words: list[str]) -> None:
    line = command_line(words, system="win32")
    assert powershell_words(line.removeprefix("& ") if line.startswith("& '") else line) == words


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("C:\\Users\\Kim\\gpt-oss.gguf", "C:\\Users\\Kim\\gpt-oss.gguf"),
        ("C:\\Program Files\\x", "'C:\\Program Files\\x'"),
        ("it's", "'it''s'"),
        ("$env:HOME", "'$env:HOME'"),
        ("@file", "'@file'"),
        (",", "','"),
        ("a;b", "'a;b'"),
        ("--model", "--model"),
        ("-", "'-'"),
        ("", "''"),
    ],
)
def test_what_powershell_would_read_otherwise_is_quoted(word: str, expected: str) -> None:
    assert quoted(word, system="win32") == expected


def test_a_program_in_quotes_is_called() -> None:
    assert command_line(["C:\\Program Files\\llama-server.exe", "-m", "x.gguf"], system="win32") == (
        "& 'C:\\Program Files\\llama-server.exe' -m x.gguf"
    )


def test_variables_are_set_and_taken_away() -> None:
    words = {"env": {"A_KEY": "****", "B": "it's"}, "unset": ("C",)}
    assert command_line(["codex"], system="linux", **words) == """env -u C 'A_KEY=****' 'B=it'"'"'s' codex"""  # type: ignore[arg-type]
    assert command_line(["codex"], system="win32", **words) == (  # type: ignore[arg-type]
        "$env:C = $null; $env:A_KEY = '****'; $env:B = 'it''s'; codex"
    )


@given(st.text())
def test_elsewhere_a_line_is_split_as_ever(text: str) -> None:
    try:
        expected = shlex.split(text)
    except ValueError:
        with pytest.raises(ValueError, match="No"):
            split(text, system="linux")
    else:
        assert split(text, system="linux") == expected


def test_on_windows_a_backslash_belongs_to_a_path() -> None:
    assert split(r'C:\notes\a.txt "C:\my notes\b.txt"', system="win32") == [r"C:\notes\a.txt", r"C:\my notes\b.txt"]
    assert split(r"C:\tools\code.exe --wait", system="win32") == [r"C:\tools\code.exe", "--wait"]


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        ("ls -ld 'C:\\my models'", "dir 'C:\\my models'"),
        ("ls C:\\models", "dir C:\\models"),
        ("unset GPT_OSS_DATA_DIR", "Remove-Item Env:GPT_OSS_DATA_DIR"),
        ("gpt-oss plan", "gpt-oss plan"),
    ],
)
def test_a_hint_is_a_command_of_the_system(hint: str, expected: str) -> None:
    assert as_typed(hint, system="win32") == expected
    assert as_typed(hint, system="darwin") == hint
