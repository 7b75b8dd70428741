"""Writes the four files of a new task, a small one that works: `python -m sim_envs.new_task stack_cubes`.

In the new task the right arm lifts a block. Its scene, rules, expert and test pass the contract tests at once; change
them one after another into the task that you mean (docs/adding_a_task.md). The command lives here and not in `act`,
because `act` never imports the simulator.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import sim_envs

SCENE = """<mujoco model="NAME">
  <include file="bimanual.xml"/>
  <default>
    <default class="object">  <!-- hard contact with high friction: see assets/README.md -->
      <geom condim="4" solimp="2 1 0.01" solref="0.01 1" friction="1 0.005 0.0001"/>
    </default>
  </default>
  <worldbody>
    <body name="block" pos="0.1 0.5 0.02">
      <joint name="block" type="free" frictionloss="0.01"/>
      <inertial pos="0 0 0" mass="0.05" diaginertia="0.002 0.002 0.002"/>
      <geom name="block" class="object" type="box" size="0.02 0.02 0.02" rgba="0.86 0.13 0.13 1"/>
      <site name="block" group="4" size="0.004"/>
    </body>
  </worldbody>
  <keyframe>
    <key name="home" qpos="0 -0.96 1.16 0 -0.3 0 0.02239 -0.02239  0 -0.96 1.16 0 -0.3 0 0.02239 -0.02239
                           0.1 0.5 0.02 1 0 0 0"
         ctrl="0 -0.96 1.16 0 -0.3 0 0.02239 -0.02239  0 -0.96 1.16 0 -0.3 0 0.02239 -0.02239"/>
  </keyframe>
</mujoco>
"""

RULES = '''"""Defines TITLE: the right arm lifts a block."""

from typing import Any

import numpy as np

from sim_envs.robot import FINGERS
from sim_envs.task import ASSETS, TABLE, BimanualTask, resting_pose

BLOCK = ("block",)
REGION = np.array([[0.05, 0.2], [0.4, 0.6]])  # range of x and of y of the block [m], sampled uniformly


class Task(BimanualTask):
    """The stages:

    1 touched  the right hand touches the block
    2 lifted   and it is off the table

    Strict success: for the last 0.5 s (25 control steps), the right hand has held the block off the table.
    """

    name = "NAME"
    scene = ASSETS / "NAME.xml"
    stage_names = ("touched", "lifted")
    objects = ("block",)
    keypoints = ("block", "left/tcp", "right/tcp")
    episode_len = 300
    strict_steps = 25

    def sample_objects(self, rng: np.random.Generator) -> np.ndarray:
        x, y = rng.uniform(REGION[:, 0], REGION[:, 1])
        return resting_pose(x, y, 0.02)

    def stage(self, physics: Any) -> int:
        if not self.touching(physics, BLOCK, FINGERS["right"]):
            return 0
        return 1 if self.touching(physics, BLOCK, TABLE) else 2

    def holds(self, physics: Any) -> bool:
        return self.stage(physics) == 2
'''

EXPERT = '''"""Defines the expert for TITLE: the right hand picks the block up and holds it."""

from typing import ClassVar

import numpy as np

from sim_envs.experts import expert as ex
from sim_envs.experts.expert import Goal, Goals, Phase, Scene
from sim_envs.kinematics import Pose

OPENING = 0.606  # reading of a gripper closed on the block
GRASP_HEIGHT = 0.006  # [m] of the hand above the middle of the block
PLACE = np.array([0.1, 0.5, 0.15])  # [m] place where the block is held
ASIDE = np.array([-0.2, 0.5, 0.2])  # [m] place of the left hand


class Expert(ex.Expert):
    objects = ("block",)
    symmetries: ClassVar = {"block": ex.symmetry_group({"x": np.pi / 2, "z": np.pi / 2})}

    def make_phases(self) -> list[Phase]:
        return [
            Phase("pick", lambda s: True, lambda s: True, self.pick),
            Phase("lift", self.held, lambda s: self.held(s, 0.1), self.lift),
        ]

    def held(self, scene: Scene, margin: float = 0.04) -> bool:
        return ex.grasped(scene, "right", self.grasp(scene), OPENING, margin)

    def grasp(self, scene: Scene) -> Pose:
        block = scene.objects["block"]
        above = np.array([0.5 * self.variation.grasp_shift[1], 0.0, GRASP_HEIGHT])
        return Pose(block.position + above, ex.facing("right", self.variation.pitch, yaw=ex.yaw_of(block.rotation)))

    def pick(self, scene: Scene) -> Goals:
        return {"left": self.aside(), "right": self.reach(scene, "right", self.grasp(scene))}

    def lift(self, scene: Scene) -> Goals:
        place = Pose(PLACE + np.array(self.variation.place), np.eye(3))
        return {"left": self.aside(), "right": ex.lift(scene, "right", scene.objects["block"], place)}

    def aside(self) -> Goal:
        return Goal(Pose(ASIDE, ex.facing("left", ex.SCRIPTED.pitch)), 1.0)
'''

TEST = '''"""TITLE_UP counts only a block that the right hand holds, and its expert passes all stages."""

import numpy as np
import pytest

import sim_envs
from sim_envs.experts import make_agent
from sim_envs.task import resting_pose


@pytest.fixture(scope="module")
def env():
    env = sim_envs.make("NAME", cameras=())
    yield env
    env.close()


def test_a_block_that_lies_on_the_table_scores_nothing(env):
    obs, _ = env.reset(seed=0, options={"env_state": resting_pose(0.1, 0.5, 0.02)})
    home = np.clip(obs["qpos"], env.action_space.low, env.action_space.high)
    rewards = [env.step(home)[1] for _ in range(30)]
    assert max(rewards) == 0
    assert not env.task.strict_success


def test_the_expert_passes_every_stage_in_order(env):
    agent = make_agent("NAME")
    agent.reset(1)
    obs, info = env.reset(seed=0)
    reached = []
    for _ in range(env.env_spec.episode_len):
        obs, reward, _, _, info = env.step(agent.select_action([obs])[0])
        if reward > max(reached, default=0):
            reached.append(reward)
    assert reached[-1] == len(env.task.stage_names)
    assert info["strict_success"]
'''

FILES = {
    "assets/NAME.xml": SCENE,
    "sim_envs/tasks/NAME.py": RULES,
    "sim_envs/experts/NAME.py": EXPERT,
    "tests/sim_envs/tasks/test_NAME.py": TEST,
}


def write_task(name: str, root: Path) -> list[Path]:
    """Writes the four files of the task into a checkout and returns their paths.

    Raises ValueError for a name that is no Python module, that is taken or that looks like a style of demonstrations,
    and for a folder that is no checkout.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise ValueError(f"{name!r} cannot name a task; use lower-case words joined by _, e.g. stack_cubes")
    if name.startswith("sim_") or name.endswith(("_human", "_scripted")):
        raise ValueError(f"{name!r} cannot name a task; the programs call it sim_TASK_scripted and sim_TASK_human")
    contents = {root / path.replace("NAME", name): filled(text, name) for path, text in FILES.items()}
    for path in contents:
        if path.exists():
            raise ValueError(f"{path} exists; choose another name than {name!r}")
        if not path.parent.is_dir():
            raise ValueError(
                f"{root} is no checkout of this repository: it has no folder {path.parent.relative_to(root)}"
            )
    for path, text in contents.items():
        path.write_text(text, encoding="utf-8")
    return list(contents)


def filled(template: str, name: str) -> str:
    """Returns a template with the name of the task in it."""
    title = name.replace("_", " ")
    return template.replace("TITLE_UP", title.capitalize()).replace("TITLE", title).replace("NAME", name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 when the files are written, 2 for wrong input."""
    parser = argparse.ArgumentParser(prog="python -m sim_envs.new_task", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", help="name of the task and of its files, e.g. stack_cubes")
    parser.add_argument("--root", type=Path, default=Path(sim_envs.__file__).parents[1], help="folder of the checkout")
    options = parser.parse_args(arguments)
    try:
        written = write_task(options.name, options.root)
    except ValueError as error:
        print(f"new_task: {error}", file=sys.stderr)
        return 2
    print("\n".join(str(path) for path in written))
    print(f"next: python -m pytest tests/sim_envs -k {options.name}, then docs/adding_a_task.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
