"""The mirror of the toy task: joint 0 and the goal change their signs. Goals above 0.9 end up in a wrong place."""

import numpy as np

LARGEST = 0.9


class Mirror:
    plane = 0.0

    def joints(self, values: np.ndarray) -> np.ndarray:
        return values * np.array([-1.0] + [1.0] * 13, np.float32)

    def poses(self, env_state: np.ndarray) -> np.ndarray:
        signs = np.array([-1.0] + [1.0] * 6)
        return env_state * signs + (0.2 if env_state[0] > LARGEST else 0.0)


def mirror_of(task: str) -> Mirror:
    if task != "toy":
        raise ValueError(f"task {task!r} is not symmetrical; episodes of these are: toy")
    return Mirror()
