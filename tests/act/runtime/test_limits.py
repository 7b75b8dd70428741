"""What goes to a robot: finite targets of its width, near the last one; everything else is held back and counted."""

import re
from pathlib import Path

import numpy as np
import pytest

from act.runtime.limits import (
    CATCH_UP,
    EXPERT_ARM_STEP,
    EXPERT_GRIPPER_STEP,
    MAX_ARM_STEP,
    MAX_GRIPPER_STEP,
    TargetGuard,
    declared_max_step,
    default_max_step,
    grippers,
    resting,
    towards,
)
from act.types import GRIPPERS

FIDELITY = Path(__file__).parents[2] / "sim_envs" / "fidelity"


def guard(width: int = 3, max_step: float = 0.1) -> tuple[TargetGuard, list[str]]:
    said: list[str] = []
    made = TargetGuard(np.full(width, max_step, np.float32), said.append)
    made.start(np.zeros(width))
    return made, said


def test_grippers_are_the_last_numbers_of_arms_of_any_number() -> None:
    assert tuple(grippers(14)) == GRIPPERS and grippers(7) == [6] and grippers(21) == [6, 13, 20]
    assert grippers(6) == grippers(16) == []


def test_a_robot_that_declares_nothing_moves_as_the_experts_do() -> None:
    limits = default_max_step(14)
    np.testing.assert_array_equal(np.flatnonzero(limits == np.float32(EXPERT_GRIPPER_STEP)), GRIPPERS)
    assert (np.delete(limits, GRIPPERS) == np.float32(EXPERT_ARM_STEP)).all()
    np.testing.assert_array_equal(declared_max_step(None, np.zeros(7)), default_max_step(7))
    np.testing.assert_array_equal(declared_max_step(0.5, np.zeros(3)), [0.5] * 3)
    np.testing.assert_array_equal(declared_max_step([1, 2], np.zeros(3)), [1, 2])


@pytest.mark.parametrize("declared", [0, -1.0, [0.1, 0.0], [], np.nan, [[0.1]]])
def test_a_limit_that_is_no_limit_is_refused(declared: object) -> None:
    with pytest.raises(ValueError, match=r"the robot's max_step is .*: it must be positive"):
        declared_max_step(declared, np.zeros(2))  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [7, 14])
def test_control_changes_hands_slowly_whatever_the_width(width: int) -> None:
    near = towards(np.zeros(width, np.float32), np.ones(width, np.float32))
    np.testing.assert_allclose(np.delete(near, grippers(width)), MAX_ARM_STEP, rtol=1e-6)
    np.testing.assert_allclose(near[grippers(width)], MAX_GRIPPER_STEP, rtol=1e-6)


def test_a_robot_rests_at_its_joints_and_a_base_does_not_move() -> None:
    np.testing.assert_array_equal(resting(np.array([1.0, 2.0]), 4), np.array([1, 2, 0, 0], np.float32))
    with pytest.raises(ValueError, match="qpos has 3 numbers, an action only 2"):
        resting(np.zeros(3), 2)


def test_a_near_target_is_sent_as_it_is_and_nothing_is_said() -> None:
    made, said = guard()
    action = np.array([0.1, -0.1, 0.05], np.float32)
    assert made.target(0, action).tobytes() == action.tobytes()
    assert (made.held, made.limited, said) == ([], [], [])


@pytest.mark.parametrize(
    ("action", "why"),
    [
        ([0, np.nan, 0], "has nan for joint 1"),
        ([0, 0, -np.inf], "has -inf for joint 2"),
        ([1e300, 0, 0], "has 1e[+]300 for joint 0"),
        ([1e6, 0, 0], "target of joint 0 is 1e[+]06 from the last one .* too far to follow"),
        ([0, 0], r"has shape \(2,\) .* expected \(3,\) float32"),
        ([0] * 15, r"has shape \(15,\)"),
        ([[0, 0, 0]], r"has shape \(1, 3\)"),
        (["a", "b", "c"], "type <U1"),
        ([None, None, None], "type object"),
        ([1j, 0, 0], "type complex128"),
    ],
)
def test_what_must_not_reach_a_robot_is_held_back_counted_and_said_once(action: list, why: str) -> None:
    made, said = guard()
    sent = made.target(0, np.full(3, 0.05))
    for t in (1, 2, 3):
        np.testing.assert_array_equal(made.target(t, np.asarray(action)), sent)
    assert made.held == [1, 2, 3] and len(said) == 1
    assert said[0].startswith("control step 1: the agent's ") and said[0].endswith("the robot holds its last target")
    assert re.search(why, said[0])
    np.testing.assert_allclose(made.target(4, np.full(3, 0.1)), 0.1, rtol=1e-6)  # the next good one is sent


def test_a_target_a_little_ahead_is_approached_no_faster_than_the_limit() -> None:
    made, said = guard()
    ahead = (CATCH_UP - 0.01) * 0.1 * np.array([1, -1, 0.5])
    sent = np.stack([made.target(t, ahead) for t in range(CATCH_UP + 2)])
    assert np.abs(np.diff(np.concatenate([np.zeros((1, 3)), sent]), axis=0)).max() <= 0.1 + 1e-6
    np.testing.assert_allclose(sent[-1], ahead, rtol=1e-6)
    assert made.held == [] and made.limited == list(range(CATCH_UP - 1)) and len(said) == 1
    assert "joint 0 is 1.4 from the last one (at most 0.1 per control step of 0.02 s)" in said[0]


@pytest.mark.parametrize(("ahead", "follows"), [(CATCH_UP - 0.01, True), (CATCH_UP + 0.01, False)])
def test_a_target_is_followed_up_to_the_distance_that_a_late_answer_may_be_ahead(ahead: float, follows: bool) -> None:
    made, _ = guard()
    sent = [made.target(t, np.array([0, -ahead * 0.1, 0])) for t in range(CATCH_UP + 1)]
    np.testing.assert_allclose(sent[-1][1], -ahead * 0.1 if follows else 0, rtol=1e-5)
    assert len(made.held) == (0 if follows else CATCH_UP + 1)


@pytest.mark.parametrize("late", [15, 60, 99])
def test_an_expert_is_followed_again_however_late_an_answer_within_its_chunk_comes(late: int) -> None:
    """The expert of the original code moves both arms through 400 control steps."""
    targets = np.load(FIDELITY / "transfer_cube.npz")["action"][0].astype(np.float32)
    made = TargetGuard(default_max_step(14), lambda _: None)
    for start in range(0, len(targets) - late - CATCH_UP, 9):
        made.start(targets[start])
        given = targets[start + late :][: 2 * CATCH_UP]
        sent = [made.target(t, target) for t, target in enumerate(given)]
        assert made.held == []
        np.testing.assert_allclose(sent[-1], given[-1], atol=1e-5)


def test_no_step_is_ever_longer_than_the_limit_whatever_an_agent_wants() -> None:
    rng, (made, _) = np.random.default_rng(0), guard()
    wild = rng.normal(size=(500, 3)) * 10.0 ** rng.integers(-3, 8, (500, 1))
    wild[rng.random((500, 3)) < 0.1] = np.nan
    sent = np.stack([made.target(t, action) for t, action in enumerate(wild)])
    assert np.isfinite(sent).all() and np.abs(np.diff(sent, axis=0)).max() <= 0.1 + 1e-6
    assert len(made.held) > 100 and len(made.limited) > 10


def test_a_robot_that_writes_into_its_target_changes_nothing_here() -> None:
    made, _ = guard()
    for t, action in enumerate((np.full(3, 0.1), np.full(3, np.nan), np.full(3, 0.1))):
        sent = made.target(t, action)
        np.testing.assert_allclose(sent, 0.1, rtol=1e-6)
        sent[:] = np.nan


def test_a_new_episode_begins_where_the_robot_is_and_counts_anew() -> None:
    made, said = guard()
    made.target(0, np.full(3, np.nan))
    made.start(np.ones(3))
    np.testing.assert_array_equal(made.target(0, np.full(3, np.nan)), 1)
    assert made.held == [0] and len(said) == 2
