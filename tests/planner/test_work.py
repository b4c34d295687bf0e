"""What a token and a prompt cost, term by term."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launcher.planner import costs
from launcher.planner.types import Work
from launcher.planner.work import decode_work, parts_of, prompt_work
from tests.builders import ARM_ISA
from tests.planner.builders import SPEC_20B, dense_model, gpu_params, load_params, weights_of

WEIGHTS = weights_of("gpt-oss-20b")


def amount(work: Work, term: str) -> float:
    """All of a term, over steps and ways."""
    return sum(n for step in work for way in step for name, n in way if name == term)


def test_a_prompt_needs_the_output_matrix_for_its_last_token_alone() -> None:
    (host,) = parts_of(SPEC_20B, WEIGHTS, load_params())
    work = prompt_work(SPEC_20B, WEIGHTS, load_params(n_threads_batch=1), 512, 0)
    products = amount(work, costs.PRODUCT) + amount(work, costs.PRODUCT_PLAIN)
    assert products == pytest.approx(2 * 512 * (host.n_params - host.head.n_params))
    once = amount(work, costs.DECODE) + amount(work, costs.DECODE_PLAIN)
    assert once == pytest.approx(2 * host.head.n_params)
    batches = prompt_work(SPEC_20B, WEIGHTS, load_params(n_threads_batch=1, n_batch=128, n_ubatch=128), 512, 0)
    assert amount(batches, costs.DECODE_PLAIN) == pytest.approx(4 * amount(work, costs.DECODE_PLAIN))
    assert amount(batches, costs.BLOCK) == 4 * amount(work, costs.BLOCK) == 4 * 24


def test_a_device_multiplies_the_output_matrix_for_one_token_as_well() -> None:
    device, _ = parts_of(SPEC_20B, WEIGHTS, gpu_params(25))
    assert device.head.n_params == pytest.approx(201_088 * 2880)
    short = replace(SPEC_20B, n_head=0)  # no attention
    products = amount(prompt_work(short, WEIGHTS, gpu_params(25), 512, 0), costs.device_term("CUDA0", "product"))
    assert products == pytest.approx(2 * 512 * (device.n_params - device.head.n_params))


def test_active_weights_are_counted_by_their_bits() -> None:
    # 3.6 billion active of 20.9, as the model's card has it; the embeddings are looked up.
    (host,) = parts_of(SPEC_20B, WEIGHTS, load_params())
    assert host.n_params == pytest.approx(3.6e9, rel=0.03)
    (wide,) = parts_of(SPEC_20B, weights_of("gpt-oss-20b", "F16"), load_params())
    assert wide.n_params == pytest.approx(host.n_params, rel=0.03), "the same model in more bits"
    assert wide.weight_bytes > 1.3 * host.weight_bytes


def test_what_is_repacked_depends_on_the_processor_and_the_placement() -> None:
    (x86,) = parts_of(SPEC_20B, WEIGHTS, load_params())
    (arm,) = parts_of(SPEC_20B, weights_of("gpt-oss-20b", isa=ARM_ISA), load_params())
    assert 0 < arm.n_plain_params < x86.n_plain_params < x86.n_params, "Q8_0 is repacked on ARM alone"
    (plain,) = parts_of(SPEC_20B, WEIGHTS, load_params(repack=False))
    assert plain.n_plain_params == plain.n_params
    beside = parts_of(SPEC_20B, WEIGHTS, gpu_params(25, 24, repack=True))[-1]
    assert beside.n_plain_params == beside.n_params


def test_amounts_are_those_of_one_thread() -> None:
    one, four = (decode_work(SPEC_20B, WEIGHTS, load_params(n_threads=n), 1000) for n in (1, 4))
    for term in (costs.DRAW, costs.DECODE, costs.DECODE_PLAIN, costs.ATTEND):
        assert amount(one, term) == pytest.approx(4 * amount(four, term))
    assert amount(one, costs.RAM) == amount(four, costs.RAM)
    assert amount(one, costs.BLOCK) == amount(four, costs.BLOCK) == 24


def test_depth_costs_attention_within_its_windows() -> None:
    shallow, deep, deeper = (
        amount(decode_work(SPEC_20B, WEIGHTS, load_params(), d), costs.ATTEND) for d in (0, 128, 256)
    )
    assert shallow == 0
    assert deeper - deep == pytest.approx((deep - shallow) / 2), "past the window only every other block reads more"
    # Twelve blocks see everything: 64 heads of queries, by keys and by values.
    assert deeper - deep == pytest.approx(12 * 128 * 2 * 64 * (64 + 64) / load_params().n_threads)


def test_a_small_prompt_reads_fewer_experts() -> None:
    reads = [amount(prompt_work(SPEC_20B, WEIGHTS, load_params(), n, 0), costs.RAM) for n in (1, 8, 512)]
    (host,) = parts_of(SPEC_20B, WEIGHTS, load_params())
    head = host.head.n_bytes
    assert reads[0] == pytest.approx(host.weight_bytes + head)
    assert reads[0] < reads[1] < reads[2]
    assert reads[2] == pytest.approx(host.whole_bytes + head)


def test_experts_in_ram_go_over_the_link_for_large_batches_alone() -> None:
    staged = WEIGHTS.layers[0].expert_bytes * 24
    large = prompt_work(SPEC_20B, WEIGHTS, gpu_params(25, 24), 512, 0)
    assert amount(large, costs.LINK) == pytest.approx(staged)
    assert amount(large, costs.PRODUCT_PLAIN) == 0
    for small in (
        prompt_work(SPEC_20B, WEIGHTS, gpu_params(25, 24), 16, 0),
        prompt_work(SPEC_20B, WEIGHTS, gpu_params(25, 24, op_offload=False), 512, 0),
    ):
        assert amount(small, costs.LINK) == 0
        assert amount(small, costs.PRODUCT_PLAIN) > 0


def test_a_tied_output_counts_where_it_is_multiplied() -> None:
    spec, weights = dense_model()
    (host,) = parts_of(spec, weights, load_params())
    assert host.head.n_bytes == weights.token_embd_bytes
    assert host.whole_bytes == host.weight_bytes, "without experts a token reads everything"


def test_streamed_weights_ask_the_disk() -> None:
    work = prompt_work(SPEC_20B, WEIGHTS, load_params(n_ubatch=256), 512, 0, streamed_bytes=10**9)
    assert amount(work, costs.DISK) == 2 * 10**9
    assert amount(decode_work(SPEC_20B, WEIGHTS, load_params(), 0, streamed_bytes=10**9), costs.DISK) < 10**9


def test_what_costs_nothing_is_no_part_of_the_work() -> None:
    work = decode_work(replace(SPEC_20B, n_layer=0), replace(WEIGHTS, layers=()), load_params(), 0)
    assert work
    assert all(way and all(n > 0 for _, n in way) for step in work for way in step)
