"""A service's file, its installation with managers that do as a test says, and the command."""

from __future__ import annotations

import json
import plistlib
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from launcher.cli.service_session import absolute, own_command
from launcher.errors import LauncherError, UsageError
from launcher.server.service import (
    LABEL,
    UNIT_NAME,
    Service,
    carried,
    launchd_plist,
    parse_launchd,
    systemd_unit,
)
from launcher.server.service_install import manager_here
from launcher.server.service_launchd import Launchd
from launcher.server.service_systemd import Systemd
from launcher.server.service_tools import Ran, run_tool
from tests.cli.sandbox import Sandbox
from tests.systems import POSIX


def service(*args: str, command: str = "/opt/gpt oss/bin/gpt-oss", log_dir: str = "/logs", **variables: str) -> Service:
    return Service(command=Path(command), serve_args=args, environment=variables, log_dir=Path(log_dir))


def lines(unit: str, name: str) -> list[str]:
    return [line.removeprefix(f"{name}=") for line in unit.splitlines() if line.startswith(f"{name}=")]


def read_words(line: str) -> list[str]:
    """Words as systemd takes them apart (extract_first_word with EXTRACT_UNQUOTE and EXTRACT_CUNESCAPE)."""
    words, word, quoted, started = [], "", False, False
    chars = iter(line)
    for char in chars:
        if char == "\\":
            word += {"\\": "\\", '"': '"', "n": "\n", "t": "\t"}[next(chars)]
        elif char == '"':
            quoted, started = not quoted, True
        elif char == " " and not quoted:
            if word or started:
                words.append(word)
            word, started = "", False
        else:
            word += char
    assert not quoted
    return [*words, word] if word or started else words


def expanded(word: str, *, variables: bool) -> str:
    """What is left of specifiers, and of variables where there are any."""
    assert "%" not in word.replace("%%", "")
    word = word.replace("%%", "%")
    if variables:
        assert "$" not in word.replace("$$", "")
        word = word.replace("$$", "$")
    return word


# The files


def test_the_unit_as_it_is_written() -> None:
    unit = systemd_unit(service("--port", "8081", GPT_OSS_THREADS="4"))
    assert (
        unit
        == """\
# Written by `gpt-oss service install`, which overwrites it.
[Unit]
Description=GPT OSS endpoint (gpt-oss serve)
After=network.target
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=exec
Environment=GPT_OSS_THREADS=4
ExecStart="/opt/gpt oss/bin/gpt-oss" serve --port 8081
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 3
TimeoutStopSec=10
KillMode=mixed

[Install]
WantedBy=default.target
"""
    )


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/m/50%.gguf", "/m/50%%.gguf"),
        ("$HOME", "$$HOME"),
        ("${HOME}", '"$${HOME}"'),
        ("a b", '"a b"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("it's", '"it\'s"'),
        ("", '""'),
        (";", '";"'),
        ("#c", '"#c"'),
        ("two\nlines", '"two\\nlines"'),
    ],
)
def test_words_are_quoted_as_systemd_reads_them(word: str, written: str) -> None:
    """As a user manager of systemd 252 took them apart."""
    (line,) = lines(systemd_unit(service("--x", word)), "ExecStart")
    assert line == f'"/opt/gpt oss/bin/gpt-oss" serve --x {written}'


PRINTABLE = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc")), max_size=20)


@given(st.lists(PRINTABLE, max_size=4), PRINTABLE)
@example(["%h", "$$", "\\n", '"', "'"], "50% $HOME")
def test_every_word_and_variable_comes_back(words: list[str], value: str) -> None:
    unit = systemd_unit(service("--", *words, GPT_OSS_X=value))
    (start,) = lines(unit, "ExecStart")
    assert [expanded(word, variables=True) for word in read_words(start)][2:] == ["--", *words]
    (variable,) = lines(unit, "Environment")
    assert [expanded(word, variables=False) for word in read_words(variable)] == [f"GPT_OSS_X={value}"]


def test_no_variable_is_replaced_in_the_program_itself() -> None:
    """systemd takes the path as it is, but for specifiers: `$$` would stay two."""
    (line,) = lines(systemd_unit(service(command="/a$b/50%/gpt-oss")), "ExecStart")
    assert line.split()[0] == "/a$b/50%%/gpt-oss"


@POSIX
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_itself_finds_nothing_wrong(tmp_path: Path) -> None:
    unit = tmp_path / UNIT_NAME
    command = tmp_path / "50% $HOME" / "gpt-oss"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    unit.write_text(systemd_unit(service("--model", "/a b/$x%y;.gguf", command=str(command), GPT_OSS_A='"%$ ')))
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(unit)],
        env={"XDG_RUNTIME_DIR": str(runtime), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    # An old systemd complains of what newer ones know; of this unit none may.
    assert UNIT_NAME not in done.stderr + done.stdout


@pytest.mark.parametrize("word", ["\udcff", "bell\x07", "null\0"])
def test_what_no_file_can_hold_is_refused(word: str) -> None:
    for written in (systemd_unit, launchd_plist):
        with pytest.raises(UsageError):
            written(service(word))
        with pytest.raises(UsageError):
            written(service(GPT_OSS_X=word))


@pytest.mark.parametrize("word", ["--detach", "-d", "--dry-run"])
def test_what_no_service_can_do_is_refused(word: str) -> None:
    """Keeps out: a service that ends at once, again and again, since its server runs elsewhere."""
    with pytest.raises(UsageError, match="no place in a service"):
        systemd_unit(service(word))
    systemd_unit(service("--", word))  # after `--` it is llama-server's


def test_the_property_list_as_launchd_reads_it() -> None:
    table = plistlib.loads(launchd_plist(service("--model", "<a & b>", HF_HOME="/x y")))
    assert table["Label"] == LABEL
    assert table["ProgramArguments"] == ["/opt/gpt oss/bin/gpt-oss", "serve", "--model", "<a & b>"]
    assert table["EnvironmentVariables"] == {"HF_HOME": "/x y"}
    assert table["RunAtLoad"] is True
    assert table["KeepAlive"] == {"SuccessfulExit": False}
    assert table["StandardErrorPath"] == table["StandardOutPath"] == "/logs/service.log"


# Variables


def test_variables_are_carried_but_no_secrets() -> None:
    found = carried(
        {
            "HF_HOME": "/models",
            "HF_ENDPOINT": "https://mirror.example",
            "HF_TOKEN": "hf_x",
            "GPT_OSS_THREADS": "4",
            "GPT_OSS_API_KEY": "sk-x",
            "GPT_OSS_API_KEY_FILE": "/keys",
            "GPT_OSS_EMPTY": "",
            "CUDA_VISIBLE_DEVICES": "1",
            "XDG_STATE_HOME": "/state",
            "PATH": "/bin",
            "AWS_SECRET": "x",
        }
    )
    assert dict(found.environment) == {
        "CUDA_VISIBLE_DEVICES": "1",
        "GPT_OSS_API_KEY_FILE": "/keys",
        "GPT_OSS_THREADS": "4",
        "HF_ENDPOINT": "https://mirror.example",
        "HF_HOME": "/models",
        "XDG_STATE_HOME": "/state",
    }
    assert found.left_out == ("GPT_OSS_API_KEY", "HF_TOKEN")


def test_a_password_in_an_address_is_a_secret() -> None:
    found = carried({"HF_ENDPOINT": "https://me:secret@mirror.example"})
    assert (dict(found.environment), found.left_out) == ({}, ("HF_ENDPOINT",))
    assert carried({"HF_ENDPOINT": "http://[broken"}).left_out == ()


def test_files_get_their_whole_path_and_models_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.gguf").touch()
    (tmp_path / "20b").touch()
    (tmp_path / "sub").mkdir()
    assert absolute("m.gguf") == str(tmp_path / "m.gguf")
    assert absolute("--model=./m.gguf") == f"--model={tmp_path / 'm.gguf'}"
    for word in ("20b", "owner/name", "--port", "gone.gguf", "./sub", "/m.gguf", ""):
        assert absolute(word) == word
    assert absolute("./sub", folder=True) == str(tmp_path / "sub")


def test_the_command_is_the_one_that_runs(tmp_path: Path) -> None:
    own = tmp_path / "gpt-oss"
    own.touch(mode=0o755)
    assert own_command(str(own), {}) == own
    assert own_command("/usr/bin/pytest", {"PATH": str(tmp_path)}) == own
    with pytest.raises(UsageError, match="on PATH"):
        own_command("/usr/bin/pytest", {"PATH": str(tmp_path / "none")})


# Managers


class Fake:
    """Stands for systemctl and launchctl: keeps what was asked, answers as a test says, else with success."""

    def __init__(self, **answers: Ran) -> None:
        self.answers = answers
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, argv: Sequence[str]) -> Ran:
        self.asked.append(tuple(argv))
        word = argv[2] if argv[0] == "systemctl" else argv[1]
        return self.answers.get(word.replace("-", "_"), Ran(code=0))

    @property
    def words(self) -> list[str]:
        return [" ".join(argv[2:] if argv[0] == "systemctl" else argv[1:]) for argv in self.asked]


REFUSED = Ran(code=1, err="it will\nnot")


@POSIX
def test_systemd_is_told_to_reload_enable_and_start(tmp_path: Path) -> None:
    fake = Fake(is_active=Ran(code=3))
    Systemd(fake, tmp_path).install(service(), start=True)
    unit = tmp_path / "systemd" / "user" / UNIT_NAME
    assert unit.read_text() == systemd_unit(service())
    assert unit.stat().st_mode & 0o777 == 0o644
    assert fake.words[-4:] == [
        "daemon-reload",
        f"enable {UNIT_NAME}",
        f"reset-failed {UNIT_NAME}",
        f"restart {UNIT_NAME}",
    ]
    fake.asked.clear()
    Systemd(fake, tmp_path).install(service(), start=False)
    assert fake.words[-2:] == ["daemon-reload", f"enable {UNIT_NAME}"]
    assert list(unit.parent.iterdir()) == [unit], "no half of a file"


@pytest.mark.parametrize("step", ["daemon_reload", "enable", "restart"])
def test_what_systemd_refuses_leaves_nothing_behind(tmp_path: Path, step: str) -> None:
    systemd = Systemd(Fake(**{step: REFUSED}), tmp_path)
    with pytest.raises(LauncherError, match="it will not") as caught:
        systemd.install(service(), start=True)
    assert caught.value.hint == "gpt-oss service status"
    assert list(systemd.path.parent.iterdir()) == []


def test_what_systemd_refuses_leaves_the_service_before_as_it_was(tmp_path: Path) -> None:
    systemd = Systemd(Fake(), tmp_path)
    systemd.install(service("--port", "1"), start=True)
    before = systemd.path.read_text()
    fake = Fake(enable=REFUSED)
    with pytest.raises(LauncherError):
        Systemd(fake, tmp_path).install(service("--port", "2"), start=True)
    assert systemd.path.read_text() == before
    assert fake.words[-2:] == ["daemon-reload", f"restart {UNIT_NAME}"], "it ran, and runs again"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Ran(code=None), "there is no systemd here"),
        (Ran(code=1, err="Failed to connect to bus: No medium found"), "Failed to connect to bus"),
    ],
)
def test_without_a_user_manager_nothing_is_written(tmp_path: Path, answer: Ran, message: str) -> None:
    systemd = Systemd(Fake(show=answer), tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        systemd.install(service(), start=True)
    assert "container" in " ".join(caught.value.details).lower()
    assert caught.value.hint == "gpt-oss serve --detach"
    assert list(tmp_path.iterdir()) == []


def test_systemd_removes_what_it_has(tmp_path: Path) -> None:
    fake = Fake()
    systemd = Systemd(fake, tmp_path)
    assert not systemd.remove()
    assert fake.asked == []
    systemd.install(service(), start=True)
    assert systemd.remove()
    assert f"disable --now {UNIT_NAME}" in fake.words
    assert not systemd.path.exists()


def test_a_service_that_will_not_stop_stays(tmp_path: Path) -> None:
    Systemd(Fake(), tmp_path).install(service(), start=True)
    systemd = Systemd(Fake(disable=REFUSED), tmp_path)
    with pytest.raises(LauncherError, match="it will not"):
        systemd.remove()
    assert systemd.path.exists()


def test_without_a_manager_the_files_go_all_the_same(tmp_path: Path) -> None:
    systemd = Systemd(Fake(), tmp_path)
    systemd.install(service(), start=True)
    link = systemd.path.parent / "default.target.wants" / UNIT_NAME
    link.parent.mkdir()
    link.symlink_to(systemd.path)
    assert Systemd(Fake(show=Ran(code=None)), tmp_path).remove()
    assert not systemd.path.exists()
    assert not link.is_symlink()


SHOWN = "ActiveState={}\nSubState={}\nUnitFileState=enabled\nMainPID={}\nExecMainCode={}\nExecMainStatus={}\n"


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (("active", "running", 77, 0, 0), (True, "active (running)", 77, None, None)),
        (("failed", "failed", 0, 1, 3), (False, "failed (failed)", None, 3, None)),
        (("activating", "auto-restart", 0, 2, 9), (False, "activating (auto-restart)", None, None, 9)),
    ],
)
def test_how_systemd_sees_it(tmp_path: Path, told: tuple[Any, ...], found: tuple[Any, ...]) -> None:
    status = Systemd(Fake(show=Ran(code=0, out=SHOWN.format(*told))), tmp_path).status()
    assert (status.active, status.state, status.pid, status.last_exit, status.last_signal) == found
    assert status.enabled is True
    assert not status.installed
    unknown = Systemd(Fake(show=REFUSED), tmp_path).status()
    assert (unknown.active, unknown.enabled, unknown.state) == (None, None, None)


class FakeLaunchd(Fake):
    """Knows whether the agent is loaded; an unloaded one takes two looks to be gone."""

    def __init__(self, *, loaded: bool = False, **answers: Ran) -> None:
        super().__init__(**answers)
        self.loaded, self._looks = loaded, 0

    def __call__(self, argv: Sequence[str]) -> Ran:
        answer = super().__call__(argv)
        if argv[1] == "bootout":
            self._looks = 2
        if argv[1] == "bootstrap" and answer.code == 0:
            self.loaded = True
        if argv[1] == "print" and argv[2].endswith(LABEL):
            if self._looks:
                self._looks -= 1
                self.loaded = self._looks > 0
            return Ran(code=0, out=PRINTED) if self.loaded else Ran(code=113, err="Could not find service")
        return answer


PRINTED = f"""\
gui/501/{LABEL} = {{
	active count = 1
	state = running
	program = /opt/gpt-oss
	pid = 812
	last exit code = (never exited)
	spawn type = interactive (4)
	jetsam coalition = {{
		state = active
	}}
}}
"""


def launchd(fake: Fake, home: Path) -> Launchd:
    return Launchd(fake, home, 501, sleep=lambda _: None)


def test_launchd_loads_what_is_to_start(tmp_path: Path) -> None:
    fake = FakeLaunchd()
    agent = launchd(fake, tmp_path)
    wanted = service(log_dir=str(tmp_path / "logs"))
    agent.install(wanted, start=True)
    assert agent.path == tmp_path / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    assert agent.path.read_bytes() == launchd_plist(wanted)
    assert (tmp_path / "logs").is_dir()
    assert fake.words[-1] == f"bootstrap gui/501 {agent.path}"
    fake.asked.clear()
    agent.install(wanted, start=True)
    assert f"bootout gui/501/{LABEL}" in fake.words
    assert fake.words.index(f"bootout gui/501/{LABEL}") < fake.words.index(f"bootstrap gui/501 {agent.path}") - 2
    assert agent.remove()
    assert not agent.path.exists()
    assert not agent.remove()


def test_launchd_loads_nothing_where_it_is_not_to_start(tmp_path: Path) -> None:
    fake = FakeLaunchd()
    agent = launchd(fake, tmp_path)
    agent.install(service(log_dir=str(tmp_path)), start=False)
    assert agent.path.exists()
    assert not any(word.startswith("bootstrap") for word in fake.words)


def test_what_launchd_refuses_leaves_nothing_behind(tmp_path: Path) -> None:
    agent = launchd(FakeLaunchd(bootstrap=Ran(code=5, err="Bootstrap failed: 5: Input/output error")), tmp_path)
    with pytest.raises(LauncherError, match="Bootstrap failed") as caught:
        agent.install(service(log_dir=str(tmp_path)), start=True)
    assert caught.value.hint == "gpt-oss service install --no-start"
    assert not agent.path.exists()


def test_how_launchd_sees_it(tmp_path: Path) -> None:
    status = launchd(FakeLaunchd(loaded=True), tmp_path).status()
    assert (status.active, status.state, status.pid, status.last_exit) == (True, "running", 812, None)
    gone = launchd(FakeLaunchd(), tmp_path).status()
    assert (gone.active, gone.state, gone.pid) == (False, "not loaded", None)
    assert parse_launchd("last exit code = 3\n")["last exit code"] == "3"


def test_each_system_has_its_manager(tmp_path: Path) -> None:
    here: dict[str, Any] = {"run": Fake(), "home": tmp_path, "uid": 1}
    assert manager_here(platform="linux", environ={}, **here).path.parent == tmp_path / ".config" / "systemd" / "user"
    assert manager_here(platform="linux", environ={"XDG_CONFIG_HOME": "/c"}, **here).path.parts[1] == "c"
    assert isinstance(manager_here(platform="darwin", environ={}, **here), Launchd)
    with pytest.raises(UsageError, match="neither"):
        manager_here(platform="win32", environ={}, **here)


def test_tools_that_are_there_and_one_that_is_not() -> None:
    assert run_tool(["sh", "-c", "echo out; echo err >&2; exit 3"]) == Ran(code=3, out="out\n", err="err\n")
    assert run_tool(["no-such-tool-here"]).code is None


# The command


SYSTEMCTL = """\
#!/bin/sh
echo "$*" >> "$CALLS"
case "$2" in show) printf 'ActiveState=active\\nSubState=running\\nUnitFileState=enabled\\nMainPID=5\\n';; esac
"""


@pytest.fixture
def systemctl(sandbox: Sandbox) -> dict[str, str]:
    """The environment of a person whose systemctl only takes notes."""
    tool = sandbox.root / "bin" / "systemctl"
    tool.parent.mkdir()
    tool.write_text(SYSTEMCTL)
    tool.chmod(0o755)
    return {
        "PATH": f"{tool.parent}:{sandbox.env['PATH']}",
        "CALLS": str(sandbox.root / "calls"),
        "HF_TOKEN": "hf_secret",
    }


linux_only = pytest.mark.skipif(not Path("/proc").exists(), reason="systemd is Linux's")


@linux_only
def test_install_status_remove(sandbox: Sandbox, systemctl: dict[str, str]) -> None:
    words = ("service", "install", "--", "--model", "20b", "--port", "8081", "--", "--log-verbosity", "4")
    done = sandbox.run(*words, env=systemctl)
    assert (done.code, done.out) == (0, "")
    unit = sandbox.root / "home" / ".config" / "systemd" / "user" / UNIT_NAME
    assert str(unit) in done.err
    assert "without HF_TOKEN" in done.err
    text = unit.read_text()
    assert "hf_secret" not in text
    assert f"Environment=GPT_OSS_STATE_DIR={sandbox.env['GPT_OSS_STATE_DIR']}" in text
    (start,) = lines(text, "ExecStart")
    program, *rest = shlex.split(start)
    assert Path(program).is_absolute()
    assert Path(program).name == "gpt-oss"
    assert rest == ["serve", *words[3:]]
    shown = sandbox.run("service", "status", env=systemctl)
    assert "active (running)" in shown.out
    data = json.loads(sandbox.run("service", "status", "--json", env=systemctl).out)
    assert (data["schema"], data["installed"], data["active"], data["pid"]) == (1, True, True, 5)
    gone = sandbox.run("service", "remove", env=systemctl)
    assert (gone.code, gone.out) == (0, "")
    assert not unit.exists()
    assert "not installed" in sandbox.run("service", "status", env=systemctl).out
    calls = Path(systemctl["CALLS"]).read_text()
    assert f"--user restart {UNIT_NAME}" in calls
    assert f"--user disable --now {UNIT_NAME}" in calls


@linux_only
def test_where_no_manager_is_the_next_command_is_told(sandbox: Sandbox) -> None:
    nothing = sandbox.root / "empty"
    nothing.mkdir()
    done = sandbox.refused("service", "install", env={"PATH": str(nothing)})
    assert done.code == 2
    assert done.hint == "gpt-oss serve --detach"
    assert not (sandbox.root / "home" / ".config").exists()


@linux_only
def test_an_argument_that_no_service_can_have(sandbox: Sandbox, systemctl: dict[str, str]) -> None:
    assert sandbox.refused("service", "install", "--", "--detach", env=systemctl).code == 2


@pytest.mark.parametrize("command", ["install", "remove", "status"])
def test_each_help_has_two_examples(sandbox: Sandbox, command: str) -> None:
    done = sandbox.run("service", command, "--help", env={"COLUMNS": "120"})
    assert done.code == 0
    assert done.out.partition("Examples:")[2].partition("╭")[0].count(f"gpt-oss service {command}") >= 2
    assert "--debug" in done.out
