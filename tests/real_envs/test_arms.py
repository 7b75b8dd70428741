"""Leader and follower arms on the emulated bus."""

import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("dynamixel_sdk", reason="arms need the SDK of their motors: pip install -e '.[hardware]'")

from real_envs.bus import HardwareError
from real_envs.description import VIPERX_300S, WIDOWX_250S
from real_envs.follower import Follower
from real_envs.leader import Leader, LeaderPair
from real_envs.motors import RAD_PER_TICK
from tests.real_envs.conftest import HOME, PATIENT, shafts

TICK = 2 * RAD_PER_TICK  # tolerance of an angle


def steer(follower: Follower, target: np.ndarray, steps: int) -> None:
    """Sends a target for a number of control steps."""
    for _ in range(steps):
        follower.aim(target)
        follower.send()
        follower.read()
        time.sleep(0.01)


# -- leaders ----------------------------------------------------------------------------------------------------------


def test_a_leader_reads_the_pose_in_which_a_hand_has_put_it(emulate):
    description, bus = emulate(WIDOWX_250S, "left leader")
    pose = np.array([0.5, -1.0, 1.2, 3.0, -0.4, -2.0, 0.7])
    with Leader(description, PATIENT) as leader:
        bus.place(shafts(description, pose))
        np.testing.assert_allclose(leader.read().qpos, pose, atol=TICK)


def test_a_leader_lets_itself_be_moved(emulate):
    description, bus = emulate(WIDOWX_250S, "left leader")
    for motor in bus.motors.values():
        motor.set("torque", 1)
    with Leader(description, PATIENT):
        assert not any(motor.get("torque") for motor in bus.motors.values())


def test_a_motor_that_woke_up_in_another_turn_is_read_right(emulate):
    description, bus = emulate(WIDOWX_250S, "left leader")
    bus.place({motor: position + 4096 for motor, position in shafts(description, HOME).items()})
    with Leader(description, PATIENT) as leader:
        np.testing.assert_allclose(leader.read().qpos, HOME, atol=TICK)


def test_settings_of_other_software_are_undone(emulate, prompt):
    description, bus = emulate(WIDOWX_250S, "left leader")
    bus.motors[3].set("secondary_id", 2)
    bus.motors[2].set("drive_mode", 1)
    bus.motors[4].set("homing_offset", 77)
    with Leader(description, PATIENT) as leader:
        np.testing.assert_allclose(leader.read().qpos, HOME, atol=TICK)
    assert [bus.motors[3].get("secondary_id"), bus.motors[2].get("drive_mode")] == [255, 0]


def test_two_leaders_are_read_as_fourteen_numbers(emulate):
    arms = [emulate(WIDOWX_250S, f"{side} leader", qpos=HOME * sign)[0] for side, sign in (("left", 1), ("right", 0.5))]
    with LeaderPair(*(Leader(arm, PATIENT) for arm in arms)) as leaders:
        joints = leaders.read()
        assert joints is not None
        np.testing.assert_allclose(joints, np.concatenate([HOME, HOME * 0.5]), atol=TICK)
    assert (leaders.reads, leaders.missed) == (1, 0)


# -- what can be wrong when an arm is connected -----------------------------------------------------------------------


def test_a_missing_motor_is_named_with_its_joint(emulate, prompt):
    description, bus = emulate(VIPERX_300S)
    del bus.motors[5]
    with pytest.raises(HardwareError, match=r"left follower, elbow shadow: motor 5 on .* does not answer"):
        Follower(description).connect()


def test_an_overheated_motor_is_named_before_torque_is_switched_on(emulate):
    description, bus = emulate(VIPERX_300S)
    bus.motors[7].heat()
    with pytest.raises(HardwareError, match=r"wrist_angle: motor 7 reports overheating; support the arm"):
        Follower(description, PATIENT).connect()
    assert not any(motor.get("torque") for motor in bus.motors.values())


def test_an_unknown_model_is_refused(emulate):
    description, bus = emulate(VIPERX_300S)
    bus.motors[1].set("model", 350)
    with pytest.raises(HardwareError, match=r"waist: motor 1 is of model 350; known are 1020 XM430-W350"):
        Follower(description, PATIENT).connect()


def test_an_arm_that_somebody_else_holds_is_not_dropped(emulate):
    description, bus = emulate(VIPERX_300S)
    bus.motors[2].set("torque", 1)
    with pytest.raises(HardwareError, match=r"shoulder: motor 2 holds torque with other settings"):
        Follower(description, PATIENT).connect()
    assert bus.motors[2].get("torque") == 1


def test_an_arm_that_is_not_connected_says_so():
    with pytest.raises(HardwareError, match=r"follower is not connected"):
        Follower(VIPERX_300S).read()


# -- followers --------------------------------------------------------------------------------------------------------


def test_torque_comes_on_where_the_arm_is_and_nothing_moves(emulate):
    description, bus = emulate(VIPERX_300S)
    for motor in bus.motors.values():
        motor.set("goal", 0)  # left behind by other software
    before = bus.positions()
    with Follower(description, PATIENT) as follower:
        after = bus.positions()
        assert all(motor.get("torque") for motor in bus.motors.values())
        np.testing.assert_allclose(follower.read().qpos, HOME, atol=TICK)
    assert max(abs(after[motor] - before[motor]) for motor in before) <= 1


def test_gains_and_current_limits_reach_the_motors(emulate):
    description, bus = emulate(replace(VIPERX_300S, p_gain=640, d_gain=12))
    with Follower(description, PATIENT):
        assert [bus.motors[1].get(name) for name in ("p_gain", "d_gain", "mode")] == [640, 12, 5]
        currents = [round(2.69 * bus.motors[motor].get("goal_current")) for motor in (1, 2, 3, 9)]
        assert currents == pytest.approx([1000, 2500, 2500, 500], abs=2)


def test_a_follower_reaches_a_target_and_its_shadows_mirror_it(emulate):
    description, bus = emulate(VIPERX_300S)
    target = np.array([0.3, -0.7, 0.9, -0.4, 0.2, 0.5, 0.6])
    with Follower(description, PATIENT) as follower:
        steer(follower, target, 60)
        np.testing.assert_allclose(follower.read().qpos, target, atol=0.01)
    expected = shafts(description, target)
    after = bus.positions()
    assert {motor: after[motor] for motor in (2, 3, 4, 5)} == pytest.approx(
        {motor: expected[motor] for motor in (2, 3, 4, 5)}, abs=4
    )
    for _, goals in bus.goals:
        assert goals[2] + goals[3] == pytest.approx(4100, abs=1), "the two motors of the shoulder pull together"


def test_targets_outside_the_limits_end_at_the_limits(emulate):
    description, _ = emulate(VIPERX_300S)
    with Follower(description, PATIENT) as follower:
        for _ in range(400):
            follower.aim(np.full(7, 9.0))
        np.testing.assert_allclose(follower.goal, description.limits[:, 1], atol=TICK)


@pytest.mark.parametrize("target", [np.full(7, np.nan), np.zeros(6), np.full(7, np.inf)])
def test_a_target_that_is_nonsense_is_refused_and_changes_nothing(emulate, target: np.ndarray):
    description, _ = emulate(VIPERX_300S)
    with Follower(description, PATIENT) as follower:
        before = follower.goal
        with pytest.raises(ValueError, match=r"is not seven finite numbers"):
            follower.aim(target)
        np.testing.assert_array_equal(follower.goal, before)


@pytest.mark.slow
def test_no_step_is_longer_than_the_limit_in_10000_random_command_streams(emulate, monkeypatch: pytest.MonkeyPatch):
    """Streams jump, creep, leave the limits and stay; the goals are compared as motors get them, in ticks."""
    description, _ = emulate(VIPERX_300S)
    rng, sent = np.random.default_rng(0), []
    with Follower(description, PATIENT) as follower:
        monkeypatch.setattr("real_envs.follower.LATE", np.inf)
        follower.bus.sync_write = lambda register, values: sent.append(list(values.values()))  # type: ignore
        for stream in range(10_000):
            target, wild = rng.normal(0, 1, 7), 10.0 ** rng.uniform(-3, 2)
            for _ in range(3):
                follower.aim(target, speed=0.3 if stream % 5 == 0 else None)
                follower.send()
                target = target + rng.normal(0, wild, 7) if stream % 3 else rng.uniform(-9, 9, 7)
    steps = np.abs(np.diff(sent, axis=0))
    limit = description.speed * 0.02 / RAD_PER_TICK
    assert len(sent) == 30_000 and steps.max() <= limit
    assert steps.max() > limit - 1, "the streams go to the limit"


def test_the_motors_stop_by_themselves_when_the_program_has_died(emulate, prompt):
    description, bus = emulate(VIPERX_300S)
    with Follower(description, PATIENT) as follower:
        target = follower.read().qpos + 1.0
        steer(follower, target, 5)
        follower._goal = np.rint(follower.scale.ticks(np.clip(target, *description.limits.T))).astype(np.int64)
        follower.send()  # a goal far away, and then silence
        time.sleep(0.1)
        stopped = bus.positions()
        time.sleep(0.2)
        assert bus.positions() == stopped
        assert max(abs(stopped[motor] - shafts(description, HOME)[motor]) for motor in (1, 6)) > 20, "it did move"


def test_an_arm_whose_watchdog_has_stopped_it_wakes_up_where_it_is(emulate):
    description, bus = emulate(VIPERX_300S)
    with Follower(description, PATIENT) as follower:
        time.sleep(0.2)
        bus.positions()
        assert bus.motors[1].get("watchdog") == -1
        follower.wake()
        steer(follower, HOME + [0.2, 0, 0, 0, 0, 0, 0], 20)
        assert follower.read().qpos[0] == pytest.approx(0.2, abs=0.01)


def test_a_joint_that_is_stuck_is_one_sentence(emulate):
    description, bus = emulate(VIPERX_300S)
    bus.motors[1].stalled = True
    with (
        Follower(description, PATIENT) as follower,
        pytest.raises(HardwareError, match=r"waist: motor 1 is 0\.\d+ rad behind its goal"),
    ):
        steer(follower, HOME + [0.8, 0, 0, 0, 0, 0, 0], 300)


def test_a_gripper_that_holds_an_object_is_not_stuck(emulate):
    description, bus = emulate(VIPERX_300S)
    bus.motors[9].stalled = True
    with Follower(description, PATIENT) as follower:
        steer(follower, np.append(HOME[:6], 1.0), 40)


def test_an_arm_that_overheats_on_the_way_is_one_sentence(emulate):
    description, bus = emulate(VIPERX_300S)
    with Follower(description, PATIENT) as follower:
        bus.motors[2].heat()
        with pytest.raises(HardwareError, match=r"left follower, shoulder: motor 2 reports overheating"):
            follower.read()


def test_letting_go_switches_the_torque_off_and_holding_for_good_keeps_it(emulate):
    description, bus = emulate(VIPERX_300S)
    with Follower(description, PATIENT) as follower:
        follower.hold_for_good()
    time.sleep(0.1)
    assert {(motor.get("torque"), motor.get("watchdog")) for motor in bus.motors.values()} == {(1, 0)}
    with Follower(description, PATIENT) as follower:  # connects to an arm that holds itself
        np.testing.assert_allclose(follower.read().qpos, HOME, atol=TICK)
        follower.let_go()
    assert not any(motor.get("torque") for motor in bus.motors.values())


def test_a_program_takes_over_an_arm_that_a_crashed_one_left_holding(emulate):
    description, bus = emulate(VIPERX_300S)
    crashed = Follower(description, PATIENT).connect()
    steer(crashed, HOME + [0.5, 0, 0, 0, 0, 0, 0], 5)
    crashed.disconnect()
    time.sleep(0.15)
    before = bus.positions()
    assert bus.motors[1].get("watchdog") == -1
    with Follower(description, PATIENT) as follower:
        assert follower.read().fresh
        after = bus.positions()
    assert all(motor.get("torque") for motor in bus.motors.values())
    assert max(abs(after[motor] - before[motor]) for motor in before) < 0.07 / RAD_PER_TICK, "one step at most"


# -- a poor bus -------------------------------------------------------------------------------------------------------


def test_a_missed_reading_repeats_the_last_one_and_says_so(emulate, prompt):
    description, bus = emulate(WIDOWX_250S, "left leader")
    with Leader(description) as leader:
        leader.read()
        bus.silent = True
        reading = leader.read()
        assert not reading.fresh
        np.testing.assert_allclose(reading.qpos, HOME, atol=TICK)


def test_an_arm_that_falls_silent_is_lost_within_a_tenth_of_a_second(emulate, prompt):
    description, bus = emulate(WIDOWX_250S, "left leader")
    with Leader(description) as leader:
        for _ in range(3):
            leader.read()
        bus.silent, start = True, time.monotonic()
        with pytest.raises(HardwareError, match=r"left leader on .* has not answered for .* ms; check the cables"):
            while True:
                leader.read()
                time.sleep(0.005)
        assert time.monotonic() - start < 0.1


def test_a_bus_that_loses_a_twentieth_of_its_packets_is_given_up(emulate, prompt):
    description, bus = emulate(WIDOWX_250S, "left leader")
    with Leader(description, 0.015) as leader:
        bus.drop = 0.05
        with pytest.raises(HardwareError, match=r"left leader on .* lost packets in 11 of its last .* readings"):
            for _ in range(1000):
                leader.read()
