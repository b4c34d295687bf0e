"""Muon: momentum whose matrices are made orthogonal before they are applied (K. Jordan, 2024).

Matrices move as far in their weak directions as in their strong ones, so fewer steps are wasted than with AdamW alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

# The quintic iteration's coefficients: they drive every singular value into about [0.7, 1.2] within five rounds.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ROUNDS = 5


def orthogonalise(update: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrix of each matrix in update [..., rows, columns], roughly."""
    wide = update.shape[-2] <= update.shape[-1]
    x = update if wide else update.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x if wide else x.mT


class Muon:
    """Weight matrices [rows, columns] and stacks of them [experts, rows, columns]."""

    def __init__(self, parameters: Iterable[Tensor], *, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        self._parameters = list(parameters)
        self._momentum = momentum
        self._weight_decay = weight_decay
        self._buffers = [torch.zeros_like(parameter) for parameter in self._parameters]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One update with Nesterov momentum; lr is the size of the step per singular direction."""
        for parameter, buffer in zip(self._parameters, self._buffers, strict=True):
            if parameter.grad is None:
                continue
            buffer.lerp_(parameter.grad, 1 - self._momentum)
            direction = orthogonalise(parameter.grad.lerp(buffer, self._momentum))
            rows, columns = parameter.shape[-2:]
            parameter.mul_(1 - lr * self._weight_decay)
            parameter.sub_(direction, alpha=lr * max(1.0, rows / columns) ** 0.5)
            parameter.grad = None
