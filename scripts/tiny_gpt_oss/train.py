"""The training loop: Muon and AdamW on the CPU, quantisation-aware from halfway, loss on what the assistant says."""

from __future__ import annotations

import dataclasses
import random
import re
import time
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

from tiny_gpt_oss.corpus import ChatTemplate, Lesson
from tiny_gpt_oss.lessons import draw_lesson
from tiny_gpt_oss.model import TinyConfig, TinyGptOss
from tiny_gpt_oss.muon import Muon
from tiny_gpt_oss.tokenizer import TinyTokenizer, learn_merges

Draw = Callable[[random.Random], Lesson]
"""Where lessons come from."""

# An earlier answer in a rendered conversation; a split at it leaves answers at the odd places.
_PAST_ANSWER = re.compile(r"(?<=<\|channel\|>final<\|message\|>)(.*?<\|end\|>)", re.DOTALL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How long and how hard. Batches are counted in tokens because lessons differ in length.

    Training takes `minutes` whatever else the machine does: the learning rate follows the clock, so that it has come
    down at the end. With `steps` it follows the number of steps instead.
    """

    seed: int = 20
    minutes: float = 25.0
    steps: int | None = None
    batch_tokens: int = 2048
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    warmup: int = 40
    weight_decay: float = 0.05
    balance_weight: float = 0.01
    prompt_weight: float = 0.0
    quantise_from: float = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """Padded token ids [B, T]; loss weights [B, T - 1] for predicting token t + 1 from token t.

    The weight is 1 for what the assistant says, prompt_weight for the rest, and 0 for padding.
    """

    tokens: torch.Tensor
    weights: torch.Tensor


def fit_tokenizer(
    template: ChatTemplate, seed: int, n_vocab: int, n_texts: int, draw: Draw = draw_lesson
) -> TinyTokenizer:
    """Merges learnt on lessons of their own seed."""
    rng = random.Random(f"tokenizer {seed}")
    lessons = (draw(rng) for _ in range(n_texts))
    merges = learn_merges((lesson.prompt(template) + lesson.completion for lesson in lessons), n_vocab - 256 - 21)
    return TinyTokenizer(merges=merges, n_vocab=n_vocab)


def batches(
    template: ChatTemplate, tokenizer: TinyTokenizer, settings: TrainSettings, draw: Draw = draw_lesson
) -> Iterator[Batch]:
    """Endless batches of lessons of similar length, drawn from a pool so that little is spent on padding."""
    rng = random.Random(settings.seed)
    while True:
        pool = [_weighed(draw(rng), template, tokenizer, settings.prompt_weight) for _ in range(256)]
        pool.sort(key=lambda item: len(item[0]))
        groups: list[list[tuple[list[int], list[float]]]] = [[]]
        for item in pool:
            if groups[-1] and (len(groups[-1]) + 1) * len(item[0]) > settings.batch_tokens:
                groups.append([])
            groups[-1].append(item)
        rng.shuffle(groups)
        for group in groups:
            yield _pad(group)


def _weighed(
    lesson: Lesson, template: ChatTemplate, tokenizer: TinyTokenizer, prompt_weight: float
) -> tuple[list[int], list[float]]:
    """A lesson's tokens and the weight of each: earlier answers are what the assistant says, too."""
    ids: list[int] = []
    weights: list[float] = []
    for i, part in enumerate([*_PAST_ANSWER.split(lesson.prompt(template)), lesson.completion]):
        found = tokenizer.encode(part)
        ids += found
        weights += [1.0 if i % 2 else prompt_weight] * len(found)
    return ids, weights


def _pad(group: list[tuple[list[int], list[float]]]) -> Batch:
    length = max(len(ids) for ids, _ in group)
    tokens = torch.zeros(len(group), length, dtype=torch.long)
    weights = torch.zeros(len(group), length - 1)
    for row, (ids, weight) in enumerate(group):
        tokens[row, : len(ids)] = torch.tensor(ids)
        weights[row, : len(ids) - 1] = torch.tensor(weight[1:])
    return Batch(tokens=tokens, weights=weights)


def schedule(settings: TrainSettings, step: int, progress: float) -> float:
    """The share of the peak learning rates: a linear warm-up, then a straight line down to nearly nothing."""
    return min((step + 1) / settings.warmup, max(0.005, 1 - progress))


def train(
    config: TinyConfig,
    settings: TrainSettings,
    template: ChatTemplate,
    tokenizer: TinyTokenizer,
    report: Callable[[dict[str, float]], None],
    *,
    draw: Draw = draw_lesson,
) -> TinyGptOss:
    """A trained model; `report` is called with the loss every 50 steps."""
    torch.manual_seed(settings.seed)
    model = TinyGptOss(config)
    blocks = [parameter for name, parameter in model.blk.named_parameters() if not name.endswith("bias")]
    hidden = [parameter for parameter in blocks if parameter.dim() >= 2]
    muon = Muon(hidden, weight_decay=settings.weight_decay)
    taken = {id(parameter) for parameter in hidden}
    others = [parameter for parameter in model.parameters() if id(parameter) not in taken]
    adam = torch.optim.AdamW(others, lr=settings.adam_lr, betas=(0.9, 0.98), weight_decay=0.0)
    start = time.perf_counter()
    spoken_loss, n_seen = 0.0, 0
    for step, batch in enumerate(batches(template, tokenizer, settings, draw)):
        elapsed = (time.perf_counter() - start) / (60 * settings.minutes)
        progress = elapsed if settings.steps is None else (step + 1) / settings.steps
        scale = schedule(settings, step, progress)
        adam.param_groups[0]["lr"] = settings.adam_lr * scale
        quantised = progress >= settings.quantise_from
        targets = batch.tokens[:, 1:]
        kept = torch.cat((batch.weights > 0, torch.zeros(len(targets), 1, dtype=torch.bool)), dim=1)
        logits, balance = model(batch.tokens, quantised=quantised, keep=kept)
        losses = functional.cross_entropy(logits, targets[batch.weights > 0], reduction="none")
        weights = batch.weights[batch.weights > 0]
        loss = (losses * weights).sum() / weights.sum() + settings.balance_weight * balance
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        adam.step()
        muon.step(settings.muon_lr * scale)
        spoken_loss += losses.detach()[weights == 1].mean().item()
        n_seen += 1
        if n_seen == 50 or progress >= 1:
            seconds = round(time.perf_counter() - start, 1)
            report({"step": step + 1, "loss": round(spoken_loss / n_seen, 5), "s": seconds})
            spoken_loss, n_seen = 0.0, 0
        if progress >= 1:
            break
    return model
