"""The rule for reusing a KV prefix, against a model of what sliding-window layers still hold."""

from hypothesis import given
from hypothesis import strategies as st

from launcher.engines.prefix import Reuse, WindowSpan, choose_reuse, common_prefix

N_SWA = 16


def test_common_prefix() -> None:
    assert common_prefix([1, 2, 3], [1, 2, 4, 5]) == 2
    assert common_prefix([], [1]) == 0
    assert common_prefix([1, 2], [1, 2]) == 2


def test_a_full_attention_cache_serves_any_prefix() -> None:
    reuse = choose_reuse(range(100), [*range(50), 7], pos_min=0, n_swa=0, checkpoints=())
    assert reuse == Reuse(n_keep=50, checkpoint=None)


def test_the_last_prompt_token_is_always_evaluated() -> None:
    reuse = choose_reuse(range(10), range(10), pos_min=0, n_swa=0, checkpoints=())
    assert reuse.n_keep == 9


def test_a_branch_before_the_window_needs_a_checkpoint() -> None:
    """Regression guard: llama.cpp answers true when cells before the window are removed, and empties it."""
    prompt = [*range(100), 777, 778]
    assert choose_reuse(range(300), prompt, pos_min=280, n_swa=N_SWA, checkpoints=()).n_keep == 0
    checkpoints = (WindowSpan(n_tokens=40, pos_min=20), WindowSpan(n_tokens=100, pos_min=80))
    reuse = choose_reuse(range(300), prompt, pos_min=280, n_swa=N_SWA, checkpoints=checkpoints)
    assert reuse == Reuse(n_keep=100, checkpoint=1)


def test_a_window_that_still_reaches_back_needs_none() -> None:
    prompt = [*range(100), 777]
    reuse = choose_reuse(range(105), prompt, pos_min=85, n_swa=N_SWA, checkpoints=())
    assert reuse == Reuse(n_keep=100, checkpoint=None)


@given(
    n_cached=st.integers(0, 200),
    n_same=st.integers(0, 200),
    n_new=st.integers(1, 50),
    slack=st.integers(0, 40),
    saved=st.lists(st.integers(1, 200), max_size=5),
)
def test_what_is_kept_is_always_complete(n_cached: int, n_same: int, n_new: int, slack: int, saved: list[int]) -> None:
    """Whatever is chosen: the window holds every position that the next token looks at."""
    cached = list(range(n_cached))
    prompt = [*range(min(n_same, n_cached)), *range(1000, 1000 + n_new)]
    pos_min = max(0, n_cached - N_SWA - slack) if cached else -1
    spans = [WindowSpan(n_tokens=n, pos_min=max(0, n - N_SWA - slack)) for n in saved if n <= n_cached]
    reuse = choose_reuse(cached, prompt, pos_min=pos_min, n_swa=N_SWA, checkpoints=spans)
    assert 0 <= reuse.n_keep < len(prompt)
    assert prompt[: reuse.n_keep] == cached[: reuse.n_keep]
    if reuse.n_keep:
        held_from = pos_min if reuse.checkpoint is None else spans[reuse.checkpoint].pos_min
        held_to = n_cached if reuse.checkpoint is None else spans[reuse.checkpoint].n_tokens
        assert held_from <= max(0, reuse.n_keep - N_SWA + 1)
        assert reuse.n_keep <= held_to
