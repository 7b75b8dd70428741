"""The page on real robots: its first line, and its program, which runs on emulated arms."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("dynamixel_sdk", reason="arms need the SDK of their motors: pip install -e '.[hardware]'")

from act.data.episodes import read_episode
from real_envs.description import VIPERX_300S, WIDOWX_250S, save
from tests.fakes.dynamixel_bus import EmulatedBus
from tests.real_envs.conftest import HOME, shafts
from tests.real_envs.test_robot import NAMES, Video

PAGE = Path(__file__).parents[2] / "docs" / "real_robot.md"


def test_the_first_line_says_that_no_real_arm_was_driven():
    assert PAGE.read_text(encoding="utf-8").splitlines()[0].startswith("**No real arm was driven with this code.**")


def squeeze(buses: list[EmulatedBus]) -> Callable[[str], None]:
    """What a person does who is asked to squeeze: opens both grippers and shuts them."""

    def hands() -> None:
        for opening in (1.0, 0.0):
            for bus in buses:
                bus.place(shafts(WIDOWX_250S, np.array([*HOME[:6], opening])))
            time.sleep(0.3)

    def say(_: str) -> None:
        threading.Thread(target=hands, daemon=True).start()

    return say


@pytest.mark.slow
def test_the_program_of_the_page_records_an_episode_of_emulated_arms(
    emulate, prompt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    program, _ = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    kinds = {"leader": WIDOWX_250S, "follower": VIPERX_300S}
    buses = {}
    for name in ("left_leader", "right_leader", "left_follower", "right_follower"):
        arm, buses[name] = emulate(kinds[name.split("_")[1]], name)
        save(arm, tmp_path / f"{name}.yaml")
    for shown, here in (
        ("episode_len=400", "episode_len=20"),
        ("range(3)", "range(1)"),
        ("image_size=(480, 640)) for", "image_size=(24, 32), open_device=Video) for"),
        ("LeaderAgent(leaders)", "LeaderAgent(leaders, say=squeeze)"),
    ):
        assert shown in program
        program = program.replace(shown, here)
    monkeypatch.chdir(tmp_path)
    exec(program, {"Video": Video, "squeeze": squeeze([buses["left_leader"], buses["right_leader"]])})
    assert "20 20 control periods of 20 ms" in capsys.readouterr().out
    episode = read_episode(Path("data/my_task/episode_0.hdf5"))
    assert len(episode) == 20 and episode.cameras == NAMES and episode.attrs["source"] == "operator"
    followers = [motor for name in ("left_follower", "right_follower") for motor in buses[name].motors.values()]
    assert not any(motor.get("torque") for motor in followers), "they lie down in the end"
