"""CPU and RAM of Linux machines, from trees of files shaped like real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.hardware import cgroup, linux
from launcher.units import GIB, MIB
from tests.hardware.trees import plant, write

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1024


def test_a_laptop_session_without_limits_has_what_the_kernel_says(tmp_path: Path) -> None:
    memory = linux.read_memory(plant("laptop_hybrid", tmp_path))
    assert memory is not None
    assert memory.total_bytes == 16104228 * KIB
    assert memory.available_bytes == 9437184 * KIB
    assert memory.used_bytes == memory.total_bytes - memory.available_bytes
    assert memory.limit_bytes is None
    assert memory.limit_source is None
    assert memory.swap_total_bytes == 8388604 * KIB


def test_hybrid_intel_counts_cores_and_performance_cores(tmp_path: Path) -> None:
    cpu = linux.read_cpu(plant("laptop_hybrid", tmp_path), arch="x86_64", cpus=frozenset(range(16)))
    assert cpu.name == "12th Gen Intel(R) Core(TM) i7-1260P"
    assert (cpu.n_physical, cpu.n_logical, cpu.n_performance) == (12, 16, 4)
    assert cpu.quota_cores is None
    assert cpu.n_threads == 4
    assert cpu.isa == ("SSE3", "SSSE3", "AVX", "AVX_VNNI", "AVX2", "F16C", "FMA", "BMI2")


def test_the_affinity_mask_counts(tmp_path: Path) -> None:
    """`taskset -c 0-3,8` on the hybrid laptop: two performance cores and one efficient one."""
    cpu = linux.read_cpu(plant("laptop_hybrid", tmp_path), arch="x86_64", cpus=frozenset({0, 1, 2, 3, 8}))
    assert (cpu.n_physical, cpu.n_logical, cpu.n_performance) == (3, 5, 2)


def test_a_mask_of_efficient_cores_only_has_no_performance_cores(tmp_path: Path) -> None:
    cpu = linux.read_cpu(plant("laptop_hybrid", tmp_path), arch="x86_64", cpus=frozenset({8, 9, 10}))
    assert cpu.n_performance is None
    assert cpu.n_threads == 3


def test_docker_on_version_2_page_cache_does_not_count_as_used(tmp_path: Path) -> None:
    root = plant("docker_v2", tmp_path)
    memory = linux.read_memory(root)
    assert memory is not None
    assert memory.limit_bytes == 8 * GIB
    assert memory.limit_source == "/sys/fs/cgroup/memory.max"
    # 3 GiB used, of which 2 GiB are page cache
    assert memory.available_bytes == 7 * GIB
    cpu = linux.read_cpu(root, arch="x86_64", cpus=frozenset(range(8)))
    assert cpu.quota_cores == 2.0
    assert cpu.n_threads == 2
    assert {"AVX512", "AVX512_VBMI", "AVX512_VNNI"} <= set(cpu.isa)


def test_docker_on_version_1_sees_the_limit_of_a_parent_outside(tmp_path: Path) -> None:
    """The container's own limit is `unlimited` (8 EiB): only memory.stat tells of the pod's 4 GiB."""
    root = plant("docker_v1", tmp_path)
    memory = linux.read_memory(root)
    assert memory is not None
    assert memory.limit_bytes == 4 * GIB
    assert memory.limit_source == "/sys/fs/cgroup/memory/memory.stat"
    assert memory.available_bytes == 4 * GIB - (2 * GIB - 1280 * MIB)
    assert linux.read_cpu(root, arch="x86_64", cpus=frozenset(range(4))).quota_cores == 1.5


def test_nested_slices_the_tightest_limit_binds_and_each_level_leaves_its_own_room(tmp_path: Path) -> None:
    """The parent's memory.high is the tightest limit (12 GiB), but the grandparent has the least room left (6 GiB)."""
    root = plant("nested_slices", tmp_path)
    memory = linux.read_memory(root)
    assert memory is not None
    assert memory.limit_bytes == 12 * GIB
    assert memory.limit_source == "/sys/fs/cgroup/batch.slice/batch-llm.slice/memory.high"
    assert memory.available_bytes == 6 * GIB
    assert linux.read_cpu(root, arch="x86_64", cpus=frozenset(range(8))).quota_cores == 2.5


def test_arm_counts_the_big_cores_and_is_named_by_its_board(tmp_path: Path) -> None:
    cpu = linux.read_cpu(plant("arm_big_little", tmp_path), arch="aarch64", cpus=frozenset(range(20)))
    assert cpu.name == "NVIDIA DGX Spark"
    assert (cpu.n_physical, cpu.n_performance) == (20, 10)
    assert cpu.isa == ("NEON", "FP16_VA", "MATMUL_INT8", "SVE", "DOTPROD")


def test_smt_threads_share_a_core(tmp_path: Path) -> None:
    cpu = linux.read_cpu(plant("amd_desktop", tmp_path), arch="x86_64", cpus=frozenset(range(16)))
    assert (cpu.n_physical, cpu.n_logical, cpu.n_performance) == (8, 16, None)


def test_without_a_topology_physical_cores_are_unknown(tmp_path: Path) -> None:
    cpu = linux.read_cpu(tmp_path, arch="x86_64", cpus=frozenset({0, 1}))
    assert cpu.n_physical is None
    assert cpu.name is None
    assert cpu.n_threads == 2


def test_without_meminfo_memory_is_unknown(tmp_path: Path) -> None:
    assert linux.read_memory(tmp_path) is None


def test_a_kernel_without_memavailable_counts_free_and_cache() -> None:
    memory = linux.host_memory({"MemTotal": 100, "MemFree": 20, "Buffers": 5, "Cached": 40, "Shmem": 10}, ())
    assert memory is not None
    assert memory.available_bytes == 55


def test_a_limit_that_is_already_overrun_leaves_nothing_and_not_less() -> None:
    level = cgroup.CgroupLevel(limit_bytes=50, used_bytes=70, source="/x")
    memory = linux.host_memory({"MemTotal": 100, "MemAvailable": 90}, [level])
    assert memory is not None
    assert memory.available_bytes == 0


def test_a_limit_above_the_ram_does_not_bind() -> None:
    level = cgroup.CgroupLevel(limit_bytes=100, used_bytes=99, source="/x")
    memory = linux.host_memory({"MemTotal": 100, "MemAvailable": 90}, [level])
    assert memory is not None
    assert (memory.available_bytes, memory.limit_bytes) == (90, None)


def test_a_group_outside_the_namespace_is_read_at_the_mount_point(tmp_path: Path) -> None:
    """In a container entered with nsenter, /proc/self/cgroup starts with `/../`."""
    write(tmp_path, "proc/self/cgroup", "0::/../../system.slice/x.service\n")
    write(tmp_path, "proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    write(tmp_path, "sys/fs/cgroup/memory.max", "1000\n")
    write(tmp_path, "sys/fs/cgroup/memory.current", "10\n")
    assert [level.limit_bytes for level in cgroup.memory_levels(tmp_path)] == [1000]


def test_a_hierarchy_mounted_elsewhere_is_found(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/a/b\n")
    write(tmp_path, "proc/self/mountinfo", "30 23 0:26 /a /cgroup\\040two rw - cgroup2 none rw\n")
    write(tmp_path, "cgroup two/b/memory.max", "2000\n")
    write(tmp_path, "cgroup two/memory.max", "3000\n")
    assert [level.limit_bytes for level in cgroup.memory_levels(tmp_path)] == [2000, 3000]


def test_without_mountinfo_the_usual_places_are_tried(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "5:memory:/job\n")
    write(tmp_path, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", "4096\n")
    assert [level.source for level in cgroup.memory_levels(tmp_path)] == [
        "/sys/fs/cgroup/memory/job/memory.limit_in_bytes"
    ]


def test_a_machine_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    assert cgroup.memory_levels(tmp_path) == ()
    assert cgroup.cpu_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", None),
        ("200000 100000", 2.0),
        ("50000 100000", 0.5),
        ("-1 100000", None),
        ("", None),
        ("x y", None),
    ],
)
def test_cpu_max(text: str, cores: float | None) -> None:
    assert cgroup.parse_cpu_max(text) == cores


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0-3,8\n", {0, 1, 2, 3, 8}), ("", set()), ("0-99999999999", set()), ("3-1", set()), ("a,2", {2})],
)
def test_cpu_lists(text: str, cpus: set[int]) -> None:
    assert linux.parse_cpu_list(text) == cpus


LINES = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.from_regex(r"[a-zA-Z_():]{0,12}[: ] {0,3}-?[0-9]{0,22}( kB)?"),
        st.from_regex(r"[0-9]{0,2}:[a-z,=]{0,12}:/?[a-z./]{0,12}"),
        st.from_regex(r"1 2 0:3 /[a-z]{0,3} /[a-z]{0,3} rw - cgroup2? [a-z]{1,4} rw,[a-z]{0,6}"),
    ),
    max_size=8,
).map("\n".join)


@given(LINES)
def test_any_text_is_survived_by_every_parser(text: str) -> None:
    linux.parse_cpuinfo(text)
    linux.parse_cpu_list(text)
    memory = linux.host_memory(linux.parse_meminfo(text), ())
    assert memory is None or 0 <= memory.available_bytes <= memory.total_bytes
    cgroup.parse_membership(text)
    cgroup.parse_mounts(text)
    quota = cgroup.parse_cpu_max(text)
    assert quota is None or quota > 0
    for version in (1, 2):
        assert cgroup.reclaimable_bytes(cgroup.parse_stat(text), version) >= 0


@given(
    st.dictionaries(st.sampled_from(["MemTotal", "MemFree", "MemAvailable", "Cached", "Shmem"]), st.integers(0, 2**50)),
    st.lists(
        st.builds(
            cgroup.CgroupLevel,
            limit_bytes=st.integers(1, 2**63),
            used_bytes=st.integers(0, 2**50),
            source=st.just("/x"),
        )
    ),
)
def test_limits_only_ever_take_away(meminfo: dict[str, int], levels: list[cgroup.CgroupLevel]) -> None:
    without, within = linux.host_memory(meminfo, ()), linux.host_memory(meminfo, levels)
    if without is None or within is None:
        assert within is without is None
        return
    assert 0 <= within.available_bytes <= without.available_bytes
    if within.limit_bytes is not None:
        assert within.available_bytes <= within.limit_bytes < within.total_bytes
