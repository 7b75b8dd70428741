"""Defines slide ziploc: the left arm grasps a standing bag at its edge, and the right arm pulls its zip open."""

from typing import Any

import numpy as np

from sim_envs.robot import FINGERS
from sim_envs.task import ASSETS, BimanualTask, quaternion_matrix, resting_pose

# what each hand grips: a site near the place of the hand, width of the object [m], largest distance of the hand [m]
GRIPPED = {"left": ("bag_grip", 0.024, 0.03), "right": ("slider", 0.010, 0.025)}
PADS_MEET = 0.0224  # [m] position of a finger on its joint when the pads of an empty hand meet
PLAY = 0.004  # [m]
LINE = np.array(
    [[-0.075, 0.075], [0.5, 0.5]]
)  # range of x and of y of the bag's middle [m]: a line of 15 cm, as in the paper
AREA = np.array([[-0.075, 0.075], [0.4, 0.6]])
AREA_YAW = 0.3  # [rad] largest turn of a bag that starts in the area
HALF_BAG = 0.04  # [m] half the height of the bag
CLOSED = np.array([-0.055, 0.0, 0.04])  # [m] place of the slider in the bag's frame when the zip is closed
TRAVEL = 0.13  # [m] length of the zip
OPEN = TRAVEL - 0.005  # [m] from here on the zip counts as open
PULLED = 0.9  # share of the zip along which the slider must move while it is pinched and the bag is held
UPRIGHT = np.cos(np.radians(20.0))  # least cosine of the tilt of a bag that stands


class Task(BimanualTask):
    """The stages are those of the paper's Slide Ziploc:

    1 grasp   the left hand grips the bag's left edge
    2 pinch   and the right hand grips the slider's tab
    3 open    and the zip is open, at least 90 % of its length by pulling: the slider moved while both hands gripped

    A hand grips what lies between its pads while these are as far apart as it is wide, within 4 mm. Contacts do not
    decide, because they flicker: a hand that sways carries the slider along and yet does not touch it at every step.

    Strict success: for the last 0.5 s (25 control steps), the zip is open and was pulled open, the left hand grips the
    bag, and the bag is upright within 20 degrees.
    """

    name = "slide_ziploc"
    scene = ASSETS / "slide_ziploc.xml"
    stage_names = ("grasp", "pinch", "open")
    objects = ("bag", "slider")
    keypoints = ("bag_left", "bag_right", "slider", "left/tcp", "right/tcp")
    episode_len = 450
    strict_steps = 25

    def initialize_episode(self, physics: Any) -> None:
        """Starts with a slider that has not been pulled."""
        self.pulled = self._before = 0.0  # [m] way of the slider while it was pinched and the bag was held
        super().initialize_episode(physics)
        self.pulled, self._before = 0.0, _slid(physics)

    def after_step(self, physics: Any) -> None:
        """Adds the way of the slider in this control step, backwards too, if both hands do their part."""
        way, self._before = _slid(physics) - self._before, _slid(physics)
        if self._grips(physics, "left") and self._grips(physics, "right"):
            self.pulled += way
        super().after_step(physics)

    def sample_objects(self, rng: np.random.Generator) -> np.ndarray:
        region = AREA if self.area else LINE
        x, y = rng.uniform(region[:, 0], region[:, 1])
        yaw = rng.uniform(-AREA_YAW, AREA_YAW) if self.area else 0.0
        bag = resting_pose(x, y, HALF_BAG, yaw)
        slider = bag.copy()
        slider[:3] += quaternion_matrix(bag[3:]) @ CLOSED
        return np.concatenate([bag, slider])

    def stage(self, physics: Any) -> int:
        if not self._grips(physics, "left"):
            return 0
        if not self._grips(physics, "right"):
            return 1
        return 3 if self._opened(physics) else 2

    def holds(self, physics: Any) -> bool:
        upright = quaternion_matrix(self.env_state(physics)[3:7])[2, 2] > UPRIGHT
        return bool(upright) and self._opened(physics) and self._grips(physics, "left")

    def _grips(self, physics: Any, side: str) -> bool:
        """Returns whether the pads of a hand enclose its object."""
        site, width, near = GRIPPED[side]
        left, right = (physics.named.data.qpos[finger].item() for finger in FINGERS[side])
        gap = left - right - 2 * PADS_MEET
        offset = physics.named.data.site_xpos[site] - physics.named.data.site_xpos[f"{side}/tcp"]
        across = offset @ physics.named.data.site_xmat[f"{side}/tcp"].reshape(3, 3)[:, 1]
        there = np.linalg.norm(offset) < near and abs(across) < width / 2 + PLAY
        return bool(there and abs(gap - width) < PLAY)

    def _opened(self, physics: Any) -> bool:
        return self.pulled > PULLED * TRAVEL and opening(self.env_state(physics)) > OPEN


def opening(env_state: np.ndarray) -> float:
    """Returns how far [m] the zip is open: the way of the slider along the rim, up to 10 mm past `TRAVEL`."""
    bag, slider = np.asarray(env_state[:7], np.float64), np.asarray(env_state[7:14], np.float64)
    return float((quaternion_matrix(bag[3:]).T @ (slider[:3] - bag[:3]) - CLOSED)[0])


def _slid(physics: Any) -> float:
    """Returns the position [m] of the slider on its joint."""
    return float(physics.named.data.qpos["slider"].item())
