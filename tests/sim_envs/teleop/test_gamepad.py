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
    find_gamepad,
    with_gamepad,
)
from sim_envs.teleop.operator import Operator
from sim_envs.teleop.pace import Pace
from sim_envs.teleop.session import Session, SessionPlan
from tests.sim_envs.teleop.test_session import Clock, Policy, Silent


class Pad:
    """The other end of a gamepad: its moving parts."""

    def __init__(self):
        device, self._other_end = os.pipe()
        os.set_blocking(device, False)
        self.gamepad = Gamepad(device)

    def press(self, button, down=True):
        self._send(int(down), BUTTON, USUAL_BUTTONS.index(button))

    def push(self, side, right=0.0, away=0.0):
        """Moves a stick."""
        for axis, value in zip(STICKS[side], (right, -away), strict=True):
            self._send(round(32767 * value), AXIS, axis)

    def pull(self, side, trigger=1.0):
        self._send(round(32767 * trigger), AXIS, TRIGGERS[side])

    def unplug(self):
        os.close(self._other_end)

    def _send(self, value, kind, number):
        os.write(self._other_end, EVENT.pack(0, value, kind, number))


class SessionWithGamepad(Session):
    """A session whose page is silent, so that all signs of life come from the gamepad."""

    operator_ = Operator()

    def __init__(self, agent=None, **plan):
        self.pad, self.time, self.page = Pad(), Clock(), Silent()
        self.operator_.release()
        pace = Pace(now=self.time, sleep=self.time.sleep)
        link = LinkWithGamepad(self.page, self.pad.gamepad)
        env = sim_envs.make("transfer_cube", cameras=())
        super().__init__(env, link, agent=agent, operator=self.operator_, plan=SessionPlan(**plan), pace=pace)
        self.steps(2)  # until the first state is shown

    def steps(self, count):
        for _ in range(count):
            self.tick(self.time() + 0.02)
            self.time.sleep(0.02)

    def hands(self):
        return self.operator._kinematics.hands(self.obs["qpos"])


def test_a_stick_moves_its_hand_in_its_direction_and_no_other_hand():
    session = SessionWithGamepad()
    before = session.hands()
    session.pad.push("right", right=-1.0)
    session.steps(50)  # 1 s at half of 0.3 m/s
    moved = {side: session.hands()[side].position - before[side].position for side in SIDES}
    assert moved["right"][0] == pytest.approx(-0.15, abs=0.04)
    assert np.abs(moved["right"][1:]).max() < 0.02
    assert np.abs(moved["left"]).max() < 0.01


def test_away_is_away_and_up_is_up_with_the_trigger():
    session = SessionWithGamepad()
    before = session.hands()["left"].position
    session.pad.push("left", away=0.9)
    session.steps(25)
    reached = session.hands()["left"].position
    assert reached[1] - before[1] > 0.03 and abs(reached[2] - before[2]) < 0.02
    session.pad.pull("left")
    session.steps(25)
    above = session.hands()["left"].position
    assert above[2] - reached[2] > 0.03


@pytest.mark.parametrize(("hold", "axis"), [("trigger", 2), ("lower button", 0)])
def test_held_controls_turn_the_hand_where_it_is(hold, axis):
    session = SessionWithGamepad()
    before = session.hands()["right"]
    if hold == "trigger":
        session.pad.pull("right")
    else:
        session.pad.press(LOWER)
    session.pad.push("right", right=0.8)
    session.steps(20)
    after = session.hands()["right"]
    assert np.linalg.norm(after.position - before.position) < 0.02
    fixed = before.rotation[:, 0] if axis == 0 else np.array([0.0, 0.0, 1.0])  # the axis it turns about
    turn = before.rotation.T @ after.rotation
    assert np.arccos((np.trace(turn) - 1) / 2) > 0.1
    assert after.rotation @ before.rotation.T @ fixed == pytest.approx(fixed, abs=0.05)


def test_a_stick_that_is_let_go_leaves_the_hand_where_it_is():
    session = SessionWithGamepad()
    session.pad.push("right", right=-0.8)
    session.steps(25)
    session.pad.push("right")
    session.steps(10)
    reached = session.hands()["right"].position
    session.steps(60)
    assert session.hands()["right"].position == pytest.approx(reached, abs=0.005)
    assert not session.operator.engaged  # the page is silent, so nobody is there any more


def test_the_dead_zone_moves_nothing():
    session = SessionWithGamepad()
    session.pad.push("left", right=0.1, away=0.1)
    session.steps(2)
    assert not session.operator.engaged


def test_shoulders_open_and_close_their_hand():
    session = SessionWithGamepad()
    for button, side in SHOULDERS.items():
        session.pad.press(button)
        session.steps(4)
        assert session.operator.openings[side] == 1.0
        session.pad.press(button, down=False)
        session.pad.press(button)
        session.steps(4)
        assert session.operator.openings[side] == 0.0


def test_an_episode_is_begun_and_discarded():
    session = SessionWithGamepad()
    session.pad.press(START)
    session.steps(2)
    assert session.mode == "ready"
    session.pad.push("left", away=0.5)
    session.steps(4)
    assert session.mode == "recording" and session.t
    session.pad.press(SELECT)
    session.steps(1)
    assert session.mode == "idle" and session.seed == 1


def test_the_right_button_saves_alone_and_changes_control_with_a_policy():
    alone = SessionWithGamepad(keep_failures=True)
    alone.pad.press(START)
    alone.pad.push("left", away=0.5)
    alone.steps(6)
    alone.pad.press(RIGHT)
    alone.steps(2)
    assert alone.saved == 1
    watching = SessionWithGamepad(agent=Policy(), keep_failures=True)
    watching.page.commands = lambda: [("beat",)]  # because a policy never drives unwatched
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


def test_a_stick_held_while_a_policy_drives_or_the_scene_is_reset_moves_the_hand_from_where_it_is():
    watching = SessionWithGamepad(agent=Policy(), keep_failures=True)
    watching.page.commands = lambda: [("beat",)]
    watching.pad.press(START)
    watching.pad.push("right", right=-1.0)
    watching.steps(50)
    watching.pad.press(RIGHT)
    watching.steps(4)
    assert watching.mode == "correcting" and watching.hands()["right"].position == pytest.approx(
        watching.operator.goals(watching.obs["qpos"])["right"].position, abs=0.05
    )
    alone = SessionWithGamepad()
    alone.pad.press(START)
    alone.pad.push("right", right=-1.0)
    alone.steps(50)
    alone.pad.press(START, down=False)
    alone.pad.press(SELECT)
    alone.steps(4)
    wanted = alone.operator.goals(alone.obs["qpos"])["right"].position
    assert wanted == pytest.approx(alone.hands()["right"].position, abs=0.05)


def test_a_hand_that_a_stick_moves_ignores_its_gizmo():
    session = SessionWithGamepad()
    far = session.hands()["right"]._replace(position=np.array([0.3, 0.3, 0.4]))
    session.page.commands = lambda: [("engage",), ("aim", "right", far), ("aim", "left", far)]
    session.pad.push("right", right=-0.5)
    session.steps(4)
    goals = session.operator.goals(session.obs["qpos"])
    assert goals["left"].position == pytest.approx(far.position)
    assert goals["right"].position != pytest.approx(far.position)


def test_when_it_is_unplugged_everything_is_released_and_the_page_goes_on(caplog):
    session = SessionWithGamepad()
    session.pad.push("left", away=1.0)
    session.steps(10)
    session.pad.unplug()
    session.steps(2)
    assert "the gamepad was unplugged" in caplog.text
    reached = session.hands()["left"].position
    session.steps(60)
    assert session.hands()["left"].position == pytest.approx(reached, abs=0.01)
    session.page.commands = lambda: [("engage",)]
    session.steps(1)
    assert session.operator.engaged


def test_buttons_and_axes_have_the_names_that_the_driver_answers(monkeypatch):
    def ioctl(device: int, request: int, answer: array.array) -> None:
        if request == AXES_REQUEST:
            answer[0] = STICKS["right"][0]
        elif request == BUTTONS_REQUEST:
            answer[0] = START
        else:
            answer[:4] = array.array("B", b"Pad\0")

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    device, other_end = os.pipe()
    os.set_blocking(device, False)
    gamepad = Gamepad(device)
    os.write(
        other_end, EVENT.pack(0, 1, BUTTON, 0) + EVENT.pack(0, 32767, AXIS, 0) + EVENT.pack(0, 1, BUTTON | 0x80, 0)
    )
    assert gamepad.name == "Pad"
    assert gamepad.pressed() == [START]
    assert gamepad.deflection("right")[0] == pytest.approx(1.0)
    gamepad.close()
    os.close(other_end)


def test_without_a_gamepad_commands_come_from_the_page_alone(monkeypatch, tmp_path):
    page = Silent()
    assert find_gamepad("none") is None
    with with_gamepad(page, None) as link:
        assert link is page
    empty = tmp_path / "js0"
    with pytest.raises(ValueError, match="No such file or directory; give /dev/input/js0, auto or none"):
        find_gamepad(str(empty))


def test_a_missing_gamepad_is_named_before_the_page_opens(tmp_path, capsys):
    flags = ["--agent", "human", "--task_name", "sim_transfer_cube_human", "--dataset_dir", str(tmp_path)]
    assert record_sim_episodes.main([*flags, "--gamepad", str(tmp_path / "js7")]) == 2
    assert "js7: No such file" in capsys.readouterr().err
