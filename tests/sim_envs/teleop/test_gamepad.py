"""A gamepad made of a pipe: what its sticks and buttons do to the hands, and what happens when it is unplugged."""

import array
import fcntl
import os

import numpy as np
import pytest

import record_sim_episodes
import sim_envs
from sim_envs.robot import SIDES
from sim_envs.teleop.gamepad import (
    AXES_REQUEST,
    AXIS,
    BUTTON,
    BUTTONS_REQUEST,
    EVENT,
    LOWER,
    RIGHT,
    SELECT,
    SHOULDERS,
    START,
    STICKS,
    TRIGGERS,
    USUAL_BUTTONS,
    Gamepad,
    LinkWithGamepad,
    beside,
    find_gamepad,
)
from sim_envs.teleop.operator import Operator
from sim_envs.teleop.session import Session
from tests.sim_envs.teleop.test_session import Clock, Policy, Silent


class Pad:
    """The other end of a gamepad: its moving parts."""

    def __init__(self):
        device, self._ours = os.pipe()
        os.set_blocking(device, False)
        self.gamepad = Gamepad(device)

    def press(self, button, down=True):
        self._tell(int(down), BUTTON, USUAL_BUTTONS.index(button))

    def push(self, side, right=0.0, away=0.0):
        """Moves a stick."""
        for axis, value in zip(STICKS[side], (right, -away), strict=True):
            self._tell(round(32767 * value), AXIS, axis)

    def pull(self, side, trigger=1.0):
        self._tell(round(32767 * trigger), AXIS, TRIGGERS[side])

    def unplug(self):
        os.close(self._ours)

    def _tell(self, value, kind, number):
        os.write(self._ours, EVENT.pack(0, value, kind, number))


class Sitting(Session):
    """A session whose page is silent, so that all signs of life come from the gamepad."""

    operator_ = Operator()

    def __init__(self, **settings):
        self.pad, self.time, self.page = Pad(), Clock(), Silent()
        self.operator_.release()
        waiting = {"clock": self.time, "sleep": self.time.sleep, "operator": self.operator_}
        link = LinkWithGamepad(self.page, self.pad.gamepad)
        super().__init__(sim_envs.make("transfer_cube", cameras=()), link, **waiting, **settings)
        self.steps(2)  # until the first view

    def steps(self, count):
        for _ in range(count):
            self.tick(self.time() + 0.02)
            self.time.sleep(0.02)

    def hands(self):
        return self.operator._kinematics.hands(self.obs["qpos"])


def test_a_stick_moves_its_hand_the_way_it_points_and_no_other():
    sitting = Sitting()
    before = sitting.hands()
    sitting.pad.push("right", right=-1.0)
    sitting.steps(50)  # 1 s at half of 0.3 m/s
    moved = {side: sitting.hands()[side].position - before[side].position for side in SIDES}
    assert moved["right"][0] == pytest.approx(-0.15, abs=0.04)
    assert np.abs(moved["right"][1:]).max() < 0.02
    assert np.abs(moved["left"]).max() < 0.01


def test_away_is_away_and_up_is_up_with_the_trigger():
    sitting = Sitting()
    before = sitting.hands()["left"].position
    sitting.pad.push("left", away=0.9)
    sitting.steps(25)
    there = sitting.hands()["left"].position
    assert there[1] - before[1] > 0.03 and abs(there[2] - before[2]) < 0.02
    sitting.pad.pull("left")
    sitting.steps(25)
    above = sitting.hands()["left"].position
    assert above[2] - there[2] > 0.03


@pytest.mark.parametrize(("hold", "axis"), [("trigger", 2), ("lower button", 0)])
def test_held_controls_turn_the_hand_where_it_is(hold, axis):
    sitting = Sitting()
    before = sitting.hands()["right"]
    if hold == "trigger":
        sitting.pad.pull("right")
    else:
        sitting.pad.press(LOWER)
    sitting.pad.push("right", right=0.8)
    sitting.steps(20)
    after = sitting.hands()["right"]
    assert np.linalg.norm(after.position - before.position) < 0.02
    fixed = before.rotation[:, 0] if axis == 0 else np.array([0.0, 0.0, 1.0])  # the axis it turns about
    turn = before.rotation.T @ after.rotation
    assert np.arccos((np.trace(turn) - 1) / 2) > 0.1
    assert after.rotation @ before.rotation.T @ fixed == pytest.approx(fixed, abs=0.05)


def test_a_stick_that_is_let_go_leaves_the_hand_where_it_is():
    sitting = Sitting()
    sitting.pad.push("right", right=-0.8)
    sitting.steps(25)
    sitting.pad.push("right")
    sitting.steps(10)
    there = sitting.hands()["right"].position
    sitting.steps(60)
    assert sitting.hands()["right"].position == pytest.approx(there, abs=0.005)
    assert not sitting.operator.engaged  # nobody is heard any more: the page is silent


def test_the_dead_zone_moves_nothing():
    sitting = Sitting()
    sitting.pad.push("left", right=0.1, away=0.1)
    sitting.steps(2)
    assert not sitting.operator.engaged


def test_shoulders_open_and_close_their_hand():
    sitting = Sitting()
    for button, side in SHOULDERS.items():
        sitting.pad.press(button)
        sitting.steps(4)
        assert sitting.operator.openings[side] == 1.0
        sitting.pad.press(button, down=False)
        sitting.pad.press(button)
        sitting.steps(4)
        assert sitting.operator.openings[side] == 0.0


def test_an_episode_is_begun_and_discarded():
    sitting = Sitting()
    sitting.pad.press(START)
    sitting.steps(2)
    assert sitting.mode == "ready"
    sitting.pad.push("left", away=0.5)
    sitting.steps(4)
    assert sitting.mode == "recording" and sitting.t
    sitting.pad.press(SELECT)
    sitting.steps(1)
    assert sitting.mode == "idle" and sitting.seed == 1


def test_it_saves_alone_and_takes_turns_with_a_policy():
    alone = Sitting(keep_failures=True)
    alone.pad.press(START)
    alone.pad.push("left", away=0.5)
    alone.steps(6)
    alone.pad.press(RIGHT)
    alone.steps(2)
    assert alone.saved == 1
    watching = Sitting(agent=Policy(), keep_failures=True)
    watching.page.commands = lambda: [("beat",)]  # a policy never drives unwatched
    watching.pad.press(START)
    watching.steps(4)
    assert watching.mode == "autonomous"
    watching.pad.push("left", away=0.5)
    watching.steps(4)
    assert watching.mode == "autonomous"  # sticks do not take over by themselves
    watching.pad.press(RIGHT)
    watching.steps(4)
    assert watching.mode == "correcting" and watching.intervention.all()
    watching.pad.press(RIGHT)
    watching.steps(1)
    assert watching.mode == "autonomous"


def test_a_stick_held_while_a_policy_drives_or_the_scene_is_set_anew_leads_from_where_the_hand_is():
    watching = Sitting(agent=Policy(), keep_failures=True)
    watching.page.commands = lambda: [("beat",)]
    watching.pad.press(START)
    watching.pad.push("right", right=-1.0)
    watching.steps(50)
    watching.pad.press(RIGHT)
    watching.steps(4)
    assert watching.mode == "correcting" and watching.hands()["right"].position == pytest.approx(
        watching.operator.goals(watching.obs["qpos"])["right"].position, abs=0.05
    )
    alone = Sitting()
    alone.pad.press(START)
    alone.pad.push("right", right=-1.0)
    alone.steps(50)
    alone.pad.press(START, down=False)
    alone.pad.press(SELECT)
    alone.steps(4)
    wanted = alone.operator.goals(alone.obs["qpos"])["right"].position
    assert wanted == pytest.approx(alone.hands()["right"].position, abs=0.05)


def test_a_hand_that_is_led_does_not_listen_to_its_gizmo():
    sitting = Sitting()
    far = sitting.hands()["right"]._replace(position=np.array([0.3, 0.3, 0.4]))
    sitting.page.commands = lambda: [("engage",), ("aim", "right", far), ("aim", "left", far)]
    sitting.pad.push("right", right=-0.5)
    sitting.steps(4)
    goals = sitting.operator.goals(sitting.obs["qpos"])
    assert goals["left"].position == pytest.approx(far.position)
    assert goals["right"].position != pytest.approx(far.position)


def test_unplugged_everything_is_let_go_and_the_page_goes_on(caplog):
    sitting = Sitting()
    sitting.pad.push("left", away=1.0)
    sitting.steps(10)
    sitting.pad.unplug()
    sitting.steps(2)
    assert "the gamepad is gone" in caplog.text
    there = sitting.hands()["left"].position
    sitting.steps(60)
    assert sitting.hands()["left"].position == pytest.approx(there, abs=0.01)
    sitting.page.commands = lambda: [("engage",)]
    sitting.steps(1)
    assert sitting.operator.engaged


def test_buttons_and_axes_go_by_the_names_that_the_driver_tells(monkeypatch):
    def ioctl(device: int, request: int, answer: array.array) -> None:
        if request == AXES_REQUEST:
            answer[0] = STICKS["right"][0]
        elif request == BUTTONS_REQUEST:
            answer[0] = START
        else:
            answer[:4] = array.array("B", b"Pad\0")

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    device, ours = os.pipe()
    os.set_blocking(device, False)
    gamepad = Gamepad(device)
    os.write(ours, EVENT.pack(0, 1, BUTTON, 0) + EVENT.pack(0, 32767, AXIS, 0) + EVENT.pack(0, 1, BUTTON | 0x80, 0))
    assert gamepad.name == "Pad"
    assert gamepad.pressed() == [START]
    assert gamepad.deflection("right")[0] == pytest.approx(1.0)
    gamepad.close()
    os.close(ours)


def test_without_a_gamepad_the_page_is_all_there_is(monkeypatch, tmp_path):
    page = Silent()
    assert find_gamepad("none") is None
    with beside(page, None) as link:
        assert link is page
    empty = tmp_path / "js0"
    with pytest.raises(ValueError, match="No such file or directory; give /dev/input/js0, auto or none"):
        find_gamepad(str(empty))


def test_a_gamepad_that_is_not_there_is_named_before_the_page_opens(tmp_path, capsys):
    flags = ["--agent", "human", "--task_name", "sim_transfer_cube_human", "--dataset_dir", str(tmp_path)]
    assert record_sim_episodes.main([*flags, "--gamepad", str(tmp_path / "js7")]) == 2
    assert "js7: No such file" in capsys.readouterr().err
