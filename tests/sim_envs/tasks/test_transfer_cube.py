"""The stages and the strict success of the cube transfer follow from what touches the cube."""

import numpy as np
import pytest

import sim_envs
from sim_envs.robot import FINGERS
from sim_envs.task import TABLE

LEFT, RIGHT = FINGERS["left"], FINGERS["right"]


@pytest.fixture
def task():
    return sim_envs.load("transfer_cube")(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("touching", "stage", "holds"),
    [
        ((), 0, False),
        ((TABLE,), 0, False),
        ((RIGHT, TABLE), 1, False),
        ((RIGHT,), 2, False),
        ((LEFT, RIGHT, TABLE), 3, False),
        ((LEFT, TABLE), 3, False),
        ((LEFT, RIGHT), 4, False),
        ((LEFT,), 4, True),
    ],
)
def test_stages_follow_from_what_touches_the_cube(task, monkeypatch, touching, stage, holds):
    monkeypatch.setattr(task, "touching", lambda physics, a, b: a == ("cube",) and b in touching)
    assert (task.stage(None), task.holds(None)) == (stage, holds)


def test_success_is_reached_once_strict_success_is_held_for_half_a_second_to_the_end(task, monkeypatch):
    task.best_stage = task.streak = 0
    judged = []
    for held in [True] * 24 + [False] + [True] * 25 + [False]:
        monkeypatch.setattr(task, "stage", lambda physics, held=held: 4 if held else 0)
        monkeypatch.setattr(task, "holds", lambda physics, held=held: held)
        task.after_step(None)
        judged.append((task.success, task.strict_success))
    assert all(success for success, _ in judged)
    assert [index for index, (_, strict) in enumerate(judged) if strict] == [49]
