"""The stages and the strict success of the insertion follow from contacts and depth."""

import numpy as np
import pytest

import sim_envs
from sim_envs.robot import FINGERS
from sim_envs.task import TABLE
from sim_envs.tasks import insertion
from sim_envs.tasks.insertion import PEG, PIN, WALLS

HELD = [(WALLS, FINGERS["left"]), (PEG, FINGERS["right"])]
LYING = ((*PEG, *WALLS, *PIN), TABLE)


@pytest.mark.parametrize(
    ("touching", "depth", "stage", "holds"),
    [
        ([], -0.1, 0, False),
        (HELD[:1], -0.1, 0, False),
        (HELD[1:], -0.1, 0, False),
        ([*HELD, LYING], -0.1, 1, False),
        (HELD, -0.1, 2, False),
        ([*HELD, (PEG, WALLS), LYING], 0.016, 1, False),
        ([*HELD, (PEG, WALLS)], 0.014, 3, False),
        ([*HELD, (PEG, WALLS)], 0.016, 3, True),
        ([*HELD, (PEG, PIN), LYING], 0.02, 1, False),
        ([*HELD, (PEG, WALLS), (PEG, PIN)], 0.02, 4, True),
        ([(PEG, PIN)], 0.02, 4, True),
    ],
)
def test_stages_follow_from_what_touches_what(monkeypatch, touching, depth, stage, holds):
    task = sim_envs.load("insertion")(np.random.default_rng(0))
    monkeypatch.setattr(task, "touching", lambda physics, a, b: (a, b) in touching)
    monkeypatch.setattr(task, "env_state", lambda physics: np.zeros(14))
    monkeypatch.setattr(insertion, "insertion_depth", lambda env_state: depth)
    assert (task.stage(None), task.holds(None)) == (stage, holds)


def test_depth_is_how_far_the_peg_is_inside_the_mouth():
    def depth(x: float, y: float = 0.0) -> float:
        """Returns the depth of a peg (120 mm) whose middle is (x, y) [m] away from that of a socket (120 mm)."""
        pose = np.array([1.0, 0, 0, 0])
        return insertion.insertion_depth(np.concatenate([[x, y, 0.3], pose, [0, 0, 0.3], pose]))

    assert depth(0.12) == pytest.approx(0.0)
    assert (depth(0.1), depth(0.13)) == (pytest.approx(0.02), pytest.approx(-0.01))
    assert depth(0.1, 0.019) == -np.inf
    turned = np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])  # both by 90 degrees about the vertical
    poses = np.concatenate([[0, 0.1, 0.3], turned, [0, 0, 0.3], turned])
    assert insertion.insertion_depth(poses) == pytest.approx(0.02)
