"""DAgger and human-gated DAgger: who drives, and how control changes hands."""

from collections.abc import Sequence

import numpy as np
import pytest

from act.runtime.agents import PolicyAgent
from act.runtime.dagger import BetaSchedule, GatedAgent, MixtureAgent
from act.runtime.gated_control import Mode
from act.runtime.limits import MAX_ARM_STEP, MAX_GRIPPER_STEP
from act.types import Observation
from tests.fakes.constant_policy import CHUNK_SIZE as K
from tests.fakes.constant_policy import ConstantPolicy


def seen(expert: float = 0.0, qpos: float = 0.0) -> Observation:
    return {"qpos": np.full(14, qpos, np.float32), "expert_action": np.full(14, expert, np.float32)}


# ------------------------------------------------------------------------------------------------------------- DAgger
@pytest.mark.parametrize(
    ("text", "betas"),
    [
        ("first", [1, 0, 0]),
        ("linear:3", [1, 0.5, 0]),
        ("power:0.5", [1, 0.5, 0.25]),
        ("constant:0.3", [0.3] * 3),
    ],
)
def test_beta_falls_as_the_schedule_says(text: str, betas: list[float]):
    assert [BetaSchedule.parse(text)(round_) for round_ in (1, 2, 3)] == betas


@pytest.mark.parametrize(
    "text", ["", "never", "linear", "linear:1", "linear:x", "power:1", "power:0", "constant:1", "first:2"]
)
def test_an_unknown_schedule_is_answered_with_the_possible_ones(text: str):
    with pytest.raises(ValueError, match="give first, linear:N"):
        BetaSchedule.parse(text)


def test_the_expert_drives_whole_chunks_with_probability_beta():
    agent = MixtureAgent(PolicyAgent(ConstantPolicy(1.0)), beta=0.3)
    shares = []
    for _ in range(20):
        agent.reset(50)
        chunk = np.stack([agent.select_action([seen()] * 50)[:, 0] for _ in range(K)])
        assert (chunk == chunk[0]).all()  # control never changes within a chunk
        np.testing.assert_array_equal(agent.intervention, chunk[0] == 0.0)
        shares.append(agent.intervention.mean())
    assert abs(np.mean(shares) - 0.3) < 0.05 and len(set(shares)) > 5


def test_an_expert_may_drive_to_the_end_once_it_has_begun():
    agent = MixtureAgent(PolicyAgent(ConstantPolicy(1.0)), beta=0.3, to_the_end=True)
    for _ in range(5):
        agent.reset(50)
        drives = np.stack([agent.select_action([seen()] * 50)[:, 0] == 0.0 for _ in range(6 * K)])
        assert (np.diff(drives.astype(int), axis=0) >= 0).all()
        assert drives[0].mean() < 0.6 < drives[-1].mean()
        np.testing.assert_array_equal(agent.intervention, drives[-1])


def test_an_episodes_coins_follow_from_its_seed_alone():
    def drivers(seeds: Sequence[int], wave: int) -> dict[int, str]:
        agent, found = MixtureAgent(PolicyAgent(ConstantPolicy(1.0)), 0.5, seeds), {}
        for start in range(0, len(seeds), wave):
            agent.reset(wave)
            drives = [agent.select_action([seen()] * wave)[:, 0] == 0.0 for _ in range(12 * K)]
            found |= {seed: str(lane) for seed, lane in zip(seeds[start:], np.transpose(drives), strict=False)}
        return found

    seeds = list(range(70, 82))
    assert drivers(seeds, 4) == drivers(seeds, 1)  # whatever runs beside it
    assert drivers(seeds[3:], 3) == {seed: turn for seed, turn in drivers(seeds, 4).items() if seed >= 73}  # continued
    assert len(set(drivers(seeds, 4).values())) > 10  # so no two episodes, and no two rounds, have the same


@pytest.mark.parametrize(("beta", "driver"), [(0.0, 1.0), (1.0, 0.0)])
def test_beta_of_one_is_the_expert_and_of_zero_the_policy(beta: float, driver: float):
    agent = MixtureAgent(PolicyAgent(ConstantPolicy(1.0)), beta)
    agent.reset(3)
    assert {float(agent.select_action([seen()] * 3)[i, 0]) for _ in range(2 * K) for i in range(3)} == {driver}


# -------------------------------------------------------------------------------------------------------- human-gated
class Key:
    """An operator who drives while a key is down, with every joint at `hand`."""

    def __init__(self, keys: list[bool], hand: float):
        self.keys, self.hand = keys, hand

    def needs_images(self) -> bool:
        return False

    def reset(self, num_envs: int) -> None:
        pass

    def wants_control(self, index: int, obs: Observation, intended: np.ndarray) -> bool:
        return self.keys[0]

    def action(self, index: int, obs: Observation) -> np.ndarray:
        return np.full(14, self.hand)


def drive(agent: GatedAgent, wanted: list[bool], keys: list[bool]) -> tuple[list[Mode], np.ndarray]:
    """Modes and actions (T, 14) while `keys` is pressed as `wanted` says; qpos follows the targets."""
    modes, actions = [], [np.zeros(14, np.float32)]
    agent.reset(1)
    for key in wanted:
        keys[0] = key
        actions.append(agent.select_action([{"qpos": actions[-1]}])[0])
        modes.append(agent.modes[0])
    return modes, np.stack(actions[1:])


def gated(value: float = 0.5, hand: float = -0.5, pause: int = 2) -> tuple[GatedAgent, ConstantPolicy, list[bool]]:
    keys, policy = [False], ConstantPolicy(value)
    return GatedAgent(policy, Key(keys, hand), pause=pause), policy, keys


def test_a_person_takes_over_after_a_pause_and_hands_back():
    agent, _, keys = gated()
    modes, actions = drive(agent, [False] * 2 + [True] * 4 + [False] * 2, keys)
    expected = [Mode.AUTONOMOUS] * 2 + [Mode.PAUSED] * 2 + [Mode.CORRECTING] * 2 + [Mode.AUTONOMOUS] * 2
    assert modes == expected
    np.testing.assert_array_equal(actions[2:4], np.repeat(actions[1:2], 2, axis=0))  # held
    assert not agent.intervention[0]


def test_letting_go_during_the_pause_hands_back():
    agent, _, keys = gated()
    modes, _ = drive(agent, [False, True, False], keys)
    assert modes == [Mode.AUTONOMOUS, Mode.PAUSED, Mode.AUTONOMOUS]


def test_nothing_jumps_at_a_hand_over_and_targets_reach_the_new_drivers():
    agent, _, keys = gated()
    _, actions = drive(agent, [False] * 2 + [True] * 40 + [False] * 40, keys)
    change = np.abs(np.diff(actions, axis=0))
    arms, grippers = np.delete(change, [6, 13], axis=1), change[:, [6, 13]]
    assert arms.max() < MAX_ARM_STEP + 1e-6 and grippers.max() < MAX_GRIPPER_STEP + 1e-6
    assert np.all(actions[41] == -0.5) and np.all(actions[-1] == 0.5)


def test_images_are_needed_at_every_step_at_which_the_policy_does_not_drive():
    """The policy is asked at these steps what it would do, also between its queries."""
    agent, policy, keys = gated(pause=2)
    policy.needs_images = True  # type: ignore[misc]
    agent.reset(1)
    wanted = []
    for keys[0] in [False, False, True, True, True, True]:
        wanted.append(agent.needs_images())
        agent.select_action([seen()])
    assert wanted == [True, False, False, True, True, True]


def test_the_policy_comes_back_with_a_new_chunk():
    agent, policy, keys = gated(pause=0)
    drive(agent, [False, True], keys)
    before = policy.asked
    drive(agent, [False], keys)
    assert policy.asked == before + 1
    drive(agent, [False, True, False, False], keys)  # one query at the start, one after the hand-back
    assert policy.asked == before + 1 + 2
