"""The tool python as a model and its user meet it."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.errors import LauncherError
from launcher.tools.isolation import Isolation
from launcher.tools.jail.syscalls import TABLES
from launcher.tools.python_tool import PythonTool, open_python_tool
from launcher.tools.types import ToolLimits, ToolResult, function_of
from tests.systems import POSIX

NEVER = threading.Event()
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there it is refused")


@pytest.fixture(scope="module")
def python() -> Iterator[PythonTool]:
    with open_python_tool(ToolLimits(timeout_s=20.0, max_output_chars=2_000), work_bytes=1 << 20) as tool:
        yield tool


def run(python: PythonTool, code: str) -> ToolResult:
    return python.call(json.dumps({"code": code}), NEVER)


def test_a_last_expression_is_shown_as_in_a_notebook(python: PythonTool) -> None:
    result = run(python, "import math\nprint('begin')\nmath.sqrt(16)")
    assert (result.text, result.is_error, result.n_cut) == ("begin\n4.0", False, 0)
    assert result.elapsed_s > 0


@pytest.mark.parametrize("code", ["x = 1", "None", "1;", "# nothing"])
def test_what_has_nothing_to_show_says_so(python: PythonTool, code: str) -> None:
    result = run(python, code)
    assert (result.text, result.is_error) == ("(no output)", False)


def test_a_traceback_shows_the_code_alone(python: PythonTool) -> None:
    result = run(python, "import json\n\ndef read(text):\n    return json.loads(text)\n\nprint('so far')\nread('{')")
    lines = result.text.splitlines()
    assert result.is_error
    assert lines[:2] == ["so far", "Traceback (most recent call last):"]
    assert [line for line in lines if line.startswith("  File ")] == [
        '  File "<python>", line 7, in <module>',
        '  File "<python>", line 4, in read',
    ]
    assert "    return json.loads(text)" in lines
    assert lines[-1].startswith("json.decoder.JSONDecodeError: ")


def test_causes_keep_their_tracebacks_and_lose_the_libraries(python: PythonTool) -> None:
    code = "import json\ntry:\n    json.loads('{')\nexcept ValueError as error:\n    raise KeyError('x') from error"
    text = run(python, code).text
    assert "direct cause" in text
    assert "decoder.py" not in text


@pytest.mark.parametrize(
    ("code", "last"),
    [
        ("x ==", "SyntaxError: invalid syntax"),
        ("input('name?')", "EOFError: EOF when reading a line"),
        ("import sys; sys.exit(3)", "[exit status 3]"),
        ("import sys; sys.exit('enough')", "enough"),
        ("import os; os.kill(os.getpid(), 9); os.abort()", "[ended by SIG"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_how_code_fails_is_told(python: PythonTool, code: str, last: str) -> None:
    result = run(python, code)
    assert result.is_error
    assert result.text.splitlines()[-1].startswith(last), result.text
    assert "launcher" not in result.text


def test_each_call_is_afresh_and_files_stay(python: PythonTool) -> None:
    assert not run(python, "x = 1\nopen('mine.py', 'w').write('value = 42')").is_error
    assert "NameError" in run(python, "x").text
    assert run(python, "import mine, os\nprint(os.getcwd() == os.environ['HOME'])\nmine.value").text == "True\n42"


def test_what_libraries_need_works(python: PythonTool) -> None:
    code = """
import asyncio, concurrent.futures, dataclasses, datetime, decimal, pickle, random, sqlite3, statistics, tempfile
import zoneinfo
@dataclasses.dataclass
class Point:
    x: int
async def answer():
    return 1
print(pickle.loads(pickle.dumps(Point(3))))
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    print(sum(pool.map(abs, [-1, -2])))
with tempfile.TemporaryFile() as file:
    print(file.write(b"abc"))
print(sqlite3.connect(":memory:").execute("select 2").fetchone())
asyncio.run(answer())
"""
    assert run(python, code).text == "Point(x=3)\n3\n3\n(2,)\n1"


def test_the_time_limit_says_where_the_code_was() -> None:
    with open_python_tool(ToolLimits(timeout_s=0.4)) as python:
        result = run(python, "print('begin')\nwhile True:\n    try:\n        pass\n    except Exception:\n        pass")
        assert result.text.startswith("begin\nTraceback")
        assert result.text.endswith("TimeLimit: the time limit was reached here\n[stopped after 0.4 s, the time limit]")
        stubborn = run(python, "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass")
        assert (stubborn.text, stubborn.is_error) == ("[stopped after 0.4 s, the time limit]", True)
        assert stubborn.elapsed_s < 3


def test_a_long_output_is_cut_in_its_middle(python: PythonTool) -> None:
    result = run(python, "print('begin' + 'x' * 9_000 + 'end')\n1/0")
    assert result.text.startswith("beginxxx")
    assert result.text.endswith("ZeroDivisionError: division by zero")
    assert len(result.text) <= 2_000
    assert f"[... {result.n_cut} characters left out ...]" in result.text


@pytest.mark.parametrize(
    "code",
    [
        "import os\nfor _ in range(3_000):\n    os.mkdir('deep')\n    os.chdir('deep')",
        "for i in range(2_100):\n    open(str(i), 'w').close()",
        "for i in range(5):\n    open(f'{i}', 'wb').write(bytes(300_000))",
        (
            "import os\nos.makedirs('a/b')\nopen('a/b/c', 'wb').write(bytes(1 << 20))\nopen('0', 'wb').write(b'x')\n"
            "os.symlink('/', 'a/b/link')\nos.chmod('a/b', 0)"
        ),
    ],
)
def test_a_folder_is_emptied_whatever_is_in_it(python: PythonTool, code: str) -> None:
    result = run(python, code)
    assert "all files in it were removed" in result.text
    assert result.is_error
    assert list(python.folder.iterdir()) == []


def test_bad_arguments_are_an_answer(python: PythonTool) -> None:
    for arguments in ("", "{}", '{"code": 3}', '{"code": "x', '{"code": ""}'):
        result = python.call(arguments, NEVER)
        assert result.is_error
        assert '{"code": "..."}' in result.text
    assert "longer" in python.call("#" * 1_000_001, NEVER).text
    assert "null" in python.call("print(\0)", NEVER).text


def test_the_model_is_told_what_there_is(python: PythonTool) -> None:
    function = function_of(python)["function"]
    assert function["name"] == python.title == "python"
    assert function["parameters"]["required"] == ["code"]
    version = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    for word in (version, "Stateless", "standard library", "20 s", "1.0 GiB", "2000 characters", "1.0 MiB of files"):
        assert word in python.description
    assert ("No other programs" in python.description) == (not python.isolation.forks)
    assert python.verdict == "ask"


def test_the_folder_goes_with_the_conversation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_python_tool(isolation=known()) as python:
        (python.folder / "kept").write_text("x")
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def known(*, network: bool = True, files: bool = True, missing: tuple[str, ...] = ()) -> Isolation:
    return Isolation(network=network, files=files, processes=True, memory=True, missing=missing)


def test_without_isolation_it_is_refused_unless_asked_for_by_name(tmp_path: Path) -> None:
    bad = known(network=False, files=False, missing=("seccomp: not permitted",))
    with pytest.raises(LauncherError) as caught, open_python_tool(isolation=bad):
        pass
    assert caught.value.message.endswith("could reach the network and your files on this system")
    assert caught.value.details[0] == "seccomp: not permitted"
    assert "python:unsafe" in caught.value.details[1]
    with open_python_tool(isolation=bad, unsafe=True) as python:
        assert python.call("6 * 7", NEVER).text == "42"
        assert "There is no network" not in python.description


@POSIX
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="orphans are adopted on Linux")
def test_without_layers_too_a_daemon_is_found_and_ended(tmp_path: Path) -> None:
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("daemon", "w").write(str(os.getpid()))
        os.closerange(0, 3)
        time.sleep(600)
    os._exit(0)
while not (os.path.exists("daemon") and open("daemon").read()):
    time.sleep(0.01)
"""
    with open_python_tool(isolation=known(network=False), unsafe=True) as python:
        assert not python.call(code, NEVER).is_error
        pid = int((python.folder / "daemon").read_text())
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_what_is_missing_is_told() -> None:
    all_of_it = Isolation(network=True, files=True, processes=True, memory=True, layers=("landlock", "seccomp"))
    assert (
        all_of_it.describe()
        == "python is closed in: no network, none of your files, no other processes (landlock, seccomp)"
    )
    half = Isolation(network=True, files=False, processes=False, memory=False, layers=("seccomp",))
    assert half.describe() == "python is closed in: no network (seccomp); it can reach your files and other processes"
    assert not half.is_safe
    none = Isolation(network=False, files=False, processes=False, memory=False)
    assert none.describe() == "python is not closed in; it can reach the network and your files and other processes"


def test_both_architectures_know_the_calls_that_matter() -> None:
    only_x86 = {name for name in TABLES["x86_64"] if name not in TABLES["aarch64"]}
    assert only_x86 == {
        *("fork", "vfork", "iopl", "ioperm", "modify_ldt", "chmod", "chown", "lchown", "utime", "utimes", "futimesat"),
    }
    assert set(TABLES["aarch64"]) < set(TABLES["x86_64"])
