"""Probes apart from each other, and what they find on disk and network."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from launcher.doctor import probe_disk
from launcher.doctor.examine import examine
from launcher.doctor.gather import Wishes, ask_all, facts_of, gather, machine_probes
from launcher.doctor.known import parse_known
from launcher.doctor.probe_gpu import parse_firmware, parse_nvcc
from launcher.doctor.probe_net import clock_skew_s, read_hub, read_port
from launcher.doctor.remedies import version
from launcher.doctor.system import container_of, package_manager, parse_os_release
from launcher.doctor.types import Hub, Missing
from launcher.errors import DamagedFileError, NetworkError
from launcher.store.reach import Reach
from tests.doctor.machines import NOW_S, sources
from tests.hardware.trees import write
from tests.systems import POSIX

# --- Apart ---


def test_a_probe_that_hangs_or_raises_takes_no_other_along() -> None:
    never = threading.Event()

    def broken() -> None:
        raise ZeroDivisionError("seven")

    def refused() -> None:
        raise NetworkError("the hub is closed")

    try:
        found = ask_all({"hangs": never.wait, "broken": broken, "refused": refused, "well": lambda: 7}, deadline_s=0.2)
    finally:
        never.set()
    assert found == {
        "hangs": Missing(why="no answer within 0 s"),
        "broken": Missing(why="ZeroDivisionError: seven"),
        "refused": Missing(why="the hub is closed"),
        "well": 7,
    }


def test_what_could_not_be_had_is_a_line_of_its_own(tmp_path: Path) -> None:
    source = sources("rtx-4090-cuda", tmp_path)
    found = ask_all(machine_probes(source))
    found["nvidia"] = Missing(why="no answer within 9 s")
    found["known"] = Missing(why="known_bad.toml: damaged")
    by_name = {check.name: check for check in examine(facts_of(source, found))}
    assert by_name["gpu"].what == "not checked: no answer within 9 s"
    assert by_name["gpu"].status == "warn"
    assert by_name["known bad"].what == "not checked: known_bad.toml: damaged"
    assert by_name["memory"].status == "ok"
    assert by_name["engine"].status == "ok"


def test_a_judgement_that_fails_is_a_line_of_its_own(tmp_path: Path) -> None:
    source = sources("rtx-4090-cuda", tmp_path)
    facts = facts_of(source, ask_all(machine_probes(source)))
    broken = replace(facts, ram="no record")  # type: ignore[arg-type]
    by_name = {check.name: check for check in examine(broken)}
    assert by_name["memory"].what.startswith("not checked, a fault of the launcher: AttributeError")
    assert by_name["cpu"].status == "ok"


@POSIX
def test_everything_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    source = sources("server-without-gpu", tmp_path / "root")
    source = replace(source, machine=replace(source.machine, environ={"HF_HOME": str(tmp_path / "hf")}))
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_secret")
    (tmp_path / "hf" / "token").chmod(0o644)
    facts = gather(Wishes(host="127.0.0.1", port=1, offline_by="--offline"), source)
    assert facts.missing == {}
    (folders,) = [check for check in examine(facts) if check.name == "folders"]
    assert folders.remedy == f"chmod 600 {tmp_path / 'hf' / 'token'}"
    names = [check.name for check in examine(facts)]
    assert names == [
        *("cpu", "memory", "swap", "engine", "gpu", "toolkits", "known bad"),
        *("disk space", "disk speed", "folders", "hub", "token", "port", "clock"),
    ]


# --- System ---


@pytest.mark.parametrize(
    ("text", "manager"),
    [
        ("ID=ubuntu\nID_LIKE=debian\n", "apt"),
        ('ID="rhel"\nID_LIKE="fedora"\n', "dnf"),
        ("ID=cachyos\nID_LIKE=arch\n", "pacman"),
        ("ID=somebodys\nID_LIKE='ubuntu debian'\n", "apt"),
        ("ID=alpine\n", "apk"),
        ("ID=nixos\n", None),
        ("# ID=debian\nID='unclosed\n", None),
    ],
)
def test_packages_by_distribution(text: str, manager: str | None) -> None:
    assert package_manager("Linux", parse_os_release(text)) == manager


def test_containers_are_told_apart(tmp_path: Path) -> None:
    assert container_of(tmp_path, {}) is None
    assert container_of(tmp_path, {"container": "lxc"}) == "lxc"
    assert container_of(tmp_path, {"container": "systemd-nspawn"}) == "container"
    write(tmp_path, "proc/1/cgroup", "11:memory:/kubepods/besteffort/pod1/abc\n")
    assert container_of(tmp_path, {}) == "kubernetes"
    write(tmp_path, "run/.containerenv", "")
    assert container_of(tmp_path, {}) == "podman"


def test_versions_are_compared_as_numbers() -> None:
    assert version("560.35.03") == (560, 35, 3)
    assert version("13.2") < version("13.10")
    assert version("7.2.3-81") == (7, 2, 3)
    assert version("unknown") == ()


def test_tools_tell_their_versions() -> None:
    assert parse_nvcc("Cuda compilation tools, release 13.0, V13.0.88\nBuild cuda_13.0.r13.0") == "13.0"
    assert parse_nvcc("command not found") is None
    assert parse_firmware("20240318.git3b128b60-0ubuntu2.19") == "20240318"
    assert parse_firmware("linux-firmware-amdgpu 1:20251125-2") == "20251125"
    assert parse_firmware("package amd-gpu-firmware is not installed") is None


def test_a_table_that_is_damaged_is_said_to_be() -> None:
    with pytest.raises(DamagedFileError, match="known_bad"):
        parse_known('[[known]]\nsubject = "nothing"\n')
    with pytest.raises(DamagedFileError, match="known_bad"):
        parse_known("[[known")


# --- Disk ---


def test_a_scratch_file_measures_the_disk_and_is_gone(tmp_path: Path) -> None:
    ticks = iter(range(1000))
    speed = probe_disk.read_speed(tmp_path / "not" / "there", lambda: next(ticks) * 0.1)
    assert speed.read_of == "scratch file"
    assert speed.problem is None
    assert speed.read_bytes_per_s is not None
    assert speed.read_bytes_per_s > 0
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    model = tmp_path / "models--owner--name" / "snapshots" / "c" / "model.gguf"
    model.parent.mkdir(parents=True)
    model.write_bytes(os.urandom(9 * 1024**2))
    before = model.read_bytes()
    ticks = iter(range(1000))
    speed = probe_disk.read_speed(tmp_path, lambda: next(ticks) * 0.1)
    assert speed.read_of == "model"
    assert speed.read_bytes_per_s
    assert model.read_bytes() == before
    assert probe_disk.read_disk(tmp_path, Path("/")).n_models == 1


def test_reading_ends_after_a_second(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(bytes(5 * probe_disk.CHUNK_BYTES))
    seconds = iter([0.0, 0.0, 0.6, 1.2, 1.2])
    with file.open("rb", buffering=0) as stream:
        rate = probe_disk.timed_read(stream.fileno(), 10**9, lambda: next(seconds))
    assert rate == pytest.approx(2 * probe_disk.CHUNK_BYTES / 1.2)


def test_a_folder_that_can_not_be_written_is_no_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    speed = probe_disk.read_speed(tmp_path / "file" / "hub", lambda: 0.0)
    assert (speed.read_bytes_per_s, speed.problem) == (None, "Not a directory")


def test_the_file_system_is_that_of_the_deepest_mount() -> None:
    mounts = (
        "22 1 0:20 / / rw - ext4 /dev/sda rw\n"
        "30 22 0:31 / /mnt/c rw - 9p C:\\ rw\n"
        "31 22 0:32 / /mnt/c\\040d rw - xfs /dev/sdb rw\n"
    )
    assert probe_disk.file_system(mounts, Path("/mnt/c/models")) == "9p"
    assert probe_disk.file_system(mounts, Path("/mnt/c d/models")) == "xfs"
    assert probe_disk.file_system(mounts, Path("/mnt/cc")) == "ext4"
    assert probe_disk.file_system("", Path("/")) is None


@POSIX
def test_what_everybody_may_read_is_found(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text("{}")
    (tmp_path / "mcp.json").chmod(0o644)
    assert probe_disk.read_folder("config", tmp_path, private=True).exposed == tmp_path / "mcp.json"
    (tmp_path / "mcp.json").chmod(0o600)
    assert probe_disk.read_folder("config", tmp_path, private=True).exposed is None


def test_what_belongs_to_somebody_else_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "models--a--b" / "blobs"
    inner.mkdir(parents=True)
    (tmp_path / "link").symlink_to(inner)

    def found(user_id: int | None, *denied: Path) -> Path | None:
        return probe_disk.read_folder(
            "hub cache", tmp_path, private=False, user_id=user_id, may_write=lambda path: path not in denied
        ).foreign

    somebody = tmp_path.stat().st_uid + 1
    assert found(somebody, inner) == inner
    assert found(somebody) is None
    assert found(somebody, tmp_path / "link") is None
    assert found(tmp_path.stat().st_uid, inner) is None


def test_a_file_in_a_folders_place_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    assert not probe_disk.read_folder("state", tmp_path / "state", private=False).writable
    assert probe_disk.read_folder("state", tmp_path / "new", private=False).writable


# --- Network ---


@contextmanager
def answering(status: int, headers: dict[str, str]) -> Iterator[tuple[str, list[str | None]]]:
    """A hub on loopback that answers everything alike; what it was sent as authorization."""
    sent: list[str | None] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the library's name
            sent.append(self.headers.get("Authorization"))
            self.send_response_only(status)
            for name, value in {"Content-Length": "2", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", sent
        finally:
            server.shutdown()
            thread.join()


def asked(monkeypatch: pytest.MonkeyPatch, endpoint: str, token: str | None = None) -> Hub:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0")
    monkeypatch.setenv("HF_TOKEN", token or "")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
    environ = {"HF_TOKEN": token} if token else {}
    return read_hub(offline_by=None, environ=environ, now_s=lambda: NOW_S)


def test_a_hub_that_answers_tells_its_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"Content-Type": "application/json", "Date": "Mon, 21 Sep 2026 14:23:20 GMT"}
    with answering(200, headers) as (url, sent):
        hub = asked(monkeypatch, url, "hf_secret")
    assert sent == ["Bearer hf_secret"]
    assert (hub.problem, hub.token_from, hub.token_accepted) == (None, "HF_TOKEN", True)
    assert hub.skew_s == pytest.approx(600, abs=1)
    assert "hf_secret" not in repr(hub)


def test_a_token_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(401, {"X-Error-Message": "Invalid credentials in Authorization header"}) as (url, _):
        hub = asked(monkeypatch, url, "hf_old")
    assert hub.token_accepted is False
    assert hub.hint == "hf auth login"


def test_a_login_page_of_the_network_is_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(302, {"Location": "http://login.invalid/"}) as (url, sent):
        hub = asked(monkeypatch, url)
    assert hub.problem is not None
    assert "login page" in hub.problem
    assert sent == [None]


def test_a_hub_out_of_reach_is_told_within_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)

    def fail(address: tuple[str, int], timeout_s: float) -> None:
        raise OSError("no such name")

    hub = read_hub(offline_by=None, environ={}, reach=Reach(connect=fail), now_s=lambda: NOW_S)
    assert hub.problem == "no connection to hub.invalid: no such name"


def test_nothing_is_asked_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)

    def fail(address: tuple[str, int], timeout_s: float) -> None:
        raise AssertionError("asked")

    hub = read_hub(offline_by="--offline", environ={}, reach=Reach(connect=fail), now_s=lambda: NOW_S)
    assert (hub.offline_by, hub.problem) == ("--offline", None)


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_an_answer_without_a_date_tells_no_skew(date: str | None) -> None:
    assert clock_skew_s(date, NOW_S) is None


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        taken = server.getsockname()[1]
        port = read_port("127.0.0.1", taken, tmp_path)
    assert not port.free
    assert port.next_free != taken
    assert port.holder is None or str(os.getpid()) in port.holder


def test_a_host_that_is_not_this_machines(tmp_path: Path) -> None:
    assert read_port("192.0.2.1", 8080, tmp_path).problem == "--host 192.0.2.1 is no address of this machine"
