"""A causal transformer as in GPT-2 (Radford et al. 2019): pre-norm blocks, learned positions, GELU.

Letters: B batch, T steps of history, S tokens = T times the tokens of one step, D width.
"""

import torch
from torch import Tensor, nn

from act.nn.dropout import Dropout
from act.nn.transformer import MultiHeadAttention

INIT_STD = 0.02  # of all matrices and positions, GPT-2's


class Block(nn.Module):
    """Adds attention of the normalised x to x, then two linear layers of the normalised x."""

    def __init__(self, dim: int, n_heads: int, dropout: float):
        super().__init__()
        self.attend = MultiHeadAttention(dim, n_heads, dropout)
        self.feed = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(2)])
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        normed = self.norms[0](x)
        x = x + self.dropout(self.attend(normed, normed, normed, mask))
        return x + self.dropout(self.feed(self.norms[1](x)))


class GPT(nn.Module):
    """(B, S, D) -> (B, S, D): a token attends to tokens of its own step and of earlier steps, never to later ones."""

    mask: Tensor

    def __init__(self, n_layers: int, dim: int, n_heads: int, dropout: float, n_steps: int, tokens_per_step: int = 1):
        super().__init__()
        self.position = nn.Parameter(torch.empty(n_steps * tokens_per_step, dim))
        self.blocks = nn.ModuleList([Block(dim, n_heads, dropout) for _ in range(n_layers)])
        self.norm, self.dropout = nn.LayerNorm(dim), Dropout(dropout)
        step = torch.arange(n_steps).repeat_interleave(tokens_per_step)
        self.register_buffer("mask", (step[:, None] < step)[None, None], persistent=False)  # (1, 1, S, S)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=INIT_STD)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(x + self.position)
        for block in self.blocks:
            x = block(x, self.mask)
        return self.norm(x.float())
