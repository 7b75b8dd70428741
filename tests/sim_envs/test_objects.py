"""Poses of objects are set and read alike, whether a body is free or a part on a slide or a hinge."""

import mujoco
import numpy as np
import pytest

from sim_envs.objects import carrier, is_part, place, pose_in

BOX_WITH_PARTS = """
<mujoco><worldbody>
  <body name="box" pos="0.1 0.2 0.3">
    <joint name="box" type="free"/><geom name="box" size="0.1"/>
    <body name="slider" pos="0 0.05 0.1" euler="0 0 30">
      <joint name="slider" type="slide" axis="1 0 0" range="-0.04 0.06"/><geom name="slider" size="0.01"/>
    </body>
    <body name="lid" pos="0.02 0 0.1" euler="10 0 0">
      <joint name="lid" type="hinge" axis="0 1 0" range="-20 110" pos="-0.05 0 0"/><geom name="lid" size="0.02"/>
      <body name="knob"><joint name="knob" type="ball"/><geom name="knob" size="0.01"/></body>
    </body>
  </body>
</worldbody></mujoco>
"""
TILTED = np.array([0.3, -0.2, 0.5, 0.5, 0.5, -0.1, 0.7])


@pytest.fixture(scope="module")
def model():
    return mujoco.MjModel.from_xml_string(BOX_WITH_PARTS)


@pytest.fixture
def data(model):
    data = mujoco.MjData(model)
    tilted = TILTED.copy()
    tilted[3:] /= np.linalg.norm(tilted[3:])
    place(model, data, "box", tilted)
    return data


@pytest.mark.parametrize(("part", "position"), [("slider", -0.03), ("slider", 0.05), ("lid", -0.2), ("lid", 1.9)])
def test_a_part_that_gets_its_own_pose_comes_back_to_the_same_place_on_its_joint(model, data, part, position):
    address = model.jnt_qposadr[model.joint(part).id]
    data.qpos[address] = position
    mujoco.mj_kinematics(model, data)
    pose = pose_in(model, data, part)
    data.qpos[address] = 0.01
    place(model, data, part, pose)
    assert data.qpos[address] == pytest.approx(position, abs=1e-9)


def test_a_pose_beside_the_joint_gives_the_nearest_position_on_it(model, data):
    mujoco.mj_kinematics(model, data)
    pose = pose_in(model, data, "slider")
    axis, across = data.body("slider").xmat.reshape(3, 3).T[:2]
    pose[:3] += 0.02 * axis + 0.01 * across
    place(model, data, "slider", pose)
    assert data.joint("slider").qpos[0] == pytest.approx(0.02)


def test_a_part_never_leaves_the_range_of_its_joint(model, data):
    mujoco.mj_kinematics(model, data)
    pose = pose_in(model, data, "slider")
    pose[:3] += 5 * data.body("slider").xmat.reshape(3, 3)[:, 0]
    place(model, data, "slider", pose)
    assert data.joint("slider").qpos[0] == 0.06


def test_a_free_object_has_exactly_the_pose_that_it_was_given(model, data):
    pose = np.array([1.0, 2.0, 3.0, 0.6, 0.0, 0.8, 0.0])
    place(model, data, "box", pose)
    np.testing.assert_array_equal(pose_in(model, data, "box"), pose)


def test_a_part_is_carried_by_the_free_object_at_the_root(model):
    assert [carrier(model, body) for body in ("box", "slider", "lid", "knob")] == ["box"] * 4
    assert [is_part(model, body) for body in ("box", "slider", "lid")] == [False, True, True]


def test_an_object_on_a_ball_joint_is_refused_by_name(model):
    with pytest.raises(
        ValueError, match="object 'knob' has a ball joint; objects have a free, a slide or a hinge joint"
    ):
        is_part(model, "knob")
