"""Who holds memory of AMD's and Intel's GPUs: fdinfo as drivers write it, and what the doctor makes of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from launcher.doctor.checks_driver import check_holders
from launcher.doctor.probe_holders import Client, parse_client, read_holders
from launcher.doctor.sources import Sources
from launcher.doctor.types import DrmMemory, Holder
from launcher.units import GIB
from tests.doctor.machines import sources
from tests.doctor.test_checks import LINUX as PLATFORM
from tests.hardware.trees import write
from tests.systems import POSIX

# https://lists.freedesktop.org/archives/dri-devel: `drm/amdgpu: Use drm_print_memory_stats helper from fdinfo`
AMDGPU = """\
pos:	0
flags:	02100002
mnt_id:	24
ino:	1204
drm-driver:	amdgpu
drm-client-id:	30
drm-pdev:	0000:04:00.0
pasid:	32785
drm-total-gtt:	22 MiB
drm-resident-gtt:	22 MiB
drm-total-vram:	544428 KiB
drm-shared-vram:	13584 KiB
drm-active-vram:	260356 KiB
drm-resident-vram:	544428 KiB
drm-memory-vram:	544428 KiB
drm-memory-gtt: 	22528 KiB
amd-requested-vram:	544428 KiB
drm-engine-gfx:	39456116802 ns
"""
AMDGPU_BEFORE_6_13 = """\
drm-driver:	amdgpu
drm-client-id:	11
drm-pdev:	0000:0c:00.0
drm-memory-vram:	3145728 KiB
drm-memory-gtt: 	2048 KiB
"""
# https://docs.kernel.org/gpu/xe/xe-drm-usage-stats.html
XE = """\
drm-driver:     xe
drm-client-id:  3
drm-pdev:       0000:03:00.0
drm-total-system:       0
drm-resident-system:    0
drm-total-gtt:  192 KiB
drm-resident-gtt:       192 KiB
drm-total-vram0:        23992 KiB
drm-shared-vram0:       16 MiB
drm-resident-vram0:     23992 KiB
drm-resident-stolen:    0
drm-cycles-rcs: 28257900
"""
# proc_pid_fdinfo(5): integrated graphics, whose memory is the RAM
I915 = """\
pos: 0
drm-driver: i915
drm-client-id: 39
drm-pdev: 0000:00:02.0
drm-total-system0: 6044 KiB
drm-resident-system0: 6044 KiB
drm-resident-stolen-system0: 0
drm-engine-render: 346249 ns
"""
I915_ARC = (
    I915.replace("0000:00:02.0", "0000:03:00.0") + "drm-resident-local0:\t512 MiB\ndrm-resident-stolen-local0: 8 MiB\n"
)


@pytest.mark.parametrize(
    ("text", "client"),
    [
        (AMDGPU, Client(pci_id="0000:04:00.0", number="30", used_bytes=544428 << 10)),
        (AMDGPU_BEFORE_6_13, Client(pci_id="0000:0c:00.0", number="11", used_bytes=3 * GIB)),
        (XE, Client(pci_id="0000:03:00.0", number="3", used_bytes=23992 << 10)),
        (I915, Client(pci_id="0000:00:02.0", number="39", used_bytes=0)),
        (I915_ARC, Client(pci_id="0000:03:00.0", number="39", used_bytes=512 << 20)),
        ("pos:\t0\nflags:\t02100002\nmnt_id:\t24\n", None),
        (AMDGPU.replace("amdgpu", "panthor"), None),
        (AMDGPU.replace("drm-client-id", "drm-no-id"), None),
        ("drm-driver: amdgpu\ndrm-client-id: 1\ndrm-pdev: nonsense\n", None),
        ("", None),
    ],
)
def test_what_a_driver_tells_of_one_file(text: str, client: Client | None) -> None:
    assert parse_client(text) == client


def opened(root: Path, pid: int, fd: int, text: str, *, file: str = "/dev/dri/renderD128") -> None:
    """A process has a file of a GPU open."""
    write(root, f"proc/{pid}/fdinfo/{fd}", text)
    folder = root / "proc" / str(pid) / "fd"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(fd)).symlink_to(file)


def radeon(root: Path) -> Sources:
    """A Radeon at 0000:0c:00.0 with 23 of 24 GiB free."""
    return sources("rx-7900-xtx-cpu-engine", root)


def vram(client: int, n_gib: int) -> str:
    return (
        f"drm-driver: amdgpu\ndrm-client-id: {client}\ndrm-pdev: 0000:0c:00.0\ndrm-resident-vram: {n_gib << 10} MiB\n"
    )


def test_one_client_behind_several_files_is_counted_once_and_for_the_younger_process(tmp_path: Path) -> None:
    """Keeps out: twice the memory, and a session's manager that is told to be ended in the place of a program."""
    source = radeon(tmp_path)
    opened(tmp_path, 700, 5, vram(1, 2))
    opened(tmp_path, 4242, 5, vram(1, 2))
    opened(tmp_path, 4242, 6, vram(1, 2), file="/dev/dri/card1")
    opened(tmp_path, 4242, 7, vram(2, 1))
    opened(tmp_path, 4242, 8, vram(3, 9), file="/home/somebody/a.txt")
    found = read_holders(replace(source, process_name={4242: "blender"}.get))
    assert found.holders == (
        Holder(gpu="AMD Radeon RX 7900 XTX", pid=4242, name="blender", used_bytes=3 * GIB, port=None),
    )
    assert (found.n_gpus, found.used_bytes, found.complete) == (1, GIB, True)


@POSIX
def test_processes_of_others_are_counted_and_left_alone(tmp_path: Path) -> None:
    source = radeon(tmp_path)
    opened(tmp_path, 4242, 5, vram(1, 2))
    (tmp_path / "proc" / "77").mkdir()
    (tmp_path / "proc" / "78" / "fd").mkdir(parents=True)
    (tmp_path / "proc" / "78" / "fd").chmod(0)
    try:
        found = read_holders(source)
    finally:
        (tmp_path / "proc" / "78" / "fd").chmod(0o700)
    assert [holder.pid for holder in found.holders] == [4242]


def test_a_machine_with_too_many_files_is_given_up_in_time(tmp_path: Path) -> None:
    opened(tmp_path, 4242, 5, vram(1, 2))
    opened(tmp_path, 4243, 5, vram(2, 2))
    ticks = count()
    found = read_holders(replace(radeon(tmp_path), clock_s=lambda: float(next(ticks))), deadline_s=1.5)
    assert not found.complete
    assert [holder.pid for holder in found.holders] == [4243]
    (line,) = check_holders(None, replace(found, holders=()), PLATFORM)
    assert line.what == "nobody else was found to hold any, but not all programs were looked at in time"


def test_machines_without_such_a_gpu_are_not_searched(tmp_path: Path) -> None:
    opened(tmp_path, 4242, 5, vram(1, 2))
    assert read_holders(sources("server-without-gpu", tmp_path)) == DrmMemory(n_gpus=0)
    assert check_holders(None, DrmMemory(n_gpus=0), PLATFORM) == ()


def holder(name: str | None, n_bytes: int, pid: int = 4242) -> Holder:
    return Holder(gpu="AMD Radeon RX 7900 XTX", pid=pid, name=name, used_bytes=n_bytes, port=None)


def test_who_draws_the_screen_is_not_told_to_be_ended() -> None:
    drm = DrmMemory(n_gpus=1, holders=(holder("gnome-shell", 3 * GIB), holder("firefox", GIB // 2, 5)))
    (line,) = check_holders(None, drm, PLATFORM)
    assert (line.status, line.what, line.remedy) == ("ok", "3.5 GiB held by other programs", None)


def test_the_program_that_holds_most_is_told_beside_the_screens() -> None:
    drm = DrmMemory(n_gpus=1, holders=(holder("gnome-shell", 3 * GIB), holder("blender", 2 * GIB, 5)))
    (line,) = check_holders(None, drm, PLATFORM)
    assert (line.status, line.remedy) == ("warn", "kill 5")
    assert line.what == "blender (pid 5) holds 2.0 GiB of AMD Radeon RX 7900 XTX"


@pytest.mark.parametrize(("n_closed", "status"), [(12, "warn"), (0, "ok")])
def test_what_only_root_may_see_is_missed_where_something_is_closed(n_closed: int, status: str) -> None:
    """Without closed processes the rest is the driver's own."""
    drm = DrmMemory(n_gpus=1, holders=(holder("firefox", GIB // 2),), used_bytes=8 * GIB, n_closed=n_closed)
    (line,) = check_holders(None, drm, PLATFORM)
    assert line.status == status
    if status == "warn":
        assert line.what == "7.5 GiB held by programs of other people, which only root may look into"
        assert line.remedy == "sudo fuser -v /dev/dri/renderD*"
