"""Reads and sets the poses of a task's objects: free bodies, and parts that a slide or a hinge joint attaches to one.

The joint of an object has the name of its body. The pose of an object is 7 numbers in the world frame: position [m] and
quaternion wxyz. `model` and `data` are an MjModel and its MjData, of MuJoCo or of dm_control.
"""

from typing import Any

import mujoco
import numpy as np

FREE, SLIDE, HINGE = (
    int(kind) for kind in (mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE)
)


def is_part(model: Any, body: str) -> bool:
    """Returns whether a joint attaches the object to another one, so that it has one degree of freedom instead of six.

    Raises ValueError for a joint that is neither free nor a slide nor a hinge.
    """
    kind = int(model.jnt_type[model.joint(body).id])
    if kind not in (FREE, SLIDE, HINGE):
        raise ValueError(f"object {body!r} has a ball joint; objects have a free, a slide or a hinge joint")
    return kind != FREE


def pose_in(model: Any, data: Any, body: str) -> np.ndarray:
    """Returns the pose (7,) of an object. That of a part is as old as the last mj_kinematics."""
    if is_part(model, body):
        k = model.body(body).id
        return np.concatenate([data.xpos[k], data.xquat[k]])
    address = model.jnt_qposadr[model.joint(body).id]
    return np.array(data.qpos[address : address + 7])


def place(model: Any, data: Any, body: str, pose: np.ndarray) -> None:
    """Gives an object a pose (7,). A part gets the position on its joint that comes nearest, within the joint's range.

    Place an object before its parts: the part's joint is measured from where its carrier is now.
    """
    joint = model.joint(body).id
    address = model.jnt_qposadr[joint]
    if not is_part(model, body):
        data.qpos[address : address + 7] = pose
        return
    mujoco.mj_kinematics(_raw(model), _raw(data))
    position = model.qpos0[address] + _along_joint(model, data, body, np.asarray(pose, np.float64))
    low, high = model.jnt_range[joint] if model.jnt_limited[joint] else (-np.inf, np.inf)
    data.qpos[address] = np.clip(position, low, high)


def carrier(model: Any, body: str) -> str:
    """Returns the name of the free object that carries a part; a free object carries itself."""
    return model.body(int(model.body_rootid[model.body(body).id])).name


def _along_joint(model: Any, data: Any, body: str, pose: np.ndarray) -> float:
    """Returns how far [m or rad] the pose lies along the joint, from where the model defines the part."""
    k, joint = model.body(body).id, model.joint(body).id
    parent, axis = int(model.body_parentid[k]), np.array(model.jnt_axis[joint], np.float64)
    turned, moved, local = np.empty(4), np.empty(3), np.empty(3)
    mujoco.mju_mulQuat(turned, np.array(data.xquat[parent]), np.array(model.body_quat[k]))
    mujoco.mju_rotVecQuat(moved, np.array(model.body_pos[k]), np.array(data.xquat[parent]))
    inverse = turned * (1, -1, -1, -1)
    if int(model.jnt_type[joint]) == SLIDE:
        mujoco.mju_rotVecQuat(local, pose[:3] - data.xpos[parent] - moved, inverse)
        return float(axis @ local)
    turn = np.empty(4)
    mujoco.mju_mulQuat(turn, inverse, pose[3:])
    angle = 2 * np.arctan2(axis @ turn[1:], turn[0])
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def _raw(wrapped: Any) -> Any:
    """Returns MuJoCo's own model or data, which dm_control wraps."""
    return getattr(wrapped, "ptr", wrapped)
