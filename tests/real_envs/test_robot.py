"""Two followers and cameras as the robot of RobotEnvs: holding on every error, cameras, episodes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("dynamixel_sdk", reason="arms need the SDK of their motors: pip install -e '.[hardware]'")

from act.data.episodes import read_episode
from act.recording.recorder import EpisodeRecorder
from act.runtime.agents import HoldAgent, ReplayAgent
from act.runtime.robot_envs import RobotEnvs
from act.runtime.rollout import rollout
from act.types import EnvSpec
from real_envs.bus import HardwareError
from real_envs.cameras import Camera
from real_envs.description import VIPERX_300S
from real_envs.follower import Follower
from real_envs.motors import RAD_PER_TICK
from real_envs.robot import AlohaRobot
from tests.fakes.dynamixel_bus import EmulatedBus
from tests.real_envs.conftest import HOME, PATIENT

BOTH = np.concatenate([HOME, HOME])
NAMES = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")


class Video:
    """What cv2.VideoCapture is, at 60 images per second: image k is of the colour (k, 20, 30) in BGR."""

    def __init__(self, device: int | str):
        self.device, self.frozen, self.released, self.k, self.size = device, False, False, 0, (24, 32)

    def isOpened(self) -> bool:
        return self.device != "nowhere"

    def set(self, setting: int, value: float) -> None: ...

    def read(self) -> tuple[bool, np.ndarray | None]:
        time.sleep(1 / 60)
        if self.frozen:
            return False, None
        self.k += 1
        return True, np.full((*self.size, 3), (self.k % 256, 20, 30), np.uint8)

    def release(self) -> None:
        self.released = True


def four_cameras() -> tuple[list[Camera], list[Video]]:
    videos: list[Video] = []

    def open_device(device: int | str) -> Video:
        videos.append(Video(device))
        return videos[-1]

    return [Camera(name, name, (24, 32), open_device) for name in NAMES], videos


@pytest.fixture
def make(emulate) -> Callable[..., SimpleNamespace]:
    """Makes a robot that is not connected yet: robot, buses, videos."""

    def make(with_cameras: bool = False, answer_time: float = PATIENT, start: np.ndarray | None = None):
        arms = [emulate(VIPERX_300S, f"{side} follower") for side in ("left", "right")]
        cameras, videos = four_cameras() if with_cameras else ([], [])
        robot = AlohaRobot(*(Follower(arm, answer_time) for arm, _ in arms), cameras=cameras, start=start)
        return SimpleNamespace(robot=robot, buses=[bus for _, bus in arms], videos=videos)

    return make


@contextmanager
def holding(robot: AlohaRobot) -> Iterator[AlohaRobot]:
    """The robot without its way to the rest poses in the end, which takes seconds."""
    robot.connect()
    try:
        yield robot
    finally:
        robot.close()


def positions(bus: EmulatedBus) -> np.ndarray:
    return np.array(list(bus.positions().values()))


def drive(robot: AlohaRobot, steps: int, speed: float = 1.0, pace: float = 0.02) -> None:
    """Moves both waists back and forth, as an agent would."""
    for t in range(steps):
        target = BOTH.copy()
        target[[0, 7]] = np.sin(speed * t * 0.02)
        robot.act(target)
        time.sleep(pace)
        robot.observe()


def test_an_observation_has_what_act_expects(make):
    made = make(with_cameras=True)
    with holding(made.robot) as robot:
        obs = robot.observe()
        np.testing.assert_allclose(obs["qpos"], BOTH, atol=2 * RAD_PER_TICK)
        assert obs["qpos"].dtype == obs["qvel"].dtype == np.float32 and obs["qvel"].shape == (14,)
        assert set(obs["images"]) == set(NAMES)
        image = obs["images"]["cam_high"]
        assert image.shape == (24, 32, 3) and image[0, 0].tolist()[:2] == [30, 20], "RGB"


def test_an_arm_moves_with_the_velocity_that_it_reports(make):
    made = make()
    with holding(made.robot) as robot:
        goal = BOTH + np.array([1.0] + [0.0] * 13)
        speeds = []
        for _ in range(15):
            robot.act(goal)
            time.sleep(0.02)
            speeds.append(robot.observe()["qvel"][0])
    assert max(speeds) > 0.5 and max(speeds) < 3.2


def test_images_are_new_ones_with_the_time_at_which_they_came(make):
    made = make(with_cameras=True)
    with holding(made.robot) as robot:
        before = robot.observe()
        kept = before["images"]["cam_low"].copy()
        time.sleep(0.1)
        after = robot.observe()
    assert np.array_equal(kept, before["images"]["cam_low"]), "nobody writes into an image again"
    assert not np.array_equal(kept, after["images"]["cam_low"])
    assert 0 < after["image_times"]["cam_low"] - before["image_times"]["cam_low"] < 1


def test_a_camera_that_freezes_makes_the_arms_hold(make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("real_envs.cameras.STALE", 0.1)
    made = make(with_cameras=True)
    with pytest.raises(HardwareError, match=r"camera cam_low \(cam_low\) has sent no image for 0\.\d s"), made.robot:
        made.videos[1].frozen = True
        drive(made.robot, 50)
    assert all(video.released for video in made.videos)
    assert all(motor.get("torque") for bus in made.buses for motor in bus.motors.values())


def test_images_of_another_size_are_resized():
    camera = Camera("cam_high", 0, (12, 16), Video).start()
    assert camera.latest().pixels.shape == (12, 16, 3)
    camera.close()


def test_a_camera_that_is_not_there_is_one_sentence():
    with pytest.raises(HardwareError, match=r"camera cam_high \(nowhere\) cannot be opened"):
        Camera("cam_high", "nowhere", open_device=Video).start()


def test_a_camera_that_sends_nothing_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("real_envs.cameras.FIRST_IMAGE", 0.1)
    monkeypatch.setattr(Video, "read", lambda self: (False, None))
    with pytest.raises(HardwareError, match=r"sent no image within 0\.1 s"):
        Camera("cam_high", 0, open_device=Video).start()


# -- holding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, ValueError])
def test_arms_hold_within_a_tenth_of_a_second_after_any_error_of_the_program(make, prompt, error: type[BaseException]):
    made, raised = make(), 0.0
    with pytest.raises(error), made.robot as robot:
        drive(robot, 20)
        raised = time.monotonic()
        raise error("the program's own")
    time.sleep(max(0.0, raised + 0.1 - time.monotonic()))
    held = [positions(bus) for bus in made.buses]
    time.sleep(0.2)
    for bus, before in zip(made.buses, held, strict=True):
        np.testing.assert_array_equal(positions(bus), before)
        assert all(motor.get("torque") for motor in bus.motors.values())
        assert {motor.get("watchdog") for motor in bus.motors.values()} == {0}, "they hold without the program"


@pytest.mark.parametrize("fault", ["unplug", "silence"])
def test_a_lost_arm_makes_both_hold_within_a_tenth_of_a_second(make, prompt, fault: str):
    made = make(answer_time=0.012)
    (left, right), pulled = made.buses, 0.0
    with pytest.raises(HardwareError) as raised, made.robot as robot:
        drive(robot, 10)
        pulled = time.monotonic()
        left.unplug() if fault == "unplug" else setattr(left, "silent", True)
        drive(robot, 100)
    assert "\n" not in str(raised.value)
    time.sleep(max(0.0, pulled + 0.1 - time.monotonic()))
    at_a_tenth = positions(left), positions(right)
    time.sleep(0.2)
    np.testing.assert_allclose(positions(left), at_a_tenth[0], atol=1)  # goals are whole ticks
    np.testing.assert_allclose(positions(right), at_a_tenth[1], atol=1)


def test_after_a_reading_that_was_missed_the_arms_hold_for_a_control_step(make, prompt):
    made = make(answer_time=0.01)
    with holding(made.robot) as robot:
        drive(robot, 5)
        made.buses[0].silent = True
        robot.observe()
        made.buses[0].silent = False
        before = [arm.goal for arm in robot.arms]
        robot.act(BOTH + 0.5)
        np.testing.assert_array_equal([arm.goal for arm in robot.arms], before)
        robot.observe()
        robot.act(BOTH + 0.5)
        assert np.all(np.abs(np.array([arm.goal for arm in robot.arms]) - before)[:, 0] > 0.01)


def test_a_nonsensical_action_makes_the_arms_hold(make):
    made = make()
    with pytest.raises(ValueError, match="is not seven finite numbers"), made.robot as robot:
        robot.act(np.full(14, np.nan))
    with pytest.raises(ValueError, match=r"action has shape \(7,\); expected \(14,\)"), made.robot as robot:
        robot.act(np.zeros(7))


def test_when_one_arm_is_missing_nothing_stays_open(make):
    made = make(with_cameras=True)
    del made.buses[1].motors[4]
    with pytest.raises(HardwareError, match="right follower, elbow: motor 4"):
        made.robot.connect()
    assert all(video.released for video in made.videos)


# -- episodes ---------------------------------------------------------------------------------------------------------


def test_leaving_in_peace_lays_the_arms_down_and_switches_them_off(make):
    made = make()
    with made.robot as robot:
        rest = np.concatenate([[*arm.description.rest, 0.1] for arm in robot.arms])
        robot.move_slowly = lambda pose: np.testing.assert_allclose(pose, rest, atol=0.01)  # type: ignore
    assert not any(motor.get("torque") for bus in made.buses for motor in bus.motors.values())


def test_a_reset_moves_slowly_to_the_start_pose(make):
    start = BOTH + 0.06 * np.array(([1.0] * 6 + [0.0]) * 2)
    made = make(start=start)
    with holding(made.robot) as robot:
        time.sleep(0.2)  # the watchdogs have stopped the motors meanwhile
        robot.reset()
        np.testing.assert_allclose(robot.observe()["qpos"], start, atol=0.06)
    for bus in made.buses:
        steps = np.abs(np.diff([list(goals.values()) for _, goals in bus.goals], axis=0))
        assert steps.max() <= 0.3 * 0.02 / RAD_PER_TICK + 2


def test_an_episode_of_the_robot_is_recorded_as_any_other(make, tmp_path: Path):
    made = make(with_cameras=True)
    spec = EnvSpec("my_task", (), episode_len=10, cameras=NAMES, image_size=(24, 32))
    path = tmp_path / "episode_0.hdf5"
    recorder = EpisodeRecorder(lambda _: path, spec, keep=lambda _: True, attrs={"sim": False})
    with holding(made.robot) as robot:
        (result,) = rollout(RobotEnvs(robot, spec), HoldAgent(), [recorder], seeds=[0])
    episode = read_episode(path)
    assert result.length == len(episode) == 10 and episode.cameras == NAMES and not episode.attrs["sim"]
    np.testing.assert_allclose(episode.qpos, np.tile(BOTH, (10, 1)), atol=0.01)


def test_an_agent_drives_the_robot_as_it_drives_a_simulator(make, prompt):
    made = make()
    actions = np.tile(BOTH, (80, 1))
    actions[:, 0] = actions[:, 7] = np.minimum(np.linspace(0, 1, 80), 0.5)
    spec = EnvSpec("my_task", (), episode_len=80)
    with holding(made.robot) as robot:
        list(rollout(RobotEnvs(robot, spec), ReplayAgent(actions[None]), seeds=[0]))
        time.sleep(0.05)
        assert robot.observe()["qpos"][[0, 7]] == pytest.approx([0.5, 0.5], abs=0.03)
