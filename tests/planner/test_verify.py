"""A plan's memory beside llama.cpp's statement: what counts as agreement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launcher.catalogue.types import ModelSpec, ModelWeights
from launcher.planner.compute import compute_buffers
from launcher.planner.memory import split_context, split_weights
from launcher.planner.types import HOST
from launcher.planner.verify import verify
from launcher.units import MIB
from tests.builders import gpu_machine
from tests.planner.builders import SPEC_20B, dense_model, make_plan, weights_of


@pytest.mark.parametrize(
    ("model", "off_bytes", "agrees"),
    [
        # llama.cpp states so much more than is planned on the host
        ((SPEC_20B, weights_of("gpt-oss-20b")), 0, True),
        ((SPEC_20B, weights_of("gpt-oss-20b")), 17 * MIB, False),
        ((SPEC_20B, weights_of("gpt-oss-20b")), -17 * MIB, False),
        (dense_model(), -17 * MIB, True),
        (dense_model(), 17 * MIB, False),
    ],
)
def test_what_is_planned_as_a_bound_may_be_too_much(
    model: tuple[ModelSpec, ModelWeights], off_bytes: int, *, agrees: bool
) -> None:
    """A sound plan of a dense model on a GPU was once told not to agree."""
    spec, weights = model
    plan = replace(make_plan(gpu_machine(), model="20b"), spec=spec)
    params = plan.load_params
    split, context = split_weights(spec, weights, params), split_context(spec, params)
    compute = compute_buffers(spec, weights, params, backends=("CUDA",), no_alloc=True)
    stated = {
        "CUDA0": (split.device_bytes[0], context[0], compute[0]),
        HOST: (split.host_bytes, context[1], compute[1] + off_bytes),
    }
    found = verify(plan, weights, stated, stood_in=False)
    assert found.ok == agrees
    assert ("planned as a bound" in found.note) == (not spec.n_expert)
