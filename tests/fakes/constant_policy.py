"""A policy without a network."""

from collections.abc import Sequence

import numpy as np

from act.types import Observation, PolicySpec

CHUNK_SIZE = 4


class ConstantPolicy:
    """A policy whose actions are `value` in all joints; `asked` counts its queries."""

    n_obs_steps, needs_images, chunk_size = 1, False, CHUNK_SIZE
    spec = PolicySpec(image_size=(24, 32))

    def __init__(self, value: float):
        self.value, self.asked = value, 0

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        self.asked += 1
        return np.full((len(histories), CHUNK_SIZE, 14), self.value, np.float32)
