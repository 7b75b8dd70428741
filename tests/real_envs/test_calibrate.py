"""Calibration: a person shows poses, and the YAML describes the arm so that it is read right."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("dynamixel_sdk", reason="arms need the SDK of their motors: pip install -e '.[hardware]'")

from real_envs.arm import Reading
from real_envs.calibrate import main
from real_envs.description import JOINTS, VIPERX_300S, WIDOWX_250S, ArmDescription, Gripper, Joint, load, save
from real_envs.leader import Leader
from tests.fakes.dynamixel_bus import EmulatedBus
from tests.fakes.dynamixel_motor import arm
from tests.real_envs.conftest import HOME, PATIENT, shafts

MOUNTED = {"zero": (2010, 2100, 1990, 2048, 3000, 77), "gripper": (1500, 2300)}  # how somebody built their arm


def built(description: ArmDescription) -> ArmDescription:
    """The arm as it really is: its horns are mounted a little off."""
    joints = tuple(replace(joint, zero=zero) for joint, zero in zip(description.joints, MOUNTED["zero"], strict=True))
    closed, opened = MOUNTED["gripper"]
    return replace(description, joints=joints, gripper=replace(description.gripper, closed=closed, open=opened))


def person(description: ArmDescription, bus: EmulatedBus) -> Callable[[str], str]:
    """Somebody who does what the program asks for."""
    words = {"to the left": 0, "upper arm forward": 1, "forearm down": 2, "Roll the forearm": 3, "Tip the hand": 4}
    words |= {"Roll the hand": 5}

    def ask(prompt: str) -> str:
        pose = np.zeros(7)
        for word, place in words.items():
            if word in prompt:
                pose[place] = 0.5
        pose[6] = float("Open the gripper" in prompt)
        positions = shafts(description, pose)
        bus.place({motor: positions[motor] for motor in bus.motors if motor in positions})
        return ""

    return ask


@pytest.mark.parametrize(("name", "known"), [("widowx", WIDOWX_250S), ("viperx", VIPERX_300S)])
def test_an_arm_is_read_right_after_its_calibration(tmp_path: Path, name: str, known: ArmDescription):
    real, file = built(known), tmp_path / "left_leader.yaml"
    with EmulatedBus(arm()) as bus:
        assert main([str(file), "--arm", name, "--port", bus.port], person(real, bus)) == 0
        description = load(file)
        bus.place(shafts(real, HOME))
        with Leader(description, PATIENT) as leader:
            np.testing.assert_allclose(leader.read().qpos, HOME, atol=0.003)
    assert description.name == "left leader" and description.joints[0].zero == 2010


def test_a_reading_that_is_lost_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real, file, read, lost = built(WIDOWX_250S), tmp_path / "left_leader.yaml", Leader.read, iter([True])
    with EmulatedBus(arm()) as bus:

        def once_without_an_answer(leader: Leader) -> Reading:
            bus.silent = next(lost, False)
            reading = read(leader)
            bus.silent = False
            return reading

        bus.place(shafts(real, HOME))  # what the lost reading would pass off as the zero pose
        monkeypatch.setattr(Leader, "read", once_without_an_answer)
        monkeypatch.setattr("real_envs.calibrate.Leader", lambda description: Leader(description, PATIENT))
        assert main([str(file), "--arm", "widowx", "--port", bus.port], person(real, bus)) == 0
    assert next(lost, None) is None
    assert tuple(joint.zero for joint in load(file).joints) == MOUNTED["zero"]


def test_the_signs_of_an_unknown_arm_are_found_by_moving_it(tmp_path: Path):
    signs = (1, -1, 1, -1, -1, 1)
    joints = tuple(Joint(motor, sign) for motor, sign in zip((1, 2, 3, 4, 5, 6), signs, strict=True))
    real, file = built(ArmDescription("mine", "", joints, Gripper(7, 0, 1000))), tmp_path / "mine.yaml"
    with EmulatedBus(arm()) as bus:
        words = [str(file), "--arm", "other", "--port", bus.port, "--motors", *map(str, range(1, 8))]
        assert main(words, person(real, bus)) == 0
    assert tuple(joint.sign for joint in load(file).joints) == signs


def test_a_joint_that_was_not_moved_is_asked_for_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    joints = tuple(Joint(motor) for motor in range(1, 7))
    real = built(ArmDescription("mine", "", joints, Gripper(7, 0, 1000)))
    lazy = iter([True])
    with EmulatedBus(arm()) as bus:
        obliging = person(real, bus)
        ask = lambda prompt: "" if "upper arm forward" in prompt and next(lazy, False) else obliging(prompt)  # noqa: E731
        words = [str(tmp_path / "mine.yaml"), "--arm", "other", "--port", bus.port, "--motors", *map(str, range(1, 8))]
        assert main(words, ask) == 0
    assert "the shoulder has hardly moved" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--arm", "other"], "--motors has an effect only with --arm other, which needs it"),
        (["--arm", "widowx", "--motors", *"1234567"], "--motors has an effect only with --arm other"),
        (["--arm", "other", "--motors", *"1234566"], "give every motor an id of its own"),
        (["--arm", "widowx", "--baudrate", "5"], "baudrate 5 .* ALOHA's arms have 1000000"),
    ],
)
def test_wrong_input_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
):
    with EmulatedBus(arm()) as bus:
        assert main([str(tmp_path / "a.yaml"), "--port", bus.port, *words], lambda _: "") == 2
    error = capsys.readouterr().err
    assert sentence.partition(" .* ")[0] in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_noticed_before_the_first_question(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    asked: list[str] = []
    file = tmp_path / "arms" / "a.yaml"
    assert (
        main([str(file), "--arm", "widowx", "--port", "/dev/null"], lambda question: str(asked.append(question))) == 2
    )
    error = capsys.readouterr().err
    assert f"{file} cannot be written; {file.parent} must be a folder" in error and error.count("\n") == 1 and not asked


def test_an_arm_without_power_and_an_impatient_person_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def leave(_: str) -> str:
        raise KeyboardInterrupt

    def end_of_input(_: str) -> str:
        raise EOFError

    with EmulatedBus(arm()) as bus:
        bus.silent = True
        words = [str(tmp_path / "a.yaml"), "--arm", "widowx", "--port", bus.port]
        assert main(words, lambda _: "") == 1
        assert main(words, leave) == 130 and main(words, end_of_input) == 130
    assert "a, waist: motor 1 on" in (error := capsys.readouterr().err) and "nothing is written" in error
    assert list(tmp_path.iterdir()) == []


# -- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("description", [VIPERX_300S, WIDOWX_250S])
def test_a_description_is_the_same_after_writing_and_reading(tmp_path: Path, description: ArmDescription):
    save(description, tmp_path / "arm.yaml")
    assert load(tmp_path / "arm.yaml") == description
    assert [path.name for path in tmp_path.iterdir()] == ["arm.yaml"]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("sign: -1", "sign: 2", "shoulder has sign 2"),
        ("motor: 9", "motor: 1", "give every motor an id of its own"),
        ("speed: 3.0", "speed: 90", "speed 90"),
        ("speed: 3.0", "sped: 3.0", "unknown ['sped']"),
        ("zero: 2048", "zeros: 2048", "unknown ['zeros']"),
        ("  elbow:", "  ellbow:", "give waist, shoulder, elbow"),
        ("closed: 1643", "closed: 3000", "they must be at least 100 apart"),
        ("name:", "name", "python -m real_envs.calibrate"),
    ],
)
def test_a_file_that_is_no_arm_names_the_value(tmp_path: Path, old: str, new: str, sentence: str):
    path = tmp_path / "arm.yaml"
    save(VIPERX_300S, path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError) as raised:
        load(path)
    assert sentence in str(raised.value) and str(path) in str(raised.value)


def test_a_file_that_is_missing_says_how_to_write_it(tmp_path: Path):
    with pytest.raises(ValueError, match=r"No such file .*; write it with: python -m real_envs\.calibrate"):
        load(tmp_path / "nothing.yaml")


def test_the_followers_limits_are_those_of_the_simulated_arms():
    from sim_envs.kinematics import Kinematics

    limits = Kinematics()._robot.limits
    for arm_limits in (limits[:7], limits[7:]):
        np.testing.assert_allclose(VIPERX_300S.limits, arm_limits, atol=1e-4)
    assert len(JOINTS) == 6
