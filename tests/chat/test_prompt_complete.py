"""What comes up after a slash."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from launcher.chat.prompt.complete import MAX_FILES, candidates, completes, files
from launcher.chat.prompt.later import Once, in_thread
from launcher.chat.prompt.types import Sources
from launcher.chat.prompt.words import last_word, quoted

SOURCES = Sources(
    models=lambda: ["20b", "120b", "ggml-org/gpt-oss-20b-GGUF", "bad\x1b[2J"],
    conversations=lambda: [("a1b2", "About trees"), ("c3d4", "A long\nwalk")],
    tools=lambda: ["python", "files:read_file"],
)


def texts(line: str) -> list[str]:
    return [line[: one.start] + one.text for one in candidates(line, SOURCES)]


def test_commands_come_with_their_help() -> None:
    [effort] = candidates("/eff", SOURCES)
    assert (effort.text, effort.start) == ("/effort", 0)
    assert effort.display == "/effort low|medium|high"
    assert effort.meta == "how long the model thinks"
    assert len(candidates("/", SOURCES)) > 10


def test_an_alias_is_offered_where_only_it_fits() -> None:
    assert texts("/by") == ["/bye"]
    assert texts("/q") == ["/quit"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("/effort ", ["/effort low", "/effort medium", "/effort high"]),
        ("/eff m", ["/eff medium"]),
        ("/effort low ", []),
        ("/reasoning fo", ["/reasoning fold"]),
        ("/export ", ["/export md", "/export json", "/export html"]),
        ("/model 2", ["/model 20b", "/model 120b", "/model ggml-org/gpt-oss-20b-GGUF"]),
        ("/load tree", ["/load a1b2"]),
        ("/load a LONG", ["/load c3d4"]),
        ("/load c", ["/load c3d4"]),
        ("/tools python f", ["/tools python files:read_file"]),
        ("/tools o", ["/tools off", "/tools python"]),
        ("/tools python of", []),
        ("/help eff", ["/help /effort"]),
        ("/help /eff", ["/help /effort"]),
        ("/system be", []),
        ("/nope a", []),
        ("hello", []),
        ("/effort\nlow", []),
        (" /eff", []),
        ("", []),
    ],
)
def test_arguments(line: str, found: list[str]) -> None:
    assert texts(line) == found


@pytest.mark.parametrize("line", ["/", "/ef", "/effort ", "/attach x"])
def test_a_menu_may_open(line: str) -> None:
    assert completes(line)


@pytest.mark.parametrize("line", ["", "x", "/system ", "/undo ", "/etc/hosts", "/effort\n"])
def test_no_menu_opens(line: str) -> None:
    assert not completes(line)


def test_a_line_break_in_a_title_is_not_shown() -> None:
    assert [one.meta for one in candidates("/load ", SOURCES)] == ["About trees", "A long walk"]


# Files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.txt", "A two.md", ".hidden", 'q"uote', "new\nline"):
        (tmp_path / name).touch()
    (tmp_path / "sub dir").mkdir()
    (tmp_path / "sub dir" / "in.txt").touch()
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


def test_files_of_a_folder(folder: Path) -> None:
    assert [one.display for one in candidates(f"/attach {folder}/", SOURCES)] == [
        "A two.md",
        "a.txt",
        "loop",
        'q"uote',
        "sub dir/",
    ]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("a", ['"{0}/A two.md"', "{0}/a.txt"]),
        ("A", ['"{0}/A two.md"']),
        (".", ["{0}/.hidden"]),
        ("q", ['"{0}/q\\"uote"']),
        ("su", ['"{0}/sub dir/']),
        ("sub\\ dir/", ['"{0}/sub dir/in.txt"']),
        ("nowhere/x", []),
    ],
)
def test_names_are_quoted_and_hidden_ones_asked_for(folder: Path, typed: str, found: list[str]) -> None:
    line = f"/attach other.txt {folder}/{typed}"
    assert texts(line) == [f"/attach other.txt {text.format(folder)}" for text in found]


def test_an_open_quote_goes_on(folder: Path) -> None:
    assert texts(f'/attach "{folder}/sub dir/') == [f'/attach "{folder}/sub dir/in.txt"']


def test_home_is_kept_as_typed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert texts("/attach ~/a.") == ["/attach ~/a.txt"]
    assert texts("/attach ~") == ["/attach ~/"]
    assert texts("/load ~/a.") == ["/load ~/a.txt"]
    assert texts("/attach ~nobody-of-this-name/x") == []
    assert texts("/export md ~/a.") == ["/export md ~/a.txt"]


def test_a_huge_folder_is_cut_and_a_closed_one_is_empty() -> None:
    def many(folder: Path) -> Iterator[tuple[str, bool]]:
        yield from ((f"n{n:05}", False) for n in range(MAX_FILES * 3))

    def closed(folder: Path) -> Iterator[tuple[str, bool]]:
        raise PermissionError

    assert len(list(files(last_word("n"), scan=many))) == MAX_FILES
    assert list(files(last_word("n"), scan=closed)) == []
    assert list(files(last_word("a\0/"))) == []


@pytest.mark.parametrize(
    ("text", "start", "value", "index"),
    [
        ("", 0, "", 0),
        ("a", 0, "a", 0),
        ("a ", 2, "", 1),
        ("a  b", 3, "b", 1),
        ('"a b" "c d', 6, "c d", 1),
        ("a\\ b", 0, "a b", 0),
        ("'a\\b' c", 6, "c", 1),
        ('""', 0, "", 0),
    ],
)
def test_the_last_word(text: str, start: int, value: str, index: int) -> None:
    word = last_word(text)
    assert (word.start, word.value, word.index) == (start, value, index)


@pytest.mark.parametrize("name", ["plain", "two words", "it's", 'q"', "back\\slash", "tab\t"])
def test_what_is_quoted_is_one_word_again(name: str) -> None:
    assert last_word(quoted(name)).value == name
    assert last_word(quoted(name, is_open=True)).value == name


# Slow answers


def test_a_slow_source_is_asked_once() -> None:
    asked = []
    gate = threading.Event()

    def slow() -> int:
        asked.append(1)
        assert gate.wait(10)
        return 5

    once = Once(slow)
    waiting: list[Future[int]] = [in_thread(once), in_thread(once)]
    gate.set()
    assert [future.result(10) for future in waiting] == [5, 5]
    assert asked == [1]


def test_an_error_reaches_whoever_asked() -> None:
    def fail() -> int:
        raise OSError("gone")

    assert isinstance(in_thread(fail).exception(10), OSError)
