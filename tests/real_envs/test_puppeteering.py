"""Puppeteering end to end on emulated buses, where both worlds may meet: real_envs, sim_envs and act."""

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("dynamixel_sdk", reason="arms need the SDK of their motors: pip install -e '.[hardware]'")

import sim_envs
import train
from act.data.episodes import read_episode
from act.recording.recorder import EpisodeRecorder, is_strict_success
from act.runtime.agents import ReplayAgent
from act.runtime.envs import SerialEnvs
from act.runtime.pace import Pace
from act.runtime.robot_envs import PacedEnvs, RobotEnvs
from act.runtime.rollout import rollout
from act.types import EnvSpec
from real_envs.bus import HardwareError
from real_envs.description import VIPERX_300S, WIDOWX_250S, renamed
from real_envs.follower import Follower
from real_envs.leader import Leader, LeaderPair
from real_envs.puppeteer import LeaderAgent
from real_envs.robot import AlohaRobot
from sim_envs.teleop.pace import real_time_priority
from tests.fakes.dynamixel_bus import EmulatedBus
from tests.real_envs.conftest import HOME, PATIENT, shafts
from tests.real_envs.emulator_process import BusProcess

BOTH = np.concatenate([HOME, HOME])
SIDES = ("left", "right")
BUSY = os.getloadavg()[0] > 2 * (os.cpu_count() or 1)  # other programs keep the machine busy


def leaders_at(pose: np.ndarray) -> list[dict[int, float]]:
    """Shafts [ticks] of two leader arms at pose (14,)."""
    return [shafts(WIDOWX_250S, half) for half in np.split(pose, 2)]


@pytest.fixture
def two_leaders(emulate) -> tuple[LeaderPair, list[EmulatedBus]]:
    made = [emulate(WIDOWX_250S, f"{side} leader") for side in SIDES]
    return LeaderPair(*(Leader(arm, PATIENT) for arm, _ in made)), [bus for _, bus in made]


class Hands:
    """A person who moves the leader arms as the expert would move the followers; an agent around a LeaderAgent."""

    def __init__(self, expert: Any, agent: LeaderAgent, buses: Sequence[EmulatedBus]):
        self.expert, self.agent, self.buses = expert, agent, buses

    def reset(self, num_envs: int) -> None:
        self.expert.reset(num_envs)
        self.agent.reset(num_envs)

    def needs_images(self) -> bool:
        return False

    def select_action(self, observations: Sequence[dict[str, Any]]) -> np.ndarray:
        pose = self.expert.select_action(observations)[0]
        for bus, positions in zip(self.buses, leaders_at(pose), strict=True):
            bus.place(positions)
        return self.agent.select_action(observations)


@pytest.mark.slow
def test_a_cube_transfer_by_leader_arms_replays_bit_for_bit_and_trains_a_policy(two_leaders, tmp_path: Path):
    pair, buses = two_leaders
    env, path = sim_envs.make("transfer_cube", cameras=()), tmp_path / "episode_0.hdf5"
    recorder = EpisodeRecorder(
        lambda _: path, SerialEnvs([env]).env_spec, keep=is_strict_success, attrs={"source": "operator"}
    )
    with pair as leaders:
        hands = Hands(sim_envs.make_expert("transfer_cube"), LeaderAgent(leaders, wait=False), buses)
        (result,) = rollout(SerialEnvs([env]), hands, [recorder], seeds=[7])
    assert result.strict_success and leaders.missed == 0
    episode = read_episode(path)
    states = States()
    list(rollout(SerialEnvs([env]), ReplayAgent(episode.action[None]), [states], seeds=[7]))
    np.testing.assert_array_equal(np.stack(states.qpos), episode.qpos)
    np.testing.assert_array_equal(np.stack(states.env_state), episode.env_state)
    assert np.abs(np.diff(episode.action[:, :6], axis=0)).max() <= np.pi * 0.02 + 1e-6
    losses = training_losses(tmp_path)
    assert len(losses) == 3 and losses[-1] < losses[0]


def training_losses(folder: Path) -> list[float]:
    """The losses at steps 20, 40 and 60 of a small policy that is trained on the episodes of a folder."""
    flags = (
        "--preset state --task_name sim_transfer_cube_human --val_fraction 0 --steps 60 --log_every 20 --hidden_dim 32"
    )
    flags += f" --dataset_dir {folder} --run_dir {folder / 'run'} --device cpu"
    assert train.main(flags.split()) == 0
    return [json.loads(line)["loss"] for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


class States:
    """An observer that keeps what was seen."""

    def __init__(self) -> None:
        self.qpos: list[np.ndarray] = []
        self.env_state: list[np.ndarray] = []

    def needs_images(self) -> bool:
        return False

    def on_reset(self, index: int, seed: int, obs: Any, info: Any) -> None: ...

    def on_step(self, index: int, t: int, obs: Any, action: Any, next_obs: Any, reward: float, info: Any) -> None:
        self.qpos.append(obs["qpos"])
        self.env_state.append(obs["env_state"])

    def on_end(self, index: int, result: Any) -> None: ...


@pytest.mark.slow
@pytest.mark.skipif(BUSY, reason="50 Hz needs a machine that is less busy")
def test_3000_readings_of_two_leaders_keep_50_hz_and_none_is_missed(capsys: pytest.CaptureFixture[str]):
    with BusProcess(leaders_at(BOTH)) as process:
        arms = [renamed(WIDOWX_250S, f"{side} leader", port) for side, port in zip(SIDES, process.ports, strict=True)]
        with LeaderPair(*(Leader(arm) for arm in arms)) as leaders:
            agent, pace = LeaderAgent(leaders, wait=False), Pace()
            agent.reset(1)
            with real_time_priority():
                pace.start()
                for _ in range(3000):
                    agent.select_action([{"qpos": BOTH}])
                    pace.wait()
            retried = [arm.bus.losses.lost for arm in leaders.arms]
    timing = pace.timing()
    with capsys.disabled():
        print(f"\n{timing}; of the last 100 readings {retried} were asked for twice")
    assert (leaders.reads, leaders.missed) == (3000, 0)
    assert timing.p99_ms <= 21


class Simulated:
    """Records finished episodes of a simulated cube transfer in real time while leader arms drive it."""

    def __init__(self, folder: Path, length: int):
        self.env = sim_envs.make("transfer_cube", cameras=())
        self.env.env_spec = self.spec = EnvSpec("transfer_cube", self.env.env_spec.stage_names, length)  # type: ignore
        self.recorder = EpisodeRecorder(
            lambda result: folder / f"episode_{result.seed}.hdf5", self.spec, keep=lambda _: True
        )


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["unplug", "drop"])
def test_a_bus_that_fails_ends_the_session_with_one_sentence_and_the_finished_episodes_are_there(
    fault: str, two_leaders, prompt, tmp_path: Path
):
    pair, buses = two_leaders
    simulated = Simulated(tmp_path, length=30)
    with pair as leaders:
        for arm in leaders.arms:
            arm._bus._port._answer_time = 0.01  # type: ignore[union-attr]
        agent = LeaderAgent(leaders, wait=False)
        results = rollout(PacedEnvs(SerialEnvs([simulated.env])), agent, [simulated.recorder], seeds=range(100))
        assert next(results).length == 30
        buses[1].unplug() if fault == "unplug" else setattr(buses[1], "drop", 0.05)
        failed = time.monotonic()
        with pytest.raises(HardwareError, match=r"right leader|/dev/pts") as raised:
            list(results)
        if fault == "unplug":
            assert time.monotonic() - failed < 0.1
    assert "\n" not in str(raised.value)
    episodes = sorted(tmp_path.glob("*.hdf5"))
    assert episodes and all(len(read_episode(path)) == 30 for path in episodes)


@pytest.fixture
def whole_robot(emulate) -> Callable[[], tuple[AlohaRobot, LeaderPair, list[EmulatedBus], list[EmulatedBus]]]:
    """Makes two followers and two leaders, all emulated."""

    def make() -> tuple[AlohaRobot, LeaderPair, list[EmulatedBus], list[EmulatedBus]]:
        followers = [emulate(VIPERX_300S, f"{side} follower") for side in SIDES]
        leaders = [emulate(WIDOWX_250S, f"{side} leader") for side in SIDES]
        robot = AlohaRobot(Follower(followers[0][0], 0.01), Follower(followers[1][0], 0.01), start=None)
        pair = LeaderPair(Leader(leaders[0][0], 0.01), Leader(leaders[1][0], 0.01))
        return robot, pair, [bus for _, bus in followers], [bus for _, bus in leaders]

    return make


def moves(bus: EmulatedBus) -> np.ndarray:
    return np.array(list(bus.positions().values()))


@pytest.mark.parametrize("fault", ["unplug", "silence", "drop"])
def test_followers_hold_within_a_tenth_of_a_second_when_a_leader_is_lost(whole_robot, prompt, fault: str):
    robot, pair, follower_buses, leader_buses = whole_robot()
    envs = RobotEnvs(robot, EnvSpec("my_task", (), episode_len=500))
    wave = Wave(leader_buses, after=60, fault=fault)
    with pytest.raises(HardwareError) as raised, pair, robot:
        list(rollout(envs, Puppeteers(LeaderAgent(pair, wait=False), wave), seeds=[0]))
    assert "\n" not in str(raised.value)
    lost = time.monotonic() if fault == "drop" else wave.failed  # single packets are missed before a bus counts as lost
    time.sleep(max(0.0, lost + 0.1 - time.monotonic()))
    held = [moves(bus) for bus in follower_buses]
    time.sleep(0.2)
    for bus, before in zip(follower_buses, held, strict=True):
        np.testing.assert_allclose(moves(bus), before, atol=1)  # goals are whole ticks
        assert all(motor.get("torque") for motor in bus.motors.values())
        assert abs(before[0] - 2048) > 50, "they did follow before"


class Wave:
    """Swings the waists of the leaders, and breaks the left leader's bus after some steps."""

    def __init__(self, buses: Sequence[EmulatedBus], after: int, fault: str):
        self.buses, self.after, self.fault, self.t, self.failed = buses, after, fault, 0, 0.0

    def __call__(self) -> None:
        self.t += 1
        pose = BOTH.copy()
        pose[[0, 7]] = 0.4 * np.sin(0.04 * self.t)
        for bus, positions in zip(self.buses, leaders_at(pose), strict=True):
            bus.place(positions)
        if self.t == self.after:
            self.failed = time.monotonic()
            if self.fault == "unplug":
                self.buses[0].unplug()
            elif self.fault == "drop":
                self.buses[0].drop = 0.05
            else:
                self.buses[0].silent = True


class Puppeteers:
    """A LeaderAgent whose leaders somebody moves before every action."""

    def __init__(self, agent: LeaderAgent, move: Callable[[], None]):
        self.agent, self.move = agent, move

    def reset(self, num_envs: int) -> None:
        self.agent.reset(num_envs)

    def needs_images(self) -> bool:
        return False

    def select_action(self, observations: Sequence[dict[str, Any]]) -> np.ndarray:
        self.move()
        return self.agent.select_action(observations)
