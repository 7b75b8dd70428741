"""LeRobot's own classes and mocks drive and are driven, in an environment of its own that two variables name.

git clone --depth 1 --branch v0.6.1 https://github.com/huggingface/lerobot
LEROBOT_PYTHON=.venv-lerobot/bin/python LEROBOT_SOURCE=lerobot python -m pytest tests/real_envs/test_lerobot_client.py
"""

import json
import math
import os
import subprocess
from pathlib import Path

import pytest

PYTHON, SOURCE = os.environ.get("LEROBOT_PYTHON", ""), os.environ.get("LEROBOT_SOURCE", "")
ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (PYTHON and SOURCE), reason="set LEROBOT_PYTHON and LEROBOT_SOURCE (a checkout with mocks)"),
]
PROGRAM = '''
import json, sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import MagicMock, patch

sys.path[:0] = [sys.argv[1], sys.argv[2]]  # LeRobot's checkout first: both have a package `tests`
from lerobot.robots.bi_so_follower import BiSOFollower, BiSOFollowerConfig
from lerobot.robots.so_follower import SOFollower, SOFollowerConfig
from tests.mocks.mock_robot import MockRobot, MockRobotConfig
from tests.mocks.mock_teleop import MockTeleop, MockTeleopConfig

from act.runtime.robot_envs import RobotEnvs
from act.runtime.rollout import rollout
from act.types import EnvSpec
from real_envs.lerobot_body import Body, fixed, gripper, joint
from real_envs.lerobot_leaders import LeRobotLeaders
from real_envs.lerobot_robot import LeRobotRobot
from real_envs.puppeteer import LeaderAgent, Limits

folder, length = Path(sys.argv[3]), 60
SO = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")


def bus(port, motors, calibration):
    """LeRobot's way of testing an SO-101: a mock in the place of its bus, here one whose motors follow at once."""
    made, shafts = MagicMock(name=port), {motor: 50.0 if motor == "gripper" else 0.0 for motor in motors}
    made.motors, made.is_connected, made.is_calibrated, made.shafts = motors, False, True, shafts
    made.connect.side_effect = lambda: setattr(made, "is_connected", True)
    made.disconnect.side_effect = lambda *_: setattr(made, "is_connected", False)
    made.sync_read.side_effect = lambda name, num_retry=0: dict(shafts)
    made.sync_write.side_effect = lambda name, goals: shafts.update(goals)
    return made


def arm(prefix):
    axes = [joint(f"{prefix}{name}.pos", "degrees", -1.8, 1.8) for name in SO]
    return [*axes[:3], fixed(0.0), *axes[3:], gripper(f"{prefix}gripper.pos", closed=0, open=100)]


def leader_axes():
    """LeRobot's mock has 14 motors in its unit RANGE_M100_100; teleoperators do not say their unit."""
    axes = [joint(f"motor_{k + 1}.pos", "range_m100_100", -3, 3, radians=(-2, 2)) for k in range(14)]
    axes[6], axes[13] = (gripper(f"motor_{k}.pos", closed=-100, open=100) for k in (7, 14))
    return tuple(axes)


said = {}
followers = Body((*arm("left_"), *arm("right_")), speed=3.0)
BUS = "lerobot.robots.so_follower.so_follower.FeetechMotorsBus"
with patch(BUS, side_effect=bus), patch.object(SOFollower, "configure"):
    left, right = (SOFollowerConfig(port=name) for name in ("left", "right"))
    robot = BiSOFollower(
        BiSOFollowerConfig(id="pair", calibration_dir=folder, left_arm_config=left, right_arm_config=right)
    )
    pose = [20.0] + [0.0] * 5 + [100.0] + [0.0] * 6 + [-100.0]
    teleop = MockTeleop(MockTeleopConfig(calibration_dir=folder, n_motors=14, random_values=False, static_values=pose))
    leading = LeRobotLeaders((teleop, Body(leader_axes(), speed=3.0)))
    with leading as leaders, LeRobotRobot((robot, followers)) as driven:
        agent = LeaderAgent(leaders, Limits(joints=driven.limits), wait=False)
        list(rollout(RobotEnvs(driven, EnvSpec("any", (), length)), agent, seeds=[0]))
        said["left"], said["right"] = dict(robot.left_arm.bus.shafts), dict(robot.right_arm.bus.shafts)
    said["connected"] = [robot.is_connected, teleop.is_connected]
    first = joint("left_shoulder_pan.pos", "range_m100_100", -1, 1, radians=(-1, 1))
    wrong = Body((first, *followers.axes[1:]), speed=3.0)
    try:
        LeRobotRobot((robot, wrong))
    except ValueError as error:
        said["refused"] = str(error)

mock = MockRobot(MockRobotConfig(calibration_dir=folder, n_motors=2, random_values=False, static_values=[50.0, -100.0]))
axes = (joint("motor_1.pos", "range_m100_100", -2, 2, radians=(-2, 2)), gripper("motor_2.pos", -100, 100))
send = MagicMock(side_effect=mock.send_action)
with LeRobotRobot((mock, Body(axes, speed=3.0))) as driven, patch.object(mock, "send_action", send):
    said["mock"] = driven.observe()["qpos"].tolist()
    driven.act([0.0, 1.0])
    said["sent"] = send.call_args.args[0]
print(json.dumps(said))
'''


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict:
    words = (PYTHON, "-c", PROGRAM, str(Path(SOURCE).resolve()), str(ROOT), str(tmp_path_factory.mktemp("lerobot")))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_lerobots_mock_teleoperator_leads_lerobots_bimanual_so101(said: dict):
    assert said["left"]["shoulder_pan"] == pytest.approx(math.degrees(0.4), abs=0.01), "20 % of 2 rad"
    assert (said["left"]["gripper"], said["right"]["gripper"]) == pytest.approx((100.0, 0.0), abs=0.01)
    still = {name: angle for arm in ("left", "right") for name, angle in said[arm].items()}
    assert all(abs(still[name]) < 0.01 for name in ("shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll"))
    assert said["connected"] == [False, False]


def test_a_unit_that_lerobots_own_motors_do_not_have_is_refused(said: dict):
    assert (
        said["refused"]
        == "left_shoulder_pan.pos of bi_so_follower has unit 'degrees', not 'range_m100_100' as declared"
    )


def test_lerobots_mock_robot_is_read_and_driven_in_its_own_unit(said: dict):
    assert said["mock"] == pytest.approx([1.0, 0.0])
    assert said["sent"] == pytest.approx({"motor_1.pos": 50.0 - 100 * 0.06 / 2, "motor_2.pos": 100.0})
