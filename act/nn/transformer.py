"""Transformer layers, batch first and post-norm, with positions added to queries and keys but never to values (DETR).

A mask is (B, R) bool, True where no query may attend to a token; a mask that depends on the query has 4 axes, which
broadcast to (B, H, S, R). Letters: B batch, S queries, R keys and values, K decoder queries, H heads, D width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from act.nn.dropout import Dropout, dropout

PLAIN_ATTENTION_LIMIT = 512 * 512  # scores per head up to which two matmuls beat the fused kernel on a CPU


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, p: float = 0.0) -> Tensor:
    """softmax(q k' / sqrt(d)) v for q (B, H, S, d), k and v (B, H, R, d), mask (B, R) or 4 axes; q may have batch 1.

    On a CPU, short sequences take two matmuls and a softmax: the backward pass of torch's fused kernel alone was
    measured at half of a training step there, in bf16. A GPU and long sequences take the fused kernel.
    """
    allowed = None if mask is None else ~(mask[:, None, None, :] if mask.ndim == 2 else mask)
    if q.device.type != "cpu" or q.shape[2] * k.shape[2] > PLAIN_ATTENTION_LIMIT:
        if q.shape[0] != k.shape[0]:
            q = q.expand(k.shape[0], -1, -1, -1)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=p)
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-2, -1)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    weights = scores.softmax(dim=-1).to(v.dtype)
    return dropout(weights, p) @ v


class MultiHeadAttention(nn.Module):
    """Multi-head attention; one matrix holds the projections of queries, keys and values."""

    def __init__(self, dim: int, n_heads: int, dropout: float = 0.0):
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.weight = nn.Parameter(torch.empty(3 * dim, dim))  # rows: queries, keys, values
        self.bias = nn.Parameter(torch.zeros(3 * dim))
        self.out = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, S, D) from queries (B, S, D) and keys, values (B, R, D); when `query is key` they share one matmul."""
        dim = query.shape[-1]
        if query is key:
            q, k = F.linear(query, self.weight[: 2 * dim], self.bias[: 2 * dim]).chunk(2, dim=-1)
        else:
            q = F.linear(query, self.weight[:dim], self.bias[:dim])
            k = F.linear(key, self.weight[dim : 2 * dim], self.bias[dim : 2 * dim])
        v = F.linear(value, self.weight[2 * dim :], self.bias[2 * dim :])
        mixed = attention(self._split(q), self._split(k), self._split(v), mask, self.dropout if self.training else 0.0)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """(B, S, D) -> (B, H, S, D / H)"""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Linear, ReLU, dropout, linear."""

    def __init__(self, dim: int, hidden: int, dropout: float = 0.0):
        layers: list[nn.Module] = [nn.Linear(dim, hidden), nn.ReLU(inplace=True)]
        if dropout:
            layers.append(Dropout(dropout))
        super().__init__(*layers, nn.Linear(hidden, dim))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each added to its input and normalised."""

    def __init__(self, dim: int, n_heads: int, feedforward: int, dropout: float = 0.0):
        super().__init__()
        self.attend = MultiHeadAttention(dim, n_heads, dropout)
        self.feed = FeedForward(dim, feedforward, dropout)
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(2)])
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, position: Tensor, mask: Tensor | None = None, n: int | None = None) -> Tensor:
        """(B, S, D) -> (B, S, D), or (B, n, D) of the first n tokens alone; `position` broadcasts to x."""
        placed = x + position
        query = placed if n is None else placed[:, :n]
        x = self.norms[0](x[:, :n] + self.dropout(self.attend(query, placed, x, mask)))
        return self.norms[1](x + self.dropout(self.feed(x)))


class DecoderLayer(nn.Module):
    """Self-attention over the queries, cross-attention to the memory, feed-forward."""

    def __init__(self, dim: int, n_heads: int, feedforward: int, dropout: float = 0.0):
        super().__init__()
        self.attend = MultiHeadAttention(dim, n_heads, dropout)
        self.look = MultiHeadAttention(dim, n_heads, dropout)  # cross-attention; the name is in saved weights
        self.feed = FeedForward(dim, feedforward, dropout)
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(3)])
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, position: Tensor, memory_position: Tensor) -> Tensor:
        """x (B or 1, K, D) and memory (B, R, D) -> (B, K, D).

        With batch 1 (learned queries in the first layer) self-attention is computed once for all samples.
        """
        placed = x + position
        x = self.norms[0](x + self.dropout(self.attend(placed, placed, x)))
        x = self.norms[1](x + self.dropout(self.look(x + position, memory + memory_position, memory)))
        return self.norms[2](x + self.dropout(self.feed(x)))


class Encoder(nn.Module):
    """A stack of encoder layers; no final norm (the layers are post-norm)."""

    def __init__(self, n_layers: int, dim: int, n_heads: int, feedforward: int, dropout: float = 0.0):
        super().__init__()
        self.layers = nn.ModuleList([EncoderLayer(dim, n_heads, feedforward, dropout) for _ in range(n_layers)])

    def forward(self, x: Tensor, position: Tensor, mask: Tensor | None = None, n: int | None = None) -> Tensor:
        """(B, S, D) -> (B, S, D), or (B, n, D) of the first n tokens: the last layer then computes no others."""
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            x = layer(x, position, mask, n if i == last else None)
        return x


class Decoder(nn.Module):
    """A stack of decoder layers, all of them used, and a final norm."""

    def __init__(self, n_layers: int, dim: int, n_heads: int, feedforward: int, dropout: float = 0.0):
        super().__init__()
        self.layers = nn.ModuleList([DecoderLayer(dim, n_heads, feedforward, dropout) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, memory: Tensor, position: Tensor, memory_position: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, memory, position, memory_position)
        return self.norm(x.float())
