"""qpos, qvel, action and ctrl of the two arms have the right units and order."""

import mujoco
import numpy as np
import pytest

import sim_envs
from sim_envs.robot import GRIPPER, SIDES, Robot


@pytest.fixture(scope="module")
def physics():
    env = sim_envs.make("insertion", cameras=())
    env.reset(seed=0)
    return env.physics


def test_gripper_opening_and_slide_are_inverse():
    slides = np.linspace(0.021, 0.057, 7)
    np.testing.assert_allclose(GRIPPER.slide(GRIPPER.opening(slides)), slides)
    assert GRIPPER.opening(GRIPPER.closed) == 0
    assert GRIPPER.opening(GRIPPER.open) == 1


@pytest.mark.parametrize(("slide", "opening"), [(0.021, 0.0647), (0.02239, 0.0998), (0.057, 0.9747), (0.0424, 0.606)])
def test_gripper_openings_are_the_originals(slide, opening):
    assert GRIPPER.opening(slide) == pytest.approx(opening, abs=1e-3)


def test_home_reads_as_the_originals_start_pose(physics):
    arm = [0, -0.96, 1.16, 0, -0.3, 0, 0.0998]
    np.testing.assert_allclose(Robot(physics.model.ptr).qpos(physics.data), arm + arm, atol=2e-4)


def test_ctrl_mirrors_the_fingers(physics):
    action = np.arange(14) / 10
    ctrl = Robot(physics.model.ptr).to_ctrl(action)
    np.testing.assert_allclose(ctrl[:6], action[:6])
    np.testing.assert_allclose(ctrl[8:14], action[7:13])
    assert ctrl[6] == -ctrl[7] == pytest.approx(GRIPPER.slide(0.6))
    assert ctrl[14] == -ctrl[15] == pytest.approx(GRIPPER.slide(1.3))


def test_qpos_written_is_qpos_read(physics):
    robot, qpos = Robot(physics.model.ptr), np.linspace(0.1, 0.9, 14)
    saved = physics.get_state()
    robot.set_qpos(physics.data, qpos)
    np.testing.assert_allclose(robot.qpos(physics.data), qpos, atol=1e-6)
    for side in SIDES:
        fingers = [float(physics.named.data.qpos[f"{side}/{finger}_finger"].item()) for finger in SIDES]
        assert fingers[0] == -fingers[1] > 0, "fingers mirror each other"
    physics.set_state(saved)


def test_velocities_have_the_units_of_positions(physics):
    robot, data, dt = Robot(physics.model.ptr), physics.data, 1e-3
    saved = physics.get_state()
    data.qvel[:] = np.linspace(-0.01, 0.02, physics.model.nv)
    before, qvel = robot.qpos(data).astype(float), robot.qvel(data)
    mujoco.mj_integratePos(physics.model.ptr, data.qpos, data.qvel, dt)
    np.testing.assert_allclose((robot.qpos(data) - before) / dt, qvel, atol=2e-3)
    assert np.abs(qvel[[6, 13]]).min() > 0.01
    physics.set_state(saved)


def test_limits_are_those_of_the_joints_and_unit_grippers(physics):
    limits = Robot(physics.model.ptr).limits
    np.testing.assert_allclose(limits[[6, 13]], [[0, 1], [0, 1]])
    np.testing.assert_allclose(limits[1], [-1.85005, 1.25664])
    np.testing.assert_allclose(limits[:7], limits[7:])
