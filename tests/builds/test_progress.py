"""How far, how many at once, how much disk, and what an error means."""

from __future__ import annotations

import pytest

from launcher.builds.capacity import capacity, expected_s, needed_bytes, usable_cpus
from launcher.builds.compile_types import Step
from launcher.builds.failures import explain
from launcher.builds.progress import Watch, planned_steps, weight
from launcher.units import GIB, MIB

CUDA = "Building CUDA object vendor/llama.cpp/ggml/src/ggml-cuda/CMakeFiles/ggml-cuda.dir/"


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_ninja_tells_steps_and_heavy_files_count_for_more() -> None:
    dry = f"[1/4] Building C object a.c.o\n[2/4] {CUDA}template-instances/mmq-instance-q4_0.cu.o\nignored\n"
    planned = planned_steps(dry + "[3/4] Building CXX object b.cpp.o\n[4/4] Linking CXX shared library liba.so\n")
    assert len(planned) == 4
    clock = Clock()
    watch = Watch(planned, clock)
    assert watch.read("/usr/include/x.h:1:2: warning: unused") is None
    clock.now += 2
    light = watch.read("[1/4] Building C object a.c.o")
    assert light is not None
    assert (light.done, light.total) == (1, 4)
    assert light.share < 0.1
    clock.now += 40
    heavy = watch.read(f"[2/4] {CUDA}template-instances/mmq-instance-q4_0.cu.o")
    assert heavy is not None
    assert heavy.share > 0.85
    assert heavy.left_s == pytest.approx(42 * (1 - heavy.share) / heavy.share)


def test_without_a_plan_files_count_alike() -> None:
    watch = Watch((), Clock())
    assert watch.read("[5/10] Building C object a.c.o") == Step(done=5, total=10, share=0.5, left_s=0.0)


def test_a_plan_that_is_still_to_be_made_is_none() -> None:
    assert planned_steps("[1/2] Re-checking globbed directories...\n[2/2] Re-running CMake...\n") == ()
    watch = Watch((), Clock())
    assert watch.read("[2/2] Re-running CMake...") is None
    assert watch.read("[1/598] Generate vulkan shaders for acc.comp") is not None


def test_make_tells_percents() -> None:
    clock = Clock()
    watch = Watch((), clock)
    clock.now += 10
    assert watch.read("[ 25%] Building C object a.c.o") == Step(done=25, total=100, share=0.25, left_s=30.0)
    first = watch.read("[  1%] Built target ggml-base")
    assert first is not None
    assert first.left_s is None


def test_more_steps_than_planned_are_no_more_than_all() -> None:
    watch = Watch(("Building C object a.c.o",), Clock())
    watch.read("[1/2] Building C object a.c.o")
    last = watch.read("[2/2] Building C object b.c.o")
    assert last is not None
    assert last.share == 1.0


def test_links_weigh_next_to_nothing() -> None:
    assert weight("Linking CXX shared library bin/libggml.so") < weight("Building C object a.c.o")


@pytest.mark.parametrize(
    ("asked", "cpus", "memory", "jobs", "says"),
    [
        (None, 8, 64 * GIB, 8, None),
        (None, 8, 5 * GIB, 5, "5 jobs rather than 8: a compiler takes up to 1.0 GiB, and 5.0 GiB of memory are free"),
        (None, 2, 100 * MIB, 1, "1 job rather than 2"),
        (None, 4, None, 4, None),
        (3, 8, 64 * GIB, 3, None),
        (16, 8, 4 * GIB, 16, "16 jobs as asked for; 4.0 GiB of memory bear about 4"),
    ],
)
def test_jobs(asked: int | None, cpus: int, memory: int | None, jobs: int, says: str | None) -> None:
    found = capacity("cpu", asked=asked, n_cpus=cpus, available_bytes=memory)
    assert found.jobs == jobs
    assert (found.why or "").startswith(says or "")
    assert (found.why is None) == (says is None)


def test_cpus_of_a_container() -> None:
    assert usable_cpus(16, 2.5) == 3
    assert usable_cpus(4, None) == 4
    assert usable_cpus(2, 0.1) == 1


def test_more_architectures_take_more_disk_and_time() -> None:
    one, all_ = (needed_bytes("cuda", n_architectures=n, cublas=False) for n in (1, 7))
    assert one < all_
    assert needed_bytes("cuda", n_architectures=1, cublas=True) - one > GIB
    assert expected_s("cuda", n_architectures=7, jobs=2) > 4 * expected_s("cuda", n_architectures=1, jobs=2)
    assert expected_s("vulkan", n_architectures=1, jobs=4) == expected_s("vulkan", n_architectures=1, jobs=2) / 2


HOST = (
    "crt/host_config.h:143:2: error: #error -- unsupported GNU version! gcc versions later than 13 are not supported!"
)
VS = "CMake Error at C:/Program Files/CMake/share/cmake-3.29/Modules/CMakeDetermineCompilerId.cmake:676 (message):"


@pytest.mark.parametrize(
    ("lines", "first", "means", "need"),
    [
        ([HOST], HOST, "does not take the C++ compiler", "nvidia's cuda toolkit"),
        ([VS, "  No CUDA toolset found.", ""], "No CUDA toolset found.", "Visual Studio integration", "cuda toolkit"),
        (
            ["c++: fatal error: Killed signal terminated program cc1plus", "compilation terminated."],
            "c++: fatal error: Killed signal terminated program cc1plus",
            "want of memory",
            None,
        ),
        (["nvcc error   : 'cicc' died due to signal 9 (Kill signal)"], None, "want of memory", None),
        (["ptxas fatal   : x", "cc1plus: fatal error: a.o: No space left on device"], None, "disk is full", None),
        (
            [
                "CMake Error at FindPackageHandleStandardArgs.cmake:230 (message):",
                "  Could NOT find Vulkan (missing: Vulkan_INCLUDE_DIR glslc) (found version",
            ],
            "Could NOT find Vulkan (missing: Vulkan_INCLUDE_DIR glslc) (found version",
            "glslc",
            "vulkan sdk",
        ),
        (
            [
                "CMake Error at ggml-vulkan/CMakeLists.txt:14 (find_package):",
                '  Could not find a package configuration file provided by "SPIRV-Headers" with',
            ],
            None,
            "SPIRV-Headers",
            "vulkan sdk",
        ),
        (
            ["nvcc fatal   : Unsupported gpu architecture 'compute_120'"],
            None,
            "that architecture",
            "nvidia's cuda toolkit",
        ),
        (
            ["common.cuh:15:10: fatal error: cublas_v2.h: No such file or directory"],
            None,
            "cuBLAS",
            "nvidia's cuda toolkit",
        ),
        (["/usr/bin/ld: cannot find -lcuda: No such file or directory"], None, "GGML_CUDA_NO_VMM=ON", None),
        (
            ["CMake Error at a/CMakeLists.txt:90 (message):", "  At least ROCM/HIP V6.1 is required"],
            None,
            "ROCm",
            "rocm sdk",
        ),
        (["  CMake 3.21 or higher is required.  You are running version 3.16.3"], None, "CMake is too old", "cmake"),
        (["a.cpp:3: error: 'x' is unknown"], "a.cpp:3: error: 'x' is unknown", None, None),
        (["warnings", "the end"], "the end", None, None),
    ],
)
def test_what_an_error_means(lines: list[str], first: str | None, means: str | None, need: str | None) -> None:
    found = explain(["[1/420] Building C object a.c.o", "a.c:1:1: warning: an error that is none", *lines])
    assert first is None or found.first == first
    assert (means or "") in (found.means or "")
    assert (found.means is None) == (means is None)
    assert found.need == need


def test_memory_is_told_by_fewer_jobs() -> None:
    assert explain(["c++: fatal error: Killed signal terminated program cc1plus"]).fewer_jobs
    assert not explain([HOST]).fewer_jobs


def test_nothing_printed() -> None:
    assert explain([]).first is None
