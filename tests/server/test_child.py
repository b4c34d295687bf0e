"""What llama-server says of itself, its environment, its log, its keys, its record, its port."""

from __future__ import annotations

import json
import os
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.errors import DamagedFileError, LauncherError, UsageError
from launcher.hardware.crashes import is_about_memory
from launcher.server import ports, registry
from launcher.server.child import ChildEvent, LoadProgress, StateChange, child_env, foreign_settings, parse_state
from launcher.server.freed import with_memory_back
from launcher.server.keys import key_for, read_key
from launcher.server.log import LogFile, is_warning, message_of
from launcher.server.types import ServerRecord
from launcher.server.usage import host_usage
from launcher.units import GIB
from tests.builders import gpu_machine


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ('{"state":"loading","payload":{"stages":["text_model"],"value":0.25}}', LoadProgress(value=0.25)),
        ('{"state":"ready","payload":{"id":"x"}}', StateChange(state="ready")),
        ('{"state":"sleeping","payload":{}}', StateChange(state="sleeping")),
        ('{"state":"loading","payload":null}', StateChange(state="loading")),
        ("{", None),
        ("[]", None),
        ('{"state":"loading","payload":{"value":"much"}}', None),
    ],
)
def test_states(text: str, event: ChildEvent | None) -> None:
    assert parse_state(text) == event


def test_the_environment_of_the_child_decides_nothing() -> None:
    environ = {"PATH": "/bin", "LLAMA_ARG_CTX_SIZE": "1", "LLAMA_API_KEY": "x", "CUDA_VISIBLE_DEVICES": "1"}
    made = child_env(environ)
    assert made == {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1", "LLAMA_SERVER_ROUTER_PORT": "0"}
    assert foreign_settings(environ) == ("LLAMA_ARG_CTX_SIZE",)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("0.00.001.320 I srv  llama_server: initializing ...", False),
        ("0.00.001.320 W srv  init: something odd", True),
        ("0.00.001.320 E srv  init: broke", True),
        (
            "0.00.007.448 W load: setting token '<|start|>' (1267) attribute to USER_DEFINED (16), old attributes: 8",
            False,
        ),
        ("a line of another program", False),
    ],
)
def test_which_lines_a_person_sees(line: str, shown: bool) -> None:
    assert is_warning(line) is shown


def test_a_line_without_its_time() -> None:
    assert message_of("0.00.001.320 W srv  init: odd") == "srv  init: odd"
    assert message_of("plain") == "plain"


def test_lines_about_memory() -> None:
    assert is_about_memory(["x", "ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 1"])
    assert not is_about_memory(["error: unknown model architecture"])


def test_a_log_that_grows_too_large_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "server.log"
    log = LogFile(path, max_bytes=100)
    for i in range(20):
        log.write(f"line {i:02} of ten bytes")
    log.close()
    log.write("after its end")
    assert path.stat().st_size <= 130
    assert path.with_suffix(".log.1").stat().st_size <= 130
    assert path.read_text().endswith("line 19 of ten bytes\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- Keys ---


def test_no_key_on_loopback_unless_one_is_given(tmp_path: Path) -> None:
    assert key_for("127.0.0.1", 8080, key_file=None, environ={}, state_dir=tmp_path) is None
    given = key_for("127.0.0.1", 8080, key_file=None, environ={"GPT_OSS_API_KEY": " k "}, state_dir=tmp_path)
    assert given is not None
    assert (given.made, read_key(given.file)) == (None, "k")


def test_a_key_is_made_once_beyond_loopback(tmp_path: Path) -> None:
    first = key_for("0.0.0.0", 8080, key_file=None, environ={}, state_dir=tmp_path)
    again = key_for("0.0.0.0", 8080, key_file=None, environ={}, state_dir=tmp_path)
    assert first is not None
    assert again is not None
    assert first.made == read_key(again.file)
    assert len(first.made or "") > 30
    assert again.made is None


def test_a_file_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# mine\n\nsk-one\nsk-two\n")
    found = key_for("0.0.0.0", 1, key_file=path, environ={"GPT_OSS_API_KEY": "x"}, state_dir=tmp_path)
    assert found is not None
    assert (found.file, read_key(found.file)) == (path, "sk-one")
    path.write_text("# none\n")
    with pytest.raises(UsageError, match="holds no key"):
        read_key(path)
    with pytest.raises(DamagedFileError, match="cannot be read"):
        read_key(tmp_path / "nowhere")


# --- Records ---


def record(**changes: object) -> ServerRecord:
    plain = ServerRecord(
        pid=os.getpid(),
        pid_started_s=registry.process_started_s(os.getpid()) or 0.0,
        host="127.0.0.1",
        port=8080,
        model="gpt-oss-20b",
        file="x",
        n_ctx=4096,
        n_parallel=4,
        started_at="2026-01-01T00:00:00+00:00",
        log_path=Path("/tmp/x.log"),
        planned_bytes={"CPU": 3 * GIB, "CUDA0": 2 * GIB},
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    registry.save(tmp_path, record())
    registry.save(tmp_path, record(port=80))
    assert registry.running(tmp_path) == (record(port=80), record())
    registry.remove(tmp_path, 80)
    assert registry.running(tmp_path) == (record(),)


# A pid is used again: the record of a server that is gone named somebody else's process.
def test_records_of_processes_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    registry.save(tmp_path, record(pid_started_s=1.0))
    registry.save(tmp_path, record(port=81, pid=2**22 - 1))
    (registry.servers_dir(tmp_path) / "82.json").write_text('{"schema": 1')
    (registry.servers_dir(tmp_path) / "83.json").write_text(json.dumps({"schema": 1, "pid": "many"}))
    assert registry.running(tmp_path) == ()
    assert list(registry.servers_dir(tmp_path).iterdir()) == []


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:8080"), ("::1", "http://[::1]:8080"), ("10.0.0.5", "http://10.0.0.5:8080")],
)
def test_how_this_machine_reaches_it(host: str, url: str) -> None:
    assert record(host=host).url == url
    assert record(host=host).endpoint.openai_url == f"{url}/v1"


# --- Memory and ports ---


def test_memory_of_a_process() -> None:
    found = host_usage(os.getpid())
    assert found is not None
    assert found.anonymous_bytes > 0
    assert host_usage(2**22 - 1) is None


def test_memory_that_a_server_gives_back() -> None:
    machine = gpu_machine(vram_gib=24, ram_gib=64)
    device = replace(machine.devices[0], free_bytes=10 * GIB)
    busy = replace(machine, devices=(device,))
    (later,) = with_memory_back([busy], record(server_pid=None))
    assert later.devices[0].free_bytes == 12 * GIB
    assert later.memory.available_bytes == busy.memory.available_bytes
    used = host_usage(os.getpid())
    assert used is not None
    (mine,) = with_memory_back([busy], record(server_pid=os.getpid()))
    assert mine.memory.available_bytes > busy.memory.available_bytes


def test_memory_comes_back_whatever_a_build_calls_the_device() -> None:
    busy = gpu_machine(vram_gib=24, ram_gib=64)
    card = replace(busy.devices[0], free_bytes=10 * GIB)
    cuda = replace(busy, devices=(card,), engine=replace(busy.engine, name="cuda-0.3.36"))
    vulkan = replace(
        busy,
        devices=(
            replace(card, name="Vulkan0", backend="Vulkan"),
            replace(card, name="Vulkan1", device_id="0000:09:00.0"),
        ),
        engine=replace(busy.engine, name="vulkan-0.3.36"),
    )
    later = with_memory_back([vulkan, cuda], record(server_pid=None, build="cuda-0.3.36"))
    assert [device.free_bytes for machine in later for device in machine.devices] == [12 * GIB, 10 * GIB, 12 * GIB]


def test_ports() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert not ports.is_free("127.0.0.1", port)
        assert ports.next_free("127.0.0.1", port) > port
        assert f"(pid {os.getpid()})" in (ports.holder(port) or "")
    assert ports.is_free("127.0.0.1", port)
    assert ports.holder(port) is None
    assert ports.is_free("127.0.0.1", ports.loopback_port())


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(UsageError, match="no address of this machine"):
        ports.is_free("192.0.2.1", 8080)
    with pytest.raises(UsageError, match="--host not a host"):
        ports.is_free("not a host", 8080)


def test_where_no_port_is_left() -> None:
    with pytest.raises(LauncherError, match="no port is free"):
        ports.next_free("127.0.0.1", 65_535)


def test_windows_lets_nobody_share_a_port() -> None:
    """SO_REUSEADDR there is leave for two servers to listen at once, and any port would look free."""
    asked = []

    class Server:
        def setsockopt(self, *what: int) -> None:
            asked.append(what)

    ports.prepare(Server(), system="win32")  # type: ignore[arg-type]
    ports.prepare(Server(), system="linux")  # type: ignore[arg-type]
    assert asked == [(socket.SOL_SOCKET, -5, 1), (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)]
