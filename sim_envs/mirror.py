"""Mirrors episodes in the vertical plane through both arms: (x, y, z) becomes (x, 2 c - y, z), c the y of the plane.

Each arm keeps its side and moves as in a mirror: waist, forearm roll and wrist rotation change their signs. The other
reflection, which swaps the arms, would be another task here: the left arm would pick up the cube.
"""

import numpy as np

import sim_envs

JOINT_SIGNS = np.array([-1, 1, 1, -1, 1, -1, 1] * 2, np.float32)  # of qpos and actions: grippers stay as they are
POSE_SIGNS = np.array([1, -1, 1, 1, -1, 1, -1], np.float64)  # x y z, quaternion wxyz


class Mirror:
    """Mirrors what is recorded of a task. `plane` is the y [m] of the plane."""

    def __init__(self, plane: float):
        self.plane = plane

    def joints(self, values: np.ndarray) -> np.ndarray:
        """Returns joint positions, velocities or actions (..., 14) mirrored."""
        return values * JOINT_SIGNS

    def poses(self, env_state: np.ndarray) -> np.ndarray:
        """Returns poses (7n,) mirrored, of objects that are themselves symmetrical in their y."""
        poses = np.asarray(env_state, np.float64).reshape(-1, 7) * POSE_SIGNS
        poses[:, 1] += 2 * self.plane
        return poses.ravel()


def mirror_of(task: str) -> Mirror:
    """Returns the mirror of a task. Raises ValueError for a task that does not say it is symmetrical, or is unknown."""
    plane = sim_envs.load(task).mirror_plane
    if plane is None:
        symmetrical = [name for name in sim_envs.available() if sim_envs.load(name).mirror_plane is not None]
        raise ValueError(f"task {task!r} is not symmetrical; episodes of these are: {', '.join(symmetrical)}")
    return Mirror(plane)
