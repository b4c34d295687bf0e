"""A command that crashes, is ended or stopped, and the process that waits for it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil
import pytest

from launcher.hardware.crashes import FOLDER, crash_of
from tests.cli.terminal import CTRL_C, terminal
from tests.store.build import wait_until
from tests.systems import KILL, LINUX

pytestmark = LINUX
NAME = "vulkan-0.3.36"
COMMAND = """
import ctypes, faulthandler, os, signal, sys, time
from pathlib import Path
from launcher.cli.crash_watch import watched
from launcher.hardware.crashes import computing
def command():
    with computing(Path(os.environ["GPT_OSS_STATE_DIR"]), sys.argv[1], "chat") as complain:
        print("computes", flush=True)
        return eval(sys.argv[2])
sys.exit(watched(command, program=sys.argv[3] if len(sys.argv) > 3 else "/bin/gpt-oss"))
"""


class Here:
    """Folders of the launcher with an engine, and commands that run there."""

    def __init__(self, root: Path) -> None:
        self.state = root / "state"
        (root / "data" / "engines" / NAME).mkdir(parents=True)
        self.environ = {
            **os.environ,
            "GPT_OSS_DATA_DIR": str(root / "data"),
            "GPT_OSS_STATE_DIR": str(self.state),
        }

    def argv(self, how: str, *more: str, name: str = NAME) -> list[str]:
        return [sys.executable, "-c", COMMAND, name, how, *more]

    def run(self, how: str, *more: str, name: str = NAME) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(how, *more, name=name), env=self.environ, check=False, capture_output=True, text=True, timeout=60
        )

    def start(self, how: str) -> subprocess.Popen[str]:
        """A command that computes by now."""
        process = subprocess.Popen(self.argv(how), env=self.environ, stdout=subprocess.PIPE, text=True)
        out: IO[str] | None = process.stdout
        assert out is not None
        assert out.readline() == "computes\n"
        return process


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


@pytest.mark.parametrize("code", [0, 3, 130])
def test_the_exit_code_is_the_commands(here: Here, code: int) -> None:
    done = here.run(str(code))
    assert (done.returncode, done.stdout, done.stderr) == (code, "computes\n", "")


def test_a_crash_is_told_and_kept(here: Here) -> None:
    done = here.run("faulthandler._sigsegv()")
    assert done.returncode == 6
    assert done.stderr.splitlines() == [
        "error: the engine vulkan-0.3.36 crashed (Segmentation fault)",
        "  Plans that do not name it leave it out from now on, and take another engine.",
        "hint:  gpt-oss engine test vulkan-0.3.36",
    ]
    assert crash_of(here.state, NAME) is not None


def test_a_crash_that_left_no_word_is_kept_too(here: Here) -> None:
    done = here.run("[faulthandler.disable(), os.abort()]")
    assert "crashed (Aborted)" in done.stderr
    crash = crash_of(here.state, NAME)
    assert crash is not None
    assert crash.how == "Aborted"


def test_memory_that_ran_out_is_told_as_such(here: Here) -> None:
    done = here.run("[complain('cudaMalloc failed: out of memory'), os.abort()]")
    assert done.returncode == 6
    assert done.stderr.splitlines()[:2] == [
        "error: memory ran out, and the engine vulkan-0.3.36 ended (Aborted)",
        "  cudaMalloc failed: out of memory",
    ]
    assert crash_of(here.state, NAME) is None


def test_a_crash_of_the_environments_engine(here: Here) -> None:
    done = here.run("os.abort()", name="environment")
    assert done.returncode == 6
    assert done.stderr.splitlines() == ["error: gpt-oss crashed (Aborted)", "hint:  gpt-oss doctor"]


def test_who_is_killed_ends_so_and_no_engine_is_blamed(here: Here) -> None:
    done = here.run("os.kill(os.getpid(), signal.SIGKILL)")
    assert (done.returncode, done.stderr) == (-KILL, "")
    assert crash_of(here.state, NAME) is None


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGKILL"])
def test_signals_end_both(here: Here, name: str) -> None:
    number = getattr(signal, name)
    with here.start("time.sleep(60)") as process:
        (child,) = psutil.Process(process.pid).children()
        process.send_signal(number)
        assert process.wait(10) == -number
        with suppress(psutil.NoSuchProcess):
            child.wait(10)


def test_an_interrupt_that_is_sent_to_the_parent_alone_reaches_the_command(here: Here) -> None:
    """As another program ends it, or `kill -INT`; what the terminal sends goes to both."""
    with here.start("time.sleep(60)") as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == -signal.SIGINT


def test_an_interrupt_of_the_terminals_reaches_the_command_once(here: Here) -> None:
    how = "[signal.signal(signal.SIGINT, lambda *_: print('once')), print('ready'), time.sleep(1.0), time.sleep(0.2)]"
    lines = "import os, sys; os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    with terminal(*here.argv(how)[1:], env=here.environ, cwd=here.state.parent, program=lines) as screen:
        screen.wait_for("ready")
        screen.type(CTRL_C)
        screen.end()
        assert screen.text.count("once") == 1


def test_where_it_stops_itself_both_stop_and_go_on_together(here: Here) -> None:
    if sys.platform == "win32":
        return
    with here.start("[os.kill(os.getpid(), signal.SIGSTOP), 7][1]") as process:
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        process.send_signal(signal.SIGCONT)
        assert process.wait(10) == 7


def test_a_terminal_stops_both_once(here: Here) -> None:
    """Both once stopped by themselves, and after `fg` the parent once more for a stop of the child's that was over."""
    shell = "import os, sys; os.execvp('bash', ['bash', '--norc', '-i'])"
    script = f"exec {shlex.join(here.argv('[os.kill(0, signal.SIGTSTP), 7][1]'))}"
    (here.state.parent / "run").write_text(script)
    with terminal(env={**here.environ, "PS1": "$ "}, cwd=here.state.parent, program=shell) as screen:
        # As a prompt suspends itself: the whole group at once.
        screen.line("sh run")
        screen.wait_for("Stopped")
        screen.line("fg; echo code $?")
        assert screen.wait_for(r"code (\d+)|Stopped(?s:.*)Stopped")[1] == "7"


def no_engine(here: Here) -> list[str]:
    (Path(here.environ["GPT_OSS_DATA_DIR"]) / "engines" / NAME).rename(here.state.parent / "away")
    return []


@pytest.mark.parametrize("why", [no_engine, lambda _here: ["/usr/bin/pytest"]])
def test_nothing_is_forked(here: Here, why: Callable[[Here], list[str]]) -> None:
    """Where no engine of the store could crash, or the process is another program's."""
    assert here.run(f"int(os.getppid() != {os.getpid()})", *why(here)).returncode == 0
    assert not list((here.state / FOLDER).glob("*"))


def test_the_terminal_is_in_order_again(here: Here) -> None:
    how = "[os.system('stty -echo'), print('\\x1b[?25l', flush=True), faulthandler._sigsegv()]"
    script = f"{shlex.join(here.argv(how))}; stty -a | grep -o -- '-\\?echo '; echo END"
    shell = "import os, sys; os.system(sys.argv[1])"
    with terminal(script, env=here.environ, cwd=here.state.parent, program=shell) as screen:
        screen.wait_for("END")
        assert "crashed (Segmentation fault)" in screen.text
        assert "-echo" not in screen.text
        assert not screen.screen.cursor.hidden
