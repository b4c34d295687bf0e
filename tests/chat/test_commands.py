"""The table of /commands."""

import pytest

from launcher.chat.commands import COMMANDS, find, is_command, nearest


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("/effort", "/effort"),
        ("/eff", "/effort"),
        ("/q", "/quit"),
        ("/bye", "/quit"),
        ("/?", "/help"),
        ("/new", "/clear"),
    ],
)
def test_a_command_is_found_by_name_alias_and_beginning(word: str, name: str) -> None:
    found = find(word)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("word", ["/", "/e", "/s", "/nope", "", "effort", "/EFFORT"])
def test_what_is_no_command_or_several_is_not_found(word: str) -> None:
    assert find(word) is None


def test_names_and_aliases_are_there_once() -> None:
    names = [name for command in COMMANDS for name in (command.name, *command.aliases)]
    assert len(set(names)) == len(names)
    assert all(name.startswith("/") and command.help for command in COMMANDS for name in (command.name,))


@pytest.mark.parametrize(("word", "name"), [("/efort", "/effort"), ("/qiut", "/quit"), ("/xyzzy", None)])
def test_the_nearest_name(word: str, name: str | None) -> None:
    assert nearest(word) == name


@pytest.mark.parametrize("line", ["/help", "/effort low", "  /quit", "/", "/nope what"])
def test_lines_for_the_chat(line: str) -> None:
    assert is_command(line)


@pytest.mark.parametrize("line", ["", "   ", "hello", "/etc/hosts: what is it?", "a /help", "//comment"])
def test_lines_for_the_model(line: str) -> None:
    assert not is_command(line)
