"""Training data: samples (episode, t) of recorded episodes, and batches that depend only on (seed, step).

The frames of all episodes (loading.py) are concatenated: row starts[e] + t is control step t of episode e. frames.py
holds the images, chunk_labels.py the chunks that an expert gave as labels in DAgger.
Letters: B samples, T history, K chunk, A action, N cameras, F features of one camera, H W image, C h w feature map.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from act.data.batch import Batch
from act.data.chunk_labels import ChunkLabels
from act.data.episodes import Episode
from act.data.frames import Frames
from act.data.labels import Aggregation, Kind, frame_kinds, frame_weights, last_of_chunk
from act.data.loading import check_widths, is_shifted
from act.data.normalize import Normalizer

VALIDATION_SAMPLES = 256  # (episode, t) pairs of the held-out episodes, evenly spread


@dataclass(frozen=True)
class Sampling:
    """What a sample contains."""

    chunk_size: int
    n_obs_steps: int = 1
    cameras: tuple[str, ...] = ()  # none: no images
    image_size: tuple[int, int] = (480, 640)  # (H, W) for training
    use_env_state: bool = False
    frame_stride: int = 1  # every Nth frame is a training observation; chunks keep every action
    whole_chunks: bool = False  # leave out samples whose chunk a hand-over cuts short (the end of an episode may)
    relative_actions: bool = False  # chunks are relative to qpos at their observation
    shift_real: bool = True  # on a real robot, the chunk at t begins with action[t - 1], as in the original code

    def __post_init__(self) -> None:
        if self.frame_stride > 1 and self.n_obs_steps > 1:
            raise ValueError(
                f"frame_stride {self.frame_stride} leaves out frames that n_obs_steps {self.n_obs_steps} needs; use 1"
            )


class EpisodeDataset:
    """Samples of some episodes.

    `observed` holds the rows with an observation, `trainable` those of them that can be drawn (there may be none).
    `weights` (frames,) is None for demonstrations, which are drawn uniformly; in DAgger it holds the sampling weights
    of labels.py.

    Example:
        episodes = load_episodes(find(Path("data/sim_transfer_cube_scripted")))
        dataset = EpisodeDataset(episodes, Sampling(chunk_size=60))
        batch = dataset.draw(seed=0, step=0, batch_size=8)  # batch.action is (8, 60, 14), batch.is_pad (8, 60)
    """

    def __init__(self, episodes: Sequence[Episode], sampling: Sampling):
        if not episodes:
            raise ValueError("a dataset needs at least one episode")
        self.episodes, self.sampling = list(episodes), sampling
        self.qpos = _joined(episodes, "qpos")
        self.action = _joined(episodes, "action")
        self.env_state = _joined(episodes, "env_state") if sampling.use_env_state else None
        lengths = torch.tensor([len(episode) for episode in episodes])
        self.starts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        self.first = self.starts[:-1].repeat_interleave(lengths)  # (frames,): first and last row of its episode
        ends = [int(start) + last_of_chunk(episode) for start, episode in zip(self.starts, episodes, strict=False)]
        self.last = torch.from_numpy(np.concatenate(ends))  # last row of each plan (labels.last_of_chunk)
        view = (sampling.cameras, sampling.image_size, sampling.frame_stride)
        self.frames = Frames(self.episodes, self.starts, *view)
        shifted = torch.tensor([sampling.shift_real and is_shifted(episode) for episode in episodes])
        self.begin = torch.arange(len(self)) - shifted.repeat_interleave(lengths).long()  # rows where chunks begin
        self.begin = self.begin.maximum(self.first)
        self.observed = self.trainable = self.frames.observed
        self.weights: np.ndarray | None = None
        self.chunk_labels = ChunkLabels(self.episodes, self.starts, sampling.chunk_size)
        self.aggregate("uniform")

    def __len__(self) -> int:
        """Number of frames of all episodes."""
        return len(self.qpos)

    def features(self, rows: Tensor) -> Tensor:
        """Features of a frozen backbone at observed rows of any shape: (*rows, N, F) or (*rows, N, C, h, w)."""
        assert self.frames.features is not None, "features must be precomputed first"
        return self.frames.features.at(rows)

    def fit(self, normalizer: Normalizer) -> None:
        """Fits the normalizer to the frames of the dataset."""
        normalizer.fit("qpos", self.qpos)
        normalizer.fit("action", self.targets)
        if self.env_state is not None:
            normalizer.fit("env_state", self.env_state)

    @property
    def targets(self) -> Tensor:
        """(n, A): all actions, or with relative actions those of the chunks at all observed frames."""
        if not self.sampling.relative_actions:
            return self.action
        chunks, is_pad = self.labels(self.observed)
        return chunks[~is_pad]

    def aggregate(self, aggregation: Aggregation) -> None:
        """Sets `weights` and `trainable` if there are DAgger episodes; demonstrations alone are drawn uniformly."""
        kinds = np.concatenate([frame_kinds(episode) for episode in self.episodes])
        if (kinds == Kind.DEMONSTRATED).all():
            return
        if self.sampling.whole_chunks:
            kinds[self._cut_short()] = Kind.UNLABELLED
        self.weights = np.zeros(len(self))
        self.weights[self.observed] = frame_weights(kinds[self.observed], aggregation)
        self.trainable = self.observed[torch.from_numpy(self.weights > 0)[self.observed]]

    def _cut_short(self) -> np.ndarray:
        """(frames,) bool: True where a chunk has fewer than K actions although its episode continues."""
        ends = (self.starts[1:] - 1).repeat_interleave(self.starts.diff())
        cut = self.last < ends.minimum(torch.arange(len(self)) + self.sampling.chunk_size - 1)
        short = self.chunk_labels.lengths[self.chunk_labels.at.clamp(min=0)] < self.sampling.chunk_size
        return torch.where(self.chunk_labels.at >= 0, short, cut).numpy()

    # -------------------------------------------------------------------------------------------------- samples
    def sample(self, episode: int, t: int) -> Batch:
        """The sample of one (episode, t), a batch of one."""
        if not 0 <= t < len(self.episodes[episode]):
            raise IndexError(f"episode {episode} has {len(self.episodes[episode])} control steps, not step {t}")
        return self.take(self.starts[episode : episode + 1] + t)

    def take(self, rows: Tensor) -> Batch:
        """The samples of rows (B,). Where a chunk ends early, its last action is repeated and marked as padding."""
        history = rows[:, None] + torch.arange(1 - self.sampling.n_obs_steps, 1)
        is_before = history < self.first[rows][:, None]
        history = history.maximum(self.first[rows][:, None])  # the first observation is repeated before the episode
        action, is_pad = self.labels(rows)
        past: dict[str, Tensor] = {}
        if self.sampling.n_obs_steps > 1:
            past_action, past_is_pad = self.labels(history[:, :-1].flatten())
            past_is_pad = past_is_pad.unflatten(0, history[:, :-1].shape) | is_before[:, :-1, None]
            if self.weights is not None:  # frames that are never drawn must not be labels in a history, either
                past_is_pad |= torch.from_numpy(self.weights == 0)[history[:, :-1], None]
            past = {"past_action": past_action.unflatten(0, history[:, :-1].shape), "past_is_pad": past_is_pad}
        return Batch(
            qpos=self.qpos[history],
            env_state=None if self.env_state is None else self.env_state[history],
            features=None if self.frames.features is None else self.features(history),
            images=self.frames.read(history),
            action=action,
            is_pad=is_pad,
            **past,
        )

    def images(self, rows: Tensor) -> Tensor:
        """(n, N, H, W, 3) uint8 of rows (n,). Raises ValueError when there are features instead, or no cameras."""
        images = self.frames.read(rows[:, None])
        if images is None:
            raise ValueError("these frames have features or no cameras, so their images cannot be read")
        return images[:, 0]

    def labels(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The chunks (n, K, A) that begin at rows (n,), and where they are padding (n, K)."""
        steps = self.begin[rows][:, None] + torch.arange(self.sampling.chunk_size)
        last = self.last[rows][:, None]
        chunks, is_pad = self.chunk_labels.replace(rows, self.action[steps.minimum(last)], steps > last)
        return (chunks - self.qpos[rows][:, None] if self.sampling.relative_actions else chunks), is_pad

    def spans(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The chunks of `labels` without copies, for VINN's memory: actions (rows, A), first (n,), last (n,).

        The chunk of rows[i] is actions[first[i] ... last[i]], cut at K actions or filled up with its last action.
        """
        given, at = self.chunk_labels.chunks, self.chunk_labels.at[rows]
        first = torch.where(at < 0, self.begin[rows], len(self) + at * given.shape[1])
        last = torch.where(at < 0, self.last[rows], first + self.chunk_labels.lengths[at.clamp(min=0)] - 1)
        return torch.cat([self.action, given.flatten(0, 1)]), first, last

    def draw(self, seed: int, step: int, batch_size: int, rank: int = 0, size: int = 1) -> Batch:
        """The batch of optimizer step `step`, drawn from the observed rows uniformly or by `weights`: a pure function.

        Where `size` processes train together, process `rank` gets its part of a batch that is `size` times larger.
        """
        rng = np.random.default_rng((seed, step))
        if self.weights is None:
            chosen = rng.integers(len(self.observed), size=size * batch_size)
        else:
            total = np.cumsum(self.weights[self.observed])
            chosen = np.searchsorted(total, rng.random(size * batch_size) * total[-1], side="right")
        return self.take(self.observed[torch.from_numpy(chosen[rank * batch_size : (rank + 1) * batch_size])])

    def batches(
        self, seed: int, start: int, stop: int, batch_size: int, rank: int = 0, size: int = 1
    ) -> Iterator[Batch]:
        """Yields the batches of steps start ... stop - 1; images are decoded two steps ahead in another thread."""
        draw = partial(self.draw, batch_size=batch_size, rank=rank, size=size)
        if self.frames.at_hand:
            for step in range(start, stop):
                yield draw(seed, step)
            return
        with ThreadPoolExecutor(1) as pool:
            ahead = [pool.submit(draw, seed, step) for step in range(start, min(start + 2, stop))]
            for step in range(start, stop):
                batch = ahead.pop(0).result()
                if step + 2 < stop:
                    ahead.append(pool.submit(draw, seed, step + 2))
                yield batch

    def validation_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yields evenly spread samples, the same in every call."""
        chosen = torch.linspace(0, len(self.trainable) - 1, min(VALIDATION_SAMPLES, len(self.trainable))).long()
        for part in self.trainable[chosen].split(batch_size):
            yield self.take(part)


def _joined(episodes: Sequence[Episode], key: str) -> Tensor:
    values = [getattr(episode, key) for episode in episodes]
    for episode in episodes:
        if getattr(episode, key) is None:
            raise ValueError(f"{episode.path} has no {key}{_reason(episode, key)}")
        check_widths(episodes[0], episode, key)
    return torch.from_numpy(np.concatenate(values).astype(np.float32))


def _reason(episode: Episode, key: str) -> str:
    """Returns why an array is left out, where a note says it."""
    return next((f": {note}" for note in episode.notes if f"/{key} " in note), "")
