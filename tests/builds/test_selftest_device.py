"""The self-test on a device that is not the CPU: a ggml-rpc-server on loopback, which llama.cpp takes for a GPU."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from launcher.builds import store
from launcher.builds.selftest import read_reference, reference_path
from launcher.builds.selftest_child import MARK
from launcher.builds.selftest_judge import devices_of, fault, heard
from launcher.demo import demo_model_path
from launcher.engines.stand_ins import stand_ins
from tests.systems import LINUX

CHILD = """
import sys
import llama_cpp
from launcher.builds import selftest_child
from launcher.engines.oracle_child import _Ggml
llama_cpp.llama_backend_init()
_Ggml().add_remote(sys.argv[1])
selftest_child.main()
"""


@LINUX
@pytest.mark.slow
def test_every_case_is_computed_on_the_device_too() -> None:
    order = {"model": str(demo_model_path()), "reference": str(reference_path())}
    with stand_ins(1) as (endpoint,):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, endpoint],
            input=json.dumps(order), capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
    said = heard(done.stdout, MARK)
    build = store.environment_build()
    assert build is not None
    assert fault(said, done.returncode, done.stderr, build, read_reference()) is None
    assert devices_of(said) == ("RPC0",)
    cases = [(case.name, case.device) for case in said.cases]
    assert cases[3:] == [(name, "RPC0") for name, _ in cases[:3]]
    assert set(said.texts) == {tuple(read_reference().continued)}
    assert len(said.texts) == 2
