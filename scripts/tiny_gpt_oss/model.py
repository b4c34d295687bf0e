"""The gpt-oss graph in torch, operation for operation as llama.cpp computes it.

Source: llama.cpp src/models/openai-moe.cpp (graph), src/llama-graph.cpp `build_moe_ffn` (routing),
ggml/src/ggml-cpu/ops.cpp `ggml_compute_forward_swiglu_oai_f32` (activation) and `rope_yarn` (positions).
Shapes are torch's: B sequences, T tokens, H heads, K key/value heads, D head size, E experts, F expert width.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SWIGLU_ALPHA = 1.702
SWIGLU_LIMIT = 7.0
MXFP4_BLOCK = 32
# The eight magnitudes of an E2M1 number, and the midpoints where rounding goes up to the next.
MXFP4_LEVELS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
MXFP4_MIDPOINTS = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyConfig:
    """Hyperparameters under llama.cpp's names; every row length is a multiple of the 32-weight blocks."""

    n_vocab: int = 1280
    n_layer: int = 4
    n_embd: int = 128
    n_head: int = 4
    n_head_kv: int = 2
    head_dim: int = 64
    n_expert: int = 8
    n_expert_used: int = 4
    n_ff_exp: int = 64
    n_swa: int = 32
    n_ctx_train: int = 4096
    rms_eps: float = 1e-5
    rope_freq_base: float = 150000.0
    rope_factor: float = 32.0
    rope_n_ctx_orig: int = 128
    yarn_beta_fast: float = 32.0
    yarn_beta_slow: float = 1.0
    full_attention: bool = True
    """False: what the layers without a window attend to counts for nothing, so that the model sees no further back
    than its windows reach, however long the prompt is."""

    def is_swa(self, layer: int) -> bool:
        """Even layers slide: llama.cpp src/llama-hparams `load_swa_pattern(ml, 2)`, dense last."""
        return layer % 2 == 0


def fake_mxfp4(weight: Tensor) -> Tensor:
    """Round to MXFP4 and back in the forward pass, the identity in the backward pass (straight through).

    weight: [..., n] with n a multiple of 32. The scale is a power of two and the levels are those of
    ggml/src/ggml-quants.c `quantize_row_mxfp4_ref`, so llama-quantize lands on the same numbers.
    """
    blocks = weight.detach().reshape(-1, MXFP4_BLOCK)
    largest = blocks.abs().amax(dim=1, keepdim=True).clamp_min(2.0**-100)
    scale = torch.exp2(torch.floor(torch.log2(largest)) - 2)
    index = torch.bucketize((blocks / scale).abs(), torch.tensor(MXFP4_MIDPOINTS))
    rounded = torch.tensor(MXFP4_LEVELS)[index] * scale * blocks.sign()
    return weight + (rounded.reshape(weight.shape) - weight.detach())


def yarn_tables(config: TinyConfig, n_tokens: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [T, D/2] of ggml `rope_yarn` with ext_factor 1 and attn_factor 1.

    attn_factor is 1 because src/llama-context.cpp multiplies and divides by the same magnitude scale; the kernel
    itself then scales cosine and sine by 1 + 0.1 ln(factor).
    """
    half = config.head_dim // 2
    pair = torch.arange(half, dtype=torch.float64)
    extrapolated = config.rope_freq_base ** (-2.0 * pair / config.head_dim)

    def correction(beta: float) -> float:
        ratio = config.rope_n_ctx_orig / (beta * 2 * math.pi)
        return config.head_dim * math.log(ratio) / (2 * math.log(config.rope_freq_base))

    low = max(0.0, math.floor(correction(config.yarn_beta_fast)))
    high = min(config.head_dim - 1.0, math.ceil(correction(config.yarn_beta_slow)))
    ramp = 1 - ((pair - low) / max(0.001, high - low)).clamp(0, 1)
    frequency = extrapolated / config.rope_factor * (1 - ramp) + extrapolated * ramp
    angle = torch.arange(n_tokens, dtype=torch.float64)[:, None] * frequency[None, :]
    magnitude = 1 + 0.1 * math.log(config.rope_factor)
    return (angle.cos() * magnitude).float(), (angle.sin() * magnitude).float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """NeoX rotation of x [B, T, H, D]: element i turns with element i + D/2."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[:, None, :], sin[:, None, :]
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """The RMS norm of ggml over the last dimension."""
    return x * torch.rsqrt(x.pow(2).mean(dim=-1, keepdim=True) + eps) * weight


class Block(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be absent
    """One layer: attention with sinks, then the mixture of experts. Attribute names are the GGUF's."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        n_embd, n_ff, n_expert = config.n_embd, config.n_ff_exp, config.n_expert
        n_q, n_kv = config.n_head * config.head_dim, config.n_head_kv * config.head_dim
        self.attn_norm = nn.Parameter(torch.ones(n_embd))
        self.attn_q = nn.Linear(n_embd, n_q)
        self.attn_k = nn.Linear(n_embd, n_kv)
        self.attn_v = nn.Linear(n_embd, n_kv)
        self.attn_output = nn.Linear(n_q, n_embd)
        self.attn_sinks = nn.Parameter(torch.zeros(config.n_head))
        self.post_attention_norm = nn.Parameter(torch.ones(n_embd))
        self.ffn_gate_inp = nn.Linear(n_embd, n_expert)
        self.ffn_gate_exps = nn.Parameter(torch.randn(n_expert, n_ff, n_embd) * n_embd**-0.5)
        self.ffn_up_exps = nn.Parameter(torch.randn(n_expert, n_ff, n_embd) * n_embd**-0.5)
        self.ffn_down_exps = nn.Parameter(torch.randn(n_expert, n_embd, n_ff) * n_ff**-0.5 * 0.5)
        self.ffn_gate_exps_bias = nn.Parameter(torch.zeros(n_expert, n_ff))
        self.ffn_up_exps_bias = nn.Parameter(torch.zeros(n_expert, n_ff))
        self.ffn_down_exps_bias = nn.Parameter(torch.zeros(n_expert, n_embd))

    def attention(self, x: Tensor, mask: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Attention of x [B, T, n_embd], mask [T, T] additive.

        The sink is one more logit per head, with no value behind it.
        """
        config = self.config
        n_batch, n_tokens, _ = x.shape
        query = rotate(self.attn_q(x).view(n_batch, n_tokens, config.n_head, config.head_dim), cos, sin)
        key = rotate(self.attn_k(x).view(n_batch, n_tokens, config.n_head_kv, config.head_dim), cos, sin)
        value = self.attn_v(x).view(n_batch, n_tokens, config.n_head_kv, config.head_dim)
        group = config.n_head // config.n_head_kv
        # [B, K, group * T, D] against [B, K, D, T]: query head h reads key/value head h // group.
        query = query.view(n_batch, n_tokens, config.n_head_kv, group, config.head_dim).permute(0, 2, 3, 1, 4)
        query = query.reshape(n_batch, config.n_head_kv, group * n_tokens, config.head_dim)
        scores = torch.matmul(query * config.head_dim**-0.5, key.permute(0, 2, 3, 1))
        scores = scores.view(n_batch, config.n_head, n_tokens, n_tokens) + mask
        sink = self.attn_sinks.view(1, -1, 1, 1).expand(n_batch, -1, n_tokens, 1)
        probs = torch.cat((scores, sink), dim=-1).softmax(dim=-1)[..., :-1]
        probs = probs.reshape(n_batch, config.n_head_kv, group * n_tokens, n_tokens)
        mixed = torch.matmul(probs, value.permute(0, 2, 1, 3))
        mixed = mixed.view(n_batch, config.n_head, n_tokens, config.head_dim).permute(0, 2, 1, 3)
        out: Tensor = self.attn_output(mixed.reshape(n_batch, n_tokens, -1))
        return out

    def experts(self, x: Tensor, quantised: bool) -> tuple[Tensor, Tensor]:
        """Maps x [B, T, n_embd] to the same shape, and the load-balancing loss.

        Softmax over the chosen experts' logits only (LLAMA_EXPERT_GATING_FUNC_TYPE_SOFTMAX_WEIGHT). Every expert is
        computed and the unchosen ones get weight 0: at this size three dense products beat gathering.
        """
        config = self.config
        stored = (self.ffn_gate_exps, self.ffn_up_exps, self.ffn_down_exps)
        gate_w, up_w, down_w = (fake_mxfp4(w) if quantised else w for w in stored)
        logits = self.ffn_gate_inp(x)
        top, chosen = logits.topk(config.n_expert_used, dim=-1)
        weights = torch.zeros_like(logits).scatter(-1, chosen, top.softmax(dim=-1))  # [B, T, E]
        gate = functional.linear(x, gate_w.flatten(0, 1), self.ffn_gate_exps_bias.flatten())
        up = functional.linear(x, up_w.flatten(0, 1), self.ffn_up_exps_bias.flatten())
        gate = gate.clamp(max=SWIGLU_LIMIT)
        up = up.clamp(-SWIGLU_LIMIT, SWIGLU_LIMIT)
        hidden = gate * torch.sigmoid(SWIGLU_ALPHA * gate) * (up + 1)  # [B, T, E * F]
        hidden = hidden * weights.repeat_interleave(config.n_ff_exp, dim=-1)
        out = functional.linear(hidden, down_w.permute(1, 0, 2).flatten(1)) + weights @ self.ffn_down_exps_bias
        load = (weights > 0).float().mean(dim=(0, 1))
        balance = config.n_expert / config.n_expert_used * (load * logits.softmax(dim=-1).mean(dim=(0, 1))).sum()
        return out, balance

    def forward(self, x: Tensor, mask: Tensor, cos: Tensor, sin: Tensor, quantised: bool) -> tuple[Tensor, Tensor]:
        """Residual attention, then residual experts, each behind its own norm."""
        eps = self.config.rms_eps
        x = x + self.attention(rms_norm(x, self.attn_norm, eps), mask, cos, sin)
        out, balance = self.experts(rms_norm(x, self.post_attention_norm, eps), quantised)
        return x + out, balance


class TinyGptOss(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be absent
    """Token ids [B, T] to logits [B, T, n_vocab]."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embd = nn.Embedding(config.n_vocab, config.n_embd)
        self.blk = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.output_norm = nn.Parameter(torch.ones(config.n_embd))
        self.output = nn.Linear(config.n_embd, config.n_vocab, bias=False)
        nn.init.normal_(self.token_embd.weight, std=0.5)
        nn.init.normal_(self.output.weight, std=0.02)
        for layer, block in enumerate(self.blk):
            if not config.full_attention and not config.is_swa(layer):
                nn.init.zeros_(block.attn_output.weight)
                nn.init.zeros_(block.attn_output.bias)
                block.attn_output.requires_grad_(requires_grad=False)

    def masks(self, n_tokens: int) -> tuple[Tensor, Tensor]:
        """Causal and sliding-window masks [T, T]: a window of n_swa counts the token itself.

        Source: llama.cpp src/llama-hparams `is_masked_swa`, LLAMA_SWA_TYPE_STANDARD: masked if p1 - p0 >= n_swa.
        """
        distance = torch.arange(n_tokens)[:, None] - torch.arange(n_tokens)[None, :]
        zero = torch.zeros(n_tokens, n_tokens)
        full = zero.masked_fill(distance < 0, -math.inf)
        return full, full.masked_fill(distance >= self.config.n_swa, -math.inf)

    def forward(self, tokens: Tensor, quantised: bool = False, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits of all positions, or only of those where keep [B, T] is true: then [number kept, n_vocab]."""
        full, sliding = self.masks(tokens.shape[1])
        cos, sin = yarn_tables(self.config, tokens.shape[1])
        x = self.token_embd(tokens)
        balance = torch.zeros(())
        for layer, block in enumerate(self.blk):
            x, block_balance = block(x, sliding if self.config.is_swa(layer) else full, cos, sin, quantised)
            balance = balance + block_balance
        if keep is not None:
            x = x[keep]
        x = rms_norm(x, self.output_norm, self.config.rms_eps)
        return self.output(x), balance / len(self.blk)
