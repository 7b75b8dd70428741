"""Samples random scenes with labels, which pretrain visual backbones. Nothing moves, and no demonstration is used.

A scene has random arm configurations and objects on the table or between the fingers of a hand. It consists of the
images of the chosen cameras and the pixel of every keypoint of the task in each image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import mujoco
import numpy as np

from sim_envs.camera import QUALITIES, SCENERY_GROUP, shared_renderer
from sim_envs.env import DEFAULT_CAMERAS, MJCF_CAMERAS, check_view
from sim_envs.objects import is_part, place, pose_in
from sim_envs.randomize import Randomizer
from sim_envs.robot import GRIPPER, SIDES, Robot
from sim_envs.task import BimanualTask, quaternion_matrix

HOME = np.array([0.0, -0.96, 1.16, 0.0, -0.3, 0.0])  # [rad]
# joint ranges [rad] that cover reaching, lifting, handing over and inserting, with a margin
JOINT_LOW = np.array([-0.7, -1.7, -0.3, -1.1, -1.0, -1.7])
JOINT_HIGH = np.array([0.7, 0.5, 1.5, 1.1, 1.4, 1.7])
# range of a tool centre point in the frame of its own arm's base [m]: from beside the base to past the middle
TCP_LOW, TCP_HIGH = np.array([0.18, -0.25, 0.003]), np.array([0.62, 0.25, 0.42])
CENTRE, CENTRE_RADIUS = np.array([0.469, 0.0, 0.20]), 0.14  # where the hands meet, same frame
HELD_SHARE = 0.55  # share of the objects that a hand holds
CENTRE_SHARE, HOME_SHARE = 0.4, 0.1  # shares of the arms near the meeting place, and at home
GOAL_SHARE = 0.2  # share of the scenes in which the objects are about to come together
SPREAD = 0.03  # [m] objects may lie this far outside of the start regions of the task


@dataclass(frozen=True)
class Scene:
    """One labelled scene. Pixels are (x to the right, y down); the centre of the top left pixel is (0, 0)."""

    images: dict[str, np.ndarray]  # camera -> (H, W, 3) uint8
    keypoints: dict[str, np.ndarray]  # camera -> (P, 2) float32 [pixels]
    visible: dict[str, np.ndarray]  # camera -> (P,) bool: inside of the image and not hidden
    qpos: np.ndarray  # (14,) float32
    env_state: np.ndarray  # (7n,) float32


class Renderer(Protocol):
    """Renders the images of scenes; see sim_envs.camera.CameraRenderer."""

    def render(self, data: mujoco.MjData, camera: str, appearance: Any) -> np.ndarray: ...


class SceneSampler:
    """Samples scenes of one task; the same state of a generator gives the same scene.

    Example:
        sampler = SceneSampler(sim_envs.load("insertion"), cameras=("cam_high",))
        scene = sampler.sample(np.random.default_rng(0))
        x, y = scene.keypoints["cam_high"][0]            # pixel of sampler.keypoints[0]

    `randomize` takes those of `sim_envs.randomize.KINDS` that can be seen in a scene; others have no effect.
    `renderer` renders the images instead of the renderer here, e.g. those of another model of the same scene.

    Raises ValueError for unknown cameras, qualities and randomizations, and for image sizes that cannot be rendered.
    """

    def __init__(
        self,
        task: type[BimanualTask],
        cameras: tuple[str, ...] = DEFAULT_CAMERAS,
        image_size: tuple[int, int] = (240, 320),
        quality: str = "fast",
        randomize: Sequence[str] = (),
        renderer: Renderer | None = None,
    ):
        check_view(cameras, image_size, quality)
        self.task, self.cameras, self.image_size = task, cameras, image_size
        self.keypoints = task.keypoints
        self._sampler = task(np.random.default_rng(0))
        self._model = mujoco.MjModel.from_xml_path(str(task.scene))
        self._data = mujoco.MjData(self._model)
        self._randomizer = Randomizer(self._model, task.objects, randomize)
        self._sampler.area = "area" in self._randomizer.kinds
        self._robot = Robot(self._model)
        self._renderer = renderer or shared_renderer(task.scene, image_size, quality)
        self._visible_groups = np.array(mujoco.MjvOption().geomgroup)  # without that of invisible collision hulls
        self._visible_groups[SCENERY_GROUP] = QUALITIES[quality].scenery
        self._bank, self._bank_tcp = self._arm_configurations(np.random.default_rng(0), 4000)
        self._central = np.flatnonzero(np.linalg.norm(self._bank_tcp - CENTRE, axis=1) < CENTRE_RADIUS)

    def sample(self, rng: np.random.Generator) -> Scene:
        """Samples one scene, renders its images and computes its labels."""
        self._randomizer.sample(None, rng)
        qpos = np.concatenate([self._random_arm(rng) for _ in SIDES])
        self._robot.set_qpos(self._data, qpos)
        mujoco.mj_kinematics(self._model, self._data)
        env_state = self._place_objects(rng, qpos)
        mujoco.mj_forward(self._model, self._data)
        images, keypoints, visible = {}, {}, {}
        for camera in self.cameras:
            name = MJCF_CAMERAS.get(camera, camera)
            images[camera] = self._renderer.render(self._data, name, self._randomizer.appearance)
            keypoints[camera], visible[camera] = self._project(name)
        return Scene(images, keypoints, visible, self._robot.qpos(self._data), env_state.astype(np.float32))

    # -- arms -----------------------------------------------------------------------------------------------------

    def _arm_configurations(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples joints (count, 6) with tool centre points (count, 3) in the workspace, and returns both."""
        base, site = self._model.body("left/base"), self._model.site("left/tcp").id
        joints, points = [], []
        while len(joints) < count:
            candidate = rng.uniform(JOINT_LOW, JOINT_HIGH)
            self._robot.set_qpos(self._data, np.concatenate([candidate, [0.5], HOME, [0.1]]))
            mujoco.mj_kinematics(self._model, self._data)
            point = self._data.site_xpos[site] - base.pos
            if np.all(point > TCP_LOW) and np.all(point < TCP_HIGH):
                joints.append(candidate)
                points.append(point.copy())
        return np.array(joints), np.array(points)

    def _random_arm(self, rng: np.random.Generator) -> np.ndarray:
        """Samples the joints of one arm (7,): six joints [rad] and a gripper opening."""
        kind = rng.uniform()
        if kind < HOME_SHARE:
            joints = HOME + rng.normal(0, 0.05, 6)
        elif kind < HOME_SHARE + CENTRE_SHARE:
            joints = self._bank[rng.choice(self._central)]
        else:
            joints = self._bank[rng.integers(len(self._bank))]
        return np.concatenate([joints, [rng.uniform(0.1, 1.0)]])

    # -- objects --------------------------------------------------------------------------------------------------

    def _place_objects(self, rng: np.random.Generator, qpos: np.ndarray) -> np.ndarray:
        """Samples object poses (7n,) and sets them; closes the grippers of `qpos` (14,) on held objects."""
        env_state = self._sampler.sample_objects(rng)
        hands = list(rng.permutation(len(SIDES)))
        for k, body in enumerate(self.task.objects):
            pose = env_state[7 * k : 7 * k + 7]
            if is_part(self._model, body):
                continue
            if hands and rng.uniform() < HELD_SHARE:
                pose[:] = self._in_hand(rng, int(hands.pop()), body, qpos)
            else:
                pose[:2] += rng.uniform(-SPREAD, SPREAD, 2)
                yaw = rng.choice([0.0, rng.uniform(-0.6, 0.6)]) / 2
                pose[3:] = (np.cos(yaw), 0, 0, np.sin(yaw))
        if rng.uniform() < GOAL_SHARE:
            self._sampler.bring_together(rng, env_state)
        for k, body in enumerate(self.task.objects):
            pose = env_state[7 * k : 7 * k + 7]
            if is_part(self._model, body):
                pose[:] = self._somewhere_on_its_joint(rng, body)
            else:
                place(self._model, self._data, body, pose)
        self._robot.set_qpos(self._data, qpos)
        return env_state

    def _somewhere_on_its_joint(self, rng: np.random.Generator, body: str) -> np.ndarray:
        """Moves a part to a random position on its joint, or to one of its ends, and returns its pose (7,)."""
        joint = self._model.joint(body)
        share = rng.uniform() if rng.uniform() < 0.5 else rng.integers(2)
        self._data.qpos[joint.qposadr[0]] = joint.range[0] + share * (joint.range[1] - joint.range[0])
        mujoco.mj_kinematics(self._model, self._data)
        return pose_in(self._model, self._data, body)

    def _in_hand(self, rng: np.random.Generator, side: int, body: str, qpos: np.ndarray) -> np.ndarray:
        """Samples a pose (7,) between the fingers, as if the hand had grasped the object at some angle."""
        site = self._model.site(f"{SIDES[side]}/tcp").id
        position, rotation = self._data.site_xpos[site], self._data.site_xmat[site].reshape(3, 3)
        offset = rng.normal(0, [0.010, 0.002, 0.006])
        steepness = rng.uniform(np.radians(20), np.radians(95))
        pose = np.empty(7)
        pose[:3] = position + rotation @ offset
        grasp, noise = np.empty(4), np.empty(4)
        mujoco.mju_axisAngle2Quat(grasp, np.array([0.0, 1.0, 0.0]), -steepness)
        mujoco.mju_axisAngle2Quat(noise, _unit(rng.normal(size=3)), rng.normal(0, 0.08))
        hand = np.empty(4)
        mujoco.mju_mat2Quat(hand, rotation.ravel())
        mujoco.mju_mulQuat(pose[3:], hand, grasp)
        mujoco.mju_mulQuat(pose[3:], pose[3:].copy(), noise)
        if side == 1:  # the pose above faces the left arm, so turn it by 180 degrees for the right one
            mujoco.mju_mulQuat(pose[3:], pose[3:].copy(), np.array([0.0, 0.0, 0.0, 1.0]))
        qpos[7 * side + 6] = GRIPPER.opening(0.0224 + self._half_width(body)) + rng.normal(0, 0.01)
        return pose

    def _half_width(self, body: str) -> float:
        """Returns half the width [m] of an object across the hand, along its y axis."""
        model = self._model
        geoms = [g for g in range(model.ngeom) if model.geom_bodyid[g] == model.body(body).id]
        sizes = [np.abs(quaternion_matrix(model.geom_quat[g])[1]) @ model.geom_aabb[g][3:] for g in geoms]
        return max(abs(model.geom_pos[g][1]) + size for g, size in zip(geoms, sizes, strict=True))

    # -- labels ---------------------------------------------------------------------------------------------------

    def _project(self, camera: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the pixels (P, 2) of the task's keypoints in a camera, and whether each is visible (P,)."""
        camera_id = self._model.camera(camera).id
        origin, rotation = self._data.cam_xpos[camera_id], self._data.cam_xmat[camera_id].reshape(3, 3)
        sites = [self._model.site(name).id for name in self.task.keypoints]
        pixels = project(
            self._data.site_xpos[sites], origin, rotation, self._model.cam_fovy[camera_id], self.image_size
        )
        height, width = self.image_size
        inside = np.all((pixels > -0.5) & (pixels < (width - 0.5, height - 0.5)), axis=1)
        visible = [bool(inside[p]) and self._unhidden(origin, site) for p, site in enumerate(sites)]
        return pixels.astype(np.float32), np.array(visible)

    def _unhidden(self, origin: np.ndarray, site: int) -> bool:
        """Returns whether a point within 12 mm of the site is visible. Points of the hands always count as visible."""
        if self._model.site(site).name.endswith("/tcp"):
            return True
        own = self._model.site_bodyid[site]
        centre = self._data.site_xpos[site]
        hit = np.zeros(1, np.int32)
        for offset in _PROBES:
            ray = centre + offset - origin
            distance = mujoco.mj_ray(self._model, self._data, origin, ray, self._visible_groups, 1, -1, hit)
            if distance < 0 or distance >= 1.0 or self._model.geom_bodyid[hit[0]] == own:
                return True
        return False


_PROBES = 0.012 * np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]], dtype=np.float64)


def project(
    points: np.ndarray, origin: np.ndarray, rotation: np.ndarray, fovy: float, image_size: tuple[int, int]
) -> np.ndarray:
    """Returns the pixels (P, 2) of world points (P, 3) [m] in a pinhole camera of MuJoCo.

    `origin` (3,) and `rotation` (3, 3) are the camera's pose: x right, y up, looking along -z. `fovy` is in degrees.
    Points behind the camera become (-1e6, -1e6).
    """
    height, width = image_size
    local = (points - origin) @ rotation
    depth = -local[:, 2]
    focal = 0.5 * height / np.tan(np.radians(fovy) / 2)  # [pixels]
    safe = np.where(depth > 1e-3, depth, 1.0)
    pixels = np.stack(
        [0.5 * (width - 1) + focal * local[:, 0] / safe, 0.5 * (height - 1) - focal * local[:, 1] / safe], axis=1
    )
    return np.where(depth[:, None] > 1e-3, pixels, -1e6)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
