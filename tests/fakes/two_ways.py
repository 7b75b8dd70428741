"""The smallest demonstrations with two ways of doing a task: a hidden coin decides between +1 and -1.

All numbers of a chunk have that sign (with a little noise), and the observations are always the same. The chunks that a
policy learns from them show which distributions it can represent.
"""

import dataclasses
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from act.data.batch import Batch
from act.data.normalize import Normalizer
from act.types import PolicySpec

SPEC = PolicySpec(qpos_dim=2, action_dim=2, env_state_dim=1)
CHUNK = 4
N_EPISODES = 64  # of one chunk each


class Demonstrations:
    """The training data (policy.TrainingData): in `plus` of four episodes the sign is +1."""

    def __init__(self, plus: int = 2) -> None:
        torch.manual_seed(0)
        sign = 2.0 * (torch.arange(N_EPISODES) % 4 < plus).repeat_interleave(CHUNK) - 1
        frames = len(sign)
        self.qpos, self.env_state = torch.zeros(frames, 2), torch.zeros(frames, 1)
        self.action = sign[:, None] + 0.02 * torch.randn(frames, 2)
        self.features = None
        self.observed = self.trainable = torch.arange(0, frames, CHUNK)
        self.starts = torch.arange(0, frames + 1, CHUNK)
        self.last = (torch.arange(frames) // CHUNK + 1) * CHUNK - 1

    @property
    def targets(self) -> Tensor:
        return self.action

    def labels(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        steps = rows[:, None] + torch.arange(CHUNK)
        last = self.last[rows][:, None]
        return self.action[steps.minimum(last)], steps > last

    def spans(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.action, rows, self.last[rows]

    def batch(self) -> Batch:
        """Returns all demonstrations as one batch."""
        action, is_pad = self.labels(self.observed)
        return Batch(self.qpos[self.observed, None], self.env_state[self.observed, None], action=action, is_pad=is_pad)


def learn(module: ModuleType, config: Any, steps: int = 300, plus: int = 2) -> Any:
    """Returns a policy of `module` that is trained on all demonstrations for `steps` steps."""
    demonstrations = Demonstrations(plus)
    config = dataclasses.replace(config, chunk_size=CHUNK, use_images=False, use_env_state=True)
    normalizer = Normalizer.of(SPEC)
    normalizer.fit("action", demonstrations.action)
    torch.manual_seed(0)
    policy = module.Policy(config, SPEC, normalizer)
    policy.before_training(demonstrations)
    optimizer = torch.optim.AdamW(policy.parameters(), 3e-3, fused=True)
    batch = demonstrations.batch()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
        policy.loss(batch)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    return policy.eval()


@torch.no_grad()
def answers(policy: Any, n: int = 200) -> Tensor:
    """Returns n chunks (n, CHUNK, 2) of the policy; demonstrated ones are near +1 or -1."""
    torch.manual_seed(1)
    query = Batch(torch.zeros(n, 1, 2), torch.zeros(n, 1, 1))
    return policy.normalizer.decode("action", policy.predict(query))


def coverage(chunks: Tensor, tolerance: float = 0.25) -> tuple[float, float]:
    """Returns the fractions of chunks in which all numbers are near +1, and near -1."""
    fractions = [((chunks - sign).abs() < tolerance).flatten(1).all(1).float().mean() for sign in (1, -1)]
    return float(fractions[0]), float(fractions[1])


def holds_both(policy: Any) -> bool:
    """Returns whether nine in ten chunks follow one way, and both ways occur often."""
    plus, minus = coverage(answers(policy))
    return plus + minus > 0.9 and min(plus, minus) > 0.3
