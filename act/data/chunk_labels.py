"""Whole chunks that an expert gave as labels at some control steps of DAgger episodes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from act.data.episodes import Episode


class ChunkLabels:
    """The labelled chunks of all episodes; where there is one, it replaces the recorded actions.

    Letters: n labelled chunks, K actions of each, A numbers of an action, B samples.
    """

    def __init__(self, episodes: Sequence[Episode], starts: Tensor, chunk_size: int):
        rows, chunks, lengths = [], [], []
        for start, episode in zip(starts.tolist(), episodes, strict=False):
            if episode.action_chunk is None or episode.action_chunk_t is None:
                continue
            length = min(chunk_size, episode.action_chunk.shape[1])
            steps = np.minimum(np.arange(chunk_size), length - 1)
            rows.append(start + episode.action_chunk_t)
            chunks.append(episode.action_chunk[:, steps])
            lengths.append(np.full(len(rows[-1]), length))
        self.at = torch.full((int(starts[-1]),), -1)  # (frames,) index into `chunks`, or -1
        self.chunks = torch.zeros(0, chunk_size, episodes[0].action.shape[1])  # (n, K, A)
        self.lengths = torch.ones(1, dtype=torch.int64)  # (n,) number of actions of each that are not padding
        if rows:
            self.chunks = torch.from_numpy(np.concatenate(chunks))
            self.lengths = torch.from_numpy(np.concatenate(lengths))
            self.at[np.concatenate(rows)] = torch.arange(len(self.chunks))

    def replace(self, rows: Tensor, action: Tensor, is_pad: Tensor) -> tuple[Tensor, Tensor]:
        """`action` (B, K, A) and `is_pad` (B, K) of rows (B,), with the labelled chunks in place of recorded ones."""
        at = self.at[rows]
        found = at >= 0
        if found.any():
            action[found] = self.chunks[at[found]]
            is_pad[found] = torch.arange(action.shape[1]) >= self.lengths[at[found]][:, None]
        return action, is_pad
