"""LeRobot's robots and teleoperators, as fakes: units, limits, refusals, lost devices, whole rollouts."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act.data.episodes import read_episode
from act.recording.recorder import EpisodeRecorder
from act.runtime.agents import ReplayAgent
from act.runtime.robot_envs import RobotEnvs
from act.runtime.rollout import rollout
from act.types import EnvSpec
from real_envs.errors import HardwareError
from real_envs.lerobot_body import Body, fixed, gripper, joint, load
from real_envs.lerobot_leaders import LeRobotLeaders
from real_envs.lerobot_part import SILENCE
from real_envs.lerobot_robot import LeRobotRobot
from real_envs.puppeteer import LeaderAgent, Limits
from tests.fakes.lerobot_devices import JOINTS, FakeLeader, FakeRobot, so101

YAML = """
speed: 3
axes:
  - {feature: shoulder_pan.pos, unit: degrees, low: -1.9, high: 1.9}
  - {feature: elbow_flex.pos, unit: degrees, sign: -1, zero: 90, low: -1.6, high: 1.6}
  - {fixed: 0.25}
  - {feature: wrist_roll.pos, unit: range_m100_100, radians: [-3, 1], low: -3, high: 1}
  - {feature: gripper.pos, closed: 10, open: 60}
cameras: {cam_high: front}
unused: [shoulder_lift.pos, wrist_flex.pos]
"""
MODES = {"wrist_roll": "range_m100_100"}


@pytest.fixture
def body(tmp_path: Path) -> Body:
    path = tmp_path / "arm.yaml"
    path.write_text(YAML)
    return load(path)


def arm(prefix: str = "") -> list[Any]:
    """The seven axes of an SO-101 as an arm of ALOHA: it has no forearm_roll."""
    axes = [joint(f"{prefix}{name}.pos", "degrees", -1.8, 1.8) for name in JOINTS]
    return [*axes[:3], fixed(0.0), *axes[3:], gripper(f"{prefix}gripper.pos", closed=0, open=100)]


TWO_ARMS = Body((*arm("left_"), *arm("right_")), speed=3.0, cameras={"cam_high": "front"})


def two_arms() -> dict[str, float]:
    return {**so101("left_"), **so101("right_")}


def test_numbers_of_lerobot_become_radians_and_openings_and_back(body: Body):
    numbers = {"shoulder_pan.pos": 90.0, "elbow_flex.pos": 60.0, "wrist_roll.pos": 100.0, "gripper.pos": 35.0}
    np.testing.assert_allclose(body.values(numbers), [math.pi / 2, math.pi / 6, 0.25, 1.0, 0.5])
    back = body.numbers(body.values(numbers))
    assert back == pytest.approx(numbers), "what is fixed goes nowhere"
    assert body.values({**numbers, "wrist_roll.pos": -100.0})[3] == pytest.approx(-3.0)


@pytest.mark.parametrize("unit", ["degrees", "radians"])
def test_a_joint_turns_the_way_that_its_sign_says(unit: str):
    one = joint("a.pos", unit, -1, 1, sign=-1, zero=2.0)
    per_unit = math.pi / 180 if unit == "degrees" else 1.0
    assert Body((one,), speed=1).values({"a.pos": 3.0})[0] == pytest.approx(-per_unit)


@pytest.mark.parametrize(
    ("line", "other", "sentence"),
    [
        ("unit: degrees, sign: -1", "unit: turns, sign: -1", "unit 'turns'; give one of degrees, radians"),
        ("sign: -1", "sign: -2", "the sign is 1 or -1"),
        ("radians: [-3, 1], ", "", "give `radians`"),
        ("radians: [-3, 1]", "radians: [1, 1]", "the same"),
        ("closed: 10", "closed: 60", "must differ"),
        ("closed: 10, ", "", "needs 'closed'"),
        ("low: -1.9, ", "", "shoulder_pan.pos needs 'low'"),
        ("sign: -1", "direction: -1", "unknown 'direction' for joint"),
        ("speed: 3", "speed: 30", "give 0 to 6.28 rad/s"),
        ("speed: 3", "", "needs 'speed'"),
        ("elbow_flex", "shoulder_pan", "each once"),
        ("axes", "joints", "no list `axes`"),
        ("- {fixed: 0.25}", "- forearm_roll", "'forearm_roll' is no mapping"),
        ("cameras: {cam_high: front}", "cameras: [front]", "cameras ['front']: give a mapping"),
        ("cam_high: front", "cam_high: 0", "cameras {'cam_high': 0}: give a mapping"),
        ("[shoulder_lift.pos, wrist_flex.pos]", "wrist_flex.pos", "unused 'wrist_flex.pos': give a list"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path: Path, line: str, other: str, sentence: str):
    path = tmp_path / "wrong.yaml"
    path.write_text(YAML.replace(line, other))
    with pytest.raises(ValueError, match=r"wrong\.yaml") as raised:
        load(path)
    assert sentence in str(raised.value) and "\n" not in str(raised.value)


def test_an_empty_line_declares_no_cameras_and_nothing_unused(tmp_path: Path):
    path = tmp_path / "arm.yaml"
    path.write_text(YAML.replace("{cam_high: front}", "").replace("[shoulder_lift.pos, wrist_flex.pos]", ""))
    assert (load(path).cameras, load(path).unused) == ({}, ())


@pytest.mark.parametrize(
    ("line", "other", "sentence"),
    [
        ("feature: elbow_flex.pos", "feature: elbow.pos", "fake_arm has no joint 'elbow.pos'; it has elbow_flex.pos"),
        ("unused: [shoulder_lift.pos, ", "unused: [", "nobody declared 'shoulder_lift.pos'"),
        ("unit: range_m100_100, radians: [-3, 1]", "unit: degrees", "has unit 'range_m100_100', not 'degrees'"),
        ("cam_high: front", "cam_high: back", "no colour camera 'back'"),
        ("cam_high: front", "cam_high: front_depth", "no colour camera 'front_depth'"),
    ],
)
def test_a_file_that_does_not_fit_the_robot_is_refused_in_one_sentence(
    tmp_path: Path, line: str, other: str, sentence: str
):
    path = tmp_path / "arm.yaml"
    path.write_text(YAML.replace(line, other))
    with pytest.raises(ValueError) as raised:
        LeRobotRobot((FakeRobot(so101(), MODES), load(path)))
    assert sentence in str(raised.value) and "\n" not in str(raised.value)


def test_the_arms_of_a_bimanual_robot_must_have_the_declared_units():
    robot = FakeRobot(two_arms())
    robot.right_arm = FakeRobot(so101(), {"wrist_flex": "range_m100_100"})  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"right_wrist_flex.pos of fake_arm has unit 'range_m100_100'"):
        LeRobotRobot((robot, TWO_ARMS))


def test_a_joint_outside_of_its_limits_is_refused_and_the_robot_is_disconnected(body: Body):
    robot = FakeRobot({**so101(), "shoulder_pan": 140.0, "elbow_flex": 90.0}, MODES)
    with pytest.raises(ValueError, match=r"shoulder_pan.pos is at 2.44 rad, outside of -1.9 to 1.9"):
        LeRobotRobot((robot, body)).connect()
    assert not robot.is_connected and not robot.sent


def test_a_robot_that_is_not_calibrated_is_refused(body: Body):
    robot = FakeRobot(so101(), MODES)
    robot.is_calibrated = False
    with pytest.raises(HardwareError, match="fake_arm is not calibrated; run lerobot-calibrate first"):
        LeRobotRobot((robot, body)).connect()
    assert not robot.is_connected


def test_an_observation_has_joints_speeds_and_the_declared_camera():
    robot = FakeRobot(two_arms())
    with LeRobotRobot((robot, TWO_ARMS)) as driven:
        driven.observe()
        robot.numbers["left_elbow_flex.pos"] = 45.0
        obs = driven.observe()
        robot.image[:] = 99
    assert obs["qpos"].shape == obs["qvel"].shape == (14,) and obs["qpos"].dtype == obs["qvel"].dtype == np.float32
    assert obs["qpos"][[2, 3, 6, 13]] == pytest.approx([math.pi / 4, 0.0, 0.5, 0.5])
    assert obs["qvel"][2] > 1 and not np.delete(obs["qvel"], 2).any()
    assert list(obs["images"]) == ["cam_high"] and (obs["images"]["cam_high"] == 7).all(), "a copy of the image"


def test_no_target_goes_beyond_the_limits_or_the_largest_step():
    robot, rng = FakeRobot(two_arms()), np.random.default_rng(0)
    with LeRobotRobot((robot, TWO_ARMS)) as driven:
        for _ in range(2000):
            driven.act(rng.uniform(-4, 4, 14))
    rows = np.array([TWO_ARMS.values(sent) for sent in robot.sent])
    steps = np.abs(np.diff(rows, axis=0, prepend=TWO_ARMS.values({f"{k}.pos": v for k, v in two_arms().items()})[None]))
    assert (steps <= TWO_ARMS.max_step + 1e-9).all() and steps[:, 0].max() > 0.0599
    assert (rows >= TWO_ARMS.limits[:, 0] - 1e-9).all() and (rows <= TWO_ARMS.limits[:, 1] + 1e-9).all()


@pytest.mark.parametrize("action", [np.zeros(6), np.full(14, np.nan)])
def test_an_action_of_another_width_or_without_numbers_is_refused_and_the_robot_holds(action: np.ndarray):
    robot = FakeRobot(two_arms())
    with (
        pytest.raises(ValueError, match="expected \\(14,\\) finite joint targets"),
        LeRobotRobot((robot, TWO_ARMS)) as driven,
    ):
        driven.act(action)
    assert robot.sent == [robot.numbers] and not robot.is_connected


def test_a_robot_that_is_silent_for_a_moment_gets_no_targets_and_one_that_stays_silent_is_lost(monkeypatch):
    robot, now = FakeRobot(two_arms()), [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with pytest.raises(HardwareError) as raised, LeRobotRobot((robot, TWO_ARMS)) as driven:
        before = driven.observe()
        robot.failing = ConnectionError("Failed to sync read.\nThere is no status packet!")
        now[0] += 0.02
        again = driven.observe()
        driven.act(np.ones(14))
        assert robot.sent == [] and (again["qpos"] == before["qpos"]).all()
        now[0] += SILENCE + 0.01
        driven.observe()
    assert str(raised.value) == "fake_arm: Failed to sync read; check the cables and the power supply"
    assert robot.sent and all(sent == robot.numbers for sent in robot.sent), "it holds where it was read last"


def test_targets_that_lerobot_changes_are_announced_once():
    robot, said = FakeRobot(two_arms()), []
    robot.clip = 0.5  # degrees
    with LeRobotRobot((robot, TWO_ARMS), say=said.append) as driven:
        driven.act(np.ones(14))
        driven.act(np.ones(14))
    assert len(said) == 1 and "max_relative_target" in said[0]


def test_the_robot_moves_slowly_to_its_start_and_in_the_end_to_its_rest(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    start, rest = np.full(14, 0.3), np.full(14, -0.1)
    robot = FakeRobot(two_arms())
    with LeRobotRobot((robot, TWO_ARMS), start=start, rest=rest) as driven:
        driven.reset()
        assert np.abs(driven.observe()["qpos"][[0, 6]] - 0.3).max() < 0.05
        steps = np.diff([sent["left_shoulder_pan.pos"] for sent in robot.sent])
    assert np.radians(steps.max()) == pytest.approx(0.3 * 0.02, rel=1e-6)
    assert TWO_ARMS.values(robot.numbers)[0] == pytest.approx(-0.1, abs=0.05) and not robot.is_connected


def test_an_episode_of_a_lerobot_robot_is_recorded(tmp_path: Path):
    robot, targets = FakeRobot(two_arms()), np.zeros((1, 20, 14), np.float32)
    targets[0, :, 1] = np.linspace(0, 0.5, 20)
    targets[0, :, [6, 13]] = 1.0
    spec = EnvSpec("my_task", (), episode_len=20, cameras=("cam_high",), image_size=(4, 6))
    recorder = EpisodeRecorder(lambda _: tmp_path / "episode_0.hdf5", spec, keep=lambda _: True)
    with LeRobotRobot((robot, TWO_ARMS)) as driven:
        (result,) = rollout(RobotEnvs(driven, spec, period=0.001), ReplayAgent(targets), [recorder], seeds=[0])
    episode = read_episode(tmp_path / "episode_0.hdf5")
    assert result.length == len(episode) == 20
    np.testing.assert_array_equal(episode.action, targets[0])
    np.testing.assert_allclose(episode.qpos[1:], targets[0, :-1], atol=1e-6)
    assert robot.numbers["left_shoulder_lift.pos"] == pytest.approx(math.degrees(0.5))


class Hand:
    """A LeaderAgent whose leaders somebody moves before every action."""

    def __init__(self, agent: LeaderAgent, leader: FakeLeader):
        self.agent, self.leader = agent, leader

    def reset(self, num_envs: int) -> None:
        self.agent.reset(num_envs)

    def needs_images(self) -> bool:
        return False

    def select_action(self, observations: Sequence[dict[str, Any]]) -> np.ndarray:
        self.leader.numbers["left_shoulder_pan.pos"] += 1.0
        return self.agent.select_action(observations)


def test_lerobot_leaders_drive_a_lerobot_robot_one_to_one():
    robot, leader = FakeRobot(two_arms()), FakeLeader(two_arms())
    spec = EnvSpec("my_task", (), episode_len=40)
    with LeRobotLeaders((leader, TWO_ARMS)) as leaders, LeRobotRobot((robot, TWO_ARMS)) as driven:
        agent = LeaderAgent(leaders, Limits(joints=driven.limits), wait=False)
        list(rollout(RobotEnvs(driven, spec, period=0.001), Hand(agent, leader), seeds=[0]))
    assert robot.numbers["left_shoulder_pan.pos"] == pytest.approx(40.0, abs=0.01)
    assert (leaders.reads, leaders.missed) == (40, 0) and not leader.is_connected


def test_one_leader_arm_is_enough_when_the_other_is_declared_as_fixed():
    one = Body((*[fixed(0.0)] * 7, *arm()), speed=3.0)
    leader = FakeLeader({**so101(), "gripper": 100.0})
    with LeRobotLeaders((leader, one)) as leaders:
        agent = LeaderAgent(leaders, wait=False)
        leader.numbers["gripper.pos"] = 0.0
        seen = leaders.read()
        assert seen is not None and seen.shape == (14,)
        agent.puppeteer.target(np.r_[np.zeros(13), 1.0], 0.0)
        agent.puppeteer.target(seen, 0.02)
        assert agent.puppeteer.engaged, "a squeeze of the one gripper engages the clutch"


def test_leaders_of_another_width_are_refused():
    with pytest.raises(ValueError, match="the leaders have 7 numbers; two arms have 14"):
        LeRobotLeaders((FakeLeader(so101()), Body(tuple(arm()), speed=3.0)))


def test_a_leader_that_is_unplugged_ends_with_one_sentence(monkeypatch):
    leader, now = FakeLeader(two_arms()), [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with LeRobotLeaders((leader, TWO_ARMS)) as leaders:
        leader.failing = OSError("[Errno 5] Input/output error")
        assert leaders.read() is None
        now[0] += 0.1
        with pytest.raises(HardwareError, match=r"fake_arm: \[Errno 5\] Input/output error; check the cables"):
            leaders.read()
    assert (leaders.reads, leaders.missed) == (1, 1)
