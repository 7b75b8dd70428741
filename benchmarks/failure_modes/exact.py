"""Why chunks: a demonstration that waits, and the best possible policies for it. Nothing is trained."""

from collections.abc import Sequence

import numpy as np

from act.evaluation.execution import Execution
from act.types import Observation

PAUSE_AT, PAUSE, LENGTH = 25, 20, 50  # the demonstration goes 0, 1, ..., 25, waits 20 steps, goes on to 50
CHUNK_SIZES = (1, 2, 5, 8, 10, 11, 12, 15, 20, 25, 30, 40, 50, 70, 100)
EXECUTIONS = {"first": Execution("chunk", 1), "chunk": Execution("chunk"), "ensemble": Execution("ensemble")}


class PausePolicy:
    """Answers a position with the median (L1) or the mean (L2) of all chunks that follow it in the demonstration."""

    n_obs_steps, needs_images = 1, False

    def __init__(self, chunk_size: int, loss: str):
        self.chunk_size = chunk_size
        self.centre = {"l1": np.median, "l2": np.mean}[loss]
        self.path = np.concatenate([np.arange(PAUSE_AT), np.full(PAUSE, PAUSE_AT), np.arange(PAUSE_AT, LENGTH + 1)])
        followed = np.minimum(np.arange(len(self.path))[:, None] + np.arange(1, chunk_size + 1), len(self.path) - 1)
        self.chunks = self.path[followed].astype(float)  # (T, K)

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        distances = [np.abs(self.path - history[-1]["qpos"][0]) for history in histories]
        same = [distance <= distance.min() + 1e-6 for distance in distances]
        return np.stack([self.centre(self.chunks[rows], axis=0) for rows in same])[..., None]


def steps_past_pause(chunk_size: int, loss: str, execution: str, limit: int = 400) -> int:
    """Returns the control steps to the end of the path; -1 when there are more than `limit`."""
    agent = EXECUTIONS[execution].agent(PausePolicy(chunk_size, loss))
    agent.reset(1)
    position = np.zeros(1)
    for t in range(1, limit + 1):
        position = agent.select_action([{"qpos": position}])[0]
        if position[0] >= LENGTH - 0.5:
            return t
    return -1


def outcomes() -> dict[str, dict[str, list[float]]]:
    """Returns condition -> "steps at K" -> the steps, in a list as those of several training seeds."""
    return {
        f"pause, {loss}, {execution}": {f"steps at {k}": [steps_past_pause(k, loss, execution)] for k in CHUNK_SIZES}
        for loss in ("l1", "l2")
        for execution in EXECUTIONS
    }
