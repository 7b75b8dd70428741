"""Randomizes how a simulation looks and behaves, anew in every episode: `sim_envs.make(task, randomize=("light",))`.

Without kinds nothing is touched, and every number is as it would be without this file. The values of an episode follow
from its seed; `info["randomization"]` of `reset` holds them (of the colours only the table's). The ranges are the
constants below.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from sim_envs.objects import is_part

KINDS = {
    "area": "objects that start along a line start over an area",
    "textures": "colours of everything, and the pattern of the table (patterns are rendered with quality pretty)",
    "light": "brightness and direction of the lamps",
    "camera": "position and direction of every camera",
    "mass": "mass and inertia of the objects",
    "friction": "friction of objects and fingers, and of the joints of parts",
    "latency": "cameras show what was there some control steps ago",
}
SCENE_KINDS = ("area", "textures", "light", "camera")  # those that a picture without motion can show
STREAM = 6  # second number of the seed; the streams 1 to 4 are those of noise, pushes and experts
TINT = 0.15  # largest change of a colour channel of table and robot [0 to 1]
OBJECT_TINT = 0.05  # the same of an object, which must stay recognizable
BRIGHTNESS = (0.5, 1.5)  # range of the factor on every lamp
LAMP_TURN = np.radians(25.0)  # [rad] largest turn of a lamp about each axis
CAMERA_SHIFT = 0.015  # [m] largest shift of a camera along each axis
CAMERA_TURN = np.radians(2.0)  # [rad] largest turn of a camera about each axis
MASS = (0.7, 1.4)  # range of the factor on the mass of an object
FRICTION = (0.8, 1.25)  # range of the factor on friction
LATENCY = 3  # [control steps] largest delay of a camera
TABLE_TEXTURE = "wood"
PATTERNS = ("checker", "stripes", "blotches")
PHYSICS = ("body_mass", "body_inertia", "geom_friction", "dof_frictionloss", "cam_pos", "cam_quat", "light_dir")


def check_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    """Returns the kinds as a tuple. Raises ValueError, which lists the choices, for an unknown one."""
    if isinstance(kinds, str):
        raise ValueError(f"randomize {kinds!r}: give a tuple, ({kinds!r},)")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"unknown kind {unknown[0]!r} of randomization; available: {', '.join(KINDS)}")
    return tuple(kinds)


class Randomizer:
    """Changes one model in place at the start of every episode.

    Args:
        model: MjModel of the physics; poses of cameras and lamps, masses and friction are changed in it.
        objects: names of the objects.
        kinds: what is randomized, from `KINDS`; "area" is the task's own business and only reported.

    Attributes:
        appearance: values of fields of MjModel that only rendering needs, for `CameraRenderer.render`.

    Example:
        env = sim_envs.make("slide_ziploc", randomize=("light", "camera", "latency"))
        obs, info = env.reset(seed=0)
        print(info["randomization"]["latency"])          # {"cam_high": 2, ...}
    """

    def __init__(self, model: mujoco.MjModel, objects: Sequence[str], kinds: Sequence[str] = ()):
        self.kinds = check_kinds(kinds)
        self._model, self._objects = model, tuple(objects)
        self._nominal = {name: np.array(getattr(model, name)) for name in PHYSICS}
        self._late: dict[str, int] = {}
        self._past: deque[np.ndarray] = deque(maxlen=LATENCY + 1)
        self._then = mujoco.MjData(model) if "latency" in self.kinds else None
        self.appearance: dict[str, np.ndarray] = {}

    def sample(self, seed: int | None, rng: np.random.Generator) -> dict[str, Any]:
        """Starts an episode: changes the model and returns the values that were chosen, ready for JSON.

        They depend on the seed alone. Without a seed they follow from `rng`.
        """
        if not self.kinds:
            return {}
        own = np.random.default_rng((int(rng.integers(2**32)) if seed is None else seed, STREAM))
        for name, values in self._nominal.items():
            getattr(self._model, name)[:] = values
        self.appearance, self._late = {}, {}
        self._past.clear()
        values = {kind: getattr(self, f"_{kind}")(own) for kind in KINDS if kind in self.kinds}
        if "mass" in self.kinds:
            mujoco.mj_setConst(self._model, mujoco.MjData(self._model))
        return values

    # -- cameras that are late ----------------------------------------------------------------------------------------

    def record(self, data: mujoco.MjData) -> None:
        """Notes the present state; call it once after `sample` and after every control step."""
        if self._then is not None:
            self._past.append(np.array(data.qpos))

    def seen(self, data: mujoco.MjData, camera: str) -> mujoco.MjData:
        """Returns the state that a camera shows now: the present one, or an earlier one if the camera is late."""
        late = min(self._late.get(camera, 0), len(self._past) - 1)
        if self._then is None or late <= 0:
            return data
        self._then.qpos[:] = self._past[-1 - late]
        mujoco.mj_kinematics(self._model, self._then)
        mujoco.mj_comPos(self._model, self._then)
        mujoco.mj_camlight(self._model, self._then)
        return self._then

    def _latency(self, rng: np.random.Generator) -> dict[str, int]:
        self._late = {name: int(rng.integers(LATENCY + 1)) for name in self._names("camera")}
        return dict(self._late)

    # -- physics ------------------------------------------------------------------------------------------------------

    def _area(self, rng: np.random.Generator) -> bool:
        return True

    def _mass(self, rng: np.random.Generator) -> dict[str, float]:
        factors = {body: float(rng.uniform(*MASS)) for body in self._objects}
        for body, factor in factors.items():
            self._model.body_mass[self._model.body(body).id] *= factor
            self._model.body_inertia[self._model.body(body).id] *= factor
        return factors

    def _friction(self, rng: np.random.Generator) -> dict[str, float]:
        """MuJoCo takes the larger friction of two touching geoms, so objects and fingers share one factor."""
        factors = {"contact": float(rng.uniform(*FRICTION))}
        bodies = {self._model.body(body).id for body in self._objects}
        for k, name in enumerate(self._names("geom")):
            if name.endswith("_finger") or int(self._model.geom_bodyid[k]) in bodies:
                self._model.geom_friction[k] *= factors["contact"]
        for part in (body for body in self._objects if is_part(self._model, body)):
            factors[part] = float(rng.uniform(*FRICTION))
            self._model.dof_frictionloss[self._model.joint(part).dofadr[0]] *= factors[part]
        return factors

    # -- looks --------------------------------------------------------------------------------------------------------

    def _camera(self, rng: np.random.Generator) -> dict[str, Any]:
        poses = {}
        for k, name in enumerate(self._names("camera")):
            shift = rng.uniform(-CAMERA_SHIFT, CAMERA_SHIFT, 3)
            turn = rng.uniform(-CAMERA_TURN, CAMERA_TURN, 3)
            self._model.cam_pos[k] += shift
            mujoco.mju_quatIntegrate(self._model.cam_quat[k], turn, 1.0)
            poses[name] = {"shift": shift.tolist(), "turn": turn.tolist()}
        return poses

    def _light(self, rng: np.random.Generator) -> dict[str, Any]:
        factors = [float(rng.uniform(*BRIGHTNESS)) for _ in range(1 + self._model.nlight)]
        headlight = self._model.vis.headlight
        self.appearance["vis.headlight.ambient"] = factors[0] * headlight.ambient
        self.appearance["vis.headlight.diffuse"] = factors[0] * headlight.diffuse
        self.appearance["light_diffuse"] = self._model.light_diffuse * np.array(factors[1:])[:, None]
        turns = rng.uniform(-LAMP_TURN, LAMP_TURN, (self._model.nlight, 3))
        for k, turn in enumerate(turns):
            quat = np.array([1.0, 0.0, 0.0, 0.0])
            mujoco.mju_quatIntegrate(quat, turn, 1.0)
            mujoco.mju_rotVecQuat(self._model.light_dir[k], self._nominal["light_dir"][k], quat)
        return {"brightness": factors, "turns": turns.tolist()}

    def _textures(self, rng: np.random.Generator) -> dict[str, Any]:
        """Geoms of objects keep their colour nearly; materials, which table and robot are made of, change more."""
        materials = np.array(self._model.mat_rgba)
        materials[:, :3] = _tinted(rng, materials[:, :3], TINT)
        bodies = {self._model.body(body).id for body in self._objects}
        geoms = np.array(self._model.geom_rgba)
        own = [k for k in range(self._model.ngeom) if int(self._model.geom_bodyid[k]) in bodies]
        geoms[own, :3] = _tinted(rng, geoms[own, :3], OBJECT_TINT)
        pattern, size = str(rng.choice(PATTERNS)), int(rng.choice((4, 8, 16, 32)))
        texture = self._model.texture(TABLE_TEXTURE)
        height, width = int(texture.height[0]), int(texture.width[0])
        texels = np.array(self._model.tex_data)
        start, count = int(texture.adr[0]), height * width * int(texture.nchannel[0])
        texels[start : start + count] = np.repeat(_pattern(rng, pattern, size, (height, width)).ravel(), 3)[:count]
        self.appearance |= {"mat_rgba": materials, "geom_rgba": geoms, "tex_data": texels}
        table = materials[self._model.material(TABLE_TEXTURE).id, :3]
        return {"table": [round(float(value), 4) for value in table], "pattern": pattern, "size": size}

    def _names(self, kind: str) -> list[str]:
        count = {"camera": self._model.ncam, "geom": self._model.ngeom}[kind]
        return [getattr(self._model, kind)(k).name for k in range(count)]


def _tinted(rng: np.random.Generator, colours: np.ndarray, most: float) -> np.ndarray:
    """Returns colours (n, 3) [0 to 1], each changed by up to `most` in every channel."""
    return np.clip(colours + rng.uniform(-most, most, colours.shape), 0.0, 1.0)


def _pattern(rng: np.random.Generator, kind: str, size: int, shape: tuple[int, int]) -> np.ndarray:
    """Returns a grey pattern (H, W) uint8 whose parts are `size` texels wide."""
    rows, columns = np.indices(shape) // size
    if kind == "checker":
        bright = (rows + columns) % 2
    elif kind == "stripes":
        bright = columns % 2
    else:
        blotches = rng.uniform(size=(-(-shape[0] // size), -(-shape[1] // size)))
        bright = blotches[rows, columns]
    return (255 * (1.0 - 0.25 * bright)).astype(np.uint8)
