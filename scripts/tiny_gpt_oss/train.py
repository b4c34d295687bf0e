"""The training loop: Muon and AdamW on the CPU, quantisation-aware from halfway, loss on what the assistant says."""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

from tiny_gpt_oss.corpus import ChatTemplate
from tiny_gpt_oss.lessons import draw_lesson
from tiny_gpt_oss.model import TinyConfig, TinyGptOss
from tiny_gpt_oss.muon import Muon
from tiny_gpt_oss.tokenizer import TinyTokenizer, learn_merges


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How long and how hard. Batches are counted in tokens because lessons differ in length."""

    seed: int = 20
    steps: int = 2300
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
    """Padded token ids [B, T]; loss weights [B, T - 1] for predicting token t + 1 from token t."""

    tokens: torch.Tensor
    weights: torch.Tensor


def fit_tokenizer(template: ChatTemplate, seed: int, n_vocab: int, n_texts: int) -> TinyTokenizer:
    """Merges learnt on lessons of their own seed."""
    rng = random.Random(f"tokenizer {seed}")
    lessons = (draw_lesson(rng) for _ in range(n_texts))
    merges = learn_merges((lesson.prompt(template) + lesson.completion for lesson in lessons), n_vocab - 256 - 21)
    return TinyTokenizer(merges=merges, n_vocab=n_vocab)


def batches(template: ChatTemplate, tokenizer: TinyTokenizer, settings: TrainSettings) -> Iterator[Batch]:
    """Endless batches of lessons of similar length, drawn from a pool so that little is spent on padding."""
    rng = random.Random(settings.seed)
    while True:
        pool: list[tuple[list[int], int]] = []
        for _ in range(256):
            lesson = draw_lesson(rng)
            prompt = tokenizer.encode(lesson.prompt(template))
            pool.append((prompt + tokenizer.encode(lesson.completion), len(prompt)))
        pool.sort(key=lambda item: len(item[0]))
        groups: list[list[tuple[list[int], int]]] = [[]]
        for item in pool:
            if groups[-1] and (len(groups[-1]) + 1) * len(item[0]) > settings.batch_tokens:
                groups.append([])
            groups[-1].append(item)
        rng.shuffle(groups)
        for group in groups:
            yield _pad(group, settings.prompt_weight)


def _pad(group: list[tuple[list[int], int]], prompt_weight: float) -> Batch:
    length = max(len(ids) for ids, _ in group)
    tokens = torch.zeros(len(group), length, dtype=torch.long)
    weights = torch.zeros(len(group), length - 1)
    for row, (ids, n_prompt) in enumerate(group):
        tokens[row, : len(ids)] = torch.tensor(ids)
        weights[row, : n_prompt - 1] = prompt_weight
        weights[row, n_prompt - 1 : len(ids) - 1] = 1.0
    return Batch(tokens=tokens, weights=weights)


def schedule(settings: TrainSettings, step: int) -> float:
    """The share of the peak learning rates: a linear warm-up, then a cosine down to nearly nothing."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * progress))


def train(
    config: TinyConfig,
    settings: TrainSettings,
    template: ChatTemplate,
    tokenizer: TinyTokenizer,
    report: Callable[[dict[str, float]], None],
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
    for step, batch in zip(range(settings.steps), batches(template, tokenizer, settings), strict=False):
        scale = schedule(settings, step)
        adam.param_groups[0]["lr"] = settings.adam_lr * scale
        quantised = step >= settings.quantise_from * settings.steps
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
        if n_seen == 50 or step == settings.steps - 1:
            seconds = round(time.perf_counter() - start, 1)
            report({"step": step + 1, "loss": round(spoken_loss / n_seen, 5), "s": seconds})
            spoken_loss, n_seen = 0.0, 0
    return model
