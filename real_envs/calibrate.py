"""Calibrates an arm: walks through its zero pose and its gripper, and writes the YAML that describes it.

python -m real_envs.calibrate left_leader.yaml --arm widowx --port /dev/ttyDXL_master_left
python -m real_envs.calibrate left_follower.yaml --arm viperx --port /dev/ttyDXL_puppet_left
python -m real_envs.calibrate mine.yaml --arm other --port /dev/ttyUSB0 --motors 1 2 3 4 5 6 7
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from real_envs.bus import HardwareError
from real_envs.description import (
    GRIPPER,
    JOINTS,
    VIPERX_300S,
    WIDOWX_250S,
    ArmDescription,
    Gripper,
    Joint,
    renamed,
    save,
)
from real_envs.leader import Leader

Ask = Callable[[str], str]
KNOWN = {"viperx": VIPERX_300S, "widowx": WIDOWX_250S}
ZERO_POSE = (
    "Put the arm into its zero pose: it points straight ahead, the upper arm is upright, forearm and hand are level, "
    "and the fingers lie side by side. Press Enter."
)
POSITIVE = {  # joint -> the motion that counts as positive
    "waist": "Turn the whole arm to the left, seen from above",
    "shoulder": "Lean the upper arm forward",
    "elbow": "Tip the forearm down",
    "forearm_roll": "Roll the forearm clockwise, seen from the base",
    "wrist_angle": "Tip the hand down",
    "wrist_rotate": "Roll the hand clockwise, seen from the base",
}
CLEAR = 100  # [ticks] 9 degrees, which a motion must have at least


def main(arguments: Sequence[str] | None = None, ask: Ask = input) -> int:
    """Returns the exit code: 0 written, 1 the arm failed, 2 wrong input, 130 stopped with Ctrl-C or Ctrl-D."""
    options = parser().parse_args(arguments)
    try:
        arm = calibrated(described(options), ask, find_signs=options.arm == "other")
        save(arm, options.file)
    except (OSError, ValueError) as error:  # a HardwareError is an OSError
        print(f"calibrate: {error}", file=sys.stderr)
        return 1 if isinstance(error, HardwareError) else 2
    except (EOFError, KeyboardInterrupt):
        print("\ncalibrate: stopped; nothing is written", file=sys.stderr)
        return 130
    print(f"{options.file} describes the {arm.name} on {arm.port}")
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m real_envs.calibrate",
        description="Find the zeros of an arm and the range of its gripper, and write them to a YAML file.",
        epilog="Example: python -m real_envs.calibrate left_leader.yaml --arm widowx --port /dev/ttyDXL_master_left. "
        "More: docs/real_robot.md",
    )
    parser.add_argument("file", type=Path, help="YAML file to write; its name becomes the name of the arm")
    parser.add_argument("--arm", choices=(*KNOWN, "other"), required=True, help="ViperX-300, WidowX-250, or another")
    parser.add_argument("--port", required=True, help="serial port, for example /dev/ttyDXL_master_left")
    parser.add_argument("--baudrate", type=int, default=1_000_000, help="of the motors (default: %(default)s)")
    parser.add_argument("--motors", type=int, nargs=7, metavar="ID", help="with --arm other: six joints, gripper")
    return parser


def described(options: argparse.Namespace) -> ArmDescription:
    """The arm before its calibration. ValueError for a file that cannot be, and wrong --motors."""
    if not options.file.parent.is_dir() or not os.access(options.file.parent, os.W_OK):
        raise ValueError(
            f"{options.file} cannot be written; {options.file.parent} must be a folder that you may write to"
        )
    if (options.arm == "other") != (options.motors is not None):
        raise ValueError("--motors has an effect only with --arm other, which needs it: six joints, then the gripper")
    arm = KNOWN.get(options.arm) or ArmDescription(
        "arm", options.port, tuple(Joint(motor) for motor in options.motors[:6]), Gripper(options.motors[6], 0, 1000)
    )
    arm = replace(renamed(arm, options.file.stem.replace("_", " "), options.port), baudrate=options.baudrate)
    arm.check()
    return arm


def calibrated(arm: ArmDescription, ask: Ask, find_signs: bool) -> ArmDescription:
    """The arm with the zeros, signs and gripper range that a person shows."""
    ask(f"The torque of the {arm.name} will be switched off. Support it and press Enter.")
    with Leader(arm) as measured:

        def ticks() -> np.ndarray:
            while not measured.read().fresh:  # a lost reading repeats the pose of before
                pass
            return measured.ticks

        ask(ZERO_POSE)
        zeros = ticks()
        signs = [sign_of(joint, ask, ticks) for joint in JOINTS] if find_signs else [j.sign for j in arm.joints]
        ask("Close the gripper as far as it goes and press Enter.")
        closed = ticks()[GRIPPER]
        ask("Open the gripper as far as it goes and press Enter.")
        opened = ticks()[GRIPPER]
    joints = tuple(
        replace(joint, zero=int(zero), sign=sign)
        for joint, zero, sign in zip(arm.joints, zeros[:GRIPPER], signs, strict=True)
    )
    arm = replace(arm, joints=joints, gripper=replace(arm.gripper, closed=int(closed), open=int(opened)))
    arm.check()
    return arm


def sign_of(joint: str, ask: Ask, ticks: Callable[[], np.ndarray]) -> int:
    """Whether a motor counts up, 1, or down, -1, when its joint moves in the positive direction."""
    place, before = JOINTS.index(joint), ticks()
    while True:
        ask(f"{POSITIVE[joint]} by about 30 degrees and press Enter.")
        moved = int((ticks() - before)[place])
        if abs(moved) >= CLEAR:
            return 1 if moved > 0 else -1
        print(f"the {joint} has hardly moved ({moved} ticks); once more")


if __name__ == "__main__":
    sys.exit(main())
